"""The guard round a single handler: an ASGI application made of one function."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable
from functools import partial, update_wrapper
from typing import Any, TypeAlias, cast, overload

from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from .._session.scope import session_in
from .._session.session import Session
from .._values.events import has_responses
from .._values.options import Options
from .._values.outcomes import FIRST_REFUSAL
from .._values.signatures import signature_of
from .._values.states import CONNECTING
from .drain import Drain
from .guard import Guard
from .websocket import WebSocket

Handler: TypeAlias = Callable[[WebSocket[Any]], Awaitable[None]]


class Endpoint(Guard):
    """An ASGI application of one handler; made by `endpoint`."""

    def __init__(
        self,
        handler: Handler,
        options: Options | None,
        drain: Drain | None,
        allowed_origins: str | Iterable[str] | None,
    ) -> None:
        _check_handler(handler)
        update_wrapper(self, handler)
        # `inspect.signature` would follow it to the handler's parameters; the endpoint
        # is called with those of ASGI.
        vars(self).pop("__wrapped__")
        super().__init__(options, drain, allowed_origins)
        self.handler = handler

    @property
    def __signature__(self) -> inspect.Signature:
        """Refuse to be a path operation of FastAPI, which asks for a signature.

        FastAPI would take `scope`, `receive` and `send` for parameters of the request,
        and reject every client.
        """
        name = getattr(self, "__name__", "endpoint")
        raise TypeError(
            f"{name!r} is an ASGI application, made by anyws.endpoint, which FastAPI "
            f"cannot call: add starlette.routing.WebSocketRoute(path, {name}) to "
            "app.router.routes, or leave anyws.endpoint out and guard the handler by "
            "'async with websocket:'"
        )

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the handler; close on its return, leave an exception to the host."""
        session = cast("Session", session_in(scope))
        # `WebSocket[Any](...)` would leave 256 bytes in every connection.
        websocket: WebSocket[Any] = WebSocket(scope, receive, send)
        websocket._join(session)
        # In place of `session.joined`, which would keep one more suspended frame in
        # memory for every idle connection.
        try:
            await self.handler(websocket)
        except BaseException as exc:
            if isinstance(exc, HTTPException) and _answers(exc, scope, session):
                await websocket.reject(exc.status_code, str(exc.detail), exc.headers)
                return
            await session.leave_joined(exc)
            if not session.explains(exc):
                raise
        else:
            await session.leave_joined(None)

    async def _serve_other(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the lifespan protocol or a plain request."""
        if scope["type"] == "lifespan":
            await _serve_lifespan(receive, send)
        elif scope["type"] == "http":
            await _response_to_http(scope)(scope, receive, send)
        else:
            raise ValueError(f"anyws serves WebSockets, not {scope['type']!r}")


def _answers(exc: HTTPException, scope: Scope, session: Session) -> bool:
    """Whether no other application outside answers the opening handshake.

    Starlette's handlers answer, if they are there, by a response.
    """
    return (
        session.info is None
        and session.application_state is CONNECTING
        and exc.status_code >= FIRST_REFUSAL
        and not ("starlette.exception_handlers" in scope and has_responses(scope))
    )


def _check_handler(handler: object) -> None:
    """Refuse what is known not to be an async function of one argument.

    A lambda may return the coroutine of another function. A callable that Python knows
    little of, as one that was compiled, passes too.

    Raises:
        TypeError: It is anything else; the message says what it is, and what to write
            instead.
    """
    needed = "write 'async def handler(websocket): ...'"
    if not callable(handler):
        raise TypeError(f"a handler is an async function, not {handler!r}: {needed}")
    if isinstance(handler, Guard):
        raise TypeError(f"{handler!r} is an ASGI application already, not a handler")
    called: Any = handler
    while isinstance(called, partial):
        called = called.func
    kind = _kind_of(inspect.unwrap(called))
    if kind is not None:
        raise TypeError(f"the handler {handler!r} is {kind}: {needed}")
    try:
        signature_of(handler).bind(None)
    except ValueError:
        pass  # it has no signature that is known
    except TypeError as exc:
        words = f"the handler {handler!r} must take one argument, the WebSocket: {exc}"
        raise TypeError(words) from exc


def _kind_of(called: Any) -> str | None:
    """Say what a callable is, if it is known not to return an awaitable."""
    if inspect.isclass(called):
        return "a class"
    if inspect.iscoroutinefunction(called):
        return None
    if not inspect.isroutine(called):
        called = inspect.unwrap(type(called).__call__)
    if inspect.isasyncgenfunction(called):
        return "an async generator, as it contains 'yield'"
    plain = inspect.isfunction(getattr(called, "__func__", called))
    is_lambda = getattr(called, "__name__", "") == "<lambda>"
    is_async = inspect.iscoroutinefunction(called)
    return "not async" if plain and not (is_async or is_lambda) else None


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
    """Make the response to a request that is not an opening handshake.

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
    handler: None = None,
    *,
    options: Options | None = None,
    drain: Drain | None = None,
    allowed_origins: str | Iterable[str] | None = None,
) -> Callable[[Handler], Endpoint]: ...


def endpoint(
    handler: Handler | None = None,
    *,
    options: Options | None = None,
    drain: Drain | None = None,
    allowed_origins: str | Iterable[str] | None = None,
) -> Endpoint | Callable[[Handler], Endpoint]:
    """Make an ASGI application of `async def handler(websocket)`.

    The handler runs as if inside `async with websocket`. It calls `accept()`; if it
    returns before that, the client is rejected with 403. A client that goes away is not
    an error: the `ConnectionClosed` of the handler's own connection stops here, without
    a log line. So does the one of a send after the handler's own `close()`, because a
    handler cannot know which end closed first. The decorator can be used with or
    without arguments:

        @anyws.endpoint
        async def echo(ws): ...

        @anyws.endpoint(options=anyws.Options(idle_timeout=60), drain=drain)
        async def echo(ws): ...

    The result runs directly under a server, in Starlette's `WebSocketRoute` and under
    `Mount`. It is an object, because Starlette would take a function for a handler of
    one argument.

    Args:
        handler: An async function of one argument, the `WebSocket`.
        options: The settings of each connection.
        drain: Closes the connections when the server stops.
        allowed_origins: The origins of pages that may connect. Browsers send the origin
            in the header `Origin`. Each is an origin such as `"https://example.com"`,
            with the port if it is not the default one; or `"https://*.example.com"`,
            for all subdomains; or `"same-origin"`, for pages of the host that the
            request names in `Host`, which a proxy has to pass on. Pages of other
            origins are refused with 403, before the application sees them, and the log
            gets a line. A client that sends no `Origin` is not a browser, and may
            connect. `None` (default): pages of all origins may connect.

    Raises:
        TypeError: `handler` is not an async function of one argument, or `options`,
            `drain` or `allowed_origins` is of another type.
        ValueError: One of `allowed_origins` is not an origin.
    """
    if handler is None:
        return lambda function: Endpoint(function, options, drain, allowed_origins)
    return Endpoint(handler, options, drain, allowed_origins)
