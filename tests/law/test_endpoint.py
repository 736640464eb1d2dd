"""`endpoint`, as applications see it; and the end that both guards take for none."""

from __future__ import annotations

import functools
from dataclasses import replace
from functools import partial
from typing import Any
from unittest.mock import AsyncMock

import anyio
import anyio.lowlevel
import pytest
from starlette.applications import Starlette
from starlette.exceptions import WebSocketException
from starlette.routing import Mount, WebSocketRoute
from starlette.types import Receive, Scope, Send

import anyws
from anyws.testing import connect

from ..support.channels import SCOPE, Channel


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
async def test_an_endpoint_is_an_application(app: Any, path: str) -> None:
    """An endpoint runs bare, in a route, under a mount and under the middleware."""
    async with connect(app, path, lifespan=True) as peer:
        await peer.send_text("hello")
        assert await peer.receive_text() == "hello"
        await peer.send_bytes(b"hello")
        assert await peer.receive_bytes() == b"hello"


class Handlers:
    """Callables of every kind."""

    async def __call__(self, ws: anyws.WebSocket) -> None:
        """Accept."""
        await ws.accept()

    async def method(self, ws: anyws.WebSocket) -> None:
        """Accept."""
        await ws.accept()

    def plain(self, ws: anyws.WebSocket) -> None:
        """Be no handler."""

    async def generator(self, ws: anyws.WebSocket) -> Any:
        """Be no handler."""
        yield

    async def two(self, ws: anyws.WebSocket, other: int) -> None:
        """Be no handler, unless one argument is given before."""
        await ws.accept()


class Plain:
    """An object that is called as a plain function is."""

    def __call__(self, ws: anyws.WebSocket) -> None:
        """Be no handler."""


handlers = Handlers()


@functools.wraps(handlers.method)
def wrapped(ws: anyws.WebSocket) -> Any:
    """Call a handler."""
    return handlers.method(ws)


@pytest.mark.parametrize(
    "handler",
    [
        *(handlers, handlers.method, wrapped, partial(handlers.two, other=1)),
        *(partial(wrapped), lambda ws: handlers.method(ws), AsyncMock()),
    ],
    ids=["object", "method", "wrapped", "partial", "partial-wrapped", "lambda", "mock"],
)
async def test_what_returns_an_awaitable_is_a_handler(handler: Any) -> None:
    """However it is made."""
    app = anyws.endpoint(handler)
    if not isinstance(handler, AsyncMock):
        async with connect(app):
            pass


@pytest.mark.parametrize(
    ("handler", "says"),
    [
        (handlers.plain, "plain.* is not async: write 'async def"),
        (partial(handlers.plain), "plain.* is not async: write 'async def"),
        (Plain(), "Plain.* is not async: write 'async def"),
        (handlers.generator, "generator.* is an async generator.*'yield'"),
        (Handlers, "is a class: write 'async def"),
        (handlers.two, "must take one argument.*'other'"),
        (Handlers.method, "must take one argument.*'ws'"),
        (echo, "is an ASGI application already"),
        (anyws.WebSocketMiddleware(echo), "is an ASGI application already"),
        (1, "async function, not 1: write 'async def"),
    ],
    ids=[
        *("plain", "partial", "object", "generator", "class", "two-arguments"),
        *("unbound", "endpoint", "middleware", "number"),
    ],
)
def test_what_is_no_handler_is_refused_at_once(handler: Any, says: str) -> None:
    """A client would get a 500; the error says what it is, and what to write."""
    with pytest.raises(TypeError, match=says):
        anyws.endpoint(handler)
    with pytest.raises(TypeError, match=says):
        anyws.endpoint(options=anyws.Options())(handler)


def test_an_endpoint_keeps_the_handlers_name() -> None:
    """Routes name an endpoint after its handler."""
    assert WebSocketRoute("/ws", echo).name == "echo"
    assert (echo.__doc__, echo.__module__) == ("Echo.", __name__)


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


async def test_an_endpoint_takes_options() -> None:
    """Options hold for each connection of the endpoint."""

    @anyws.endpoint(options=anyws.Options(max_message_bytes=1))
    async def handler(ws: anyws.WebSocket) -> None:
        await ws.accept()
        await ws.receive_text()

    async with connect(handler) as peer:
        await peer.send_text("too long")
        assert (await peer.wait_closed()).code == 1009


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


async def test_the_end_of_another_connection_is_an_error() -> None:
    """ConnectionClosed of some other connection goes on to the server."""
    other = anyws.ConnectionClosed(anyws.CloseInfo(1000))

    @anyws.endpoint
    async def handler(ws: anyws.WebSocket) -> None:
        await ws.accept()
        raise other

    with pytest.raises(anyws.ConnectionClosed) as caught:
        async with connect(handler) as peer:
            assert (await peer.wait_closed()).code == 1011
    assert caught.value is other


async def test_the_like_end_of_another_connection_is_an_error() -> None:
    """ConnectionClosed is known by whose it is, not by what it says."""

    @anyws.endpoint
    async def handler(ws: anyws.WebSocket) -> None:
        await ws.accept()
        alike = replace(await ws.wait_closed())
        assert alike == ws.close_info
        raise anyws.ConnectionClosed(alike)

    with pytest.raises(anyws.ConnectionClosed):
        async with connect(handler):
            pass


async def test_an_end_that_became_better_known_is_no_error(channel: Channel) -> None:
    """A ConnectionClosed stays this connection's when more is learned of the end."""

    @anyws.endpoint
    async def handler(ws: anyws.WebSocket) -> None:
        await ws.accept()
        channel.error = OSError()
        with pytest.raises(anyws.ConnectionClosed, match="1006") as caught:
            while True:
                await ws.send_text("x")
        channel.leave(1001)
        assert (await ws.wait_closed()).code == 1001
        raise caught.value

    await run(handler, channel)


async def test_an_error_beside_a_departed_client_is_an_error() -> None:
    """A group that holds anything else goes on to the server, whole."""

    @anyws.endpoint
    async def handler(ws: anyws.WebSocket) -> None:
        await ws.accept()
        try:
            await ws.receive_text()
        except anyws.ConnectionClosed as closed:
            raise ExceptionGroup("both", [closed, ValueError("mine")]) from None

    with pytest.raises(ExceptionGroup) as caught:
        async with connect(handler):
            pass
    assert len(caught.value.exceptions) == 2


async def test_a_websocket_exception_is_answered() -> None:
    """WebSocketException is a close, not an error of the server's."""

    @anyws.endpoint
    async def handler(ws: anyws.WebSocket) -> None:
        await ws.accept()
        raise WebSocketException(1008, "no")

    async with connect(handler) as peer:
        info = await peer.wait_closed()
    assert info == anyws.CloseInfo(1008, "no", "peer", True)


async def test_an_endpoint_ends_its_connection_under_a_host() -> None:
    """What runs after it, under another's session, finds the connection closed."""

    @anyws.endpoint
    async def handler(ws: anyws.WebSocket) -> None:
        await ws.accept()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await handler(scope, receive, send)
        with pytest.raises(anyws.ConnectionClosed, match="1000"):
            await send({"type": "websocket.send", "text": "late"})

    async with connect(anyws.WebSocketMiddleware(app)) as peer:
        assert (await peer.wait_closed()).code == 1000
