"""The two tasks of a guarded connection, its deadlines and its ends.

A channel is a pair `receive() -> event`, `send(event)`. The reader task moves what
comes out of it into a bounded buffer, the writer task moves what is in another bounded
buffer into it. The user's code meets the buffers only, so that a cancelled call of the
user's never reaches the channel: a server's `send` that is cancelled tears frames.

Both tasks run in shielded scopes of their own and end after the block: the writer when
it has sent what was queued and the closing frame, the reader when it has seen the
peer's answer or `close_timeout` is over. It discards what else comes meanwhile, and
does not leave in the midst of a flood: that leaks sockets on Hypercorn when its queue
is full. The host only waits for the tasks, since AnyIO's shield does not stop native
asyncio cancellation. Neither task raises, and neither cancels a scope that encloses the
user's code, those of `cancel_on_disconnect()` excepted.

The reader is the one that keeps the time: all deadlines (idle, send, close) meet in the
scope of its pending receive. So a server's `send` that cannot be cancelled, as
Hypercorn's on trio, does not keep a deadline from being noticed.

`info` is the one mark of the end: it is set at once, by whoever ends the connection.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from math import inf
from typing import Any, Final, Protocol, TypeAlias

from anyio import (
    BrokenResourceError,
    CancelScope,
    ClosedResourceError,
    EndOfStream,
    current_time,
)
from anyio import Event as Signal
from anyio.lowlevel import checkpoint
from starlette.websockets import WebSocketDisconnect, WebSocketState

from ._buffer import Buffer, Item
from ._close import CloseCode, CloseInfo
from ._errors import ConnectionClosed, MessageTooBig
from ._events import INFO, MORE, Event, info_of, size_of
from ._options import Options
from ._pings import KEEPALIVE, Pings
from ._states import (
    CLOSE,
    CONNECTED,
    CONNECTING,
    DISCONNECT,
    DISCONNECTED,
    RECEIVE,
    RESPONSE,
    Role,
    next_state,
)

ChannelReceive: TypeAlias = Callable[[], Awaitable[Event]]
ChannelSend: TypeAlias = Callable[[Any], Awaitable[None]]

# What a channel raises once the peer is gone; servers use RuntimeError for it too.
_GONE: Final = (
    OSError,
    RuntimeError,
    WebSocketDisconnect,
    BrokenResourceError,
    ClosedResourceError,
    EndOfStream,
)

# Seconds of silence that end a flood, and that a deadline is given when it has passed:
# the event loop may have been held up, and what came in time be about to arrive.
_LULL: Final = 0.03

# How many times the wait for the peer's answer a flood may last.
_FLOOD_FACTOR: Final = 10

# Seconds of silence in which a channel that has failed may still tell why.
_LAST_WORDS: Final = 0.5

# So many messages that were queued in one turn of the scheduler are a burst. What it
# brings in the next turns goes out in the same write, up to these messages and bytes.
_BURST: Final = 8
_WRITE_MESSAGES: Final = 64
_WRITE_BYTES: Final = 16 * 1024

_DEFAULTS: Final = Options()


class DirectChannel(Protocol):
    """A channel of our own that takes a short way for messages.

    Its `receive` has only what is no message. It puts messages into the link's buffer
    itself, by `feed`, in the task that has read them, and keeps what has no room yet.
    """

    async def receive(self) -> Event:
        """Wait for the next event that is not a message."""

    async def send(self, event: Event) -> None:
        """Send an event that is not a message."""

    async def send_messages(self, events: list[Event]) -> None:
        """Send messages in one go, and whatever else waits to be written."""

    def send_nowait(self, event: Event) -> bool:
        """Send a message without waiting; false: that cannot be done now."""

    def deliver(self) -> None:
        """Hand over, by `feed`, what had no room before."""

    def fetch(self) -> Awaitable[None] | None:
        """Read, in the task that receives; `None`: somebody else does."""

    def interrupt(self) -> None:
        """Have who reads by `fetch` look at its buffer."""

    def part(self) -> Event | None:
        """Have the message under way come in parts; return what has come of it."""

    def skip(self) -> None:
        """Drop what is still to come of the message that comes in parts."""

    def ping(self, payload: bytes) -> None:
        """Have a ping written by the next `send_messages`."""

    @property
    def paused(self) -> bool:
        """Whether nothing is read any more, since there is no room for it."""


class Link:
    """One channel, its two buffers, and the tasks between them.

    Attributes:
        info: How the connection ended; `None` while it is open.
        client_state, application_state: What has passed the channel.
        options: The settings.
        pings: Where the frames are ours to send.
    """

    # An object of so many attributes would carry a dict of 1.5 KiB.
    __slots__ = (
        "_accepted",
        "_alarmed",
        "_aside",
        "_bursting",
        "_cause",
        "_channel_receive",
        "_channel_send",
        "_close_at",
        "_direct",
        "_error",
        "_farewell",
        "_fault",
        "_flood_until",
        "_gathering",
        "_held",
        "_idle_at",
        "_inbound",
        "_infos",
        "_leaving",
        "_linger",
        "_lost",
        "_outbound",
        "_quiet_limit",
        "_read_done",
        "_read_scope",
        "_reading",
        "_received",
        "_received_bytes",
        "_sent",
        "_sent_bytes",
        "_stopped",
        "_streaming",
        "_stuck_at",
        "_suspect",
        "_watchers",
        "_write_done",
        "_write_scope",
        "_writing",
        "application_state",
        "client_state",
        "info",
        "options",
        "pings",
    )

    def __init__(
        self,
        receive: ChannelReceive,
        send: ChannelSend,
        options: Options | None = None,
        *,
        client_state: WebSocketState = CONNECTING,
        application_state: WebSocketState = CONNECTING,
        direct: DirectChannel | None = None,
    ) -> None:
        options = _DEFAULTS if options is None else options
        self.options: Options = options
        self.info: CloseInfo | None = None
        self.pings: Pings = Pings()
        self.client_state: WebSocketState = client_state
        self.application_state: WebSocketState = application_state
        self._channel_receive = receive
        self._channel_send = send
        self._direct = direct
        self._inbound = Buffer(options.receive_buffer, options.max_message_bytes)
        self._outbound = Buffer(options.send_buffer, options.send_buffer_bytes)
        self._received = self._received_bytes = self._sent = self._sent_bytes = 0
        # The end
        self._accepted = application_state is CONNECTED
        self._farewell: Event | None = None  # our closing frame
        self._lost = False  # the channel has failed
        self._alarmed = False  # it ended, and not by the user's own close
        self._infos: tuple[CloseInfo, ...] = ()  # all that `info` has been
        self._cause: BaseException | None = None  # why it ended
        self._error: type[ConnectionClosed] = ConnectionClosed
        self._fault: BaseException | None = None  # a defect that the user must hear of
        self._watchers: list[CancelScope] = []
        # The tasks
        self._read_scope = CancelScope(shield=True)
        self._write_scope = CancelScope(shield=True)
        self._idle_at = self._stuck_at = self._close_at = self._flood_until = inf
        self._quiet_limit = options.idle_timeout  # seconds
        self._suspect = False  # a deadline has passed, and is looked at once more
        self._held: Event | None = None  # received, not delivered yet
        self._leaving = False  # the block has been left
        self._linger = options.close_timeout  # seconds without an answer to our close
        self._aside: Signal | None = None  # the reader has stepped back
        self._stopped = False  # there is nothing left to read for
        self._reading = self._writing = True
        self._bursting = False  # a message was sent at once; the next ones are queued
        self._streaming: Signal | None = None  # a message is sent in parts, until then
        self._gathering = False  # the writer has messages that are not framed yet
        self._read_done: Signal | None = None
        self._write_done: Signal | None = None

    # The ends

    def _end_as(self, info: CloseInfo) -> None:
        self.info = info
        self._infos += (info,)
        self.pings.end()
        if self._streaming is not None:
            self._streaming.set()

    def _close(self, code: int, reason: str) -> None:
        """End the connection from our side: the writer sends the rest and the close."""
        self.application_state = next_state(
            Role.APPLICATION, self.application_state, CLOSE
        )
        self._end_as(CloseInfo(int(code), reason, "local"))
        self._farewell = {"type": CLOSE, "code": int(code), "reason": reason}
        self._close_inbound()
        self._outbound.close()
        self._close_by(current_time() + self.options.close_timeout)
        if self._direct is not None:
            self._direct.deliver()  # nobody will read it: the answer is behind it

    def _close_by_rule(
        self, code: int, reason: str, error: type[ConnectionClosed] = ConnectionClosed
    ) -> None:
        """End the connection because one of the options says so."""
        if self.info is not None:
            return
        self._alarm()
        self._error = error
        self._close(code, reason)

    def _lose(self, cause: BaseException, clean: bool | None = None) -> None:
        """The channel has failed. The reader goes on for a while: it may learn why."""
        self._lost = True
        if self.info is None:
            self._end_as(CloseInfo(CloseCode.ABNORMAL_CLOSURE, "", "network", clean))
            self._cause = cause
            self._alarm()
        if self._reading and not isinstance(cause, _GONE):
            self._fault = cause
        self._outbound.discard()
        self._quiet_limit = _LAST_WORDS
        if not self._stranded:
            self._await_message()
        elif self._read_done is not None:
            self._read_done.set()

    def _peer_left(self, event: Event) -> None:
        """The channel has delivered the disconnect, which explains a failed send."""
        self._fault = None
        if self._farewell is None:
            self._end_as(info_of(event))
            if (
                self._direct is not None
                and info_of(event).code == CloseCode.MESSAGE_TOO_BIG
                and info_of(event).initiator == "local"
            ):
                self._error = MessageTooBig
            self._alarm()
        elif INFO in event and self.info is not None:
            self._end_as(replace(self.info, clean=info_of(event).clean))
        self._outbound.discard()

    def _alarm(self) -> None:
        """Cancel the blocks that end with the connection, before any waiter wakes."""
        self._alarmed = True
        for scope in self._watchers:
            scope.cancel()

    def _settle(self) -> None:
        """After block and writer, only the answer to our closing frame is awaited."""
        if not self._leaving or self._writing:
            return
        explained = self._lost and self._fault is None
        if self._farewell is None or explained or not self._accepted:
            self._stopped = True
            self._read_scope.cancel()
        else:
            self._close_by(current_time() + self._linger)
            self._flood_until = current_time() + _FLOOD_FACTOR * self._linger

    # The deadlines

    def _next_deadline(self) -> float:
        return min(self._idle_at, self._stuck_at, self._close_at, self.pings.beat_at)

    def _close_by(self, at: float) -> None:
        self._close_at = min(at, self._close_at)
        self._write_scope.deadline = self._close_at
        self._read_scope.deadline = self._next_deadline()

    def _await_message(self) -> None:
        """Start to count the seconds without a message."""
        if self._quiet_limit is not None and (self._accepted or self._lost):
            self._suspect = False
            self._idle_at = current_time() + self._quiet_limit
            self._read_scope.deadline = self._next_deadline()

    def _await_send(self, timeout: float) -> None:
        """Start to count the seconds of a send; or end it, if they are infinite."""
        self._suspect = False
        self._stuck_at = current_time() + timeout
        self._read_scope.deadline = self._next_deadline()

    def _time_is_up(self) -> bool:
        """Act on a deadline; true if there is no more reading after it."""
        now = current_time()
        if self._stopped:
            return True
        if now >= self._close_at:
            return self._give_up()
        if now >= self.pings.beat_at:
            self._beat()
        if now < min(self._idle_at, self._stuck_at):
            return False
        if not self._suspect:
            self._suspect = True
            self._idle_at = max(self._idle_at, now + _LULL)
            self._stuck_at = max(self._stuck_at, now + _LULL)
        elif now >= self._stuck_at:
            self._stuck_at = inf
            cause = TimeoutError("the server took no message within send_timeout")
            self._lose(cause, clean=False)
            self._write_scope.cancel()
        elif self._lost:
            return True
        else:
            self._idle_at = inf
            self._close_by_rule(CloseCode.GOING_AWAY, "idle timeout")
        return False

    # The keepalive, where pings are ours to send

    def _start_beating(self) -> None:
        if self._direct is not None and self.info is None:
            self.pings.rest(self.options.ping_interval)
            self._read_scope.deadline = self._next_deadline()

    def _beat(self) -> None:
        """Send a ping, or find that the last one was not answered."""
        direct, pings = self._direct, self.pings
        timeout = self.options.ping_timeout
        if direct is None or self.info is not None:
            pings.beat_at = inf
        elif not pings.awaited:
            pings.sent(timeout)
            direct.ping(KEEPALIVE)
            self.wake_writer()
        elif direct.paused:  # it is we who do not read
            pings.beat_at = current_time() + (timeout or 0)
        elif pings.late(_LULL):
            self._close_by_rule(CloseCode.INTERNAL_ERROR, "keepalive ping timeout")

    def pong(self, payload: bytes) -> None:
        """Take note of a pong."""
        if self.pings.answered(payload):
            self._start_beating()

    def _give_up(self) -> bool:
        """Nothing more will be heard of the peer."""
        if self.info is not None:
            self._end_as(replace(self.info, clean=False))
        return True

    # The writer

    async def _write(self) -> None:
        """Hand over what is queued, in order, and then the closing frame."""
        with self._write_scope:
            try:
                await self._hand_over()
                if self._farewell is not None and self._reading:
                    if self._direct is None:
                        await self._pause_reading()
                    await self._channel_send(self._farewell)
            except Exception as exc:
                self._lose(exc)
        self._writing = False
        self._outbound.discard()
        if self._write_done is not None:
            self._write_done.set()
        self._settle()

    async def _pause_reading(self) -> None:
        """Let the reader step back: Granian holds a close behind a receive."""
        self._aside = Signal()
        self._read_scope.cancel()
        await self._aside.wait()

    async def _hand_over(self) -> None:
        outbound, direct = self._outbound, self._direct
        woken = direct is not None  # by what came about before this task did
        while woken or not (outbound.empty and outbound.closed):
            if outbound.empty and not woken:
                await outbound.filled.wait()
                if direct is None:
                    continue
            woken = False
            timeout = self.options.send_timeout
            if timeout is not None:
                self._await_send(timeout)
            if direct is not None and (outbound.empty or outbound.messages_only):
                await self._hand_over_messages(direct)
            else:
                await self._hand_over_event()
            if timeout is not None:
                self._await_send(inf)

    async def _hand_over_event(self) -> None:
        event, size, receipt = self._outbound.take_nowait()
        try:
            await self._channel_send(event)
        finally:
            if receipt is not None:
                receipt.set()
        if receipt is None:
            self._sent += 1
            self._sent_bytes += size

    async def _hand_over_messages(self, direct: DirectChannel) -> None:
        """Hand over all messages that are queued, in one go; without any, its own."""
        items = self._outbound.take_messages()
        self._bursting = False
        if len(items) >= _BURST:
            await self._gather(items)
        await direct.send_messages([item[0] for item in items])
        self._sent += len(items)
        self._sent_bytes += sum([item[1] for item in items])

    async def _gather(self, items: list[Item]) -> None:
        """Add what a burst brings in the next turns: a write costs more than these."""
        fresh, size = items, 0
        self._gathering = True
        while len(fresh) >= _BURST and len(items) < _WRITE_MESSAGES:
            size += sum([item[1] for item in fresh])
            if size >= _WRITE_BYTES:
                break
            await checkpoint()
            if not self._outbound.messages_only:
                break
            fresh = self._outbound.take_messages()
            items += fresh
        self._gathering = False

    def _send_at_once(self, event: Event, size: int) -> bool:
        """Send a message that is alone: one hand-over less. False: queue it.

        It is alone if none waits, in either direction, and if it is the first since the
        last turn of the scheduler that we know of: those of a burst go in one write.
        """
        direct = self._direct
        if (
            direct is None
            or self._bursting
            or self._gathering
            or not (self._outbound.empty and self._inbound.empty)
            or not direct.send_nowait(event)
        ):
            return False
        self._bursting = True
        self._sent += 1
        self._sent_bytes += size
        return True

    def wake_writer(self) -> None:
        """Have the writer call the direct channel: it has bytes of its own to write."""
        self._outbound.filled.wake()

    # The reader

    async def _read(self) -> None:
        """Move events inwards until the disconnect; act when a deadline passes."""
        self._await_message()
        if self._accepted:
            self._start_beating()
        while True:
            with self._read_scope:
                if self._aside is not None:
                    await checkpoint()  # the closing frame goes first
                await self._take_in()
                break
            if self._time_is_up():
                break
            deadline = self._next_deadline()
            self._read_scope = CancelScope(deadline=deadline, shield=True)
            if self._aside is not None:
                self._aside.set()
        self._reading = False
        if self._aside is not None:
            self._aside.set()
        self._close_inbound()
        if self._read_done is not None:
            self._read_done.set()

    def _close_inbound(self) -> None:
        """Let nothing more in; who receives learns of it."""
        self._inbound.close()
        if self._direct is not None:
            self._direct.interrupt()

    @property
    def _answering(self) -> bool:
        """Whether the closing frame that answers the peer may be on its way."""
        network = self.info is None or self.info.initiator == "network"
        return self._direct is not None and not network

    @property
    def _stranded(self) -> bool:
        """Whether the reader can learn no more, as the user's code does not read."""
        return self._lost and self._held is not None

    async def _take_in(self) -> None:
        try:
            while True:
                if self._held is None:
                    self._held = await self._channel_receive()
                kind = self._held["type"]
                if kind != RECEIVE or self.client_state is not CONNECTED:
                    if self._change(self._held, kind):
                        return
                elif not self._deliver(self._held, size_of(self._held)):
                    await self._wait_for_room(self._held)
                self._held = None
        except Exception as exc:
            self._lose(exc)

    def _change(self, event: Event, kind: str) -> bool:
        """Pass on what changes the client's state; true for its end."""
        if kind == DISCONNECT:  # before a connect, too
            self._peer_left(event)
            self.client_state = DISCONNECTED
            return True
        self.client_state = next_state(Role.CLIENT, self.client_state, kind)
        self._inbound.put_handshake(event)
        return False

    def feed(self, event: Event, size: int) -> bool:
        """Take a message from the direct channel; false: there is no room yet."""
        self._bursting = False
        if self.client_state is not CONNECTING and self._deliver(event, size):
            return True
        if not self._lost:  # these may be its last words
            self._idle_at = inf  # it is we who keep the peer waiting
        return False

    def _deliver(self, event: Event, size: int) -> bool:
        """Put a message into the inbound buffer, by the options; false: it is full."""
        state = self.application_state
        if state is DISCONNECTED or state is RESPONSE:  # nobody will receive any more
            self._discard()
            return True
        if size > self.options.max_message_bytes:
            reason = f"over {self.options.max_message_bytes} bytes"
            self._close_by_rule(CloseCode.MESSAGE_TOO_BIG, reason, MessageTooBig)
        elif not self._inbound.put_nowait(event, size) and not self._overflow(
            event, size
        ):
            return False
        self._received += 1
        self._received_bytes += size
        if self._quiet_limit is not None:
            self._await_message()
        return True

    def _discard(self) -> None:
        """Let a message go that nobody will read; do not leave in the midst of a flood.

        Stock Hypercorn waits for room in its queue inside the task that reads the
        socket: to leave it there would leak the connection.
        """
        if self._farewell is not None and self._direct is None:
            lull = max(self._close_at, current_time() + _LULL)
            self._close_at = min(lull, self._flood_until)

    def _overflow(self, event: Event, size: int) -> bool:
        """Apply the overflow rule to a full buffer; false: wait for room."""
        rule = self.options.receive_overflow
        if MORE in event or self._inbound.has_parts:
            return False  # a message with a gap in it is none
        if rule == "drop_oldest":
            self._inbound.put_by_dropping(event, size)
        elif rule == "close":
            reason = "too many unread messages"
            self._close_by_rule(CloseCode.POLICY_VIOLATION, reason)
        elif self._watchers:  # in there, the disconnect must be reached
            self._inbound.dropped += 1
        else:
            return False
        return True

    async def _wait_for_room(self, event: Event) -> None:
        """Deliver a message once it has room, or is not wanted any more."""
        self._idle_at = inf  # it is we who keep the peer waiting
        self._read_scope.deadline = self._next_deadline()
        if self._lost and self._read_done is not None:
            self._read_done.set()
        await self._inbound.room.wait()
        while not self._deliver(event, size_of(event)):
            await self._inbound.room.wait()
        self._await_message()
