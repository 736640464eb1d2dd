"""ASGI applications and middleware made of guarded connections."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import update_wrapper
from typing import Any, TypeAlias, overload

from starlette.exceptions import WebSocketException
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from ._endings import leaves_of
from ._options import Options, check_options
from ._session import EXTENSION, Session
from ._websocket import WebSocket

Handler: TypeAlias = Callable[[WebSocket[Any]], Awaitable[None]]


class WebSocketMiddleware:
    """Guard every WebSocket of any ASGI application, whatever class it uses.

    The application's `receive` and `send` become a session's: sends tell the truth,
    buffers are bounded, endings are the same on every server, and nothing invalid
    reaches the server. `async with anyws.WebSocket(...)` inside joins that session.

    A client that went away is not an error: what an application raises because of it
    ends here. Anything else goes on to the server.

    Args:
        app: An ASGI application.
        options: The settings of each connection.
    """

    def __init__(self, app: ASGIApp, options: Options | None = None) -> None:
        check_options(options)
        self.app = app
        self.options = options

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection; what is not a WebSocket passes through.

        Cancellation:
            Closes the connection with 1012, and waits for that.
        Source: ASGI.
        """
        extensions = scope.get("extensions") or {}
        if scope["type"] != "websocket" or EXTENSION in extensions:
            await self.app(scope, receive, send)
            return
        session = Session(
            receive, send, self.options, subprotocols=scope.get("subprotocols")
        )
        # In place: outer middleware reads there what routers have found.
        scope["extensions"] = {**extensions, EXTENSION: session}
        try:
            async with session:
                await self.app(scope, session.receive, session.send)
        except BaseException as exc:
            if not _is_answered(session, exc):
                raise
        finally:
            scope["extensions"] = extensions


class Endpoint:
    """An ASGI application of one handler; made by `endpoint`."""

    def __init__(self, handler: Handler, options: Options | None) -> None:
        if not callable(handler):
            raise TypeError(f"a handler is an async function, not {handler!r}")
        check_options(options)
        update_wrapper(self, handler)
        vars(self).pop("__wrapped__")  # we are called with a scope, not a WebSocket
        self.handler = handler
        self.options = options

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, or answer the lifespan protocol or a plain request.

        Cancellation:
            Closes the connection with 1012, and waits for that.
        Source: ASGI.
        """
        if scope["type"] == "lifespan":
            await _live(receive, send)
            return
        if scope["type"] == "http":
            await _refusal(scope)(scope, receive, send)
            return
        if scope["type"] != "websocket":
            raise ValueError(f"anyws serves WebSockets, not {scope['type']!r}")
        websocket = WebSocket(scope, receive, send, options=self.options)
        try:
            async with websocket:
                await self.handler(websocket)
        except BaseException as exc:
            if not _is_answered(websocket._session, exc):
                raise


def _is_answered(session: Session | None, exc: BaseException) -> bool:
    """Whether an exception is no error: the closing frame has told the peer of it.

    That is so for the end of this connection itself and for `WebSocketException`.
    """
    return session is not None and all(
        isinstance(leaf, WebSocketException) or session.explains(leaf)
        for leaf in leaves_of(exc)
    )


async def _live(receive: Receive, send: Send) -> None:
    """Answer the lifespan protocol: an application that merely returns ends Hypercorn.

    Source: ASGI "lifespan.startup", "lifespan.shutdown".
    """
    while True:
        event = await receive()
        await send({"type": f"{event['type']}.complete"})
        if event["type"] == "lifespan.shutdown":
            return


def _refusal(scope: Scope) -> PlainTextResponse:
    """Answer a plain request: 426, which is HTTP/1.1's (RFC 9110 section 15.5.22)."""
    if scope.get("http_version") in {"2", "3"}:
        return PlainTextResponse("Not Found: a WebSocket is served here", 404)
    return PlainTextResponse(
        "Upgrade Required: a WebSocket is served here",
        426,
        {"upgrade": "websocket", "connection": "upgrade"},
    )


@overload
def endpoint(handler: Handler) -> Endpoint: ...


@overload
def endpoint(
    handler: None = None, *, options: Options | None = None
) -> Callable[[Handler], Endpoint]: ...


def endpoint(
    handler: Handler | None = None, *, options: Options | None = None
) -> Endpoint | Callable[[Handler], Endpoint]:
    """Make an ASGI application of `async def handler(websocket)`.

    The handler runs inside `async with websocket`, so the law holds. It accepts, or
    returns without accepting to reject with 403. A client that went away is not an
    error: its `ConnectionClosed` ends here. Used bare or with options:

        @anyws.endpoint
        async def echo(ws): ...

        @anyws.endpoint(options=anyws.Options(idle_timeout=60))
        async def echo(ws): ...

    The result runs under a server as it is, in Starlette's `WebSocketRoute` and under
    `Mount`. It is an object, since Starlette calls functions with one argument.
    """
    if handler is None:
        return lambda function: Endpoint(function, options)
    return Endpoint(handler, options)
