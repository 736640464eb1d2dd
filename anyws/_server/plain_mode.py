"""Plain mode: events go to the server and come from it, and no session stands between.

There is no task and no buffer. What a session would know is kept by the object: how
the connection ended, as far as the server has told, and how much of a response's body
is still to come.
"""

from __future__ import annotations

from anyio import get_cancelled_exc_class
from anyio.lowlevel import checkpoint
from starlette.requests import StateT
from starlette.types import Message
from starlette.websockets import WebSocketDisconnect, WebSocketState

from .._messages.parts import not_accepted
from .._values.closing import CloseCode, CloseInfo
from .._values.errors import ConnectionClosed
from .._values.events import body_left, info_of, outgoing
from .._values.states import (
    ACCEPT,
    CLOSE,
    CONNECTED,
    DISCONNECT,
    DISCONNECTED,
    RECEIVE,
    Role,
    event_of,
    next_state,
)
from .handshake_verbs import HandshakeVerbs


class PlainMode(HandshakeVerbs[StateT]):
    """How events are sent and received without a session."""

    client_state: WebSocketState
    application_state: WebSocketState
    _plain_subprotocol: str | None = None
    _plain_info: CloseInfo | None = None  # how the connection ended
    _body_left: int | None = None  # of a denial response

    async def _receive_plain(self) -> Message:
        if self.client_state is DISCONNECTED:
            await checkpoint()
            next_state(Role.CLIENT, DISCONNECTED, DISCONNECT)  # raises
        event = await self._receive()
        kind = event_of(event)
        if kind != RECEIVE or self.client_state is not CONNECTED:
            self.client_state = next_state(Role.CLIENT, self.client_state, kind)
            if self.client_state is DISCONNECTED and self._plain_info is None:
                self._plain_info = info_of(event)
        return event

    async def _send_plain(self, event: Message) -> None:
        kind, before = event_of(event), self.application_state
        if kind == CLOSE and DISCONNECTED in (before, self.client_state):
            self.application_state = DISCONNECTED
            await checkpoint()
            return
        state = next_state(Role.APPLICATION, before, kind)
        event = outgoing(event, self._offered, accepted=before is CONNECTED)
        self._body_left = body_left(event, self._body_left)
        if kind == ACCEPT:
            self._plain_subprotocol = event["subprotocol"]
        elif kind == CLOSE:
            self._plain_info = CloseInfo(event["code"], event["reason"], "local")
        self.application_state = state
        try:
            await self._send(event)
        except get_cancelled_exc_class():
            if kind == CLOSE:
                self.application_state, self._plain_info = before, None
            raise
        except (OSError, RuntimeError, WebSocketDisconnect) as exc:
            if kind == CLOSE:
                # The peer is gone: uvicorn raises OSError, Granian RuntimeError, and
                # Hypercorn nothing.
                return
            gone = isinstance(exc, OSError | WebSocketDisconnect)
            if before is not CONNECTED or not gone:
                raise
            self.application_state = DISCONNECTED
            if isinstance(exc, ConnectionClosed):
                self._plain_info = exc.info
                raise
            self._plain_info = CloseInfo(CloseCode.ABNORMAL_CLOSURE, "", "network")
            raise ConnectionClosed(self._plain_info) from exc

    async def _next_plain(self) -> Message:
        if self.application_state is not CONNECTED:
            await checkpoint()
            raise not_accepted()
        event = await self.receive()
        if event["type"] == DISCONNECT:
            raise ConnectionClosed(info_of(event))
        return event
