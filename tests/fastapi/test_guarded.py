"""`Guarded`: the guarded class in a handler of FastAPI's, by its annotation."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Annotated, Any

import pytest
from fastapi import (
    APIRouter,
    Cookie,
    Depends,
    FastAPI,
    Header,
    HTTPException,
    Path,
    Query,
    WebSocketException,
)
from fastapi import WebSocket as FastAPIWebSocket
from fastapi.responses import JSONResponse
from starlette.testclient import TestClient

import anyws
from anyws.fastapi import Guarded, guarded
from anyws.testing import Peer, connect

SMALL = anyws.Options(max_message_bytes=4)
Small = Annotated[anyws.WebSocket, Depends(guarded(options=SMALL))]
HOSTS = {
    "nothing": lambda app: (app, "strict"),
    "uvicorn": lambda app: (app, "uvicorn"),
    "middleware": lambda app: (anyws.WebSocketMiddleware(app), "hypercorn-trio"),
    "engine": lambda app: (app, "hypercorn-engine"),
}


@pytest.fixture(params=HOSTS)
def host(request: pytest.FixtureRequest) -> Any:
    """Return what has an application run in a hosted session, or not."""
    return HOSTS[request.param]


def serving(endpoint: Any, path: str = "/ws") -> FastAPI:
    """Make an application of one handler."""
    app = FastAPI()
    app.websocket(path)(endpoint)
    return app


async def end_of(peer: Peer) -> tuple[int, str]:
    """Return the code and the reason that the peer gets."""
    info = await peer.wait_closed()
    return info.code, info.reason


async def echo(ws: Guarded) -> None:
    """Send back one message."""
    assert type(ws) is anyws.WebSocket
    await ws.accept()
    await ws.send_text(await ws.receive_text())
    assert ws.statistics().messages_received == 1


async def test_a_handler_gets_the_guarded_class(host: Any) -> None:
    """With or without a host; its return closes."""
    app, server = host(serving(echo))
    async with connect(app, server=server) as peer:
        await peer.send_text("hello")
        assert await peer.receive_text() == "hello"
        assert await end_of(peer) == (1000, "")


async def same(ws: Guarded) -> anyws.WebSocket:
    """Return what another dependency gets."""
    return ws


async def injected(  # every kind of parameter that FastAPI knows
    ws: Guarded,
    again: Guarded,
    also: Annotated[anyws.WebSocket, Depends(same)],
    theirs: FastAPIWebSocket,
    number: Annotated[int, Path()],
    flag: Annotated[str, Query()],
    x_token: Annotated[str, Header()],
    flavour: Annotated[str, Cookie()],
) -> None:
    """Say what was injected."""
    assert ws is again is also
    await theirs.accept()
    await ws.send_json([number, flag, x_token, flavour])


async def test_it_is_one_object_beside_all_that_is_injected(host: Any) -> None:
    """FastAPI's cache knows the dependency again."""
    app, server = host(serving(injected, "/ws/{number}"))
    async with connect(
        app,
        "/ws/7?flag=a",
        server=server,
        headers={"x-token": "t"},
        cookies={"flavour": "oat"},
    ) as peer:
        assert await peer.receive_json() == [7, "a", "t", "oat"]


async def small(ws: Small) -> None:
    """Receive one message."""
    await ws.accept()
    await ws.receive_text()


async def test_a_route_has_settings_of_its_own(host: Any) -> None:
    """They override those of the middleware."""
    app, server = host(serving(small))
    async with connect(app, server=server) as peer:
        await peer.send_text("hello")
        assert (await end_of(peer))[0] == 1009


def test_dependencies_are_equal_for_equal_settings() -> None:
    """Options that name a default differ from those that name nothing."""
    assert guarded() == guarded()
    assert hash(guarded(options=SMALL)) == hash(guarded(options=SMALL))
    assert guarded(options=SMALL) == guarded(options=anyws.Options(max_message_bytes=4))
    assert guarded(options=SMALL) != guarded()
    named = anyws.Options(send_buffer=anyws.Options().send_buffer)
    assert guarded(options=named) != guarded(options=anyws.Options())
    assert guarded() != "guarded"
    with pytest.raises(TypeError, match="options"):
        guarded(options=4)  # type: ignore[arg-type]  # as users do


class Silent(anyws.WebSocket[Any]):
    """What a test puts in the place of the class."""


async def overriding(websocket: FastAPIWebSocket) -> AsyncIterator[anyws.WebSocket]:
    """Guard the connection in another way."""
    async with Silent(websocket.scope, websocket.receive, websocket.send) as ws:
        yield ws


async def says_which(ws: Guarded) -> None:
    """Say the class."""
    await ws.accept()
    await ws.send_text(type(ws).__name__)


