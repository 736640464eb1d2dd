"""Rows S-78 and S-110 to S-116: routing, with our class in every place for it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import fastapi
import pytest
from starlette.applications import Starlette
from starlette.endpoints import WebSocketEndpoint
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import (
    Host,
    Match,
    Mount,
    NoMatchFound,
    Route,
    Router,
    WebSocketRoute,
    websocket_session,
)
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketClose, WebSocketDisconnect, WebSocketState

import anyws

from ..support import seed
from ..support.seed import CLOSE, Client, Codec, Plain, row, scope_of

client, substituted = seed.client, seed.substituted


# Every place where the user can put our class.


async def converse(websocket: Any) -> None:
    """Answer each message, until it is told to close."""
    assert isinstance(websocket, anyws.WebSocket)
    await websocket.accept("chat", [(b"x-path", websocket.url.path.encode())])
    async for message in websocket:
        await websocket.send_message(message)
        if message == "close":
            await websocket.close(4000, "done")
            return


class Dispatching(WebSocketEndpoint):
    """Makes our class itself."""

    async def dispatch(self) -> None:
        """Serve one connection."""
        await converse(anyws.WebSocket(self.scope, self.receive, self.send))


def at(endpoint: Any) -> WebSocketRoute:
    """Return a route to an endpoint."""
    return WebSocketRoute("/at/{id:int}", endpoint)


async def ours_of(websocket: fastapi.WebSocket) -> anyws.WebSocket:
    """Make our class of FastAPI's, as a dependency."""
    return anyws.WebSocket(websocket.scope, websocket.receive, websocket.send)


FromTheirs = Annotated[anyws.WebSocket, fastapi.Depends(ours_of)]


def in_fastapi() -> ASGIApp:
    """Return a FastAPI application whose endpoint depends on our class."""
    app = fastapi.FastAPI()

    @app.websocket("/at/{id}")
    async def endpoint(
        id: int,  # FastAPI takes the name of the path's parameter
        websocket: FromTheirs,
    ) -> None:
        await converse(websocket)

    return app


def annotated_in_fastapi() -> ASGIApp:
    """Return a FastAPI application whose endpoint is annotated with our class."""
    app = fastapi.FastAPI()

    @app.websocket("/at/{id}")
    async def endpoint(websocket: anyws.WebSocket) -> None:
        await converse(websocket)

    return app


async def by_name(name: str, websocket: Any) -> None:
    """Take an argument before the connection."""
    assert name == "seed"
    await converse(websocket)


PLACES: dict[str, Callable[[], ASGIApp]] = {
    "bare-asgi": lambda: Plain(converse),
    "S-111-asgi-object": lambda: Router([at(Plain(converse))]),
    "S-111-function": lambda: Router([at(converse)]),
    "S-111-partial": lambda: Router([at(partial(by_name, "seed"))]),
    "S-111-endpoint": lambda: Starlette(routes=[at(Dispatching)]),
    "S-110-session": lambda: websocket_session(converse),
    "S-113-route": lambda: at(Plain(converse)),
    "S-116-mount": lambda: Starlette(routes=[Mount("/at", Plain(converse))]),
    "S-116-mounted-routes": lambda: Router([Mount("/", routes=[at(converse)])]),
    "S-116-host": lambda: Router([Host("testserver", Router([at(converse)]))]),
    "S-118-depends": in_fastapi,
    "S-118-annotated": annotated_in_fastapi,
}


@pytest.mark.usefixtures("substituted")
@pytest.mark.parametrize("place", PLACES)
def test_our_class_in_every_place(client: Client, place: str) -> None:
    """The conversation is the same wherever the class was put."""
    app = PLACES[place]()
    with client(app).websocket_connect("/at/7", subprotocols=["chat"]) as peer:
        assert peer.accepted_subprotocol == "chat"
        assert (b"x-path", b"/at/7") in (peer.extra_headers or [])
        peer.send_text("hello")
        assert peer.receive_text() == "hello"
        peer.send_bytes(b"")
        assert peer.receive_bytes() == b""
        peer.send_json({"a": 1}, mode="text")
        assert peer.receive_json() == {"a": 1}
        peer.send_text("close")
        assert peer.receive_text() == "close"
        assert peer.receive() == {**CLOSE, "code": 4000, "reason": "done"}


