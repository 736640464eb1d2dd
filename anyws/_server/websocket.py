"""Starlette's WebSocket, method by method, over a bare channel or a session.

In plain mode the channel is the server's `receive` and `send`, and the class behaves as
Starlette's. Inside `async with`, or under a guard, the channel is a session's: the same
methods, and the law.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Final, Self, TypeVar

from anyio import AsyncContextManagerMixin
from anyio.lowlevel import checkpoint
from starlette.requests import StateT
from starlette.types import Message, Receive, Scope, Send
from starlette.websockets import WebSocket as StarletteWebSocket
from starlette.websockets import (
    WebSocketDisconnect,
    WebSocketDisconnected,
    WebSocketState,
)

from .._messages.frame_verbs import frames_needed
from .._messages.parts import not_accepted
from .._messages.verbs import Messaging
from .._session.channel import DirectChannel
from .._session.draining import Draining
from .._session.scope import put_session, session_in, session_of
from .._session.session import Session
from .._values.closing import CloseInfo
from .._values.errors import ConnectionClosed
from .._values.events import (
    check_event,
)
from .._values.options import Options, check_options, warn_of_limit
from .._values.states import (
    CLOSE,
    CONNECT,
    CONNECTED,
    DISCONNECT,
    RESPONSE_START,
    SEND,
    Role,
    next_state,
)
from .handlers import handing_over
from .origin import Origin
from .plain_mode import PlainMode
from .wrapping import is_receive_wrapped, is_wrapped

MessageT = TypeVar("MessageT")


class WebSocket(Messaging, PlainMode[StateT], AsyncContextManagerMixin):
    """One WebSocket connection of an ASGI application; a drop-in for Starlette's.

    In plain mode it starts no task and behaves like Starlette's class, with three
    exceptions: `close()` raises nothing if the peer has gone, a message of the wrong
    kind raises the same typed error on every server, and an invalid event is refused or
    repaired before it reaches the server.

    In guarded mode, inside `async with websocket:`, it promises more: a cancelled
    receive loses no message, a cancelled send sends the whole message or nothing, a
    send after the end raises, and buffers are bounded. A *session*, which the block
    starts, keeps these promises. Leaving the block closes the connection: with 1000
    after a return, 1011 after an exception, 1012 after a cancellation. The block does
    not accept the connection; call `accept()` in it. It suppresses no exception and
    cannot be entered twice. Under `WebSocketMiddleware` the block joins the session of
    the middleware, and the options that are named here override those of that session.
    A block that joins closes with 1000 after a return, but leaves an exception to the
    code outside: an exception handler of the application may close with a code of its
    own, and if none does, the middleware closes with the codes above.

    In a FastAPI application, exception handlers run first even without the middleware:
    an exception leaves the block while the connection stays open, and the handlers may
    send and close. After them the connection is closed: with 1000 if the exception was
    handled, and otherwise with the code for the exception. Before `accept()` nothing is
    sent. The first block on a connection hosts the session. Later blocks share it, and
    so does the FastAPI `WebSocket` that the object was made from.

    Leaving the block waits for the closing handshake, at most `close_timeout`. If the
    server is stuck in a send that cannot be cancelled (stock Hypercorn on trio with a
    peer that does not read), leaving waits for that too. If the event loop cancels all
    tasks natively at once, no closing frame is sent.

    Args:
        scope, receive, send: Those of an ASGI application, for a scope of the type
            `"websocket"`.
        options: The settings of the guarded mode.

    Raises:
        TypeError: `options` is not an `Options`.
    """

    def __init__(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        options: Options | None = None,
    ) -> None:
        check_options(options)
        warn_of_limit(options, "a WebSocket")
        # First, as Starlette's constructor assigns the states, which are properties.
        self._session: Session | None = None
        self._entered = False
        super().__init__(scope, receive, send)
        self.subprotocol = None
        self._options = options

    # The block

    def __asynccontextmanager__(self) -> AbstractAsyncContextManager[Self]:
        """Guard the connection, as the class describes.

        Raises:
            RuntimeError: The block has been entered before.
            ConnectionClosed: The connection ended in plain mode.
        """
        if self._entered:
            raise RuntimeError("a WebSocket cannot be entered twice")
        origin = Origin(self, _PASSING)
        others = [other for other in origin.sending if isinstance(other, WebSocket)]
        for other in others:
            if other._plain_info is not None:
                raise ConnectionClosed(other._plain_info)
        session = session_in(self.scope) or session_of(origin.receive)
        if session is not None:
            block = session.joined(self)
            session.adopt(self._options)
        else:
            session = self._made_from(origin)
            theirs = [
                each for each in origin.sending if not isinstance(each, WebSocket)
            ]
            hand_over = handing_over(self.scope, session, theirs)
            block = session.hosting(self, hand_over)
        if session.starts_at(origin.send):
            for other in others:
                other._session = session
        origin.pass_through(session)
        self._join(session)
        return block

    def _made_from(self, origin: Origin) -> Session:
        """Create the session of a connection without one; store it in the scope."""
        session = Session(
            origin.receive,
            origin.send,
            self._options,
            subprotocols=self._offered,
            client_state=origin.client_state,
            application_state=origin.application_state,
        )
        session.subprotocol = self.subprotocol
        session.connection.scope = self.scope
        put_session(self.scope, session)
        return session

    def _join(self, session: Session) -> None:
        """Read all states from the session that this object's events pass through."""
        self._session, self._entered = session, True
        if is_wrapped(self._send, session):
            self._entrance = session.entrance(self._send)

    # The states: the session's, once there is a session

    @property
    def client_state(self) -> WebSocketState:
        """As in Starlette: changes when `receive` returns an event."""
        if self._session is None:
            return self._plain_client_state
        return self._session.delivered_state

    @client_state.setter
    def client_state(self, state: WebSocketState) -> None:
        self._plain_client_state = state

    @property
    def application_state(self) -> WebSocketState:
        """As in Starlette; in guarded mode, a failed send does not change it."""
        if self._session is None:
            return self._plain_application_state
        return self._session.application_state

    @application_state.setter
    def application_state(self, state: WebSocketState) -> None:
        self._plain_application_state = state

    @property
    def subprotocol(self) -> str | None:
        """The subprotocol given to `accept()`, or `None`."""
        if self._session is None:
            return self._plain_subprotocol
        return self._session.subprotocol

    @subprotocol.setter
    def subprotocol(self, subprotocol: str | None) -> None:
        self._plain_subprotocol = subprotocol

    # Raw ASGI events

    async def receive(self) -> Message:
        """Receive the next ASGI event.

        Returns:
            `websocket.connect`, then `websocket.receive` events, then
            `websocket.disconnect`; each changes `client_state`.
        Raises:
            RuntimeError: The server sent an event that is not allowed in this state.
            WebSocketDisconnected: The disconnect has been received already; in guarded
                mode this is a `ConnectionClosed`.
            BusyResourceError: Another task is receiving (guarded mode only).
        Cancellation:
            Safe in guarded mode: a cancelled call loses no event. In plain mode, the
                server's `receive` is cancelled; Granian's then loses the event that it
                was about to return.
        Source: ASGI "websocket.connect", ".receive", ".disconnect".
        """
        if self._session is not None:
            try:
                return await self._receive()
            except WebSocketDisconnected as exc:
                self._tell_end(exc)
                raise
        return await self._receive_plain()

    async def send(self, message: Message) -> None:
        """Send an ASGI event.

        Args:
            message: `websocket.accept`, `.send`, `.close` or `.http.response.*`.
        Raises:
            ConnectionClosed: The connection has ended. In plain mode, only the server
                can report that to a send.
            WebSocketDisconnected: The application has closed the connection (plain mode
                only).
            RuntimeError: The event is not allowed in this state.
            TypeError, ValueError: The event is invalid; nothing was sent, and no state
                has changed.
        Cancellation:
            All or nothing in guarded mode. In plain mode, the server's `send` is
            cancelled; on some servers that breaks the connection.
        Source: ASGI "websocket.accept", ".send", ".close", ".http.response.*".
        """
        if type(message) is not dict or "type" not in message:
            check_event(message)
        session = self._session
        if session is None:
            await self._send_plain(message)
            return
        if message["type"] == RESPONSE_START and session.info is None:
            # The session would make a close of a response that comes too late.
            next_state(Role.APPLICATION, self.application_state, RESPONSE_START)
        entrance = self._entrance
        try:
            if entrance is not None and message["type"] in (SEND, CLOSE):
                await entrance.send(message)
            else:
                await self._send(message)
        except (WebSocketDisconnect, WebSocketDisconnected) as exc:
            if message["type"] != CLOSE or not self._ended_behind(exc):
                self._tell_end(exc)
                raise

    def _ended_behind(self, exc: Exception) -> bool:
        """Whether an exception says less about the end than the session knows.

        That is so if Starlette's own `WebSocket` has raised it, in another object or a
        middleware between this object and the session.
        """
        session = self._session
        told = isinstance(exc, ConnectionClosed)
        return not (told or session is None or session.info is None)

    def _tell_end(self, exc: Exception) -> None:
        """Raise the session's own error for the end, if that says more."""
        if self._session is not None and self._ended_behind(exc):
            raise self._session.error() from exc

    async def close(self, code: int = 1000, reason: str | None = None) -> None:
        """Close the connection; before `accept()`, reject it with 403.

        Does nothing if either side has closed the connection already. Does not wait for
        the peer's answer; leaving the block does.

        Args:
            code: 1000-1003, 1007-1014 or 3000-4999.
            reason: Cut at a character to 123 bytes of UTF-8.
        Raises:
            ValueError: No closing frame may carry the code. Before `accept()` there is
                no frame, and any code passes.
            TypeError: The code is not an int.
        Cancellation:
            In guarded mode, once the close has begun, the closing frame is still sent.
            In plain mode, a cancelled close can be tried again.
        Source: RFC 6455 section 7; ASGI "websocket.close".
        """
        await self.send({"type": CLOSE, "code": code, "reason": reason or ""})

    async def _next(self) -> Message:
        """Receive the next `websocket.receive` event.

        Raises:
            ConnectionClosed: The connection has ended.
            WebSocketDisconnected: `accept()` has not been called.
        """
        session = self._session
        if session is None:
            return await self._next_plain()
        if session.connection.application_state is not CONNECTED:
            await checkpoint()
            raise not_accepted() if session.info is None else session.error()
        try:
            event = await self._receive()
            while event["type"] == CONNECT:  # held back by what lies between
                event = await self._receive()
        except WebSocketDisconnected as exc:
            self._tell_end(exc)
            raise
        if event["type"] == DISCONNECT:
            raise session.error()
        return event

    # Verbs of frames, which need no block: a server whose frames are ours has a session

    def _known_session(self) -> Session | None:
        """Return the session: that of the block, or else the one in the scope."""
        return session_in(self.scope) if self._session is None else self._session

    def _frames(self) -> DirectChannel | None:
        session = self._known_session()
        return None if session is None else session.connection.frames

    def _framed(self, name: str) -> Session:
        session = self._known_session()
        if session is None or session.connection.frames is None:
            raise frames_needed(name)
        return session

    def _check_direct(self, name: str, session: Session) -> None:
        """Refuse to go round a middleware: ASGI has no event for a part of a message.

        Raises:
            RuntimeError: One stands between.
        """
        origin = Origin(self, _PASSING)
        if name == "send_stream":
            function, wrapped = "send", is_wrapped(origin.send, session)
        else:
            function = "receive"
            wrapped = is_receive_wrapped(origin.receive, session)
        if wrapped:
            raise RuntimeError(
                f"{name}() would go round a middleware that wraps {function!r}: ASGI "
                "has no event for a part of a message"
            )

    @property
    def draining(self) -> Draining:
        """Whether the server is about to stop, as its `Drain` has told the connection.

        `await ws.draining` waits until it is true. It needs the guarded mode. The
        servers `anyws.serve`, `anyws.hypercorn` and `anyws.uvicorn` tell the connection
        when they stop. Under others it never becomes true if no drain knows it.

        Raises:
            RuntimeError: This is plain mode.
        """
        return self._guarded("draining").draining

    @property
    def close_info(self) -> CloseInfo | None:
        """How the connection ended, once that is known; `None` while it is open."""
        return self._plain_info if self._session is None else self._session.info


# The methods of a `WebSocket` that do no more than to pass events on.
_PASSING: Final = (
    StarletteWebSocket.receive,
    StarletteWebSocket.send,
    WebSocket.receive,
    WebSocket.send,
)
