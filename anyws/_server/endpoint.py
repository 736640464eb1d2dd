"""The guard round a single handler: an ASGI application made of one function."""

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
        # `inspect.signature` would follow it to the handler's parameters; the endpoint
        # is called with those of ASGI.
        vars(self).pop("__wrapped__")
        super().__init__(options, drain)
        self.handler = handler

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the handler; end the connection by its return or its exception."""
        session = cast("Session", session_in(scope))
        # `WebSocket[Any](...)` would leave 256 bytes in every connection.
        websocket: WebSocket[Any] = WebSocket(scope, receive, send)
        websocket._join(session)
        # In place of `session.joined`, which would keep one more suspended frame in
        # memory for every idle connection.
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
            await _serve_lifespan(receive, send)
        elif scope["type"] == "http":
            await _response_to_http(scope)(scope, receive, send)
        else:
            raise ValueError(f"anyws serves WebSockets, not {scope['type']!r}")


async def _serve_lifespan(receive: Receive, send: Send) -> None:
    """Answer the lifespan protocol.

    Hypercorn 0.18 ends when an application returns from it without an answer.

    Source: ASGI "lifespan.startup", "lifespan.shutdown".
    """
    while True:
        event = await receive()
        await send({"type": f"{event['type']}.complete"})
        if event["type"] == "lifespan.shutdown":
            return


def _response_to_http(scope: Scope) -> PlainTextResponse:
    """Make the response to a request that is no opening handshake.

    Source: RFC 9110 section 15.5.22. A 426 names a protocol in `Upgrade`, a header that
    HTTP/2 and HTTP/3 forbid (RFC 9113 section 8.2.2): there it is a 404.
    """
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

    The handler runs as if inside `async with websocket`. It calls `accept()`; if it
    returns before that, the client is rejected with 403. A client that went away is not
    an error: the `ConnectionClosed` of the handler's own connection stops here. Used
    bare or with options:

        @anyws.endpoint
        async def echo(ws): ...

        @anyws.endpoint(options=anyws.Options(idle_timeout=60), drain=drain)
        async def echo(ws): ...

    The result runs under a server as it is, in Starlette's `WebSocketRoute` and under
    `Mount`. It is an object, since Starlette would call a function with one argument,
    as a handler.

    Args:
        handler: An async function of one argument, the `WebSocket`.
        options: The settings of each connection.
        drain: Closes the connections when the server stops.

    Raises:
        TypeError: `handler` cannot be called, or `options` or `drain` is of another
            type.
    """
    if handler is None:
        return lambda function: Endpoint(function, options, drain)
    return Endpoint(handler, options, drain)