# S-111 to S-116. Routing.

ECHO = anyws.endpoint(converse)


@pytest.mark.parametrize(
    ("endpoint", "name"),
    [
        row("S-111-function", converse, "converse"),
        row("S-111-class", Dispatching, "Dispatching"),
        row("S-111-asgi-object", Plain(converse), "Plain"),
        row("S-111-our-decorator", ECHO, "converse"),
    ],
)
def test_a_route_is_named_after_its_endpoint(endpoint: Any, name: str) -> None:
    """It knows path and endpoint, and what it is called in `url_for`."""
    route = at(endpoint)
    assert (route.path, route.endpoint, route.name) == ("/at/{id:int}", endpoint, name)
    assert route == at(endpoint)
    assert route != WebSocketRoute("/", endpoint)
    assert repr(route) == f"WebSocketRoute(path='/at/{{id:int}}', name={name!r})"
    assert WebSocketRoute("/", endpoint, name="other").name == "other"


def test_a_route_begins_with_a_slash() -> None:
    """S-111: another path is an AssertionError."""
    with pytest.raises(AssertionError, match="Routed paths must start with '/'"):
        WebSocketRoute("at", Plain(converse))


class Numbering:
    """A middleware that numbers the connection."""

    def __init__(self, app: ASGIApp, number: int) -> None:
        self.app, self.number = app, number

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, with one more number in the state."""
        numbers = [*scope["state"].get("numbers", ()), self.number]
        state = {**scope["state"], "numbers": numbers}
        await self.app({**scope, "state": state}, receive, send)


async def show(websocket: Any) -> None:
    """Show what the routing has found, and say a URL."""
    await websocket.accept()
    found = {
        "class": isinstance(websocket, anyws.WebSocket),
        "path_params": websocket.path_params,
        "numbers": getattr(websocket.state, "numbers", None),
        "url": str(websocket.url),
        "base_url": str(websocket.base_url),
        "app_root_path": websocket.get("app_root_path"),
        "root_path": websocket.get("root_path"),
    }
    websocket["extensions"]["found"] = {
        key: value for key, value in found.items() if value is not None
    }
    await websocket.send_text(str(websocket.url_for("show", id=1)))
    await websocket.close()


def shown(test_client: Any, url: str) -> tuple[Any, str]:
    """Connect to `show`; return what it has found, and the URL that it made."""
    with test_client.websocket_connect(url) as peer:
        made = peer.receive_text()
        return peer.scope["extensions"]["found"], made


@pytest.mark.usefixtures("substituted")
@pytest.mark.parametrize(
    ("convertor", "path", "value"),
    [
        row("S-112-str", "str", "a b", "a b"),
        row("S-112-int", "int", "7", 7),
        row("S-112-float", "float", "0.5", 0.5),
        row("S-112-path", "path", "a/b", "a/b"),
        row(
            "S-112-uuid",
            "uuid",
            "00000000-0000-0000-0000-000000000001",
            UUID(int=1),
        ),
    ],
)
def test_paths_are_converted(
    client: Client, convertor: str, path: str, value: object
) -> None:
    """The parameters of the path are in `path_params`, in their types."""
    routes = [
        WebSocketRoute("/show/{id:int}", show, name="show"),
        WebSocketRoute(f"/at/{{it:{convertor}}}", show),
    ]
    found, url = shown(client(Starlette(routes=routes)), f"/at/{path}")
    assert found["path_params"] == {"it": value}
    assert url == "ws://testserver/show/1"


def test_a_route_matches_websockets_only() -> None:
    """S-112: a match puts endpoint and parameters into the scope."""
    route = at(Plain(converse))
    found = {"endpoint": route.endpoint, "path_params": {"id": 7}}
    assert route.matches(scope_of(path="/at/7")) == (Match.FULL, found)
    for scope in (scope_of(path="/at/x"), scope_of(path="/at/7", type="http")):
        assert route.matches(scope) == (Match.NONE, {})
    assert route.url_path_for("Plain", id=7) == "/at/7"
    with pytest.raises(NoMatchFound):
        route.url_path_for("Plain", other=7)


@pytest.mark.usefixtures("substituted")
@pytest.mark.parametrize("mounted", [False, True], ids=["S-116-host", "S-116-mount"])
def test_ours_below_mounts_and_middleware(client: Client, mounted: bool) -> None:
    """S-111: it sees the root paths, and what the middlewares of its route did."""
    numbering = [Middleware(Numbering, number=n) for n in (1, 2)]
    inner = WebSocketRoute("/show/{id:int}", show, name="show", middleware=numbering)
    outer = Mount("/sub", routes=[inner]) if mounted else Mount("/sub", Router([inner]))
    app: ASGIApp = Starlette(
        routes=[outer] if mounted else [Host("testserver", Router([outer]))]
    )
    found, url = shown(client(app, root_path="/root"), "/root/sub/show/7")
    assert found == {
        "class": True,
        "path_params": {"id": 7},
        "numbers": [1, 2],
        "url": "ws://testserver/root/sub/show/7",
        "base_url": "ws://testserver/root/",
        "app_root_path": "/root",
        "root_path": "/root/sub",
    }
    assert url == "ws://testserver/root/sub/show/1"


def page(request: object) -> PlainTextResponse:
    """Answer an HTTP request."""
    return PlainTextResponse("page")


@pytest.mark.parametrize(
    "app",
    [
        row("S-113-standalone", at(Plain(converse))),
        row("S-114-no-route", Router([at(Plain(converse))])),
        row("S-114-http-route", Router([Route("/", page)])),
        row("S-116-other-host", Router([Host("other", Plain(converse))])),
        row("S-116-static-files", StaticFiles(directory=Path(__file__).parent)),
    ],
)
async def test_where_there_is_no_websocket(app: ASGIApp) -> None:
    """It is closed with 1000 before the accept, through our channel or a server's."""
    wire = Codec()
    websocket = wire.websocket()
    scope = scope_of(headers=[(b"host", b"testserver")])
    await app(scope, websocket.receive, websocket.send)
    assert wire.sent == [CLOSE]


