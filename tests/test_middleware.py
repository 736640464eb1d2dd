"""`WebSocketMiddleware`, as applications see it."""

from __future__ import annotations

from functools import partial
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from fastapi import FastAPI
from fastapi import WebSocket as FastAPIWebSocket
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket as StarletteWebSocket
from starlette.websockets import WebSocketDisconnect, WebSocketDisconnected

import anyws
from anyws._hosting import host
from anyws._session import EXTENSION, Session
from anyws.testing import connect

from .channels import SCOPE, Channel


@pytest.fixture
async def channel() -> Channel:
    """Return a fresh channel."""
    return Channel()


async def run(app: Any, channel: Channel, **scope: Any) -> None:
    """Run an application on a channel."""
    await app({**SCOPE, **scope}, channel.receive, channel.send)


async def starlette_sender(scope: Scope, receive: Receive, send: Send) -> None:
    """Send for ever, with Starlette's own class."""
    ws = StarletteWebSocket(scope, receive, send)
    await ws.accept()
    while True:
        await ws.send_text("x")


async def test_the_middleware_makes_starlettes_sends_truthful(channel: Channel) -> None:
    """A sender on Starlette's class learns that its client left; no error is left."""
    raised = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await starlette_sender(scope, receive, send)
        except WebSocketDisconnect as exc:
            raised.append(exc.code)
            raise

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run, anyws.WebSocketMiddleware(app), channel)
        await anyio.lowlevel.checkpoint()
        channel.leave()

    assert raised == [1006]


async def test_starlettes_second_receive_after_the_end_is_no_error(
    channel: Channel,
) -> None:
    """What Starlette's class makes of reading on after the end is part of the end."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        ws = StarletteWebSocket(scope, receive, send)
        await ws.accept()
        while True:
            await ws.receive()

    channel.leave()
    await run(anyws.WebSocketMiddleware(app), channel)


async def test_a_disconnect_out_of_nothing_is_an_error(channel: Channel) -> None:
    """WebSocketDisconnect that no end of this connection explains goes on."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await StarletteWebSocket(scope, receive, send).accept()
        raise WebSocketDisconnect(1000)

    with pytest.raises(WebSocketDisconnect):
        await run(anyws.WebSocketMiddleware(app), channel)
    assert channel.closes == [(1011, "")]


async def test_the_middleware_passes_errors_on(channel: Channel) -> None:
    """An exception of the application's closes with 1011 and goes on as itself."""
    error = ValueError("mine")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await StarletteWebSocket(scope, receive, send).accept()
        raise error

    with pytest.raises(ValueError, match="mine") as caught:
        await run(anyws.WebSocketMiddleware(app), channel)
    assert caught.value is error
    assert channel.closes == [(1011, "")]


@pytest.mark.parametrize("outer", [1, 100])
async def test_the_outer_middleware_guards(channel: Channel, outer: int) -> None:
    """Of two middlewares the outer one's options hold; the inner one steps aside."""
    received = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        ws = StarletteWebSocket(scope, receive, send)
        await ws.accept()
        received.append(await ws.receive_text())

    inner = anyws.WebSocketMiddleware(app, anyws.Options(max_message_bytes=10))
    options = anyws.Options(max_message_bytes=outer)
    channel.arrive("x" * 50)
    await run(anyws.WebSocketMiddleware(inner, options), channel)

    assert received == (["x" * 50] if outer == 100 else [])
    assert channel.closes[0][0] == (1000 if outer == 100 else 1009)


@pytest.mark.parametrize("guard", ["endpoint", "middleware"])
async def test_a_host_of_defaults_lets_a_guard_decide(
    channel: Channel, guard: str
) -> None:
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
    session = Session(channel.receive, channel.send, adopts=True)
    scope = {**SCOPE, "extensions": {EXTENSION: session}}
    channel.arrive("x" * 50)
    await host(session, partial(app, scope, session.receive, session.send))

    assert [code for code, _ in channel.closes] == [1009]


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


