"""The direct channel: a session's short way to the frames of its own connection.

Whole reads of the transport are handed to `receive_data`. The messages found go
straight into the session's queue, in the task that has read them, and behind its first
mark too, so that pings, pongs and the peer's close are seen although the application
does not read. At the second mark `paused` asks for no more reads, and TCP pushes back;
what was read by then and not looked at is kept here, as bytes. The session's writer
task frames all that is queued and writes it at once.

The opening handshake and the transport are the business of the code that makes the
channel.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from anyio import Event as Signal

from .._session.channel import Inbox
from .._session.wakeup import Wakeup
from .._values.closing import CloseCode, CloseInfo
from .._values.events import FRAGMENT, INFO, Event, size_of
from .._values.states import CLOSE, DISCONNECT
from .codec import Codec
from .transport import Outlet

# What one read finds is queued whole, so compressed reads are looked at in slices.
SLICE_BYTES: Final = 4096

# Bytes that come before the handshake is complete, and bytes of answers to pings that
# the peer does not read, after which reading stops.
EARLY_BYTES: Final = 64 * 1024
ANSWERS_BYTES: Final = 64 * 1024

# Events that are frames, and no answer to the opening handshake.
_FRAMED: Final = frozenset({CLOSE, FRAGMENT})


class FrameChannel:
    """One connection's frames, as the channel of its session.

    Args:
        outlet: Where the frames are written.
        answer: Sends an event of the opening handshake.
        ended: Called once, when the peer has closed, gone or broken the rules.

    Attributes:
        inbox: Where its messages go; set by the session that takes the channel.
        outlet: Where the frames are written; another one may take its place between two
            writes.
        paused: Whether to read no more for now.
    """

    __slots__ = (
        "_answer",
        "_arrived",
        "_codec",
        "_ended",
        "_eof",
        "_events",
        "_flushed",
        "_flushing",
        "_rest",
        "_sliced",
        "_unfed",
        "inbox",
        "outlet",
        "paused",
    )

    def __init__(
        self,
        outlet: Outlet,
        answer: Callable[[Event], Awaitable[None]],
        ended: Callable[[], None],
    ) -> None:
        self.inbox: Inbox
        self.paused = False
        self.outlet = outlet
        self._answer = answer
        self._ended: Callable[[], None] | None = ended
        self._codec: Codec | None = None
        self._sliced = False
        self._unfed = b""  # read, and not looked at yet
        self._events: list[Event] = []
        self._arrived = Wakeup()
        self._flushing = False
        self._eof = False  # behind what is not looked at yet
        self._flushed: Signal | None = None  # another task waits to flush
        self._rest = b""  # framed, and not written yet

    # For who reads the transport

    def post(self, event: Event) -> None:
        """Give the session an event that is not a message."""
        self._events.append(event)
        self._arrived.wake()

    def open(self, codec: Codec, *, compressed: bool) -> None:
        """Take note that the handshake is complete; look at what came early."""
        self._codec, self._sliced = codec, compressed
        if self._unfed or self._eof:
            self._go_on()
            self.paused = self._full

    def receive_data(self, data: bytes) -> None:
        """Take in what was read from the transport."""
        if self._ended is None:
            return
        if self._codec is None or self._sliced or self.paused:
            self._unfed += data
            self._go_on()
            self.paused = self._full
        elif not self._take_in(self._codec, data):
            self.paused = self._full

    def receive_eof(self, *, aborted: bool = False) -> None:
        """Take in the end of the transport; aborted, what was kept is dropped."""
        if aborted:
            self._unfed = b""
        if self._codec is not None:
            self._eof = True
            self._go_on()
        else:
            self._end(CloseInfo(CloseCode.ABNORMAL_CLOSURE, "", "network", False))

    def _take_in(self, codec: Codec, data: bytes) -> bool:
        """Find the messages, and hand them on; false: that may have been too much."""
        inbox, roomy = self.inbox, True
        for event in codec.receive(data):
            text = event["text"]
            plain = text is not None and text.isascii()
            size = len(text) if plain else size_of(event)
            if not inbox.offer(event, size):
                inbox.keep(event, size)
                roomy = False
        if codec.fragments and codec.under_way:
            inbox.wake_receiver()
        if codec.pongs:
            for payload in codec.pongs:
                inbox.pong(payload)
            codec.pongs.clear()
        if codec.answers_size:
            inbox.wake_writer()
            roomy = roomy and codec.answers_size <= ANSWERS_BYTES
        if codec.info is not None:
            self._end(codec.info)
        return roomy

    def _end(self, info: CloseInfo) -> None:
        ended, self._ended = self._ended, None
        if ended is None:
            return
        self._unfed = b""
        code, reason = info.code, info.reason
        self.post({"type": DISCONNECT, "code": code, "reason": reason, INFO: info})
        ended()

    @property
    def _full(self) -> bool:
        if self._ended is None:
            return False
        codec = self._codec
        if codec is None:
            return len(self._unfed) > EARLY_BYTES
        return codec.answers_size > ANSWERS_BYTES or self.inbox.full

    def _go_on(self) -> None:
        """Look at what was read before; go on reading if there is room."""
        codec = self._codec
        while codec is not None and self._unfed and not self._full:
            size = SLICE_BYTES if self._sliced else len(self._unfed)
            data, self._unfed = self._unfed[:size], self._unfed[size:]
            self._take_in(codec, data)
        if codec is not None and self._eof and not self._unfed:
            codec.receive_eof()
            if codec.info is not None:
                self._end(codec.info)
        if self.paused and not self._full:
            self.paused = False
            self._resume_reading()

    def _resume_reading(self) -> None:
        self.outlet.resume()

    # For the session

    async def receive(self) -> Event:
        """Wait for the next event that is not a message."""
        while not self._events:
            await self._arrived.wait()
        return self._events.pop(0)

    def read_on(self) -> None:
        """Go on reading, if the session's queue has room again."""
        if self.paused:
            self._go_on()

    async def send(self, event: Event) -> None:
        """Send an event that is not a message."""
        if event["type"] in _FRAMED and self._codec is not None:
            await self.send_messages([event])
        else:
            await self._answer(event)
            await self.flush()  # what answers what came early

    async def send_messages(self, events: list[Event]) -> None:
        """Frame the messages, and write all there is to write at once."""
        if self._codec is not None:
            send = self._codec.send
            for event in events:
                send(event)
        await self.flush()

    def send_nowait(self, event: Event) -> bool:
        """Frame and write a message, unless others wait; what is left of it is kept."""
        codec, outlet = self._codec, self.outlet
        if (
            codec is None
            or not outlet.sends_at_once
            or self._rest
            or self._flushing
            or not codec.send(event)
        ):
            return False
        data = codec.take()
        written = outlet.send_nowait(data)
        if written < len(data):
            self._rest = data[written:]
            self.inbox.wake_writer()
        return True

    async def flush(self) -> None:
        """Write all there is to write; another task that is doing so is waited for."""
        while self._flushing:
            self._flushed = self._flushed or Signal()
            await self._flushed.wait()
        if self._codec is None:
            return
        self._flushing = True
        try:
            while data := self._rest + self._codec.take():
                self._rest = b""
                await self.outlet.send_all(data)
                if self.paused:
                    self._go_on()  # and write the answers to what is found
        finally:
            self._flushing = False
            if self._flushed is not None:
                self._flushed.set()
                self._flushed = None

    def read_in_receiving_task(self) -> Awaitable[None] | None:
        """Return `None`: a receiving task does not read the transport."""
        return None

    def interrupt(self) -> None:
        """Do nothing: no receiving task reads the transport."""

    def limit(self, max_message_bytes: int) -> None:
        """Have the next message judged by a new bound."""
        if self._codec is not None:
            self._codec.limit(max_message_bytes)

    def part(self) -> Event | None:
        """Have the message under way come in parts; return what has come of it.

        `None` if there is none. To be asked when the session's queue is empty.
        """
        return None if self._codec is None else self._codec.part()

    def skip(self) -> None:
        """Drop what is still to come of the message that comes in parts."""
        if self._codec is not None:
            self._codec.skip()

    def ping(self, payload: bytes) -> None:
        """Frame a ping, to be written by the next `send_messages`."""
        if self._codec is not None:
            self._codec.ping(payload)

    # For who has made the channel

    @property
    def ended(self) -> bool:
        """Whether the peer has closed, gone or broken the rules."""
        return self._ended is None

    @property
    def violated(self) -> bool:
        """Whether the peer broke the rules, and is told by our closing frame."""
        info = None if self._codec is None else self._codec.info
        return info is not None and info.initiator == "local"

    @property
    def said_goodbye(self) -> bool:
        """Whether the peer has closed by a frame, or is told by ours why we do."""
        info = None if self._codec is None else self._codec.info
        return info is not None and info.initiator != "network"

    def close(self, code: int) -> None:
        """Frame a close, if the session has left that undone."""
        if self._codec is not None:
            self._codec.send({"type": CLOSE, "code": code, "reason": ""})
