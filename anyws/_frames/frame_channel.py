"""The frames of one connection, as the direct channel of its session.

The reader of the transport, a task or a callback of the event loop, hands every read to
`receive_data`. The messages go straight into the session's queue, within that call.
They go in behind the queue's first mark too, so that pings, pongs and the peer's close
are seen although the application does not read. At the second mark `paused` stops
reading, and TCP holds up the peer; bytes that were read by then are kept here,
unparsed. `write` frames all that is queued and writes it in one go; `flush` waits until
the rest is written that the outlet has not taken.

The code that makes the channel answers the opening handshake and owns the transport.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from anyio import Event as Signal
from anyio import sleep_forever

from .._session.channel import Address, Inbox
from .._session.upkeep import Run
from .._values.closing import CloseCode, CloseInfo
from .._values.events import INFO, Event, size_of
from .._values.states import CLOSE, DISCONNECT
from .codec import Codec
from .deflate import Deflation
from .transport import PIECE_BYTES, Outlet

# Reading pauses above so many bytes received before the handshake is complete, and
# above so many bytes of pongs that the peer does not read.
EARLY_BYTES: Final = 16 * 1024
ANSWERS_BYTES: Final = 64 * 1024


class FrameChannel:
    """One connection's frames, as the channel of its session.

    Args:
        outlet: Where the frames are written.
        answer: Sends an event of the opening handshake.
        ended: Called once, when the peer has closed, left or broken the protocol.

    Attributes:
        inbox: Where the messages go; set by the session that takes the channel.
        outlet: Where the frames are written. It may be replaced between two writes.
        paused: Whether the reader of the transport must not read for now.
        writes_at_once: Whether the outlet takes bytes at once, as far as is known.
        peer_address: The address of the other end of the transport; set by the maker.
    """

    __slots__ = (
        "_answer",
        "_codec",
        "_ended",
        "_eof",
        "_flushed",
        "_flushing",
        "_of_message",
        "_reader_waits",
        "_taken",
        "_unparsed",
        "_unwritten",
        "inbox",
        "outlet",
        "paused",
        "peer_address",
        "writes_at_once",
    )

    def __init__(
        self,
        outlet: Outlet,
        answer: Callable[[Event], Awaitable[None]],
        ended: Callable[[], None],
    ) -> None:
        self.inbox: Inbox
        self.paused = False
        self._unwritten = b""  # framed bytes that the outlet has not had yet
        self.writes_at_once = outlet.sends_at_once
        self._taken = False  # whether the outlet has taken bytes at once
        self.outlet = outlet
        self.peer_address: Address = None
        self._answer = answer
        self._ended: Callable[[], None] | None = ended
        self._codec: Codec | None = None
        self._reader_waits = False  # the reader of the transport was told of `paused`
        self._unparsed = b""  # bytes received and not parsed yet
        self._flushing = False
        self._eof = False  # whether the stream ends behind `_unparsed`
        self._flushed: Signal | None = None  # another task waits to flush
        self._of_message = False  # whether a message is among the bytes to be written

    # For the reader of the transport

    def post(self, event: Event) -> None:
        """Give the session an event that is not a message, if there is a session.

        An opening handshake that was refused has none.
        """
        inbox: Inbox | None = getattr(self, "inbox", None)
        if inbox is not None:
            inbox.post(event)

    def open(self, codec: Codec, *, answer: bytes = b"") -> None:
        """Note that the opening handshake is complete; parse the bytes that came early.

        Args:
            codec: The codec of the connection.
            answer: Bytes that are to be written before the first frame.
        """
        self._codec = codec
        self._unwritten = answer
        if self._unparsed or self._eof:
            self._parse_kept()
            self.paused = self._full

    def receive_data(self, data: bytes) -> None:
        """Parse bytes that were read, in one step, or keep them; set `paused`."""
        if self._ended is None:
            return
        if self._unparsed:
            data = self._unparsed + data
        if self._codec is None or (self.paused and self._full):
            self._unparsed = data
            self.paused = self._full
        else:
            self.paused = not self._parse(self._codec, data) and self._full
        self._reader_waits = self.paused
        codec = self._codec
        if codec is not None:
            self.inbox.progressed(of_message=codec.message_advanced())

    @property
    def unfinished(self) -> bool:
        """Whether bytes are left for the next step, `receive_data` without new bytes.

        While reading is paused, they are not: they wait for room.
        """
        return bool(self._unparsed) and not self.paused and self._codec is not None

    def receive_eof(self, *, aborted: bool = False) -> None:
        """Note the end of the stream, behind all bytes that are kept.

        Args:
            aborted: Whether the kept bytes are dropped: the stream was reset.
        """
        if aborted:
            self._unparsed = b""
        if self._codec is not None:
            self._eof = True
            self._parse_kept()
        else:
            self._end(CloseInfo(CloseCode.ABNORMAL_CLOSURE, "", "network", False))

    def _parse(self, codec: Codec, data: bytes) -> bool:
        """Parse bytes in one step, and put the messages into the inbox.

        Bytes that this step does not handle are kept. Returns false if a message had no
        room, or if many answers wait to be written: then `_full` says whether to pause.
        """
        inbox, roomy = self.inbox, True
        for event in codec.receive(data):
            text = event["text"]
            plain = text is not None and text.isascii()
            size = len(text) if plain else size_of(event)
            # Where one message had no room, no later one of this step has any.
            asked = roomy or inbox.selective
            if not (asked and inbox.offer(event, size)):
                inbox.keep(event, size)
                roomy = False
        self._unparsed = codec.rest
        if codec.under_way:
            inbox.wake_receiver()
        if codec.pongs:
            for payload in codec.pongs:
                inbox.pong(payload)
            codec.pongs.clear()
        if codec.info is not None:
            self._end(codec.info)  # the end of the reading writes the answer
        elif codec.answers_size:
            inbox.wake_writer()
            roomy = roomy and codec.answers_size <= ANSWERS_BYTES
        return roomy

    def _end(self, info: CloseInfo) -> None:
        ended, self._ended = self._ended, None
        if ended is None:
            return
        self._unparsed = b""
        code, reason = info.code, info.reason
        self.post({"type": DISCONNECT, "code": code, "reason": reason, INFO: info})
        ended()

    @property
    def _full(self) -> bool:
        """Whether there is no room for more, so that reading has to pause."""
        if self._ended is None:
            return False
        codec = self._codec
        if codec is None:
            return len(self._unparsed) > EARLY_BYTES
        return codec.answers_size > ANSWERS_BYTES or self.inbox.full

    def _parse_kept(self) -> None:
        """Parse bytes that are kept, if there is room; then resume reading.

        The reader of the transport takes the steps after the first one, if it waits for
        room. The end of the stream is noted once all bytes before it are parsed.
        """
        codec = self._codec
        while codec is not None and self._unparsed and not self._full:
            self._parse(codec, self._unparsed)
            if self._reader_waits and not self._eof:
                break
        if codec is not None and self._eof and not self._unparsed:
            codec.receive_eof()
            if codec.info is not None:
                self._end(codec.info)
        if self.paused and not self._full:
            if self.pausing:
                self.inbox.progressed(of_message=False)  # a pause of ours is over
            self.paused = self._reader_waits = False
            self._resume_reading()

    def _resume_reading(self) -> None:
        self.outlet.resume()

    # For the session

    def read(self) -> Run | None:
        """Return `None`: the maker of the channel reads, and hands it over."""
        return None

    def stop(self) -> None:
        """Do nothing: bytes that are still handed over are dropped."""

    def read_on(self) -> None:
        """Resume reading, if the session's queue has room again."""
        if self.paused:
            self._parse_kept()

    async def receive(self) -> Event:
        """Wait for ever: all events go to `inbox`."""
        await sleep_forever()
        raise AssertionError("unreachable")

    async def send(self, event: Event) -> None:
        """Send an event of the opening handshake; raise `OSError` if writing does."""
        await self._answer(event)

    def write(self, events: list[Event]) -> bool:
        """Frame events, clear the list, and write what the outlet takes at once.

        Returns false if bytes are left, or if another task is writing.
        """
        codec = self._codec
        if codec is None:
            return True
        if events:
            self._frame(codec, events)
        if self._flushing:
            return False
        data = self._unwritten + codec.take() if self._unwritten else codec.take()
        if not data:
            return True
        written = self.outlet.send_nowait(data)
        self._note(written)
        self._unwritten = data[written:]
        if self._unwritten:
            return False
        self._of_message = False
        if self.paused:
            self._parse_kept()  # there is room for answers again
        return True

    @property
    def has_unwritten(self) -> bool:
        """Whether bytes are framed that the outlet has not taken yet."""
        return bool(self._unwritten)

    def _note(self, written: int) -> None:
        """Learn whether the outlet takes bytes at once; the first try decides."""
        if written:
            self.writes_at_once = self._taken = True
        elif not self._taken:
            self.writes_at_once = False

    def _frame(self, codec: Codec, events: list[Event]) -> None:
        """Frame events, and keep none of them while their frames wait."""
        for event in events:
            codec.send(event)
        self._of_message = True
        events.clear()

    def send_nowait(self, event: Event) -> bool:
        """Frame a message and write what the outlet takes at once.

        The rest is kept, and written by `write` or `flush`. Returns false, and does
        nothing, where that is not possible: a write is under way, or the connection is
        closed.
        """
        codec, outlet = self._codec, self.outlet
        if (
            codec is None
            or not outlet.sends_at_once
            or self._unwritten
            or self._flushing
            or self.paused  # `flush` must write: it alone goes on to parse
        ):
            return False
        data = codec.send_and_take(event)
        if data is None:
            return False
        written = outlet.send_nowait(data)
        self._note(written)
        if written < len(data):
            self._unwritten = data[written:]
            self._of_message = True
            self.inbox.wake_writer(len(self._unwritten))
        return True

    @property
    def pausing(self) -> bool:
        """Whether reading has stopped, and no write waits for the peer."""
        return self.paused and not self._flushing

    def take_room(self) -> None:
        """Note that the peer has made room for bytes that the outlet holds.

        For an outlet whose `send_all` cannot tell of it, as a stream of HTTP/2.
        """
        if self._codec is not None:
            self.inbox.progressed(of_message=self._flushing and self._of_message)

    async def flush(self) -> None:
        """Write all that is framed, after a write of another task that is under way.

        Raises:
            OSError: The connection is broken.
        """
        while self._flushing:
            self._flushed = self._flushed or Signal()
            await self._flushed.wait()
        if self._codec is None:
            return
        if self.pausing:
            self.inbox.progressed(of_message=False)  # a pause of ours is over
        self._flushing = True
        try:
            while data := self._unwritten + self._codec.take():
                await self._write(data)
                self._of_message = False
                if self.paused:
                    self._parse_kept()  # there is room for answers again
        finally:
            self._flushing = False
            if self._flushed is not None:
                self._flushed.set()
                self._flushed = None

    async def _write(self, data: bytes) -> None:
        """Write in pieces, and tell the session of each that had to wait.

        If a piece fails or is cancelled, the rest stays unwritten: an outlet that
        writes a whole piece by itself all the same has the rest later.
        """
        at = 0
        try:
            while at < len(data):
                piece = data[at : at + PIECE_BYTES]
                at += len(piece)
                if await self.outlet.send_all(piece):
                    self.inbox.progressed(of_message=self._of_message)
        finally:
            self._unwritten = data[at:]

    def read_in_receiving_task(self) -> Awaitable[None] | None:
        """Return `None`: a receiving task does not read the transport."""
        return None

    def interrupt(self) -> None:
        """Do nothing: no receiving task reads the transport."""

    def limit(self, max_message_bytes: int) -> None:
        """Have the next message judged by a new bound."""
        if self._codec is not None:
            self._codec.limit(max_message_bytes)

    def deflation(self, event: Event) -> Deflation | None:
        """Return what compresses a message in steps; `None`: it is not compressed."""
        return None if self._codec is None else self._codec.deflation(event)

    def part(self) -> Event | None:
        """Deliver the message under way in parts from now on; return the first part.

        `None` if no message is under way. The session's queue must be empty: messages
        in it came before this one.
        """
        return None if self._codec is None else self._codec.part()

    def skip(self) -> None:
        """Drop the rest of the message that is delivered in parts."""
        if self._codec is not None:
            self._codec.skip()

    def ping(self, payload: bytes) -> bytes | None:
        """Frame a ping, which the next `write` writes."""
        return None if self._codec is None else self._codec.ping(payload)

    def withdraw(self, ping: bytes | None) -> None:
        """Do not write a ping that the outlet has not had yet."""
        if self._codec is not None and ping is not None:
            self._codec.withdraw(ping)

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        """AnyIO's typed attributes of the transport."""
        return self.outlet.extra_attributes

    # For the maker of the channel

    @property
    def ended(self) -> bool:
        """Whether the peer has closed, left or broken the protocol."""
        return self._ended is None

    @property
    def violated(self) -> bool:
        """Whether the peer broke the protocol, as our closing frame tells it."""
        info = None if self._codec is None else self._codec.info
        return info is not None and info.initiator == "local"

    @property
    def said_goodbye(self) -> bool:
        """Whether the peer has sent a closing frame, or broken the protocol.

        In both cases a closing frame of ours is on its way.
        """
        info = None if self._codec is None else self._codec.info
        return info is not None and info.initiator != "network"

    def close(self, code: int) -> None:
        """Frame a close, unless a closing frame was sent or received before."""
        if self._codec is not None:
            self._codec.send({"type": CLOSE, "code": code, "reason": ""})
