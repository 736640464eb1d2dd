"""An ASGI application made of one function, whose connections are guarded."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import update_wrapper
from typing import Any, TypeAlias, cast, overload

from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from .._session.scope import session_in
from .._session.session import Session
from .._values.options import Options
from .drain import Drain
from .guard import Guard, is_answered
from .websocket import WebSocket

Handler: TypeAlias = Callable[[WebSocket[Any]], Awaitable[None]]


class Endpoint(Guard):
    """An ASGI application of one handler; made by `endpoint`."""

    def __init__(
        self, handler: Handler, options: Options | None, drain: Drain | None
    ) -> None:
        if not callable(handler):
            raise TypeError(f"a handler is an async function, not {handler!r}")
        update_wrapper(self, handler)
        vars(self).pop("__wrapped__")  # we are called with a scope, not a WebSocket
        super().__init__(options, drain)
        self.handler = handler

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the handler; what leaves it is the ending, as of `async with`."""
        session = cast("Session", session_in(scope))
        websocket = WebSocket[Any](scope, receive, send)
        websocket._join(session)
        # `session.joined` would do, for another frame parked in every idle connection.
        try:
            await self.handler(websocket)
        except BaseException as exc:
            session.end(exc)
            if not is_answered(session, exc):
                raise
        session.end(None)

    async def _serve_other(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the lifespan protocol or a plain request."""
        if scope["type"] == "lifespan":
            await _live(receive, send)
        elif scope["type"] == "http":
            await _refusal(scope)(scope, receive, send)
        else:
            raise ValueError(f"anyws serves WebSockets, not {scope['type']!r}")


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
    handler: None = None, *, options: Options | None = None, drain: Drain | None = None
) -> Callable[[Handler], Endpoint]: ...


def endpoint(
    handler: Handler | None = None,
    *,
    options: Options | None = None,
    drain: Drain | None = None,
) -> Endpoint | Callable[[Handler], Endpoint]:
    """Make an ASGI application of `async def handler(websocket)`.

    The handler runs inside `async with websocket`, so the law holds. It accepts, or
    returns without accepting to reject with 403. A client that went away is not an
    error: its `ConnectionClosed` ends here. Used bare or with options:

        @anyws.endpoint
        async def echo(ws): ...

        @anyws.endpoint(options=anyws.Options(idle_timeout=60), drain=drain)
        async def echo(ws): ...

    A `Drain` ends the connections when the server stops. The result runs under a server
    as it is, in Starlette's `WebSocketRoute` and under `Mount`. It is an object, since
    Starlette calls functions with one argument.
    """
    if handler is None:
        return lambda function: Endpoint(function, options, drain)
    return Endpoint(handler, options, drain)