def test_a_request_for_a_page_where_a_websocket_is(client: Client) -> None:
    """S-114: a GET does not match a WebSocket's route."""
    assert client(Router([at(converse)])).get("/at/7").status_code == 404


@pytest.mark.usefixtures("substituted")
def test_routes_can_be_added(client: Client) -> None:
    """S-115: a router takes more routes, by path, endpoint and name."""
    router = Router()
    router.add_websocket_route("/show/{id:int}", show, name="show")
    found, url = shown(client(router), "/show/7")
    assert (found["class"], found["path_params"]) == (True, {"id": 7})
    assert url == "ws://testserver/show/1"


def test_a_rejection_is_seen_by_the_client(client: Client) -> None:
    """S-113: closing before the accept is a disconnect with its code and reason."""

    async def reject(websocket: anyws.WebSocket) -> None:
        await websocket.close(1013, "later")

    with pytest.raises(WebSocketDisconnect) as caught:
        client(at(Plain(reject))).websocket_connect("/at/7").__enter__()
    assert (caught.value.code, caught.value.reason) == (1013, "later")


# S-78. The application that only closes.


@pytest.mark.parametrize(
    ("arguments", "changes"),
    [
        row("S-78-bare", (), {}),
        row("S-78-code", (1013, "later"), {"code": 1013, "reason": "later"}),
    ],
)
async def test_the_application_that_only_closes(
    arguments: tuple[Any, ...], changes: dict[str, Any]
) -> None:
    """Starlette's `WebSocketClose` sends through ours what it sends to a server."""
    wire = Codec()
    websocket = wire.websocket()
    await WebSocketClose(*arguments)(scope_of(), websocket.receive, websocket.send)
    assert wire.sent == [{**CLOSE, **changes}]
    assert websocket.application_state is WebSocketState.DISCONNECTED
