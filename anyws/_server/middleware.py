"""Guarded connections for any ASGI application."""

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

    A client that went away is not an error: what an application raises because of it
    ends here. Anything else goes on to the server.

    Args:
        app: An ASGI application.
        options: The settings of each connection. Options inside, of an endpoint or a
            `WebSocket`, override those that they name.
        drain: What ends the connections when the server stops.
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
