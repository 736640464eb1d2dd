"""Who hosts the session decides how the connection ends, and decides last."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Annotated, Any, TypeAlias

import anyio
import pytest
from fastapi import Depends, FastAPI, HTTPException, WebSocketException
from fastapi import WebSocket as FastAPIWebSocket
from starlette.applications import Starlette
from starlette.routing import Mount, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send

import anyws
from anyws.testing import Peer, connect

Handler: TypeAlias = Callable[[Any, Any], Awaitable[None]]


class TooMany(Exception):
    """An exception of the application, for which it has a handler."""


class Unhandled(Exception):
    """An exception of the application, for which it has no handler."""


class Rude(BaseException):
    """No Exception, so no handler gets it."""


# What a handler does with the connection.


async def closes(ws: Any, exc: Any) -> None:
    """Choose the code."""
    await ws.close(4029, "too many")


async def closes_by_our_class(ws: Any, exc: Any) -> None:
    """Choose the code by an object of our class, which has no block."""
    await anyws.WebSocket(ws.scope, ws.receive, ws.send).close(4029, "too many")


async def says_nothing(ws: Any, exc: Any) -> None:
    """Leave the connection as it is."""


async def raises(ws: Any, exc: Any) -> None:
    """Fail."""
    raise Unhandled from exc


async def raises_again(ws: Any, exc: Any) -> None:
    """Let the exception go on."""
    raise exc


async def raises_a_policy(ws: Any, exc: Any) -> None:
    """Raise what another handler, Starlette's own, closes for."""
    raise WebSocketException(4030, "policy")


HANDLERS: dict[str, tuple[Handler, tuple[int, str], type[Exception] | None]] = {
    "closes": (closes, (4029, "too many"), None),
    "closes by our class": (closes_by_our_class, (4029, "too many"), None),
    "says nothing": (says_nothing, (1000, ""), None),
    "raises": (raises, (1011, ""), Unhandled),
    "raises again": (raises_again, (1011, ""), TooMany),
    "raises a policy": (raises_a_policy, (4030, "policy"), None),
}


async def guarded(websocket: FastAPIWebSocket) -> AsyncIterator[anyws.WebSocket]:
    """Guard the connection in a dependency."""
    ws = anyws.WebSocket(websocket.scope, websocket.receive, websocket.send)
    async with ws:
        yield ws


Ours = Annotated[anyws.WebSocket, Depends(guarded)]
AlsoOurs = Annotated[anyws.WebSocket, Depends(guarded, use_cache=False)]


def in_a_dependency(fail: Callable[[Any], Awaitable[None]]) -> FastAPI:
    """Make an application whose dependency holds the block."""
    app = FastAPI()

    @app.websocket("/ws")
    async def endpoint(ws: Ours) -> None:
        await fail(ws)

    return app


def in_two_dependencies(fail: Callable[[Any], Awaitable[None]]) -> FastAPI:
    """Make an application with two blocks, one in the other."""
    app = FastAPI()

    @app.websocket("/ws")
    async def endpoint(outer: Ours, inner: AlsoOurs) -> None:
        await fail(inner)

    return app


def in_the_handler(fail: Callable[[Any], Awaitable[None]]) -> FastAPI:
    """Make an application whose handler holds the block."""
    app = FastAPI()

    @app.websocket("/ws")
    async def endpoint(websocket: FastAPIWebSocket) -> None:
        ws = anyws.WebSocket[Any](websocket.scope, websocket.receive, websocket.send)
        async with ws:
            await fail(ws)

    return app


def in_an_endpoint(fail: Callable[[Any], Awaitable[None]]) -> Starlette:
    """Make an application whose route is an endpoint of ours."""
    return Starlette(routes=[WebSocketRoute("/ws", anyws.endpoint(fail))])


FASTAPI = {
    "dependency": in_a_dependency,
    "dependencies": in_two_dependencies,
    "handler": in_the_handler,
}
PLACES: dict[str, Callable[..., Starlette]] = {**FASTAPI, "endpoint": in_an_endpoint}


