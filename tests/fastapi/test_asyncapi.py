"""The AsyncAPI document of an application's routes, and the page of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import Enum
from html.parser import HTMLParser
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Never, TypedDict, Union

import jsonschema
import msgspec
import pydantic
import pytest
from fastapi import Cookie, Depends, FastAPI, Header, Query, Security
from fastapi import WebSocket as FastAPIWebSocket
from fastapi.security import (
    APIKeyHeader,
    HTTPBearer,
    OAuth2PasswordBearer,
    OpenIdConnect,
)
from pydantic import BaseModel, Field
from starlette.routing import WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket

from anyws.fastapi import APIRouter, Guarded, Typed, add_asyncapi, asyncapi
from anyws.fastapi._schemas import _name_of

SCHEMA = json.loads((Path(__file__).parent / "asyncapi-specs/3.0.0.json").read_text())
CHECK = jsonschema.Draft7Validator(SCHEMA)


class Ask(msgspec.Struct, tag="ask"):
    """A question."""

    text: str
    at: tuple[int, float] = (0, 0.5)


class Stop(msgspec.Struct, tag="stop"):
    """No more."""


@dataclass
class Point:
    """A place."""

    x: Annotated[float, msgspec.Meta(ge=0, description="From the left.")]
    near: list[Point]


class Row(TypedDict, total=False):
    """A row of a table."""

    cells: dict[str, Literal["a", "b"]]


class Size(NamedTuple):
    """Width and height."""

    width: int
    height: int


class Cat(BaseModel):
    """A cat."""

    kind: Literal["cat"]
    born: int = Field(3, gt=0)


class Dog(BaseModel):
    """A dog."""

    kind: Literal["dog"]
    friends: list[Annotated[Cat | Dog, Field(discriminator="kind")]] = []


class Computed(BaseModel):
    """What is sent has more than what is received."""

    x: int

    @pydantic.computed_field  # type: ignore[prop-decorator]  # as documented
    @property
    def double(self) -> int:
        """Twice."""
        return 2 * self.x


Pet = Annotated[Cat | Dog, Field(discriminator="kind")]


class Color(Enum):
    """A colour."""

    RED = "red"
    BLUE = "blue"


class Page(BaseModel):
    """Parameters in a model."""

    limit: int = Field(10, le=100)
    after_id: str


OAUTH = OAuth2PasswordBearer("/token", scopes={"read": "Read."})


async def user(
    token: Annotated[str, Security(OAUTH, scopes=["read"])],
    key: Annotated[str, Security(APIKeyHeader(name="x-key", description="A key."))],
    bearer: Annotated[Any, Depends(HTTPBearer())],
    openid: Annotated[Any, Depends(OpenIdConnect(openIdConnectUrl="/openid"))],
    lang: Annotated[str, Query(description="A language.")] = "en",
) -> None:
    """Have security and a parameter."""


def served() -> FastAPI:
    """Make an application with a route of every kind."""
    app = FastAPI(title="Every <kind>", description="All of it.", version="2")
    router = APIRouter(prefix="/{color}")

    @router.websocket("/ask/{number}", dependencies=[Depends(user)])
    async def ask(
        ws: Guarded,
        messages: Typed[Ask | Stop, Point],
        color: Color,
        number: int,
        x_token: Annotated[str, Header()],
        flavour: Annotated[str, Cookie()],
        secret: Annotated[str, Query(include_in_schema=False)] = "",
    ) -> None:
        """Ask <b>anything</b>.

        \fFor programmers.
        """

    @router.websocket("/pets")
    async def pets(
        ws: Guarded, messages: Typed[Pet, Row | None], page: Annotated[Page, Query()]
    ) -> None: ...

    @router.websocket("/same")
    async def same(ws: Guarded, messages: Typed[Computed, Computed]) -> None: ...

    @app.websocket("/")
    async def only_sends(ws: Guarded, messages: Typed[Never, list[Size]]) -> None: ...

    @app.websocket("/untyped")
    async def untyped(ws: FastAPIWebSocket, headers: Annotated[str, Header()]) -> None:
        """Have no types."""

    async def starlettes(ws: WebSocket) -> None: ...

    app.router.routes.append(WebSocketRoute("/plain/{name}", starlettes))
    app.include_router(router, prefix="/v1")
    return app


DOCUMENT = asyncapi(served())


def test_it_is_an_asyncapi_document() -> None:
    """By the published schema, which finds what is wrong."""
    assert [error.message for error in CHECK.iter_errors(DOCUMENT)] == []
    assert not CHECK.is_valid({**DOCUMENT, "operations": {"a": {"action": "no"}}})
    broken = {**DOCUMENT, "components": {"schemas": {"A": {"discriminator": {}}}}}
    assert not CHECK.is_valid(broken)


def test_all_references_lead_somewhere() -> None:
    """To a part of the document."""

    def walk(part: Any) -> None:
        for key, value in part.items() if isinstance(part, dict) else enumerate(part):
            if key == "$ref":
                found = DOCUMENT
                for step in value.removeprefix("#/").split("/"):
                    found = found[step]
            elif isinstance(value, dict | list):
                walk(value)

    walk(DOCUMENT)


def test_a_route_is_a_channel() -> None:
    """With its path, its docstring and the parameters of all that it depends on."""
    channels = DOCUMENT["channels"]
    assert {name: channel["address"] for name, channel in channels.items()} == {
        "only_sends": "/",
        "untyped": "/untyped",
        "starlettes": "/plain/{name}",
        "ask": "/v1/{color}/ask/{number}",
        "pets": "/v1/{color}/pets",
        "same": "/v1/{color}/same",
    }
    ask = channels["ask"]
    assert ask["description"] == "Ask <b>anything</b>."
    assert ask["parameters"] == {
        "color": {"enum": ["red", "blue"], "description": "A colour."},
        "number": {},
    }
    assert channels["starlettes"]["parameters"] == {"name": {}}
    binding = ask["bindings"]["ws"]
    lang = {"type": "string", "default": "en", "description": "A language."}
    assert binding["query"]["properties"] == {"lang": lang}
    assert list(binding["headers"]["properties"]) == ["x-token", "Cookie"]
    assert binding["headers"]["required"] == ["x-token", "Cookie"]
    query = channels["pets"]["bindings"]["ws"]["query"]
    assert list(query["properties"]) == ["limit", "after_id"]
    assert query["required"] == ["after_id"]


def names_of(operation: str) -> list[str]:
    """Return the messages of an operation."""
    references = DOCUMENT["operations"][operation]["messages"]
    return [each["$ref"].rpartition("/")[2] for each in references]


def test_the_types_are_messages() -> None:
    """The members of a union are messages of their own; `Never` is none."""
    assert names_of("ask_receive") == ["Ask", "Stop"]
    assert names_of("ask_send") == ["Point"]
    assert names_of("pets_receive") == ["Cat", "Dog"]
    assert names_of("pets_send") == ["Row", "NoneType"]
    assert names_of("only_sends_send") == ["list_Size"]
    assert "only_sends_receive" not in DOCUMENT["operations"]
    assert "messages" not in DOCUMENT["channels"]["untyped"]


def test_what_is_sent_may_differ_from_what_is_received() -> None:
    """Then they are two messages of one type."""
    assert names_of("same_receive") == ["Computed"]
    assert names_of("same_send") == ["Computed_2"]
    messages = DOCUMENT["channels"]["same"]["messages"]
    schemas = DOCUMENT["components"]["schemas"]
    keys = [messages[each]["payload"]["$ref"].split("/")[-1] for each in messages]
    assert [list(schemas[key]["properties"]) for key in keys] == [
        ["x"],
        ["x", "double"],
    ]


def test_a_name_does_not_depend_on_how_a_union_is_written() -> None:
    """The two ways to write one are one class since Python 3.14."""
    names = {_name_of(list[int | str]), _name_of(list[Union[int, str]])}  # noqa: UP007  # the other way
    assert names == {"list_Union_int_str"}


def test_schemas_are_in_the_words_of_draft_7() -> None:
    """Tuples and discriminators are said otherwise in later drafts, and in OpenAPI."""
    schemas = DOCUMENT["components"]["schemas"]
    at = schemas["Ask"]["properties"]["at"]
    assert at["items"] == [{"type": "integer"}, {"type": "number"}]
    assert at["additionalItems"] is False
    friends = schemas["Dog"]["properties"]["friends"]
    assert friends["items"]["discriminator"] == "kind"
    near = schemas["Point"]["properties"]["near"]
    assert near["items"] == {"$ref": "#/components/schemas/Point"}


def test_security_is_that_of_the_operations() -> None:
    """In AsyncAPI's words, with the scopes of the route."""
    first, *others = DOCUMENT["operations"]["ask_receive"]["security"]
    assert first["scopes"] == ["read"]
    assert first["flows"]["password"]["availableScopes"] == {"read": "Read."}
    names = ["APIKeyHeader", "HTTPBearer", "OpenIdConnect"]
    at = "#/components/securitySchemes/"
    assert [each["$ref"] for each in others] == [f"{at}{name}" for name in names]
    schemes = DOCUMENT["components"]["securitySchemes"]
    assert schemes["APIKeyHeader"] == {
        "type": "httpApiKey",
        "in": "header",
        "name": "x-key",
        "description": "A key.",
    }
    assert "security" not in DOCUMENT["operations"]["pets_receive"]


