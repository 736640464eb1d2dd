"""The dependency that guards a connection, and hands the handler our class."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Annotated, Any, TypeAlias

import fastapi
from fastapi import Depends
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection

from .._server.admission import FOREIGN, TOO_MANY, allows_origin, check_unanswered
from .._server.handlers import has_handler
from .._server.websocket import WebSocket
from .._session.scope import session_in
from .._values.allowed_origins import origins_of
from .._values.closing import CloseCode
from .._values.events import has_responses
from .._values.options import Options, check_options
from .._values.outcomes import close_of_status
from .._values.states import CONNECTING


class Refusal(fastapi.WebSocketException, fastapi.HTTPException):
    """An `HTTPException` that no response can answer, as a close.

    It is caught as either. FastAPI's handler for `HTTPException` would send a response,
    past the session, by the server's own `send`; the one for `WebSocketException`
    closes.
    """

    def __init__(self, error: HTTPException) -> None:
        fastapi.HTTPException.__init__(
            self, error.status_code, error.detail, dict(error.headers or {})
        )
        self.code, self.reason = close_of_status(error.status_code, error.detail)


class NoWebSocket:
    """Stands for the WebSocket in an HTTP route, where only a mistake uses it."""

    def __getattr__(self, name: str) -> Any:
        """Say what the mistake is."""
        raise AttributeError(
            f"{name!r} of a WebSocket: this is an HTTP route, and Guarded is for "
            "routes of WebSockets",
            name=name,
            obj=self,
        )


class Guarding:
    """A dependency of FastAPI's; equal to another one with the same settings.

    Args:
        options: The settings of each connection; those inside override those outside.
        allowed_origins: The pages that may connect; `None`: all.

    Raises:
        TypeError: `options` or `allowed_origins` is of another type.
        ValueError: One of `allowed_origins` is not an origin.
    """

    def __init__(
        self, options: Options | None, allowed_origins: str | Iterable[str] | None
    ) -> None:
        check_options(options)
        origins = origins_of(allowed_origins)
        # Options that name the same value as another's default override more.
        named = None if options is None else options._named
        self._key = options, named, origins
        self._origins = origins
        self._limit = None if options is None else options.max_connections_per
        if options is not None and self._limit is not None:
            options = replace(options, max_connections_per=None)
        self._options = options

    def __eq__(self, other: object) -> bool:
        """Whether the other one has the same settings."""
        return isinstance(other, Guarding) and self._key == other._key

    def __hash__(self) -> int:
        """Return the hash of the settings."""
        return hash(self._key)

    async def __call__(
        self, connection: HTTPConnection
    ) -> AsyncIterator[WebSocket[Any] | NoWebSocket]:
        """Guard the connection while the handler runs; leave an HTTP request alone.

        The dependencies of a router are those of its HTTP routes as well.
        """
        if not isinstance(connection, fastapi.WebSocket):
            yield NoWebSocket()
            return
        websocket = connection
        ws: WebSocket[Any] = WebSocket(
            websocket.scope, websocket.receive, websocket.send, options=self._options
        )
        # A host's session makes a close of such a response by itself.
        is_hosted = session_in(websocket.scope) is not None
        async with ws:
            try:
                with self._admitting(ws):
                    yield ws
            except HTTPException as exc:
                early = ws.application_state is CONNECTING
                scope = websocket.scope
                answered = has_responses(scope) if early else has_handler(scope, exc)
                if is_hosted or answered:
                    raise
                raise Refusal(exc) from exc

    @contextmanager
    def _admitting(self, ws: WebSocket[Any]) -> Iterator[None]:
        """Count the connection meanwhile; raise for a client that may not connect.

        Raises:
            WebSocketException: The page's origin is not allowed.
            HTTPException: The client has as many connections as it may have.
            RuntimeError: It is too late to look at the origin.
        """
        early = ws.application_state is CONNECTING
        if self._origins is not None:
            check_unanswered(ws.application_state)
        if early and not allows_origin(self._origins, ws.scope):
            raise fastapi.WebSocketException(CloseCode.POLICY_VIOLATION, FOREIGN)
        if self._limit is None or not early:
            yield
            return
        with self._limit.counting(ws.scope) as admitted:
            if not admitted:
                raise fastapi.HTTPException(429, TOO_MANY)
            yield


def guarded(
    *,
    options: Options | None = None,
    allowed_origins: str | Iterable[str] | None = None,
) -> Guarding:
    """Return the dependency of a route with settings of its own.

        @app.websocket("/ws")
        async def handler(
            ws: Annotated[
                anyws.WebSocket, Depends(guarded(options=anyws.Options(send_buffer=8)))
            ],
        ): ...

    Or for all routes of a router or an application, of which those of HTTP are left
    alone: `APIRouter(dependencies=[Depends(guarded(allowed_origins="same-origin"))])`.

    Args:
        options: The settings of each connection. Those that are named override the
            middleware's. `max_connections_per` applies in addition to the middleware's,
            and a client with too many connections is refused with an `HTTPException`,
            429.
        allowed_origins: The origins of pages that may connect. Browsers send the origin
            in the header `Origin`. Each is an origin such as `"https://example.com"`,
            with the port if it is not the default one; or `"https://*.example.com"`,
            for all subdomains; or `"same-origin"`, for pages of the host that the
            request names in `Host`, which a proxy has to pass on. Pages of other
            origins are refused with 403, by a `WebSocketException`, and the log gets a
            line; the handler is not called. A client that sends no `Origin` is not a
            browser, and may connect. `None` (default): all pages that the middleware
            allows may connect.

    Raises:
        TypeError: `options` or `allowed_origins` is of another type.
        ValueError: One of `allowed_origins` is not an origin.
    """
    return Guarding(options, allowed_origins)


#: The guarded `anyws.WebSocket` of the connection, injected into a handler or another
#: dependency: `async def handler(ws: Guarded)`. The connection closes when the handler
#: returns, with 1000. The application's exception handlers get an exception first, and
#: may close with a code of their own. `Guarded` needs no middleware.
Guarded: TypeAlias = Annotated[WebSocket[Any], Depends(guarded())]
