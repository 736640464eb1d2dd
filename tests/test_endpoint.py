"""`endpoint` and `WebSocketMiddleware`, as applications see them."""

from __future__ import annotations

from typing import Any

import anyio
import anyio.lowlevel
import pytest
from fastapi import FastAPI
from fastapi import WebSocket as FastAPIWebSocket
from starlette.applications import Starlette
from starlette.exceptions import WebSocketException
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, WebSocketRoute
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket as StarletteWebSocket
from starlette.websockets import WebSocketDisconnect

import anyws

from .channels import SCOPE, Channel


@pytest.fixture
async def channel() -> Channel:
    """Return a fresh channel."""
    return Channel()


@anyws.endpoint
async def echo(ws: anyws.WebSocket) -> None:
    """Echo."""
    await ws.accept()
    async for message in ws:
        await ws.send_message(message)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize(
    ("app", "path"),
    [
        (echo, "/"),
        (Starlette(routes=[WebSocketRoute("/ws", echo)]), "/ws"),
        (Starlette(routes=[Mount("/ws", echo)]), "/ws/"),
        (anyws.WebSocketMiddleware(Starlette(routes=[Mount("/", echo)])), "/"),
        (anyws.WebSocketMiddleware(anyws.WebSocketMiddleware(echo)), "/"),
    ],
    ids=["bare", "route", "mount", "middleware", "twice"],
)
def test_an_endpoint_is_an_application(app: Any, path: str, backend: Any) -> None:
    """An endpoint runs bare, in a route, under a mount and under the middleware."""
    client = TestClient(app, backend=backend)
    with client, client.websocket_connect(path) as peer:
        peer.send_text("hello")
        assert peer.receive_text() == "hello"
        peer.send_bytes(b"hello")
        assert peer.receive_bytes() == b"hello"


def test_an_endpoint_keeps_the_handlers_name() -> None:
    """Routes name an endpoint after its handler."""
    assert WebSocketRoute("/ws", echo).name == "echo"
    assert (echo.__doc__, echo.__module__) == ("Echo.", __name__)


def test_an_endpoint_answers_the_lifespan() -> None:
    """Startup and shutdown are completed."""
    with TestClient(echo):
        pass


@pytest.mark.parametrize(("version", "status"), [("1.1", 426), ("2", 404)])
async def test_an_endpoint_answers_a_plain_request(version: str, status: int) -> None:
    """HTTP/1.1 gets 426 with an upgrade header, HTTP/2 a 404."""
    sent = list[Any]()

    async def send(event: Any) -> None:
        sent.append(event)

    scope = {"type": "http", "http_version": version, "method": "GET", "headers": []}
    await echo(scope, Channel().receive, send)

    assert sent[0]["status"] == status
    assert ((b"upgrade", b"websocket") in sent[0]["headers"]) is (status == 426)
    assert b"WebSocket" in sent[1]["body"]


async def test_an_endpoint_refuses_what_it_does_not_know(channel: Channel) -> None:
    """Another scope is a ValueError that names it."""
    with pytest.raises(ValueError, match="'mqtt'"):
        await echo({"type": "mqtt"}, channel.receive, channel.send)


async def run(app: Any, channel: Channel, **scope: Any) -> None:
    """Run an application on a channel."""
    await app({**SCOPE, **scope}, channel.receive, channel.send)


async def test_an_endpoint_takes_options(channel: Channel) -> None:
    """Options hold for each connection of the endpoint."""

    @anyws.endpoint(options=anyws.Options(max_message_bytes=1))
    async def handler(ws: anyws.WebSocket) -> None:
        await ws.accept()
        await ws.receive_text()

    channel.arrive("too long")
    await run(handler, channel)

    assert [code for code, _ in channel.closes] == [1009]


@pytest.mark.parametrize("guard", ["endpoint", "middleware"])
@pytest.mark.parametrize("grouped", [False, True])
async def test_a_client_that_went_away_is_no_error(
    channel: Channel, guard: str, grouped: bool
) -> None:
    """ConnectionClosed of its own connection ends in the guard, in groups too."""

    async def handler(ws: anyws.WebSocket) -> None:
        await ws.accept()
        if not grouped:
            await ws.receive_text()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ws.receive_text)
            while True:
                await ws.send_text("x")

    async def raw(scope: Scope, receive: Receive, send: Send) -> None:
        async with anyws.WebSocket(scope, receive, send) as ws:
            await handler(ws)

    app = anyws.endpoint(handler) if guard == "endpoint" else None
    channel.leave()
    await run(app or anyws.WebSocketMiddleware(raw), channel)

    assert channel.closes == []


async def test_the_end_of_another_connection_is_an_error(channel: Channel) -> None:
    """ConnectionClosed of some other connection goes on to the server."""
    other = anyws.ConnectionClosed(anyws.CloseInfo(1000))

    @anyws.endpoint
    async def handler(ws: anyws.WebSocket) -> None:
        await ws.accept()
        raise other

    with pytest.raises(anyws.ConnectionClosed) as caught:
        await run(handler, channel)
    assert caught.value is other
    assert channel.closes == [(1011, "")]


async def test_an_error_beside_a_departed_client_is_an_error(channel: Channel) -> None:
    """A group that holds anything else goes on to the server, whole."""

    @anyws.endpoint
    async def handler(ws: anyws.WebSocket) -> None:
        await ws.accept()
        channel.leave()
        try:
            await ws.receive_text()
        except anyws.ConnectionClosed as closed:
            raise ExceptionGroup("both", [closed, ValueError("mine")]) from None

    with pytest.raises(ExceptionGroup) as caught:
        await run(handler, channel)
    assert len(caught.value.exceptions) == 2


async def test_a_websocket_exception_is_answered(channel: Channel) -> None:
    """WebSocketException is a close, not an error of the server's."""

    @anyws.endpoint
    async def handler(ws: anyws.WebSocket) -> None:
        await ws.accept()
        raise WebSocketException(1008, "no")

    await run(handler, channel)

    assert channel.closes == [(1008, "no")]


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


async def test_the_middleware_ends_connections_alike(channel: Channel) -> None:
    """An application that merely returns closes with 1000."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await StarletteWebSocket(scope, receive, send).accept()

    await run(anyws.WebSocketMiddleware(app), channel)

    assert channel.closes == [(1000, "")]


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