async def test_the_middleware_delivers_the_disconnect_once(channel: Channel) -> None:
    """An application that reads on by itself gets ConnectionClosed, for ever."""
    received = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        received.extend([(await receive())["type"] for _ in range(2)])
        for _ in range(2):
            with pytest.raises(anyws.ConnectionClosed):
                await receive()

    channel.leave()
    await run(anyws.WebSocketMiddleware(app), channel)

    assert received == ["websocket.connect", "websocket.disconnect"]


async def test_closing_what_starlettes_class_has_closed_is_silent(
    channel: Channel,
) -> None:
    """`close()` through a Starlette object that has closed already does nothing."""
    ended = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        outer = StarletteWebSocket(scope, receive, send)
        await outer.accept()
        async with anyws.WebSocket(scope, outer.receive, outer.send) as ws:
            await outer.close(4000)
            await ws.close(4001)
            with pytest.raises(anyws.ConnectionClosed, match="4000"):
                await ws.send_text("late")
            ended.append(ws.close_info)

    await run(anyws.WebSocketMiddleware(app), channel)

    assert ended == [anyws.CloseInfo(4000, "", "local", None)]
    assert channel.closes == [(4000, "")]


async def test_the_middleware_ends_connections_alike() -> None:
    """An application that merely returns closes with 1000."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await StarletteWebSocket(scope, receive, send).accept()

    async with connect(anyws.WebSocketMiddleware(app)) as peer:
        info = await peer.wait_closed()
    assert info == anyws.CloseInfo(1000, "", "peer", True)


async def test_the_middleware_checks_the_handshake(channel: Channel) -> None:
    """An unoffered subprotocol raises in the application, whatever class it uses."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        with pytest.raises(ValueError, match="not offered"):
            await StarletteWebSocket(scope, receive, send).accept("soap")
        await send({"type": "websocket.close"})

    await run(anyws.WebSocketMiddleware(app), channel)

    assert channel.closes == [(1000, "")]


async def test_the_middleware_passes_other_scopes_through() -> None:
    """HTTP and lifespan reach the application with the server's own callables."""
    seen = list[Any]()

    async def app(*args: Any) -> None:
        seen.append(args)

    args = ({"type": "http"}, object(), object())
    await anyws.WebSocketMiddleware(app)(*args)  # type: ignore[arg-type]  # only passed on

    assert seen == [args]


async def test_a_websocket_joins_the_session_of_the_middleware(
    channel: Channel,
) -> None:
    """Inside, `async with` has all that the session has, from the state it is in."""
    infos = []

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
            with pytest.raises(anyws.ConnectionClosed):
                await ws.send_text("late")
            infos.append(ws.close_info)

    channel.arrive("hello")
    await run(anyws.WebSocketMiddleware(app), channel)

    assert infos == [anyws.CloseInfo(4000, "", "local", None)]
    assert channel.closes == [(4000, "")]
    assert channel.messages == ["now"]


@pytest.mark.parametrize("error", [None, ValueError("mine")], ids=repr)
async def test_leaving_a_joined_block_ends_the_connection(
    channel: Channel, error: Exception | None
) -> None:
    """A joined block decides the close, as any block; what follows comes too late."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with anyws.WebSocket(scope, receive, send) as ws:
                await ws.accept()
                if error is not None:
                    raise error
        except ValueError:
            pass
        with pytest.raises(anyws.ConnectionClosed):
            await send({"type": "websocket.send", "text": "late"})

    await run(anyws.WebSocketMiddleware(app), channel)

    assert channel.closes == [(1011 if error else 1000, "")]


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


def test_a_denial_response_passes_the_middleware() -> None:
    """A denial response reaches the client, and no close behind it."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        ws = StarletteWebSocket(scope, receive, send)
        await ws.send_denial_response(PlainTextResponse("no", 401))

    client = TestClient(anyws.WebSocketMiddleware(app))
    with pytest.raises(WebSocketDenialResponse) as caught:
        client.websocket_connect("/").__enter__()
    assert (caught.value.status_code, caught.value.text) == (401, "no")