def test_it_may_stand_on_a_router_of_both_kinds() -> None:
    """It guards the WebSockets, and leaves the HTTP routes alone."""
    routes = APIRouter(dependencies=[Depends(guarded(options=SMALL))])

    @routes.get("/page")
    async def page() -> str:
        return "page"

    @routes.websocket("/ws")
    async def handler(ws: FastAPIWebSocket) -> None:
        await ws.accept()
        await ws.receive_text()

    app = FastAPI()
    app.include_router(routes)
    with TestClient(app) as client:
        assert client.get("/page").json() == "page"
        with client.websocket_connect("/ws") as ws:
            ws.send_text("too long")
            with pytest.raises(anyws.WebSocketDisconnect) as caught:
                ws.receive_text()
            assert caught.value.code == 1009


def test_it_has_no_connection_in_an_http_route() -> None:
    """The error says so; it is a mistake that no type checker sees."""
    app = FastAPI()

    @app.get("/page")
    async def page(ws: Guarded) -> None:
        await ws.accept()

    with TestClient(app) as client:
        with pytest.raises(AttributeError, match=r"'accept' of .* HTTP route"):
            client.get("/page")


async def test_it_can_be_overridden() -> None:
    """By another object that `guarded` returns."""
    app = serving(says_which)
    app.dependency_overrides[guarded()] = overriding
    async with connect(app) as peer:
        assert await peer.receive_text() == "Silent"


class TooMany(Exception):
    """An exception of the application."""


async def fails(ws: Guarded) -> None:
    """Accept, and raise."""
    await ws.accept()
    raise TooMany


async def test_an_exception_handler_chooses_the_code(host: Any) -> None:
    """The exception reaches it as itself."""
    inner = serving(fails)

    @inner.exception_handler(TooMany)
    async def handle(websocket: FastAPIWebSocket, exc: Exception) -> None:
        assert type(exc) is TooMany
        await websocket.close(4029, "too many")

    app, server = host(inner)
    async with connect(app, server=server) as peer:
        assert await end_of(peer) == (4029, "too many")


@pytest.mark.parametrize(
    ("error", "close"),
    [
        (HTTPException(404, "gone"), (1008, "gone")),
        (HTTPException(503, "é" * 80), (1011, "é" * 61)),
        (HTTPException(403, {"why": "no"}), (1008, "{'why': 'no'}")),
        (WebSocketException(4008, "no"), (4008, "no")),
    ],
    ids=["client", "server", "detail", "policy"],
)
async def test_an_error_after_the_accept_is_a_close(
    host: Any, error: Exception, close: tuple[int, str]
) -> None:
    """1008 for what is the client's fault, 1011 for what is the server's."""

    async def endpoint(ws: Guarded) -> None:
        await ws.accept()
        raise error

    app, server = host(serving(endpoint))
    async with connect(app, server=server) as peer:
        assert await end_of(peer) == close


class Unknown(HTTPException):
    """A kind of `HTTPException` that has a handler."""


async def test_a_handler_for_a_kind_of_http_exception_chooses_the_code(
    host: Any,
) -> None:
    """As one for any other exception."""

    async def endpoint(ws: Guarded) -> None:
        await ws.accept()
        raise Unknown(401, "who?")

    inner = serving(endpoint)

    @inner.exception_handler(Unknown)
    async def handle(websocket: FastAPIWebSocket, exc: Unknown) -> None:
        await websocket.close(4000 + exc.status_code, exc.detail)

    app, server = host(inner)
    async with connect(app, server=server) as peer:
        assert await end_of(peer) == (4401, "who?")


async def test_a_handler_that_can_only_answer_leaves_the_close_to_us(host: Any) -> None:
    """Without a host, the response fails, and the log says so."""

    async def endpoint(ws: Guarded) -> None:
        await ws.accept()
        raise Unknown(401, "who?")

    inner = serving(endpoint)

    @inner.exception_handler(Unknown)
    async def handle(websocket: FastAPIWebSocket, exc: Unknown) -> JSONResponse:
        return JSONResponse(exc.detail, exc.status_code)

    app, server = host(inner)
    with contextlib.suppress(RuntimeError):
        async with connect(app, server=server) as peer:
            assert (await peer.wait_closed()).code == 1008


async def test_an_error_before_the_accept_is_a_response(host: Any) -> None:
    """With its status."""

    async def endpoint(ws: Guarded) -> None:
        raise HTTPException(402, "pay")

    app, server = host(serving(endpoint))
    with pytest.raises(anyws.HandshakeRejected, match="402"):
        async with connect(app, server=server):
            pass


async def test_an_error_after_the_accept_is_caught_as_either() -> None:
    """A dependency outside may look for one, a handler for the other."""
    seen = []

    async def outside() -> AsyncIterator[None]:
        try:
            yield
        except HTTPException as exc:
            seen.append((exc.status_code, exc.detail, exc.headers))
            raise

    async def endpoint(ws: Guarded) -> None:
        await ws.accept()
        raise HTTPException(404, "gone", {"x-a": "b"})

    app = FastAPI()
    app.websocket("/ws", dependencies=[Depends(outside)])(endpoint)

    @app.exception_handler(WebSocketException)
    async def handle(websocket: FastAPIWebSocket, exc: Any) -> None:
        await websocket.close(4000 + exc.status_code)

    async with connect(app) as peer:
        assert await end_of(peer) == (4404, "")
    assert seen == [(404, "gone", {"x-a": "b"})]