def test_names_that_are_taken() -> None:
    """Routes of one name, and types of one name in both libraries."""
    app = FastAPI()
    theirs = pydantic.create_model("Stop", why=(str, ...))

    async def talk(ws: Guarded, messages: Any) -> None: ...

    talk.__annotations__["messages"] = Typed[Stop, theirs]  # type: ignore[valid-type]  # made at run time
    for path in ("/a", "/b/{c:path}", "/"):
        app.websocket(path)(talk)
    document = asyncapi(app)
    assert list(document["channels"]) == ["talk", "talk_b_c", "talk_2"]
    assert list(document["components"]["schemas"]) == ["Stop", "Stop-msgspec"]
    assert list(document["channels"]["talk"]["messages"]) == ["Stop", "Stop_2"]
    assert CHECK.is_valid(document)


def test_what_the_application_says_of_itself() -> None:
    """Servers, as far as they are URLs; contact and licence."""
    app = FastAPI(
        servers=[
            {"url": "https://example.org/api", "description": "Here."},
            {"url": "http://example.org"},
            {"url": "/relative"},
            {"url": "https://{host}/"},
        ],
        contact={"name": "Ann"},
        terms_of_service="https://example.org/terms",
        license_info={"name": "MIT", "identifier": "MIT"},
    )
    document = asyncapi(app)
    assert CHECK.is_valid(document)
    assert document["info"]["license"] == {"name": "MIT"}
    assert document["info"]["contact"] == {"name": "Ann"}
    wss = {"host": "example.org", "protocol": "wss", "pathname": "/api"}
    assert document["servers"] == {
        "example.org": {**wss, "description": "Here."},
        "example.org_2": {"host": "example.org", "protocol": "ws"},
    }


