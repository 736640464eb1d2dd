"""Rows S-117 to S-122: FastAPI's decorators, injection, telemetry, on our class."""

from __future__ import annotations

import inspect
import json
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any

import anyio
import fastapi
import fastapi.websockets
import pytest
from fastapi import Cookie, Depends, FastAPI, Header, Path, Query, Security
from fastapi.exceptions import WebSocketRequestValidationError
from fastapi.routing import APIRouter, APIWebSocketRoute
from fastapi.security import APIKeyHeader
from starlette.requests import HTTPConnection
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocketDisconnect

import anyws

from ..support import seed
from ..support.seed import Client, row

client, ours, substituted = seed.client, seed.ours, seed.substituted


def plain(websocket: fastapi.WebSocket) -> anyws.WebSocket:
    """Make our class of FastAPI's, as a dependency."""
    return anyws.WebSocket(websocket.scope, websocket.receive, websocket.send)


FromTheirs = Annotated[anyws.WebSocket, Depends(plain)]


async def depending(websocket: FromTheirs) -> None:
    """Greet from our class, made by a dependency."""
    await websocket.accept()
    await websocket.send_text("hello")
    await websocket.close()


def greeting(test_client: Any, url: str) -> str:
    """Connect and return what the endpoint says."""
    with test_client.websocket_connect(url) as peer:
        return str(peer.receive_text())


# S-117. Ways to add an endpoint.


def by_decorator(app: Any, **kwargs: Any) -> None:
    """Add the endpoint by the decorator."""
    app.websocket("/ws", name="greet", **kwargs)(depending)


def by_call(app: Any, **kwargs: Any) -> None:
    """Add the endpoint by the method below the decorator."""
    app.add_api_websocket_route("/ws", depending, name="greet", **kwargs)


@pytest.mark.parametrize("kind", [FastAPI, APIRouter])
@pytest.mark.parametrize("add", [by_decorator, by_call])
def test_an_endpoint_is_added(
    client: Client, kind: Callable[[], Any], add: Callable[..., None]
) -> None:
    """S-117: it can be called and is found by its name; dependencies run before it."""
    ran = []
    app = kind()
    add(app, dependencies=[Depends(lambda: ran.append(1))])
    if isinstance(app, APIRouter):
        whole = FastAPI()
        whole.include_router(app, prefix="/v1")
    else:
        whole = app
    path = whole.url_path_for("greet")
    assert path == ("/ws" if whole is app else "/v1/ws")
    assert greeting(client(whole), path) == "hello"
    assert ran == [1]


async def undecorated(websocket: anyws.WebSocket) -> None:
    """Greet, without FastAPI's injection."""
    assert isinstance(websocket, anyws.WebSocket)
    await websocket.accept()
    await websocket.send_text("hello")
    await websocket.close()


def by_starlettes_decorator(app: Any) -> None:
    """Add the endpoint by the decorator that Starlette's class has dropped."""
    app.websocket_route("/ws", name="greet")(undecorated)


def by_starlettes_call(app: Any) -> None:
    """Add the endpoint by the router's method."""
    router = getattr(app, "router", app)
    router.add_websocket_route("/ws", undecorated, name="greet")


@pytest.mark.usefixtures("ours")
@pytest.mark.parametrize("kind", [FastAPI, APIRouter])
@pytest.mark.parametrize("add", [by_starlettes_decorator, by_starlettes_call])
def test_starlettes_routes_are_added(
    client: Client, kind: Callable[[], Any], add: Callable[[Any], None]
) -> None:
    """S-115, S-117: they get no injection, and the class is ours."""
    app = kind()
    add(app)
    (route,) = (each for each in app.routes if isinstance(each, WebSocketRoute))
    assert not isinstance(route, APIWebSocketRoute)
    assert app.url_path_for("greet") == "/ws"
    assert greeting(client(app), "/ws") == "hello"


# S-118 to S-120. Injection.

SEEN: list[Any] = []


async def around(websocket: anyws.WebSocket) -> AsyncIterator[anyws.WebSocket]:
    """Note the task before and after the endpoint."""
    SEEN.append(("before", anyio.get_current_task().id))
    yield websocket
    SEEN.append(("after", anyio.get_current_task().id))


def as_theirs(websocket: fastapi.WebSocket) -> fastapi.WebSocket:
    """Return what an annotation with FastAPI's class gets."""
    return websocket


def written(text: str) -> str:
    """Return what is overridden in a test."""
    return text.lower()


async def injected(  # every kind of parameter that FastAPI knows
    mine: anyws.WebSocket,
    connection: HTTPConnection,
    theirs: Annotated[fastapi.WebSocket, Depends(as_theirs)],
    yielded: Annotated[anyws.WebSocket, Depends(around)],
    number: Annotated[int, Path()],
    flags: Annotated[list[str], Query()],
    x_token: Annotated[str, Header()],
    flavour: Annotated[str, Cookie()],
    key: Annotated[str, Security(APIKeyHeader(name="x-key"))],
    text: Annotated[str, Depends(written)],
) -> None:
    """Say what was injected."""
    assert mine is theirs is connection is yielded
    await mine.accept()
    SEEN.append(("endpoint", anyio.get_current_task().id))
    await mine.send_json([number, flags, x_token, flavour, key, text])
    await mine.close()


@pytest.fixture
def injecting() -> FastAPI:
    """Return an application of that endpoint; forget what was seen."""
    SEEN.clear()
    app = FastAPI()
    app.websocket("/ws/{number}")(injected)
    return app


def injected_at(test_client: Any, url: str) -> Any:
    """Connect with all that the endpoint wants but what is in the URL."""
    test_client.cookies["flavour"] = "oat"
    headers = {"x-token": "t", "x-key": "k"}
    return test_client.websocket_connect(url, headers=headers)


