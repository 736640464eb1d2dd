"""An ASGI server in memory: the state machine of one connection, in one dialect.

It has no task. It reads what the peer sends when that arrives, when the application
makes room for it, or when the event loop turns after that.
"""

from __future__ import annotations

from typing import Any

from anyio import CancelScope
from anyio import Event as Signal
from starlette.datastructures import Headers
from websockets.exceptions import ProtocolError

from ..._session.wakeup import SharedWakeup
from ..._values.closing import CloseInfo, fitted_reason
from ..._values.events import INFO, Event
from ..._values.states import (
    ACCEPT,
    CLOSE,
    CONNECTED,
    CONNECTING,
    DISCONNECT,
    DISCONNECTED,
    RESPONSE,
    RESPONSE_BODY,
    RESPONSE_START,
    SEND,
    Role,
    event_of,
    next_state,
)
from .._errors import LocalProtocolError
from .dialects import Dialect, Phase, refuse
from .history import History
from .inbox import Inbox
from .network import (
    NO_CODE,
    Answer,
    Client,
    CloseFrame,
    End,
    Item,
    Message,
    PingFrame,
    Uplink,
)
from .turns import Pause


class Server:
    """A server's end of one connection.

    Attributes:
        answer: The answer to the opening handshake; `None` until there is one.
        answered: Set when there is an answer.
        unanswered: Whether the application has ended without answering the handshake.
        gone: Whether the server knows that the transport has ended.
        room: Woken when the peer may send more, and when it has read.
    """

    def __init__(
        self, dialect: Dialect, subprotocols: list[str], history: History
    ) -> None:
        self.answer: Answer | None = None
        self.answered: Signal = Signal()
        self.unanswered: bool = False
        self.gone: bool = False
        self.room: SharedWakeup = SharedWakeup()
        self._dialect = dialect
        self._subprotocols = subprotocols
        self._history = history
        self._client: Client
        self._state = CONNECTING
        self._accepted = False
        self._refused = False  # whether the server has refused the handshake by itself
        self._lost = False  # whether the transport has ended
        self._holds = False  # whether messages before the accept are not read yet
        self._closed_as: CloseFrame | None = None  # the close of the application
        self._response: Event = {}
        self._body = bytearray()
        self._pause = Pause()  # while it is on, nothing is read
        self._inbox = Inbox(dialect, history, self._read_on, self._pause)
        self._uplink = Uplink()

    def serve(self, client: Client) -> None:
        """Set the client of the connection."""
        self._client = client

    # From the peer

    @property
    def full(self) -> bool:
        """Whether the peer has to wait before it sends more."""
        return self._uplink.full

    def arrive(self, item: Item) -> None:
        """Let an item arrive at the server's socket."""
        if isinstance(item, End) and (self.gone or not self._accepted):
            self._lose()
            return
        early = self._state is CONNECTING
        if early and self._dialect.early_data == "refused":
            self._refused = True
            self._reject(400)
            return
        if early and self._dialect.early_data == "lost":
            return
        self._uplink.put(item)
        self._holds = early and self._dialect.early_data == "held"
        self._read()

    @property
    def _reads(self) -> bool:
        if not self._accepted or self._holds or self._pause.on:
            return False
        if self._dialect.own_close_ends_reading and self._closed_as is not None:
            return True  # up to the peer's answer; messages are discarded
        return self._inbox.has_room

    def _read(self) -> None:
        while not (self._uplink.empty or self.gone) and self._reads:
            self._take(self._uplink.take())
        self.room.wake()

    def _read_on(self) -> None:
        """Read, now or at the next turn of the event loop: there may be room."""
        waits = self._inbox.has_room and not self._uplink.empty
        if waits and self._dialect.reads_on_next_turn:
            self._pause.begin(self._read)
        else:
            self._read()

    def _take(self, item: Item) -> None:
        if isinstance(item, Message):
            if not (self._dialect.own_close_ends_reading and self._closed_as):
                self._inbox.put(self._dialect.spelled(item.payload))
        elif isinstance(item, PingFrame):
            self._client.written(item)
        elif isinstance(item, CloseFrame):
            self._take_close(item)
        else:
            self._lose()

    def _take_close(self, frame: CloseFrame) -> None:
        """Complete the closing handshake that either end has begun."""
        self.gone = True
        dialect = self._dialect
        if self._closed_as is not None:
            if dialect.own_close_waits:
                self._tell_own_close(clean=True)
        else:
            self._client.written(frame)
            code, reason = frame.code, frame.reason
            info = CloseInfo(code, reason, "peer", True)
            if not dialect.tells_code:
                code = dialect.lost
            elif code == NO_CODE:
                code = dialect.no_code
            self._tell_end(code, reason if dialect.tells_reason else None, info)
        self.room.wake()

    def _lose(self) -> None:
        """Note the end of the transport; tell the application as the dialect says."""
        dialect, lost = self._dialect, self._lost
        was_gone, phase = self.gone, self._phase
        self.gone = self._lost = True
        if lost or self._refused:
            return
        info = CloseInfo(1006, "", "network", False)
        news = self._state is CONNECTING or (self._state is CONNECTED and not was_gone)
        if phase == "rejected" and dialect.hung_up is not None:
            self._tell_end(dialect.hung_up, None, info)
        elif news or dialect.lost_told_again:
            self._tell_end(dialect.lost, None, info)
        elif self._accepted and not was_gone and dialect.own_close_waits:
            self._tell_own_close(clean=False)
        self.room.wake()

    def _tell_own_close(self, *, clean: bool) -> None:
        assert self._closed_as is not None
        code, reason = self._closed_as.code, self._closed_as.reason
        info = CloseInfo(code, reason, "local", clean)
        if self._dialect.own_close is None:
            self._tell_end(code, reason, info)
        else:
            self._tell_end(self._dialect.own_close, None, info)

    def _tell_end(self, code: int, reason: str | None, info: CloseInfo) -> None:
        event: Event = {"type": DISCONNECT, "code": code}
        if reason is not None:
            event["reason"] = reason
        if self._dialect.hosted:
            event[INFO] = info
        self._inbox.put(event)

    @property
    def left(self) -> bool:
        """Whether the connection has ended, and not by the application's close."""
        return self.gone and self._closed_as is None

    # From the application

    async def receive(self) -> Event:
        """Receive the next event, for the application."""
        return await self._inbox.receive()

    async def send(self, event: Event) -> None:
        """Send an event, for the application."""
        with self._history.calling("send()"):
            self._history.sent(event)
            # Before any error, which an application may swallow and send again; and
            # before any change of state: a send cancelled here has not happened.
            await self._pause.checkpoint()
            refused = self._refused or self._is_refused(event)
            if self._uplink.has_reset:
                refused = await self._meet_reset() or refused
            if not refused:
                await self._perform(event)

    async def _meet_reset(self) -> bool:
        """Let a send meet a reset of the transport; true: the send is ignored."""
        way = self._dialect.send_sees_reset
        if way is None:
            return False
        self._uplink = Uplink()
        if way == "later":
            self._pause.begin(self._lose)
            return False
        self.gone = self._lost = True
        while not self._inbox.has_room:
            await self._inbox.changed.wait()
        self._inbox.put({"type": DISCONNECT, "code": self._dialect.lost})
        return True

    @property
    def _phase(self) -> Phase:
        if self._lost and "lost" in self._dialect.refusals:
            return "lost"
        if self._state is DISCONNECTED:
            return "closed" if self._accepted else "rejected"
        if self.gone:
            return "gone"
        return "open" if self._accepted else "waiting"

    def _is_refused(self, event: Event) -> bool:
        """Check an event, and go to the next state; return true if it is ignored.

        Raises:
            Exception: The dialect refuses the event by an error.
        """
        dialect, kind = self._dialect, event_of(event)
        refusals = dialect.refusals.get(self._phase, {})
        if self._phase in ("waiting", "open"):
            try:
                state = next_state(Role.APPLICATION, self._state, kind)
            except RuntimeError as exc:
                return refuse(refusals.get(kind, dialect.unexpected), str(exc))
            dialect.check(event, self._subprotocols, accepted=self._accepted)
            more = event["type"] == RESPONSE_BODY and event.get("more_body", False)
            if more and dialect.body_parts is not None:
                raise dialect.body_parts("a body in parts")
            if kind != ACCEPT:
                self._state = state
            return False
        words = f"{event['type']!r}: the connection is {self._phase}"
        return refuse(refusals.get(event["type"], dialect.unexpected), words)

    async def _perform(self, event: Event) -> None:
        kind = event["type"]
        if kind == SEND:
            await self._send_message(event)
        elif kind == CLOSE:
            await self._close(event)
        elif kind == ACCEPT:
            self._accept(event)
        elif kind == RESPONSE_START:
            self._response = event
        else:
            self._body += event.get("body", b"")
            if self._state is DISCONNECTED:
                self._deny()

    # The opening handshake

    def _accept(self, event: Event) -> None:
        chosen = event.get("subprotocol")
        headers = list(event.get("headers") or ())
        if not self._dialect.accept_headers:
            headers = []
        stripped = [(name, value.strip(b" \t")) for name, value in headers]
        changed = any(a[1] != b[1] for a, b in zip(headers, stripped, strict=True))
        if changed and self._dialect.white_space == "breaks":
            self._state, self._accepted, self.gone = CONNECTED, True, True
            self._answer(Answer(0, Headers(), broken=True))
            raise LocalProtocolError("Illegal header value")
        offered = chosen is None or chosen in self._subprotocols
        if not offered and self._dialect.unoffered == "breaks":
            self._state, self._accepted, self.gone = CONNECTED, True, True
            raise Exception("Invalid Subprotocol")  # Hypercorn's own error
        if chosen is not None:
            stripped.append((b"sec-websocket-protocol", chosen.encode()))
        self._state, self._accepted = CONNECTED, True
        self._answer(Answer(101, Headers(raw=stripped), subprotocol=chosen))
        self._read()

    def _answer(self, answer: Answer) -> None:
        if self.answer is None:
            self.answer = answer
            self.answered.set()

    def _reject(self, status: int, headers: Any = (), body: bytes = b"") -> None:
        self._state = DISCONNECTED
        code, reason = None, None
        if self._closed_as is not None:
            code, reason = self._closed_as.code, self._closed_as.reason
        raw = [(name.lower(), value) for name, value in headers]
        self._answer(Answer(status, Headers(raw=raw), body, code, reason))

    def _deny(self) -> None:
        headers = self._response.get("headers") or ()
        self._reject(self._response["status"], headers, bytes(self._body))
        self._tell_rejection(self._dialect.denied)

    def _tell_rejection(self, code: int | None) -> None:
        if code is not None:
            self._tell_end(code, None, CloseInfo(code, "", "local"))

    # Messages, and the end

    async def _send_message(self, event: Event) -> None:
        text, data = event.get("text"), event.get("bytes")
        if text is not None and data is not None:
            refuse(self._dialect.two_payloads, "a message with two payloads")
        if text is None and data is None:
            dialect, named = self._dialect, "text" in event
            refusal = dialect.none_payload if named else dialect.no_payload
            refuse(refusal, "a message without a payload")
        else:
            await self._write(Message(str(text) if data is None else bytes(data)))

    async def _close(self, event: Event) -> None:
        if not self._accepted:
            code, reason = event.get("code"), fitted_reason(event.get("reason"))
            self._closed_as = CloseFrame(1000 if code is None else int(code), reason)
            self._reject(403)
            self._tell_rejection(self._dialect.rejected)
            return
        self._state = CONNECTED
        frame = self._dialect.closing_frame(event)
        if frame.defect is not None and self._dialect.bad_close == "raises":
            info = CloseInfo(frame.code, frame.reason, "local", False)
            # uvicorn tells the application of an end, and leaves the connection open.
            self._tell_end(frame.code, frame.reason, info)
            raise ProtocolError(frame.defect)
        self._state, self._closed_as = DISCONNECTED, frame
        if not self._dialect.own_close_waits:
            self._tell_own_close(clean=True)
        await self._write(frame)
        self._read()

    async def _write(self, item: Item) -> None:
        way = self._dialect.send_waits
        if way == "before":
            await self._wait_for_client()
            if self.gone:
                refuse(self._dialect.refusals.get("gone", {}).get(SEND), "it is gone")
                return
        self._client.written(item)
        if way != "before":
            with CancelScope(shield=way == "shielded"):
                await self._wait_for_client()

    async def _wait_for_client(self) -> None:
        while self._client.full and not self.gone:
            await self.room.wait()

    def ended(self, *, failed: bool, cancelled: bool = False) -> None:
        """Note that the application has ended; end the connection, if it has not."""
        dialect = self._dialect
        if self._state is RESPONSE:
            self._deny()  # with the part of the body that was sent
        elif self._state is CONNECTING:
            self.unanswered = True
            status = dialect.raises_early if failed else dialect.returns_early
            self._reject(status, body=dialect.error_body)
        elif self._state is CONNECTED and not self.gone:
            code = dialect.raises_late if failed else dialect.returns_late
            self.hang_up(None if cancelled else code)
        elif self._accepted and self.answer is None:
            self._answer(Answer(0, Headers()))
        else:
            self._client.written(End())

    def hang_up(self, code: int | None, reason: str = "") -> None:
        """End the connection; with a closing frame, if there is a code."""
        self.gone = True
        self._client.written(End() if code is None else CloseFrame(code, reason))
        self.room.wake()

    def give_up(self) -> None:
        """Act as the server does when the peer has answered no ping in time."""
        way = self._dialect.keepalive
        if way is None or self._state is not CONNECTED or self.gone:
            return
        code, reason = 1011, "keepalive ping timeout"
        if way == "told":
            self._tell_end(code, reason, CloseInfo(code, reason, "local", False))
        else:
            self._lose()
        self.hang_up(code, reason)

    def shut_down(self) -> None:
        """Act as the server does at once when it has to stop."""
        shutdown = self._dialect.shutdown
        if self._state is not CONNECTED or self.gone:
            return
        if shutdown.tells is not None:
            info = CloseInfo(shutdown.tells, "", "local")
            self._tell_end(shutdown.tells, None, info)
        if shutdown.frame is not None or shutdown.hangs_up:
            self.hang_up(shutdown.frame)
