"""The guard round an ASGI application that exists already."""

from __future__ import annotations

from collections.abc import Awaitable

from starlette.types import ASGIApp, Receive, Scope, Send

from .._values.options import Options
from .drain import Drain
from .guard import Guard


class WebSocketMiddleware(Guard):
    """Guard every WebSocket of any ASGI application, whatever class it uses.

    The application's `receive` and `send` become a session's: sends tell the truth,
    buffers are bounded, endings are the same on every server, and nothing invalid
    reaches the server. `async with anyws.WebSocket(...)` inside joins that session.

    A client that went away is not an error: an exception that only says so stops here.
    Every other exception goes on to the server.

    Litestar and Quart (on trio Quart-Trio), which have WebSocket classes of their own,
    are guarded as well: `app = WebSocketMiddleware(Litestar([...]))`.

    Args:
        app: An ASGI application. Scopes other than WebSockets are passed to it as they
            are.
        options: The settings of each connection. Options inside, of an endpoint or a
            `WebSocket`, override those that they name.
        drain: Closes the connections when the server stops.

    Raises:
        TypeError: `options` or `drain` is of another type.
    """

    def __init__(
        self,
        app: ASGIApp,
        options: Options | None = None,
        *,
        drain: Drain | None = None,
    ) -> None:
        super().__init__(options, drain)
        self.app = app

    def _serve(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        return self.app(scope, receive, send)

    _serve_other = _serve
