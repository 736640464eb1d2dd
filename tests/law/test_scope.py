"""The scope stays an ordinary ASGI scope, with a session in it."""

from __future__ import annotations

import copy
import pickle
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any, TypeAlias

import pytest
from fastapi import Depends, FastAPI
from fastapi import WebSocket as FastAPIWebSocket
from hypercorn.middleware import ProxyFixMiddleware
from starlette.routing import Mount, Router
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket as StarletteWebSocket

import anyws
from anyws._session.scope import session_in
from anyws._session.session import Session
from anyws.testing import connect

from ..support.channels import SCOPE, Channel

Change: TypeAlias = Callable[[Scope], Scope]

KNOWN = ("type", "path", "headers", "query_string", "subprotocols", "extensions")
CHANGES: dict[str, Change] = {
    "deep copy": copy.deepcopy,
    "copy": copy.copy,
    "new extensions": lambda scope: {**scope, "extensions": {}},
    "no extensions": lambda scope: {**scope, "extensions": None},
    "ASGI's keys": lambda scope: {key: scope[key] for key in KNOWN if key in scope},
}


def changing(app: ASGIApp, change: Change) -> ASGIApp:
    """Wrap an application in a middleware that changes the scope."""

    async def middleware(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            scope = change(scope)
        await app(scope, receive, send)

    return middleware


async def raw(scope: Scope, receive: Receive, send: Send) -> None:
    """Echo a message inside a block that joins."""
    async with anyws.WebSocket(scope, receive, send) as ws:
        await echo(ws)


async def echo(ws: anyws.WebSocket) -> None:
    """Echo a message, by what a session has alone."""
    await ws.accept()
    ws.send_nowait(await ws.receive_message())
    # By now its own session, if it had one, would have counted too.
    assert ws.statistics().messages_received == 1


APPS: dict[str, ASGIApp] = {
    "block": raw,
    "endpoint": anyws.endpoint(echo),
    "middleware": anyws.WebSocketMiddleware(raw),
    "mounted": Router([Mount("/", anyws.endpoint(echo))]),
}


@pytest.mark.parametrize("server", ["uvicorn", "hypercorn-engine"])
@pytest.mark.parametrize("app", APPS)
@pytest.mark.parametrize("change", CHANGES)
async def test_what_is_inside_joins_whatever_happens_to_the_scope(
    change: str, app: str, server: Any
) -> None:
    """A copied or rebuilt scope is of the same connection, and so of its session."""
    seen = []

    def changed(scope: Scope) -> Scope:
        before = session_in(scope)
        scope = CHANGES[change](scope)
        seen.append((before, session_in(scope)))
        return scope

    whole = anyws.WebSocketMiddleware(changing(APPS[app], changed))
    async with connect(whole, server=server) as peer:
        await peer.send_text("hello")
        assert await peer.receive_text() == "hello"
        assert (await peer.wait_closed()).code == 1000
    ((before, after),) = seen
    assert isinstance(before, Session)
    assert after is before


async def test_hypercorns_own_middleware_copies_the_scope() -> None:
    """`ProxyFixMiddleware` does so by `deepcopy`."""
    app: Any = ProxyFixMiddleware(raw, mode="modern")  # type: ignore[arg-type]  # its own types
    async with connect(app, server="hypercorn-engine") as peer:
        await peer.send_text("hello")
        assert await peer.receive_text() == "hello"


async def guarded(websocket: FastAPIWebSocket) -> AsyncIterator[anyws.WebSocket]:
    """Be a dependency with a block of its own."""
    ws = anyws.WebSocket(websocket.scope, websocket.receive, websocket.send)
    async with ws:
        yield ws


async def test_fastapi_behind_a_middleware_that_copies_the_scope() -> None:
    """A dependency's block joins, as without it."""
    app = FastAPI()

    @app.websocket("/ws")
    async def endpoint(ws: Annotated[Any, Depends(guarded)]) -> None:
        await echo(ws)

    copying = anyws.WebSocketMiddleware(changing(app, copy.deepcopy))
    async with connect(copying, "/ws") as peer:
        await peer.send_text("hello")
        assert await peer.receive_text() == "hello"


async def test_a_session_is_its_own_copy_and_is_not_pickled() -> None:
    """There is one of it: it is a connection, and stays in its process."""
    channel = Channel()
    session = Session(channel.receive, channel.send)
    scope = {**SCOPE, "extensions": {"anyws.session": session}}
    assert copy.deepcopy(session) is copy.copy(session) is session
    assert copy.deepcopy(scope)["extensions"] == {"anyws.session": session}
    with pytest.raises(TypeError, match="an anyws session cannot be pickled"):
        pickle.dumps(session)
    with pytest.raises(TypeError, match="an anyws session cannot be pickled"):
        pickle.dumps(scope)


async def test_the_scope_is_the_servers_again_after_the_end() -> None:
    """What the middleware has put into it is taken out."""
    channel = Channel()
    scope = {**SCOPE, "extensions": {"tls": {}}}
    before = copy.deepcopy(scope)
    await anyws.WebSocketMiddleware(anyws.endpoint(anyws.WebSocket.accept))(
        scope, channel.receive, channel.send
    )
    assert scope == before


def hidden(scope: Scope) -> Scope:
    """Return a scope that has lost its session."""
    return {key: scope[key] for key in KNOWN if key != "extensions" and key in scope}


async def receiving(ws: Any) -> None:
    """Let the end of the connection out of a receive."""
    await ws.accept()
    while True:
        await ws.receive_text()


async def sending(ws: Any) -> None:
    """Let the end of the connection out of a send."""
    await ws.accept()
    while True:
        await ws.send_text("x")


@asynccontextmanager
async def plain(
    scope: Scope, receive: Receive, send: Send
) -> AsyncIterator[anyws.WebSocket]:
    """Use our class without a session of its own."""
    yield anyws.WebSocket(scope, receive, send)


@asynccontextmanager
async def over_starlettes(
    scope: Scope, receive: Receive, send: Send
) -> AsyncIterator[anyws.WebSocket]:
    """Use our class over Starlette's."""
    outer = StarletteWebSocket(scope, receive, send)
    async with anyws.WebSocket(scope, outer.receive, outer.send) as ws:
        yield ws


@pytest.mark.parametrize("code", [1000, 1006, 4000])
@pytest.mark.parametrize("use", [receiving, sending])
@pytest.mark.parametrize("inside", [anyws.WebSocket, plain, over_starlettes])
async def test_a_session_over_a_session_explains_the_same_end(
    inside: Any, use: Callable[[Any], Any], code: int
) -> None:
    """Where the scope has lost it, the client's leaving is no error all the same."""
    ends = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async with inside(hidden(scope), receive, send) as ws:
            try:
                await use(ws)
            except anyws.ConnectionClosed as exc:
                ends.append(exc.info)
                raise

    async with connect(anyws.WebSocketMiddleware(app)) as peer:
        if code == 1006:
            peer.abort()
        else:
            await peer.close(code, "bye")
    (info,) = ends
    # A server may refuse a send before it tells why.
    assert (info.code, info.reason) in {
        (code, "" if code == 1006 else "bye"),
        *([(1006, "")] if use is sending else []),
    }
