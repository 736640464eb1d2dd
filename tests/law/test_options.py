"""The innermost word counts, field by field, on every server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI
from fastapi import WebSocket as FastAPIWebSocket
from starlette.applications import Starlette
from starlette.routing import Mount, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send

import anyws
from anyws.testing import connect

# Those that behave alike here: the others run the same code.
SERVERS = ("strict", "uvicorn", "hypercorn-engine")
NARROW = anyws.Options(max_message_bytes=10)


async def echo(ws: Any) -> None:
    """Accept, and echo messages."""
    await ws.accept()
    async for message in ws:
        await ws.send_message(message)


async def block(scope: Scope, receive: Receive, send: Send) -> None:
    """Name a bound in a block."""
    async with anyws.WebSocket(scope, receive, send, options=NARROW) as ws:
        await echo(ws)


async def late(scope: Scope, receive: Receive, send: Send) -> None:
    """Name a bound after the accept."""
    await anyws.WebSocket(scope, receive, send).accept()
    async with anyws.WebSocket(scope, receive, send, options=NARROW) as ws:
        async for message in ws:
            await ws.send_message(message)


async def guarded(websocket: FastAPIWebSocket) -> AsyncIterator[anyws.WebSocket]:
    """Name a bound in a dependency."""
    async with anyws.WebSocket(
        websocket.scope, websocket.receive, websocket.send, options=NARROW
    ) as ws:
        yield ws


fastapi = FastAPI()


@fastapi.websocket("/ws")
async def depending(ws: Annotated[Any, Depends(guarded)]) -> None:
    """Echo in the block of a dependency."""
    await echo(ws)


async def unnamed(scope: Scope, receive: Receive, send: Send) -> None:
    """Name nothing, in a block."""
    async with anyws.WebSocket(scope, receive, send, options=anyws.Options()) as ws:
        await echo(ws)


endpoint = anyws.endpoint(options=NARROW)(echo)
APPS: dict[str, ASGIApp] = {
    "block": block,
    "after the accept": late,
    "endpoint": endpoint,
    "route": Starlette(routes=[WebSocketRoute("/ws", endpoint)]),
    "mounted": Starlette(routes=[Mount("/", endpoint)]),
    "FastAPI": fastapi,
    "middleware": anyws.WebSocketMiddleware(unnamed, NARROW),
}
OUTER = [None, anyws.Options(), anyws.Options(max_message_bytes=1000)]


@pytest.mark.parametrize("outer", OUTER, ids=["none", "defaults", "wider"])
@pytest.mark.parametrize("app", APPS)
@pytest.mark.parametrize("server", SERVERS)
async def test_a_bound_that_is_named_inside_holds(
    app: str, outer: anyws.Options | None, server: str
) -> None:
    """Whatever the middleware outside says, or does not say."""
    whole = anyws.WebSocketMiddleware(APPS[app], outer)
    async with connect(whole, server=server) as peer:
        await peer.send_text("x" * 10)
        assert await peer.receive_text() == "x" * 10
        await peer.send_text("x" * 11)
        assert (await peer.wait_closed()).code == 1009


@pytest.mark.parametrize("server", SERVERS)
async def test_a_bound_may_be_wider_inside(server: str) -> None:
    """A route that takes large messages says so."""
    wide = anyws.endpoint(options=anyws.Options(max_message_bytes=1000))(echo)
    whole = anyws.WebSocketMiddleware(wide, NARROW)
    async with connect(whole, server=server) as peer:
        await peer.send_text("x" * 1000)
        assert await peer.receive_text() == "x" * 1000
        await peer.send_text("x" * 1001)
        assert (await peer.wait_closed()).code == 1009


@pytest.mark.parametrize("server", SERVERS)
async def test_a_route_that_names_one_field_keeps_the_others(server: str) -> None:
    """The middleware's, and below it the defaults."""
    seen = []

    async def app(ws: anyws.WebSocket) -> None:
        await ws.accept()
        assert ws._session is not None
        seen.append(ws._session.options)

    inner = anyws.endpoint(options=anyws.Options(receive_buffer=3, send_buffer=16))(app)
    middle = anyws.WebSocketMiddleware(inner, anyws.Options(idle_timeout=30))
    outer = anyws.WebSocketMiddleware(
        middle, anyws.Options(receive_buffer=2, send_buffer=2, max_message_bytes=10)
    )
    async with connect(outer, server=server):
        pass
    assert seen == [
        anyws.Options(receive_buffer=3, idle_timeout=30, max_message_bytes=10)
    ]
