"""The dependency that guards a connection, and hands the handler our class."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any, TypeAlias

import fastapi
from fastapi import Depends
from starlette.exceptions import HTTPException

from .._server.websocket import WebSocket
from .._session.scope import session_in
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


class Guarding:
    """A dependency of FastAPI's; equal to another one with the same settings.

    Args:
        options: The settings of each connection; those inside override those outside.

    Raises:
        TypeError: `options` is no `Options`.
    """

    def __init__(self, options: Options | None) -> None:
        check_options(options)
        self._options = options
        # Options that name the same value as another's default override more.
        self._key = None if options is None else (options, options._named)

    def __eq__(self, other: object) -> bool:
        """Whether the other one has the same settings."""
        return isinstance(other, Guarding) and self._key == other._key

    def __hash__(self) -> int:
        """Return the hash of the settings."""
        return hash(self._key)

    async def __call__(
        self, websocket: fastapi.WebSocket
    ) -> AsyncIterator[WebSocket[Any]]:
        """Guard the connection while the handler runs."""
        ws: WebSocket[Any] = WebSocket(
            websocket.scope, websocket.receive, websocket.send, options=self._options
        )
        # A host's session makes a close of such a response by itself.
        is_hosted = session_in(websocket.scope) is not None
        async with ws:
            try:
                yield ws
            except HTTPException as exc:
                early = ws.application_state is CONNECTING
                if is_hosted or (early and has_responses(websocket.scope)):
                    raise
                raise Refusal(exc) from exc


def guarded(*, options: Options | None = None) -> Guarding:
    """Return the dependency of a route with settings of its own.

        @app.websocket("/ws")
        async def handler(
            ws: Annotated[
                anyws.WebSocket, Depends(guarded(options=anyws.Options(send_buffer=8)))
            ],
        ): ...

    Args:
        options: The settings of each connection. They override those that they name of
            the middleware's.

    Raises:
        TypeError: `options` is no `Options`.
    """
    return Guarding(options)


#: The guarded `anyws.WebSocket` of the connection, injected into a handler or another
#: dependency: `async def handler(ws: Guarded)`. The connection closes when the handler
#: returns, with 1000. An exception goes to the application's exception handlers first,
#: which may close with a code of their own. It needs no middleware.
Guarded: TypeAlias = Annotated[WebSocket[Any], Depends(guarded())]
