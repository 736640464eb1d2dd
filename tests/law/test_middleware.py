"""`WebSocketMiddleware`, as applications see it."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi import FastAPI
from fastapi import WebSocket as FastAPIWebSocket
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket as StarletteWebSocket
from starlette.websockets import WebSocketDisconnect, WebSocketDisconnected

import anyws
from anyws.testing import Rejected, connect

from ..support.channels import SCOPE, Channel


@pytest.fixture
async def channel() -> Channel:
    """Return a fresh channel."""
    return Channel()


async def run(app: Any, channel: Channel, **scope: Any) -> None:
    """Run an application on a channel."""
    await app({**SCOPE, **scope}, channel.receive, channel.send)


async def test_the_middleware_makes_starlettes_sends_truthful() -> None:
    """A sender on Starlette's class learns that its client left; no error is left."""
    raised = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        ws = StarletteWebSocket(scope, receive, send)
        await ws.accept()
        try:
            while True:
                await ws.send_text("x")
        except WebSocketDisconnect as exc:
            raised.append(exc.code)
            raise

    # A server that drops such sends silently.
    async with connect(anyws.WebSocketMiddleware(app), server="hypercorn-trio") as peer:
        peer.abort()
    assert raised == [1006]


async def test_starlettes_second_receive_after_the_end_is_no_error() -> None:
    """What Starlette's class makes of reading on after the end is part of the end."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        ws = StarletteWebSocket(scope, receive, send)
        await ws.accept()
        while True:
            await ws.receive()

    async with connect(anyws.WebSocketMiddleware(app)):
        pass


@pytest.mark.parametrize("error", [ValueError("mine"), WebSocketDisconnect(1000)])
async def test_the_middleware_passes_errors_on(error: Exception) -> None:
    """So is a disconnect an error that no end of this connection explains."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await StarletteWebSocket(scope, receive, send).accept()
        raise error

    with pytest.raises(type(error)) as caught:
        async with connect(anyws.WebSocketMiddleware(app)) as peer:
            assert (await peer.wait_closed()).code == 1011
    assert caught.value is error


@pytest.mark.parametrize("outer", [1, 100])
async def test_the_outer_middleware_guards(outer: int) -> None:
    """Of two middlewares the inner one joins; what it names overrides."""
    received = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        ws = StarletteWebSocket(scope, receive, send)
        await ws.accept()
        received.append(await ws.receive_text())

    inner = anyws.WebSocketMiddleware(app, anyws.Options(max_message_bytes=50))
    options = anyws.Options(max_message_bytes=outer)
    async with connect(anyws.WebSocketMiddleware(inner, options)) as peer:
        await peer.send_text("x" * 50)
        code = (await peer.wait_closed()).code

    assert received == ["x" * 50]
    assert code == 1000


@pytest.mark.parametrize("guard", ["endpoint", "middleware"])
async def test_a_host_of_defaults_lets_a_guard_decide(guard: str) -> None:
    """Where a server hosts every connection, the options of a guard inside hold."""

    async def read(ws: anyws.WebSocket) -> None:
        await ws.accept()
        await ws.receive_text()

    async def raw(scope: Scope, receive: Receive, send: Send) -> None:
        async with anyws.WebSocket(scope, receive, send) as ws:
            await read(ws)

    options = anyws.Options(max_message_bytes=10)
    app: ASGIApp = anyws.WebSocketMiddleware(raw, options)
    if guard == "endpoint":
        app = anyws.endpoint(options=options)(read)
    async with connect(app, server="hypercorn-engine") as peer:
        await peer.send_text("x" * 50)
        assert (await peer.wait_closed()).code == 1009


async def test_the_middleware_leaves_the_servers_scope_alone(channel: Channel) -> None:
    """What it adds to the scope is for the application, beside what was there."""
    seen = list[Any]()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(dict(scope["extensions"]))

    extensions = {"websocket.http.response": dict[str, Any]()}
    scope = {**SCOPE, "extensions": extensions}
    await anyws.WebSocketMiddleware(app)(scope, channel.receive, channel.send)

    assert scope["extensions"] is extensions
    assert list(extensions) == ["websocket.http.response"]
    assert seen[0].keys() > extensions.keys()


async def test_an_error_that_no_end_explains_stays_starlettes(channel: Channel) -> None:
    """Behind a whole denial response, Starlette's own error is passed on."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        outer = StarletteWebSocket(scope, receive, send)
        await outer.receive()
        await outer.send_denial_response(PlainTextResponse("no", 401))
        async with anyws.WebSocket(scope, outer.receive, outer.send) as ws:
            with pytest.raises(WebSocketDisconnected) as caught:
                await ws.send_text("late")
            assert not isinstance(caught.value, anyws.ConnectionClosed)

    extensions = {"websocket.http.response": dict[str, Any]()}
    await run(anyws.WebSocketMiddleware(app), channel, extensions=extensions)


async def test_the_middleware_delivers_the_disconnect_once() -> None:
    """An application that reads on by itself gets ConnectionClosed, for ever."""
    received = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})
        received.extend([(await receive())["type"] for _ in range(2)])
        for _ in range(2):
            with pytest.raises(anyws.ConnectionClosed):
                await receive()

    async with connect(anyws.WebSocketMiddleware(app)):
        pass
    assert received == ["websocket.connect", "websocket.disconnect"]


async def test_closing_what_starlettes_class_has_closed_is_silent() -> None:
    """`close()` through a Starlette object that has closed already does nothing."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        outer = StarletteWebSocket(scope, receive, send)
        await outer.accept()
        async with anyws.WebSocket(scope, outer.receive, outer.send) as ws:
            await outer.close(4000)
            await ws.close(4001)
            with pytest.raises(anyws.ConnectionClosed, match=r"4000.*local"):
                await ws.send_text("late")

    async with connect(anyws.WebSocketMiddleware(app)) as peer:
        assert (await peer.wait_closed()).code == 4000


