"""The frames of one connection: bytes on one side, ASGI events on the other.

The Sans-I/O core of `websockets` parses and makes the frames; it bounds what it
inflates, and checks the size of a frame before its payload (`core.py`). This module
adds the rest of RFC 6455: messages (`assembler.py`), and a `CloseInfo` that tells how
the connection ended. It does no I/O and has no timer; the two roles differ only in
whose frames are masked.

Most frames that are not compressed do not pass through the core. A header that the core
has made once is kept for the next frame of that size, and messages that are whole in
one frame, pings, pongs and a peer's close are parsed here. That takes a quarter of the
core's time, and most connections never make a core. Fragments, frames over a limit and
all that breaks a rule are left to the core, and so is every compressed message.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from secrets import token_bytes
from typing import Final, cast

from websockets.exceptions import ProtocolError
from websockets.extensions import Extension
from websockets.frames import Close, Frame, Opcode
from websockets.protocol import Side as Side
from websockets.protocol import State

try:
    from websockets.speedups import apply_mask
except ImportError:  # it was not compiled
    from websockets.utils import apply_mask

from .._values.closing import CloseCode, CloseInfo
from .._values.events import COMPRESS, DEFLATED, FRAGMENT, Event
from .._values.shared import SHARED, SharedMessage
from .._values.states import CLOSE, RECEIVE
from .core import CONTROL, Core, not_text
from .deflate import Deflated, Deflation
from .shared_frames import compression_of, compressor_for, frame_of

# The largest payload whose frame gets a header from the cache: making the header is
# most of the work on such a frame.
_SMALL_BYTES: Final = 1024

# The first byte of an uncompressed message that is whole in one frame, those of control
# frames, and the largest payload whose length fits into the second byte. Longer
# ones have 126 or 127 there, and the length in the bytes behind it (RFC 6455 section
# 5.2).
_WHOLE_TEXT: Final = 0x81
_WHOLE_BINARY: Final = 0x82
_WHOLE_CLOSE: Final = 0x88
_WHOLE_PING: Final = 0x89
_WHOLE_PONG: Final = 0x8A
_MESSAGES: Final = (_WHOLE_TEXT, _WHOLE_BINARY)
_SHORT_BYTES: Final = 125
_PLAIN: Final = (*_MESSAGES, _WHOLE_PING, _WHOLE_PONG)
_LENGTH_BYTES: Final = {126: 2, 127: 8}

# The most that one call of `receive` handles; a larger frame it takes whole:
# other connections wait meanwhile, and all messages in it are queued before the bounds
# of the queue are looked at. For the core it is less, as so many empty fragments take
# some milliseconds, and under compression each byte may inflate to a thousand.
STEP_FRAMES: Final = 2048
CORE_STEP_BYTES: Final = 1024

_MASK_BYTES: Final = 4
_MASKS_AT_ONCE: Final = 32

_TEXT, _BINARY = Opcode.TEXT, Opcode.BINARY
_OPEN: Final = State.OPEN
_DEFLATED: Final = (Deflated(),)
_OPCODES: Final = {"text": _TEXT, "binary": _BINARY, None: Opcode.CONT}


class Codec:
    """The frames of one connection, from the end of the opening handshake on.

    Args:
        side: The end of the connection that this is: a client masks its frames.
        max_message_bytes: Largest message accepted, in bytes of payload after
            decompression. A larger one ends the connection with 1009, before its
            payload is kept.
        extensions: The extensions that the opening handshake has agreed on.

    Attributes:
        info: How the peer has ended the connection: by its closing frame, by the end of
            the stream, or by a violation, with the code of the closing frame that
            answers the violation. `None` until then.
        answers_size: Bytes of pongs and closing frames that answer the peer, and that
            `take` has not yet returned.
        pongs: Payloads of the pongs received. The reader of the list clears it.
        rest: The bytes that the last call of `receive` has left for the next one.
    """

    __slots__ = (
        "_compressed",
        "_compression",
        "_core",
        "_extensions",
        "_incomplete",
        "_masks",
        "_max_message_bytes",
        "_needed_bytes",
        "_out",
        "_outdated",
        "_randomness",
        "_side",
        "answers_size",
        "info",
        "pongs",
        "rest",
    )

    def __init__(
        self,
        side: Side,
        *,
        max_message_bytes: int,
        extensions: Sequence[Extension] = (),
    ) -> None:
        self._side = side
        self._extensions = list(extensions)
        self._core: Core | None = None
        self._masks = side is Side.CLIENT
        self._compressed = bool(extensions)
        self._compression = compression_of(self._extensions)
        self._outdated = False  # whether the peer's context is ahead of our compressor
        self._randomness = b""  # masks not yet used
        # Frames that `take` has not yet returned.
        self._out: list[bytes | bytearray] = []
        self.answers_size = 0
        self._max_message_bytes = max_message_bytes
        self._incomplete: bytearray | None = None  # a frame that the core does not get
        self._needed_bytes = 0  # for its header, or for all of it
        self.info: CloseInfo | None = None
        self.pongs: list[bytes] = []
        self.rest: bytes = b""

    @property
    def _protocol(self) -> Core:
        """The core, made when it is first needed.

        Connections that exchange small messages, pings and pongs never need it.
        """
        core = self._core
        if core is None:
            core = Core(self._side, self._max_message_bytes, self._extensions)
            core.assembler.pongs = self.pongs
            self._core = core
        return core

    def limit(self, max_message_bytes: int) -> None:
        """Set the largest message accepted; one that is under way is judged anew."""
        self._max_message_bytes = max_message_bytes
        if self._core is not None:
            self._core.limit(max_message_bytes)

    # Receiving

    def receive(self, data: bytes) -> list[Event]:
        """Parse bytes that were read; return the messages as `websocket.receive`.

        Pings and the peer's closing frame are answered: `take` returns the answer. Once
        the connection has ended, all bytes are ignored.

        One call deals with some thousands of bytes, or with one message that is larger.
        Bytes that are left are in `rest` then, and belong in front of the next ones.

        Source: RFC 6455 sections 5 and 7; ASGI "websocket.receive".
        """
        events: list[Event] = []
        if self._incomplete is not None:
            self._incomplete += data
            if len(self._incomplete) < self._needed_bytes:
                return events
            data, self._incomplete = bytes(self._incomplete), None
        self.rest = b""
        if self.info is not None:
            return events
        core = self._core
        if core is None or core.is_at_message_start:
            try:
                data = self._read_plain(data, events)
            except UnicodeDecodeError as exc:
                self._violate(exc)
                return events
        if data:
            # A core gets no more than completes its frame: the next frame may be one
            # that `_read_plain` takes.
            size = CORE_STEP_BYTES if core is None else core.missing or CORE_STEP_BYTES
            self.rest = data[size:]
            self._read_by_core(data[:size], events)
        return events

    def _read_plain(self, data: bytes, events: list[Event]) -> bytes:
        """Parse messages, pings and pongs; return bytes that begin with another frame.

        A frame that is incomplete is kept. What one call need not deal with is left in
        `rest`.
        """
        masked = not self._masks
        mask_bit, start = (0x80, 2 + _MASK_BYTES) if masked else (0, 2)
        at, available, largest = 0, len(data), self._max_message_bytes
        step = STEP_FRAMES * start
        stop = min(available - start, step - 1)
        while at <= stop:
            first, size, begin = data[at], data[at + 1] - mask_bit, at + start
            if not 0 <= size <= _SHORT_BYTES:
                width = _LENGTH_BYTES.get(size)  # none if the mask bit is wrong
                if width is None or first not in _MESSAGES or begin + width > available:
                    break
                size = int.from_bytes(data[at + 2 : at + 2 + width])
                begin += width
            if size > largest:
                break
            end = begin + size
            if end > available:
                if first not in _PLAIN:
                    break
                self._incomplete = bytearray(data[at:])
                self._needed_bytes = end - at
                return b""
            payload = data[begin:end]
            if masked:
                payload = apply_mask(payload, data[begin - _MASK_BYTES : begin])
            if first == _WHOLE_TEXT:
                text = str(payload, "utf-8")
                events.append({"type": RECEIVE, "bytes": None, "text": text})
            elif first == _WHOLE_BINARY:
                events.append({"type": RECEIVE, "bytes": payload, "text": None})
            elif first == _WHOLE_PING:
                self._answer(self._framed(Opcode.PONG, payload))
            elif first == _WHOLE_PONG:
                self.pongs.append(payload)
            elif first == _WHOLE_CLOSE and self._take_close(payload):
                return b""
            else:
                break
            at = end
        if at >= step:
            self.rest = data[at:]
            return b""
        return data[at:]

    def _take_close(self, payload: bytes) -> bool:
        """Take the peer's close, and answer it; false if that is up to the core.

        It is where there is a core, which has to know of it, and where the close is
        invalid.

        Source: RFC 6455 section 5.5.1.
        """
        if self._core is not None:
            return False
        try:
            close = Close.parse(payload)
        except (ProtocolError, UnicodeDecodeError):
            return False
        self._answer(self._framed(Opcode.CLOSE, payload))
        self.info = CloseInfo(int(close.code), close.reason, "peer", True)
        return True

    def _read_by_core(self, data: bytes, events: list[Event]) -> None:
        """Parse all of the bytes by the core."""
        core = self._protocol
        if core.between_frames:
            core.between_frames, core.first_byte = False, data[0]
        core.assembler.events = events
        core.receive_data(data)
        core.assembler.events = []
        self._check_end()
        self._take_answers()

    def _violate(self, exc: UnicodeDecodeError) -> None:
        """Fail the connection because of text that is not UTF-8."""
        reason = not_text(exc)
        self._protocol.fail(CloseCode.INVALID_FRAME_PAYLOAD_DATA, reason)
        self._note_violation()
        self._take_answers()

    def _take_answers(self) -> None:
        """Take the frames with which the core answers the peer."""
        if answers := b"".join(self._protocol.data_to_send()):
            self._answer(answers)

    def _answer(self, frames: bytes) -> None:
        """Keep frames that answer the peer; in one object, as each takes 48 bytes."""
        if not self._out or isinstance(self._out[-1], bytes):
            self._out.append(bytearray())
        self._out[-1] += frames
        self.answers_size += len(frames)

    def message_advanced(self) -> bool:
        """Whether bytes of a message came since the last call, and it was not whole.

        It may have been whole: that is told by `receive`. Pings and pongs do not count.
        """
        core, incomplete = self._core, self._incomplete
        if incomplete is not None:  # the core has nothing then
            return incomplete[0] in _MESSAGES
        if core is None:
            return False
        advanced, core.advanced = core.advanced, False
        return advanced or not (core.between_frames or core.first_byte & CONTROL)

    @property
    def under_way(self) -> bool:
        """Whether a part of a message was received, and is kept for the rest of it."""
        if self._core is None or self.info is not None:
            return False
        assembler = self._core.assembler
        return assembler.fragments > 0 and not assembler.in_parts

    def part(self) -> Event | None:
        """Deliver the message under way in parts from now on; return the first part.

        `None` if no message is under way. The first part is all that was received so
        far; the next ones are the frames that follow. The limit of a message then holds
        for each part, and there is none for all parts together.
        """
        if not self.under_way:
            return None
        self._protocol.limit_fragments()
        return self._protocol.assembler.first_part()

    def skip(self) -> None:
        """Drop the rest of the message that is delivered in parts."""
        if self._core is not None:
            self._core.assembler.skip()

    def receive_eof(self) -> None:
        """Note the end of the stream: without a closing frame before it, it is 1006.

        Source: RFC 6455 section 7.1.5.
        """
        if self._core is not None:
            self._core.receive_eof()
        if self.info is None:
            self.info = CloseInfo(CloseCode.ABNORMAL_CLOSURE, "", "network", False)

    def _check_end(self) -> None:
        """Note the end, if a frame was a close or a violation."""
        protocol = self._protocol
        if protocol.state is _OPEN or self.info is not None:
            return
        if protocol.parser_exc is not None:
            self._note_violation()
        elif protocol.close_rcvd is not None:
            code, reason = protocol.close_rcvd.code, protocol.close_rcvd.reason
            self.info = CloseInfo(int(code), reason, "peer", True)

    def _note_violation(self) -> None:
        """Note a violation, as the end that our closing frame tells the peer.

        If we had sent a closing frame before, that one tells the end.
        """
        sent = cast("Close", self._protocol.close_sent)
        self.info = CloseInfo(int(sent.code), sent.reason, "local", False)

    # Sending

    @property
    def open(self) -> bool:
        """Whether messages can still be sent: no closing frame was sent or received."""
        core = self._core
        return self.info is None and (core is None or core.state is _OPEN)

    def send(self, event: Event) -> bool:
        """Frame a message, a fragment or a close; `take` returns the bytes.

        Returns false, and frames nothing, once a closing frame was sent or received.

        Source: RFC 6455 sections 5.6 and 5.5.1; ASGI "websocket.send", ".close".
        """
        if not self.open:
            return False
        if event["type"] == CLOSE:
            self._protocol.send_close(event["code"], event["reason"])
            self._out += self._protocol.data_to_send()
            return True
        if SHARED in event:
            return self.send_shared(event[SHARED])
        if DEFLATED in event:
            self._send_deflated(event)
            return True
        fin = True
        if event["type"] == FRAGMENT:
            opcode, data, fin = _OPCODES[event["kind"]], event["data"], event["fin"]
        elif (text := event.get("text")) is None:
            opcode, data = _BINARY, event["bytes"]
        else:
            opcode, data = _TEXT, text.encode()
        compressed = self._compressed and self._compresses(event, len(data))
        if not compressed and len(data) <= _SMALL_BYTES and fin and opcode:
            self._out.append(self._framed(opcode, data))
            return True
        if compressed and self._outdated:
            self._renew_compressor()
        # The core's `send_text` does the same after checks that hold for fragments
        # only, which are in order here: their sender has the turn until the last one.
        extensions = self._extensions if compressed else ()
        frame = Frame(opcode, data, fin)
        self._out.append(frame.serialize(mask=self._masks, extensions=extensions))
        return True

    def deflation(self, event: Event) -> Deflation | None:
        """Return what compresses a message in steps; `None`: it is not compressed.

        The result goes into the event, under `DEFLATED`.
        """
        if self._compression is None or SHARED in event:
            return None
        text = event.get("text")
        data: bytes = event["bytes"] if text is None else text.encode()
        if not self._compresses(event, len(data)):
            return None
        return Deflation(self._compression, data)

    def _send_deflated(self, event: Event) -> None:
        """Frame a message that was compressed before, by a compressor of its own."""
        opcode = _BINARY if event.get("text") is None else _TEXT
        frame = Frame(opcode, event[DEFLATED])
        self._out.append(frame.serialize(mask=self._masks, extensions=_DEFLATED))
        self._outdated = True

    def _compresses(self, event: Event, size: int) -> bool:
        """Whether a message is compressed, where that is negotiated.

        The only place where this is decided. All fragments of a message say the same:
        its size is not known when it begins.

        Source: RFC 7692 section 6.
        """
        compression = self._compression
        if event.get(COMPRESS) is False:
            return False
        if compression is None or event["type"] == FRAGMENT:
            return True
        return size >= compression.threshold_bytes

    def _framed(self, opcode: Opcode, data: bytes) -> bytes:
        """Return the frame of a small payload."""
        payload = self._masked(data) if self._masks else data
        return _header(opcode, len(data), self._masks) + payload

    def send_shared(self, message: SharedMessage) -> bool:
        """Frame a message that goes to many connections; `take` returns the bytes.

        Connections that have negotiated the same share one frame, which is made for
        the first of them (`shared_frames.py`). After a compressed one, this
        connection's own compressor is made anew before its next use. A client's frames
        are masked, each by a mask of its own, so a client shares none.

        Returns false, and frames nothing, once a closing frame was sent or received.

        Source: RFC 6455 section 5.6; RFC 7692 sections 6 and 7.2.1.
        """
        if not self.open:
            return False
        frame = self._shared_frame(message)
        if frame is None:
            return self.send(message.plain)
        self._out.append(frame)
        return True

    def _shared_frame(self, message: SharedMessage) -> bytes | None:
        """Return the frame that connections share; `None`: this one shares none."""
        compression = self._compression
        if self._masks or (self._compressed and compression is None):
            return None
        if compression is None:
            return frame_of(message, None)
        compressor = compressor_for(message, compression)
        if compressor is not None:
            self._outdated = True
        return frame_of(message, compressor)

    def send_and_take(self, event: Event) -> bytes | None:
        """Frame a message, and return all bytes to write, as `take` does.

        Returns `None`, and frames nothing, once a closing frame was sent or received.
        """
        if SHARED in event and self.open and not self._out:
            # Of a thousand connections each one writes this frame, which is there.
            frame = self._shared_frame(event[SHARED])
            if frame is not None:
                return frame
        return self.take() if self.send(event) else None

    def _renew_compressor(self) -> None:
        """Make our compressor anew: the peer's context holds what it has not seen."""
        self._outdated = False
        if self._compression is not None:
            self._compression.forget()

    def _masked(self, data: bytes) -> bytes:
        """Return a new mask, and the payload under it.

        The system's random bytes are drawn for many masks at once. No peer or proxy can
        predict a mask.

        Source: RFC 6455 sections 5.3 and 10.3.
        """
        if not self._randomness:
            self._randomness = token_bytes(_MASKS_AT_ONCE * _MASK_BYTES)
        mask = self._randomness[-_MASK_BYTES:]
        self._randomness = self._randomness[:-_MASK_BYTES]
        return mask + apply_mask(data, mask)

    def ping(self, payload: bytes) -> bytes | None:
        """Frame a ping of at most 125 bytes; return the frame, if it may be sent.

        Source: RFC 6455 section 5.5.2.
        """
        if not self.open:
            return None
        ping = self._framed(Opcode.PING, payload)
        self._out.append(ping)
        return ping

    def withdraw(self, ping: bytes | None) -> None:
        """Drop the frame of a ping that `take` has not returned yet."""
        self._out = [frame for frame in self._out if frame is not ping]

    def take(self) -> bytes:
        """Return the bytes to write, and forget them; empty if there are none."""
        out, self._out = self._out, []
        self.answers_size = 0
        return b"".join(out)


@cache
def _header(opcode: Opcode, size: int, masked: bool) -> bytes:
    """Return the header of a frame with a payload of this size, made by the core."""
    frame = Frame(opcode, bytes(size)).serialize(mask=masked)
    return frame[: len(frame) - size - (_MASK_BYTES if masked else 0)]