def under_the_middleware(app: ASGIApp) -> tuple[ASGIApp, str]:
    """Have the middleware host the session."""
    return anyws.WebSocketMiddleware(app), "strict"


def under_uvicorn(app: ASGIApp) -> tuple[ASGIApp, str]:
    """Have the middleware host the session, on a server that is not strict."""
    return anyws.WebSocketMiddleware(app), "uvicorn"


def under_the_engine(app: ASGIApp) -> tuple[ASGIApp, str]:
    """Have the engine host the session."""
    return app, "hypercorn-engine"


def mounted(app: ASGIApp) -> tuple[ASGIApp, str]:
    """Have the middleware of an outer application host the session."""
    outer = FastAPI()
    outer.mount("/", app)
    outer.add_middleware(anyws.WebSocketMiddleware)
    return outer, "hypercorn-asyncio"


def under_nothing(app: ASGIApp) -> tuple[ASGIApp, str]:
    """Have the first block host the session."""
    return app, "strict"


HOSTS = {
    "nothing": under_nothing,
    "nothing on uvicorn": lambda app: (app, "uvicorn"),
    "nothing on trio": lambda app: (app, "hypercorn-trio"),
    "middleware": under_the_middleware,
    "uvicorn": under_uvicorn,
    "engine": under_the_engine,
    "mounted": mounted,
}

Host: TypeAlias = Callable[[ASGIApp], tuple[ASGIApp, str]]
Setting: TypeAlias = tuple[Callable[..., Starlette], Host]


SETTINGS = [
    (host, place)
    for host in HOSTS
    for place in PLACES
    # An endpoint that finds no session is the host, inside of all handlers.
    if not (host.startswith("nothing") and place == "endpoint")
]


@pytest.fixture(params=SETTINGS, ids="-".join)
def setting(request: pytest.FixtureRequest) -> Setting:
    """Return what makes an application, and what has it run in a hosted session."""
    host, place = request.param
    return PLACES[place], HOSTS[host]


async def ending_of(
    app: ASGIApp, server: str = "strict", error: type[BaseException] | None = None
) -> tuple[int, str]:
    """Connect; return the code and reason that the peer gets, and expect an error."""
    seen = []

    async def talk() -> None:
        async with connect(app, server=server) as peer:
            seen.append(await closing(peer))

    if error is None:
        await talk()
    else:
        with pytest.raises(error):
            await talk()
    [(code, reason)] = seen
    return code, reason


async def closing(peer: Peer) -> tuple[int, str]:
    """Return the code and reason that the peer gets, and expect the last message."""
    assert [message async for message in peer] == ["last"]
    info = await peer.wait_closed()
    return info.code, info.reason


def failing(exc: BaseException) -> Callable[[Any], Awaitable[None]]:
    """Return a handler that accepts, sends, and raises."""

    async def fail(ws: anyws.WebSocket) -> None:
        await ws.accept()
        await ws.send_text("last")
        raise exc

    return fail


@pytest.mark.parametrize("does", HANDLERS)
async def test_an_exception_handler_chooses_the_code(
    setting: Setting, does: str
) -> None:
    """The block that joined leaves the choice to it, and the host what it leaves."""
    place, host = setting
    handler, close, error = HANDLERS[does]
    app = place(failing(TooMany()))
    app.add_exception_handler(TooMany, handler)

    assert await ending_of(*host(app), error) == close


OUTCOMES: dict[str, tuple[BaseException, tuple[int, str]]] = {
    "unhandled": (Unhandled(), (1011, "")),
    "policy": (WebSocketException(4008, "no"), (4008, "no")),
    "undecodable": (anyws.MessageDecodeError("bad", "{", 0), (1007, "")),
    "group": (ExceptionGroup("", [Unhandled()]), (1011, "")),
    "rude": (Rude(), (1011, "")),
    "exit": (SystemExit(), (1001, "")),
}