async def test_the_middleware_ends_connections_alike() -> None:
    """An application that merely returns closes with 1000."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await StarletteWebSocket(scope, receive, send).accept()

    async with connect(anyws.WebSocketMiddleware(app)) as peer:
        info = await peer.wait_closed()
    assert info == anyws.CloseInfo(1000, "", "peer", True)


async def test_the_middleware_checks_the_handshake() -> None:
    """An unoffered subprotocol raises in the application, whatever class it uses."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        with pytest.raises(ValueError, match="not offered"):
            await StarletteWebSocket(scope, receive, send).accept("soap")
        await send({"type": "websocket.close"})

    with pytest.raises(Rejected, match="403"):
        async with connect(anyws.WebSocketMiddleware(app), server="uvicorn"):
            pytest.fail("not reached")


async def test_the_middleware_passes_other_scopes_through() -> None:
    """HTTP and lifespan reach the application with the server's own callables."""
    seen = list[Any]()

    async def app(*args: Any) -> None:
        seen.append(args)

    args = ({"type": "http"}, object(), object())
    await anyws.WebSocketMiddleware(app)(*args)  # type: ignore[arg-type]  # only passed on

    assert seen == [args]


async def test_a_websocket_joins_the_session_of_the_middleware() -> None:
    """Inside, `async with` has all that the session has, from the state it is in."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        outer = StarletteWebSocket(scope, receive, send)
        await outer.accept("chat")
        async with anyws.WebSocket(scope, outer.receive, outer.send) as ws:
            assert ws.application_state is anyws.WebSocketState.CONNECTED
            assert ws.subprotocol == "chat"
            assert await ws.receive_text() == "hello"
            ws.send_nowait("now")
            assert ws.statistics().messages_received == 1
            await ws.close(4000)
            with pytest.raises(anyws.ConnectionClosed, match=r"4000.*local"):
                await ws.send_text("late")

    async with connect(anyws.WebSocketMiddleware(app), subprotocols=["chat"]) as peer:
        await peer.send_text("hello")
        assert [message async for message in peer] == ["now"]
        assert (await peer.wait_closed()).code == 4000


@pytest.mark.parametrize("late", [True, False])
async def test_what_lies_between_may_receive_ahead_of_the_websocket(late: bool) -> None:
    """The state is the session's; a connect that comes after it is no message."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        ahead = list[Message]()

        async def replay() -> Message:
            return ahead.pop(0)

        if not late:
            ahead.append(await receive())
        async with anyws.WebSocket[Any](scope, replay, send) as ws:
            if late:
                ahead.append(await receive())
            await ws.accept()
            ahead.append(await receive())
            assert await ws.receive_text() == "hello"

    async with connect(anyws.WebSocketMiddleware(app)) as peer:
        await peer.send_text("hello")
        assert (await peer.wait_closed()).code == 1000


async def test_returning_from_a_joined_block_ends_the_connection() -> None:
    """A return decides the close, as in any block; what follows comes too late."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async with anyws.WebSocket[Any](scope, receive, send) as ws:
            await ws.accept()
        with pytest.raises(anyws.ConnectionClosed):
            await send({"type": "websocket.send", "text": "late"})

    async with connect(anyws.WebSocketMiddleware(app)) as peer:
        assert (await peer.wait_closed()).code == 1000


async def test_an_exception_that_leaves_a_joined_block_ends_nothing() -> None:
    """What stands outside of it decides; handled, it is no error of the connection."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        with pytest.raises(ValueError, match="mine"):
            async with anyws.WebSocket[Any](scope, receive, send) as ws:
                await ws.accept()
                raise ValueError("mine")
        await send({"type": "websocket.send", "text": "after"})

    async with connect(anyws.WebSocketMiddleware(app)) as peer:
        assert [message async for message in peer] == ["after"]
        assert (await peer.wait_closed()).code == 1000


def test_a_plain_fastapi_application_with_one_more_line() -> None:
    """Injection, denial and validation work as before under the middleware."""
    app = FastAPI()

    @app.websocket("/items/{item}")
    async def items(websocket: FastAPIWebSocket, item: int) -> None:
        await websocket.accept()
        await websocket.send_json({"item": item})
        await websocket.close(code=4000)

    app.add_middleware(anyws.WebSocketMiddleware, options=anyws.Options())
    client = TestClient(app)
    with client.websocket_connect("/items/3") as peer:
        assert peer.receive_json() == {"item": 3}
        with pytest.raises(WebSocketDisconnect) as caught:
            peer.receive_text()
        assert caught.value.code == 4000
    with pytest.raises(WebSocketDisconnect) as caught:
        client.websocket_connect("/items/x").__enter__()
    assert caught.value.code == 1008
    assert len(caught.value.reason.encode()) <= 123


async def test_a_denial_response_passes_the_middleware() -> None:
    """A denial response reaches the client, and no close behind it."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        ws = StarletteWebSocket(scope, receive, send)
        await ws.send_denial_response(PlainTextResponse("no", 401))

    with pytest.raises(Rejected) as caught:
        async with connect(anyws.WebSocketMiddleware(app)):
            pytest.fail("not reached")
    assert (caught.value.status, caught.value.body) == (401, b"no")
