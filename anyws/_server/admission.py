"""The refusal of a client that has as many connections as it may have."""

from __future__ import annotations

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from .._values.events import has_responses
from .._values.limits import ConnectionLimit
from .._values.states import CLOSE


class Limited:
    """An ASGI application that is called only for clients within a limit."""

    __slots__ = ("_app", "_limit")

    def __init__(self, app: ASGIApp, limit: ConnectionLimit) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a connection, and count it meanwhile; or refuse it.

        The refusal is 429 where the server offers denial responses, else a close, which
        is 403. It has no body, as some servers lose bodies.

        Source: RFC 6585 section 4; ASGI "websocket.http.response".
        """
        with self._limit.counting(scope) as admitted:
            if admitted:
                await self._app(scope, receive, send)
                return
        await receive()  # websocket.connect
        if has_responses(scope):
            await Response(None, 429)(scope, receive, send)
        else:
            await send({"type": CLOSE, "code": 1008, "reason": "too many connections"})
