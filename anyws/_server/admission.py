"""Admission: of pages by their origin, of clients by their number of connections.

What is said here holds before an application sees the connection. Each guard has rules
of its own, and a client has to meet those of all guards that the connection passes.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeAlias

from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocketState

from .._values.allowed_origins import AllowedOrigins, shown_host, shown_origin
from .._values.events import has_responses
from .._values.limits import ConnectionLimit
from .._values.options import Options
from .._values.states import CLOSE, CONNECTED

_log: Final = logging.getLogger("anyws.server")

# An ASGI application; Hypercorn calls its own with more arguments.
Hosted: TypeAlias = Callable[..., Awaitable[None]]

FOREIGN: Final = "the origin is not allowed"
TOO_MANY: Final = "too many connections"


def allows_origin(origins: AllowedOrigins | None, scope: Mapping[str, Any]) -> bool:
    """Whether a page may connect; write a line into the log if not."""
    if origins is None or origins.allow(scope):
        return True
    _log.warning(
        "refused a WebSocket from the origin %s, which allowed_origins does not name; "
        "the header Host is %s",
        shown_origin(scope),
        shown_host(scope),
    )
    return False


def check_unanswered(state: WebSocketState) -> None:
    """Raise RuntimeError if the opening handshake is accepted: no rule applies then."""
    if state is CONNECTED:
        raise RuntimeError(
            "allowed_origins has no effect here: an outer application has accepted "
            "the connection already; set it there"
        )


class Admitting:
    """An ASGI application that is called only for clients that may connect."""

    __slots__ = ("_app", "_limit", "_origins")

    def __init__(
        self,
        app: Hosted,
        limit: ConnectionLimit | None,
        origins: AllowedOrigins | None,
    ) -> None:
        self._app = app
        self._limit = limit
        self._origins = origins

    async def __call__(
        self, scope: Scope, receive: Receive, send: Send, *others: object
    ) -> None:
        """Serve a connection, and count it meanwhile; or refuse it.

        A page is refused with 403. One connection too many is refused with 429 where
        the server offers denial responses, else with 403, too. The refusal has no body,
        as some servers lose bodies.

        Source: RFC 6455 section 10.2; RFC 6585 section 4; ASGI
        "websocket.http.response".
        """
        if not allows_origin(self._origins, scope):
            await receive()  # websocket.connect
            await send({"type": CLOSE, "code": 1008, "reason": FOREIGN})
            return
        if self._limit is None:
            await self._app(scope, receive, send, *others)
            return
        with self._limit.counting(scope) as admitted:
            if admitted:
                await self._app(scope, receive, send, *others)
                return
        await receive()  # websocket.connect
        if has_responses(scope):
            await Response(None, 429)(scope, receive, send)
        else:
            await send({"type": CLOSE, "code": 1008, "reason": TOO_MANY})


def admitting(
    app: Hosted, options: Options | None, origins: AllowedOrigins | None
) -> Hosted:
    """Return an application with the rules before it, or itself if there are none."""
    limit = None if options is None else options.max_connections_per
    return Admitting(app, limit, origins) if limit or origins else app
