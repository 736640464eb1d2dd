"""What FastAPI's and Starlette's exceptions end, whatever class the handler has."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from fastapi import Depends, FastAPI, HTTPException, WebSocketException
from fastapi import WebSocket as FastAPIWebSocket
from starlette.applications import Starlette
from starlette.endpoints import WebSocketEndpoint
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket as StarletteWebSocket

import anyws
from anyws.fastapi import Guarded
from anyws.testing import Peer, connect

Raises = Callable[[Any], Awaitable[None]]


def on_fastapi(raises: Raises) -> Any:
    """Return an application whose handler has FastAPI's class, under the middleware."""
    app = FastAPI()

    @app.websocket("/ws")
    async def handler(ws: FastAPIWebSocket) -> None:
        await raises(ws)

    return anyws.WebSocketMiddleware(app)


def guarded(raises: Raises) -> Any:
    """Return an application whose handler has ours, with no host outside."""
    app = FastAPI()

    @app.websocket("/ws")
    async def handler(ws: Guarded) -> None:
        await raises(ws)

    return app


def hosted(raises: Raises) -> Any:
    """Return an application whose handler has ours, under the middleware."""
    return anyws.WebSocketMiddleware(guarded(raises))


def on_starlette(raises: Raises) -> Any:
    """Return an application whose handler has Starlette's class."""

    async def handler(ws: StarletteWebSocket) -> None:
        await raises(ws)

    app = Starlette(routes=[WebSocketRoute("/ws", handler)])
    return anyws.WebSocketMiddleware(app)


def as_object(raises: Raises) -> Any:
    """Return an application with an endpoint of Starlette's."""

    class Handler(WebSocketEndpoint):
        async def on_connect(self, websocket: StarletteWebSocket) -> None:
            await raises(websocket)

    app = Starlette(routes=[WebSocketRoute("/ws", Handler)])
    return anyws.WebSocketMiddleware(app)


def as_endpoint(raises: Raises) -> Any:
    """Return an application with an endpoint of ours, which hosts the session."""
    return Starlette(routes=[WebSocketRoute("/ws", anyws.endpoint(raises))])


WAYS = [on_fastapi, guarded, hosted, on_starlette, as_object, as_endpoint]
SERVERS = ["strict", "hypercorn-trio", "hypercorn-engine", "uvicorn"]
AFTER = [
    (HTTPException(404, "gone"), (1008, "gone")),
    (StarletteHTTPException(503, "é" * 80), (1011, "é" * 61)),
    (WebSocketException(4008, "no"), (4008, "no")),
]
ways = pytest.mark.parametrize("way", WAYS)
servers = pytest.mark.parametrize("server", SERVERS)


async def end_of(peer: Peer) -> tuple[int, str]:
    """Return the code and the reason that the peer gets."""
    info = await peer.wait_closed()
    return info.code, info.reason


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Leave uvloop out, which schedules as asyncio's own loop does."""
    name: str = request.param
    return name


@servers
@ways
async def test_after_the_accept_it_is_a_close(
    way: Callable[[Raises], Any], server: str
) -> None:
    """With the detail as its reason; and the server's log hears of nothing."""

    async def raises(ws: Any) -> None:
        await ws.accept()
        raise AFTER[int(ws.query_params["error"])][0]

    app = way(raises)
    for number, (_, close) in enumerate(AFTER):
        async with connect(app, f"/ws?error={number}", server=server) as peer:
            assert await end_of(peer) == close


@servers
@pytest.mark.parametrize("way", [*WAYS, anyws.endpoint])
async def test_before_the_accept_it_is_a_response(
    way: Callable[[Raises], Any], server: str
) -> None:
    """Or 403, where the server has no responses."""

    async def raises(ws: Any) -> None:
        raise HTTPException(402, "pay")

    app = way(raises)
    unable: dict[str, Any] = {"extensions": {}}
    for scope, status in (None, 402), (unable, 403):
        with pytest.raises(anyws.HandshakeRejected) as caught:
            async with connect(app, server=server, scope=scope):
                pass
        assert caught.value.status == status
        assert (b"pay" in caught.value.body) == (status == 402)