@pytest.mark.usefixtures("ours")
@pytest.mark.parametrize(
    ("overrides", "text"),
    [row("S-118", {}, "a"), row("S-118-overridden", {written: lambda: "b"}, "b")],
)
def test_everything_is_injected(
    client: Client, injecting: FastAPI, overrides: dict[Any, Any], text: str
) -> None:
    """All annotations get one object of our class, the others their values."""
    injecting.dependency_overrides.update(overrides)
    with injected_at(client(injecting), "/ws/7?flags=a&flags=b&text=A") as peer:
        assert peer.receive_json() == [7, ["a", "b"], "t", "oat", "k", text]


@pytest.mark.usefixtures("ours")
def test_dependencies_end_after_the_endpoint(
    client: Client, injecting: FastAPI
) -> None:
    """S-120: what follows the `yield` runs last, in the task of the endpoint."""
    with injected_at(client(injecting), "/ws/7?flags=a&text=A") as peer:
        peer.receive_json()
        assert peer.receive()["type"] == "websocket.close"
    order, tasks = zip(*SEEN, strict=True)
    assert order == ("before", "endpoint", "after")
    assert len(set(tasks)) == 1


@pytest.mark.usefixtures("ours")
def test_invalid_parameters_close_with_a_reason(
    client: Client, injecting: FastAPI
) -> None:
    """S-119, deviation: 1008, and in words what is wrong, as long as fits the frame."""
    with pytest.raises(WebSocketDisconnect) as caught:
        injected_at(client(injecting), "/ws/seven?flags=a&text=A").__enter__()
    assert caught.value.code == 1008
    assert isinstance(caught.value.reason, str)
    assert caught.value.reason.startswith("path.number: Input should be a valid int")
    assert len(caught.value.reason.encode()) <= 123


@pytest.mark.usefixtures("ours")
def test_invalid_parameters_can_be_handled(client: Client, injecting: FastAPI) -> None:
    """S-06, S-119: a handler of one's own gets our class and the list of errors."""

    @injecting.exception_handler(WebSocketRequestValidationError)
    async def handler(websocket: anyws.WebSocket, error: Any) -> None:
        assert isinstance(websocket, anyws.WebSocket)
        await websocket.close(4000, json.dumps(error.errors()[0]["loc"]))

    with pytest.raises(WebSocketDisconnect) as caught:
        injected_at(client(injecting), "/ws/seven?flags=a&text=A").__enter__()
    assert (caught.value.code, caught.value.reason) == (4000, '["path", "number"]')


# S-121, S-122. Telemetry, and the names.


class Log:
    """An OpenTelemetry logger and its provider, in the least possible."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def get_logger(self, *args: object, **kwargs: object) -> Log:
        """Return itself."""
        return self

    def emit(self, **event: Any) -> None:
        """Keep an event."""
        self.events.append(event)


@pytest.mark.parametrize("code", [1000, 1001, 1006, 4000])
@pytest.mark.parametrize("how", ["depends", "annotated"])
@pytest.mark.usefixtures("substituted")
def test_telemetry_knows_a_normal_end(client: Client, how: str, code: int) -> None:
    """S-121: an end that nobody catches is an error, 1000 and 1001 apart."""
    log: Any = Log()
    app = FastAPI(telemetry={"logger_provider": log})

    async def receiving(websocket: anyws.WebSocket) -> None:
        await websocket.accept()
        await websocket.receive_text()

    async def receiving_by_dependency(websocket: FromTheirs) -> None:
        await receiving(websocket)

    app.websocket("/")(receiving if how == "annotated" else receiving_by_dependency)
    with (
        pytest.raises(anyws.ConnectionClosed) as caught,
        client(app).websocket_connect("/") as peer,
    ):
        peer.close(code)
    assert caught.value.code == code
    errors = [event["exception"] for event in log.events]
    assert errors == ([] if code in {1000, 1001} else [caught.value])


@pytest.mark.parametrize("name", ["WebSocketDisconnect", "WebSocketState"])
def test_fastapis_names_are_ours(name: str) -> None:
    """S-122: they are the same objects."""
    assert getattr(fastapi.websockets, name) is getattr(anyws, name)
    assert getattr(fastapi, name, getattr(anyws, name)) is getattr(anyws, name)


def test_fastapis_class_is_our_base() -> None:
    """S-122: so annotations, `isinstance` and handlers for theirs take ours."""
    assert issubclass(anyws.WebSocket, fastapi.WebSocket)
    assert fastapi.websockets.WebSocket is fastapi.WebSocket
    assert issubclass(anyws.ConnectionClosed, fastapi.WebSocketDisconnect)


# An endpoint of ours is no path operation.


@anyws.endpoint
async def hello(ws: anyws.WebSocket) -> None:
    """Greet."""
    await ws.accept()
    await ws.send_text("hello")


@pytest.mark.parametrize("make", [FastAPI, APIRouter])
def test_an_endpoint_under_the_decorator_is_an_error(make: Any) -> None:
    """FastAPI would call it with none of its arguments, and reject every client."""
    with pytest.raises(TypeError, match=r"'hello'.*WebSocketRoute\(path, hello\)"):
        make().websocket("/ws")(hello)
    with pytest.raises(TypeError, match=r"'hello'.*async with websocket"):
        make().add_api_websocket_route("/ws", hello)
    with pytest.raises(TypeError, match="cannot call"):
        inspect.signature(hello)


def test_an_endpoint_is_added_as_the_error_says(client: Client) -> None:
    """As a route of Starlette's."""
    app = FastAPI()
    app.router.routes.append(WebSocketRoute("/ws", hello))

    assert greeting(client(app), "/ws") == "hello"
