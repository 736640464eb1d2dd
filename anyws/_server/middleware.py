"""The guard round an ASGI application that exists already."""

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

    The application's `receive` and `send` become a session's: sends tell the truth,
    buffers are bounded, endings are the same on every server, and nothing invalid
    reaches the server. `async with anyws.WebSocket(...)` inside joins that session.

    A client that went away is not an error: an exception that only says so stops here.
    Every other exception goes on to the server.

    Litestar and Quart (on trio Quart-Trio), which have WebSocket classes of their own,
    are guarded as well: `app = WebSocketMiddleware(Litestar([...]))`.

    A handler on FastAPI's own router, or a function or method of Starlette's, that is
    annotated `anyws.WebSocket` would get another class in silence. So the application
    then fails its startup, by words that name the route and the mend; where no lifespan
    runs, every WebSocket fails with them.

    Args:
        app: An ASGI application. Scopes other than WebSockets are passed to it as they
            are.
        options: The settings of each connection. Options inside, of an endpoint or a
            `WebSocket`, override those that they name.
        drain: Closes the connections when the server stops.
        allowed_origins: The pages that may connect, by the header `Origin` that every
            browser sends: origins as `"https://example.com"`, with a port if it is not
            the usual one; `"https://*.example.com"` for all hosts below; and
            `"same-origin"` for pages of the host that the request names in `Host`,
            which a proxy has to pass on. Another page is refused with 403 and a line in
            the log, before the application sees it; a client that sends no `Origin` is
            no browser, and may connect. `None` (default): all pages may.

    Raises:
        TypeError: `options`, `drain` or `allowed_origins` is of another type.
        ValueError: One of `allowed_origins` is no origin.
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