@pytest.mark.parametrize(
    ("response", "close"),
    [
        (PlainTextResponse("plain", 409), (1008, "plain")),
        (JSONResponse({"detail": ["a", 1]}, 500), (1011, "['a', 1]")),
        (JSONResponse({"other": 1}, 400), (1008, "")),
        (JSONResponse([1], 400), (1008, "")),
        (HTMLResponse("<p>", 400), (1008, "")),
        (PlainTextResponse("x" * 70_000, 400), (1008, "")),
        (Response(None, 307), (1008, "")),
        (PlainTextResponse("seen to", 200), (1000, "seen to")),
    ],
    ids=["text", "detail", "other", "list", "html", "long", "redirect", "success"],
)
async def test_a_handler_may_return_any_response(
    response: Response, close: tuple[int, str]
) -> None:
    """What can be read in it is the reason."""
    inner = FastAPI()

    @inner.websocket("/ws")
    async def handler(ws: FastAPIWebSocket) -> None:
        await ws.accept()
        raise LookupError

    @inner.exception_handler(LookupError)
    async def handle(websocket: FastAPIWebSocket, exc: Exception) -> Response:
        return response

    async with connect(anyws.WebSocketMiddleware(inner)) as peer:
        assert await end_of(peer) == close


@pytest.mark.parametrize("way", [on_fastapi, guarded, hosted, as_endpoint])
async def test_a_response_of_the_users_own_is_still_refused(
    way: Callable[[Raises], Any],
) -> None:
    """It is a mistake to send one after the accept."""

    async def raises(ws: Any) -> None:
        await ws.accept()
        with pytest.raises(RuntimeError, match=r"http\.response\.start"):
            await ws.send_denial_response(PlainTextResponse("late"))
        await ws.send_text("open")

    async with connect(way(raises)) as peer:
        assert await peer.receive_text() == "open"


async def test_nothing_comes_between_the_parts_of_a_late_response() -> None:
    """The connection then ends by that mistake."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.http.response.start", "status": 400})
        await send({"type": "websocket.http.response.start", "status": 400})

    with pytest.raises(RuntimeError, match=r"body' is to follow"):
        async with connect(anyws.WebSocketMiddleware(app)) as peer:
            await peer.wait_closed()


async def test_a_late_response_in_parts_is_one_close() -> None:
    """The last part closes."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        body = "websocket.http.response.body"
        headers = [(b"content-type", b"text/plain")]
        await receive()
        await send({"type": "websocket.accept"})
        start = "websocket.http.response.start"
        await send({"type": start, "status": 400, "headers": headers})
        await send({"type": body, "body": b"a", "more_body": True})
        await send({"type": body, "body": b"b"})

    async with connect(anyws.WebSocketMiddleware(app)) as peer:
        assert await end_of(peer) == (1008, "ab")


async def accepted(websocket: FastAPIWebSocket) -> None:
    """Accept early."""
    await websocket.accept()


@servers
@pytest.mark.parametrize("is_guarded", [True, False])
async def test_invalid_parameters_are_told_in_words(
    server: str, is_guarded: bool
) -> None:
    """If a dependency has accepted before they were checked."""
    app = FastAPI()

    async def ours(ws: Guarded, number: int) -> None:
        pytest.fail("called")

    async def theirs(ws: FastAPIWebSocket, number: int) -> None:
        pytest.fail("called")

    endpoint = ours if is_guarded else theirs
    app.websocket("/ws", dependencies=[Depends(accepted)])(endpoint)
    outer: Any = app if is_guarded else anyws.WebSocketMiddleware(app)
    async with connect(outer, "/ws", server=server) as peer:
        assert await end_of(peer) == (1008, "query.number: Field required")