class Reader(HTMLParser):
    """Collects the tags of a page, its identifiers and its links."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect."""
        self.tags.add(tag)
        self.ids += [str(value) for name, value in attrs if name == "id"]
        self.links += [str(value) for name, value in attrs if name in ("href", "src")]


def test_the_document_and_its_page_are_served() -> None:
    """The page has no script, says all that the document does, and links inside."""
    app = served()
    add_asyncapi(app)
    client = TestClient(app, base_url="https://docs.test", root_path="/proxy")
    here = {"host": "docs.test", "protocol": "wss", "pathname": "/proxy"}
    got = client.get("/asyncapi.json").json()
    assert got.pop("servers") == {"this": here}
    assert got == json.loads(json.dumps(DOCUMENT))
    response = client.get("/asyncapi")
    assert "default-src 'none'" in response.headers["content-security-policy"]
    page, reader = response.text, Reader(response.text)
    assert not reader.tags & {"script", "img", "link", "iframe", "b", "kind"}
    assert len(set(reader.ids)) == len(reader.ids)
    inside = {link[1:] for link in reader.links if link.startswith("#")}
    assert inside <= set(reader.ids)
    assert [link for link in reader.links if link[0] != "#"] == ["/proxy/asyncapi.json"]
    for text in (
        "Every &lt;kind&gt;",
        "Ask &lt;b&gt;anything",
        "wss://docs.test/proxy",
        "From the left.",
        "A language.",
        "Scopes: read",
        "number ≥ 0",
        "integer ≤ 100",
        "array: integer, number",
    ):
        assert text in page, text
    assert app.openapi()["paths"] == {}


@pytest.mark.parametrize("title", ["Mine", "<script>"])
def test_there_may_be_no_page_and_no_route(title: str) -> None:
    """The document is made at the first request, of what is there then."""
    app = FastAPI(title=title, servers=[{"url": "wss://here", "description": "<i>"}])
    add_asyncapi(app, asyncapi_url="/ws.json", docs_url=None)
    client = TestClient(app)
    assert client.get("/ws.json").json()["channels"] == {}
    assert client.get("/asyncapi").status_code == 404
    add_asyncapi(app, docs_url="/ws")
    page = client.get("/ws").text
    assert "There are no WebSockets." in page
    assert "script" not in Reader(page).tags