@pytest.mark.parametrize("name", OUTCOMES)
async def test_what_nothing_handles_closes_as_in_a_block_that_hosts(
    setting: Setting, name: str
) -> None:
    """The code is the same, and an error of the application leaves as itself."""
    place, host = setting
    outcome, close = OUTCOMES[name]
    error = None if isinstance(outcome, WebSocketException) else type(outcome)
    app = place(failing(outcome))

    assert await ending_of(*host(app), error) == close


async def test_a_handled_policy_is_the_handlers(setting: Setting) -> None:
    """An application may handle `WebSocketException` in its own way."""
    place, host = setting
    app = place(failing(WebSocketException(4008, "no")))
    app.add_exception_handler(WebSocketException, closes)

    assert await ending_of(*host(app)) == (4029, "too many")


async def test_before_an_accept_a_handler_answers_the_handshake(
    setting: Setting,
) -> None:
    """With a status, or with a close, which is a 403."""
    place, host = setting

    async def fail(ws: anyws.WebSocket) -> None:
        raise HTTPException(402, "pay")

    app = place(fail)
    whole, server = host(app)
    with pytest.raises(anyws.HandshakeRejected, match="402"):
        async with connect(whole, server=server):
            pass
    app = place(fail)
    app.add_exception_handler(HTTPException, closes)
    whole, server = host(app)
    with pytest.raises(anyws.HandshakeRejected, match="403"):
        async with connect(whole, server=server):
            pass


async def test_a_return_closes(setting: Setting) -> None:
    """With 1000, as any block."""
    place, host = setting

    async def return_(ws: anyws.WebSocket) -> None:
        await ws.accept()
        await ws.send_text("last")

    assert await ending_of(*host(place(return_))) == (1000, "")


async def cancelled_in_a_joined_block(
    scope: Scope, receive: Receive, send: Send
) -> None:
    """Cancel the block, and catch the cancellation outside."""
    with anyio.CancelScope() as cancelling:
        async with anyws.WebSocket[Any](scope, receive, send) as ws:
            await ws.accept()
            await ws.send_text("last")
            cancelling.cancel()
            await anyio.sleep_forever()
    code = scope.get("state", {}).get("code")
    if code is not None:
        await send({"type": "websocket.close", "code": code})


async def test_a_cancelled_joined_block_closes_with_1012() -> None:
    """Though its host sees no more than a return."""
    app = anyws.WebSocketMiddleware(cancelled_in_a_joined_block)
    assert await ending_of(app) == (1012, "")


async def test_after_a_cancelled_joined_block_a_code_can_be_chosen() -> None:
    """As after an exception."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"]["code"] = 4008
        await cancelled_in_a_joined_block(scope, receive, send)

    assert await ending_of(anyws.WebSocketMiddleware(app)) == (4008, "")


async def test_a_time_limit_round_a_joined_block_can_be_handled() -> None:
    """The exception of the limit is the application's, and so is the code."""

    async def fail(websocket: FastAPIWebSocket) -> None:
        with anyio.fail_after(0):
            ws = anyws.WebSocket(websocket.scope, websocket.receive, websocket.send)
            async with ws:
                with anyio.CancelScope(shield=True):
                    await ws.accept()
                    await ws.send_text("last")
                await anyio.sleep_forever()

    app = FastAPI()
    app.websocket("/ws")(fail)
    app.add_exception_handler(TimeoutError, closes)

    assert await ending_of(*under_the_middleware(app)) == (4029, "too many")


async def test_a_mounted_endpoint_leaves_an_exception_to_the_application() -> None:
    """Whatever lies between them."""
    endpoint = anyws.endpoint(failing(TooMany()))
    app = FastAPI()
    app.mount("/", Starlette(routes=[Mount("/", endpoint)]))
    app.add_exception_handler(TooMany, closes)

    assert await ending_of(*under_the_middleware(app)) == (4029, "too many")
