"""The guard around an existing ASGI application."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable
from functools import partial

from starlette.types import ASGIApp, Receive, Scope, Send

from .._values.options import Options
from .drain import Drain
from .guard import Guard
from .inspection import Inspection


class WebSocketMiddleware(Guard):
    """Guard every WebSocket of any ASGI application, whatever class it uses.

    The application gets the `receive` and `send` of a session: a send to a client that
    has gone raises, buffers are bounded, close codes are the same on every server, and
    nothing invalid reaches the server. `async with anyws.WebSocket(...)` inside the
    application joins that session.

    A client that goes away is not an error: an exception that only reports that stops
    here. Every other exception goes on to the server.

    Litestar and Quart (on trio Quart-Trio), which have WebSocket classes of their own,
    are guarded as well: `app = WebSocketMiddleware(Litestar([...]))`.

    If a handler on FastAPI's own router, or a function or method on a Starlette route,
    is annotated `anyws.WebSocket`, it would silently get another class. The startup of
    such an application fails, with an error that names the route and the remedy. If no
    lifespan runs, every WebSocket fails with that error.

    Args:
        app: An ASGI application. Scopes other than WebSockets are passed to it as they
            are.
        options: The settings of each connection. The options of an endpoint or a
            `WebSocket` inside override the settings that they name.
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
        TypeError: `options`, `drain` or `allowed_origins` is of another type.
        ValueError: One of `allowed_origins` is not an origin.
    """

    def __init__(
        self,
        app: ASGIApp,
        options: Options | None = None,
        *,
        drain: Drain | None = None,
        allowed_origins: str | Iterable[str] | None = None,
    ) -> None:
        super().__init__(options, drain, allowed_origins)
        self.app = app
        self._inspection = Inspection()

    def _serve(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        return self._inspection.before(self.app)(scope, receive, send)

    def _serve_other(
        self, scope: Scope, receive: Receive, send: Send
    ) -> Awaitable[None]:
        if scope["type"] != "lifespan":
            return self.app(scope, receive, send)
        return self._inspection.live(scope, send, partial(self.app, scope, receive))
