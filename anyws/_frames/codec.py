"""RFC 6455 in between: bytes on one side, ASGI events on the other.

The frames are the work of the Sans-I/O core of `websockets`, which bounds what it
decompresses and checks a frame's size before its payload. What is added here: fragments
become messages, within bounds; text becomes `str`; and how the connection ended becomes
a `CloseInfo`. There is no I/O, no role beyond whose frames are masked, no timer.

Small messages do not go through the core, where nothing is compressed: those sent get
headers that it has made before, those received are read here, as long as each is whole
in one frame of up to 125 bytes. That takes a quarter of the core's time.
"""

from __future__ import annotations

import logging
from codecs import IncrementalDecoder, getincrementaldecoder
from collections.abc import Sequence
from functools import cache
from io import StringIO
from secrets import token_bytes
from typing import Final, cast

from websockets.extensions import Extension
from websockets.frames import Close, Frame, Opcode
from websockets.protocol import Protocol, State
from websockets.protocol import Side as Side

try:
    from websockets.speedups import apply_mask
except ImportError:  # it was not compiled
    from websockets.utils import apply_mask

from .._values.closing import CloseCode, CloseInfo
from .._values.events import FRAGMENT, MORE, Event, size_of
from .._values.states import CLOSE, RECEIVE

# What permessage-deflate takes at either end, and what `websockets` takes by default:
# windows of 15 bits, which are zlib's own, would cost a connection 90 KiB more.
DEFLATE_WINDOW_BITS: Final = 12
DEFLATE_SETTINGS: Final = {"memLevel": 5}

# Frames that one message may consist of, since empty ones count as no bytes: 4 MiB in
# frames of 64 bytes pass.
MAX_FRAGMENTS: Final = 80_000

# Payloads of at most so many bytes have frames whose headers are kept once they were
# made: that is most of the work on them.
_SMALL_BYTES: Final = 1024

# The first bytes of text and binary messages that are whole, and the largest payload
# whose length is the second byte: such a frame is read without the core.
_WHOLE_TEXT: Final = 0x81
_WHOLE_BINARY: Final = 0x82
_SHORT_BYTES: Final = 125

_MASK_BYTES: Final = 4
_MASKS: Final = 32  # that are drawn at a time

_LOGGER: Final = logging.getLogger("anyws.wire")
_UTF8: Final = getincrementaldecoder("utf-8")
_CONT, _TEXT, _BINARY, _PONG = Opcode.CONT, Opcode.TEXT, Opcode.BINARY, Opcode.PONG
_OPEN: Final = State.OPEN
_FRAGMENTS: Final = {
    "text": Protocol.send_text,
    "binary": Protocol.send_binary,
    None: Protocol.send_continuation,
}


class _Core(Protocol):
    """The core; what is too big for it is told by our limit, which has no slack."""

    max_message_bytes = 0

    def fail(self, code: int, reason: str = "") -> None:
        """Close by a violation."""
        if code == CloseCode.MESSAGE_TOO_BIG and not reason.startswith("over "):
            reason = f"over {self.max_message_bytes} bytes"
        super().fail(code, reason)


class Codec:
    """The frames of one connection, from the end of the opening handshake on.

    Args:
        side: Whose end this is: a client's frames are masked.
        max_message_bytes: Largest message taken, in bytes of payload after
            decompression. A larger one ends the connection with 1009, before it is
            held.
        extensions: Those that the opening handshake has agreed on.

    Attributes:
        info: How the connection ended, by what came from the peer: its closing frame,
            the end of the stream, or a violation of the protocol, with the code of the
            closing frame that answers it. `None` until then.
        fragments: Frames of the message under way that have come; 0 if there is none.
        answers_size: Bytes that answer what was received, and that `take` has not yet
            returned.
        pongs: Payloads of the pongs received; who reads them clears the list.
    """

    __slots__ = (
        "_bare",
        "_binary",
        "_decoder",
        "_limit",
        "_masks",
        "_max_message_bytes",
        "_out",
        "_parted",
        "_protocol",
        "_randomness",
        "_size",
        "_skipped",
        "_text",
        "_unparsed",
        "answers_size",
        "fragments",
        "info",
        "pongs",
    )

    def __init__(
        self,
        side: Side,
        *,
        max_message_bytes: int,
        extensions: Sequence[Extension] = (),
    ) -> None:
        self._protocol = _Core(side, logger=_LOGGER)
        self._protocol.extensions = list(extensions)
        self._masks = side is Side.CLIENT
        self._bare = not extensions
        self._parted = self._skipped = False  # it comes in parts; nobody wants the rest
        self.limit(max_message_bytes)
        # Bytes that the core has of a frame that is not whole: where frames are
        # inflated, none would say that it is.
        self._unparsed = 0 if self._bare else 1
        self._randomness = b""  # for masks
        self._out: list[bytes] = []  # what `take` has not yet returned
        self.answers_size = 0
        self.fragments = self._size = 0  # of the message under way
        self._text: StringIO | None = None
        self._binary: bytearray | None = None
        self._decoder: IncrementalDecoder | None = None
        self.info: CloseInfo | None = None
        self.pongs: list[bytes] = []

    def limit(self, max_message_bytes: int) -> None:
        """Set the largest message taken; one that is under way is judged anew."""
        # What does not compress grows; and the core refuses what just fills its limit.
        slack = 0 if self._bare else max_message_bytes // 8 + 64
        self._limit = max_message_bytes + slack
        self._max_message_bytes = max_message_bytes
        self._protocol.max_message_bytes = max_message_bytes
        if self._parted:
            self._protocol.max_fragment_size = self._limit
        else:
            self._protocol.max_message_size = self._limit

    # What comes in

    def receive(self, data: bytes) -> list[Event]:
        """Take in what was read; return the messages found, as `websocket.receive`.

        Pings and the peer's closing frame are answered: `take` returns the answer. Once
        the connection has ended, what comes is ignored.

        Source: RFC 6455 sections 5 and 7; ASGI "websocket.receive".
        """
        if self.info is not None:
            return []
        protocol = self._protocol
        events: list[Event] = []
        try:
            if not (self._unparsed or self.fragments):
                data = self._read_small(data, events)
                if not data:
                    return events
            protocol.receive_data(data)
            self._unparsed += len(data)
            for frame in cast("list[Frame]", protocol.events_received()):
                if self._bare:
                    self._unparsed -= self._size_of(frame)
                opcode = frame.opcode
                if opcode is _TEXT and frame.fin:
                    self._check_size(len(frame.data))
                    text = str(frame.data, "utf-8")
                    events.append({"type": RECEIVE, "bytes": None, "text": text})
                elif opcode is _TEXT or opcode is _BINARY or opcode is _CONT:
                    event = self._join(frame)
                    if event is not None:
                        events.append(event)
                elif opcode is _PONG:
                    self.pongs.append(bytes(frame.data))
        except UnicodeDecodeError as exc:
            reason = f"invalid UTF-8: {exc.reason}"
            protocol.fail(CloseCode.INVALID_FRAME_PAYLOAD_DATA, reason)
            self._violated()
        except OverflowError as exc:
            protocol.fail(CloseCode.MESSAGE_TOO_BIG, str(exc))
            self._violated()
        if protocol.state is not _OPEN and self.info is None:
            if protocol.parser_exc is not None:
                self._violated()
            elif protocol.close_rcvd is not None:
                code, reason = protocol.close_rcvd.code, protocol.close_rcvd.reason
                self.info = CloseInfo(int(code), reason, "peer", True)
        for answer in protocol.data_to_send():
            self._out.append(answer)
            self.answers_size += len(answer)
        return events

    def _read_small(self, data: bytes, events: list[Event]) -> bytes:
        """Take the small messages that come first; return what is left for the core."""
        masked = not self._masks
        mask_bit, start = (0x80, 2 + _MASK_BYTES) if masked else (0, 2)
        largest = mask_bit + min(_SHORT_BYTES, self._max_message_bytes)
        at, available = 0, len(data)
        while at + start <= available:
            first, second = data[at], data[at + 1]
            if not mask_bit <= second <= largest:
                break
            begin, end = at + start, at + start + second - mask_bit
            if end > available:
                break
            payload = data[begin:end]
            if masked:
                payload = apply_mask(payload, data[begin - _MASK_BYTES : begin])
            if first == _WHOLE_TEXT:
                text = str(payload, "utf-8")
                events.append({"type": RECEIVE, "bytes": None, "text": text})
            elif first == _WHOLE_BINARY:
                events.append({"type": RECEIVE, "bytes": payload, "text": None})
            else:
                break
            at = end
        return data[at:]

    def _size_of(self, frame: Frame) -> int:
        """Return how many bytes of what was read the frame was, if its size is told in
        as few bytes as it can be: of others, the core keeps what comes behind them.
        """
        size = len(frame.data)
        length = 0 if size <= _SHORT_BYTES else 2 if size < 2**16 else 8
        return 2 + length + (0 if self._masks else _MASK_BYTES) + size

    def _join(self, frame: Frame) -> Event | None:
        """Add a frame to its message; return that once it is whole."""
        if frame.opcode is _BINARY:
            if frame.fin:
                self._check_size(len(frame.data))
                return {"type": RECEIVE, "bytes": bytes(frame.data), "text": None}
            self._binary = bytearray()
        elif frame.opcode is _TEXT:
            self._text, self._decoder = StringIO(), _UTF8()
        self.fragments += 1
        self._size = len(frame.data) if self._parted else self._size + len(frame.data)
        self._check_size(self._size)
        if self.fragments > MAX_FRAGMENTS and not self._parted:
            raise OverflowError(f"over {MAX_FRAGMENTS} fragments")
        if self._text is not None and self._decoder is not None:
            self._text.write(self._decoder.decode(bytes(frame.data), frame.fin))
        elif self._binary is not None:
            self._binary += frame.data
        if self._parted:
            return self._part(last=frame.fin)
        return self._whole() if frame.fin else None

    def _check_size(self, size: int) -> None:
        if size > self._max_message_bytes:
            raise OverflowError(f"over {self._max_message_bytes} bytes")

    def _whole(self) -> Event:
        text = None if self._text is None else self._text.getvalue()
        data = None if self._binary is None else bytes(self._binary)
        self.fragments = self._size = 0
        self._text = self._binary = None
        return {"type": RECEIVE, "bytes": data, "text": text}

    @property
    def under_way(self) -> bool:
        """Whether fragments of a message have come, and not yet all."""
        return self.fragments > 0 and not self._parted

    def part(self) -> Event | None:
        """Have the message under way come in parts; return what has come of it.

        Its size has no limit any more, but each part has: they are its fragments.
        """
        if not self.under_way:
            return None
        self._parted = True
        self._protocol.max_message_size = None
        self._protocol.max_fragment_size = self._limit
        return self._part(last=False, empty=True)

    def skip(self) -> None:
        """Drop what is still to come of the message that comes in parts."""
        self._skipped = self._parted

    def _part(self, *, last: bool, empty: bool = False) -> Event | None:
        """Take a part of the message; `None` if it is nothing, or nobody wants it."""
        wanted = not self._skipped
        part = self._whole()
        part[MORE] = not last
        if last:
            self._parted = self._skipped = False
            self._protocol.max_message_size = self._limit
            self._protocol.max_fragment_size = None
        else:
            self.fragments = 1
            if part["bytes"] is None:
                self._text = StringIO()
            else:
                self._binary = bytearray()
        return part if wanted and (last or empty or size_of(part)) else None

    def receive_eof(self) -> None:
        """Take in the end of the stream: without a closing frame, that is 1006.

        Source: RFC 6455 section 7.1.5.
        """
        self._protocol.receive_eof()
        if self.info is None:
            self.info = CloseInfo(CloseCode.ABNORMAL_CLOSURE, "", "network", False)

    def _violated(self) -> None:
        """The rules were broken: by what our closing frame says, or behind it."""
        sent = cast("Close", self._protocol.close_sent)
        self.info = CloseInfo(int(sent.code), sent.reason, "local", False)

    # What goes out

    @property
    def open(self) -> bool:
        """Whether messages can still be sent: no closing frame was sent or received."""
        return self._protocol.state is _OPEN

    def send(self, event: Event) -> bool:
        """Frame a `websocket.send` or a `websocket.close`; false: it is closed.

        Source: RFC 6455 sections 5.6 and 5.5.1; ASGI "websocket.send", ".close".
        """
        protocol = self._protocol
        if protocol.state is not _OPEN:
            return False
        if event["type"] == CLOSE:
            protocol.send_close(event["code"], event["reason"])
            self._out += protocol.data_to_send()
            return True
        if event["type"] == FRAGMENT:
            send = _FRAGMENTS[event["kind"]]
            send(protocol, event["data"], event["fin"])
            self._out += protocol.data_to_send()
            return True
        text = event.get("text")
        if text is None:
            opcode, data = _BINARY, event["bytes"]
        else:
            opcode, data = _TEXT, text.encode()
        if self._bare and len(data) <= _SMALL_BYTES:
            self._out.append(_header(opcode, len(data), self._masks))
            self._out.append(self._masked(data) if self._masks else data)
            return True
        # As the core's own `send_text`, which for whole messages adds only checks.
        frame = Frame(opcode, data)
        self._out.append(
            frame.serialize(mask=self._masks, extensions=protocol.extensions)
        )
        return True

    def _masked(self, data: bytes) -> bytes:
        """Return a fresh mask, and the payload under it.

        The system is asked for many at a time. None may be known before it is sent.

        Source: RFC 6455 sections 5.3 and 10.3.
        """
        if not self._randomness:
            self._randomness = token_bytes(_MASKS * _MASK_BYTES)
        mask = self._randomness[-_MASK_BYTES:]
        self._randomness = self._randomness[:-_MASK_BYTES]
        return mask + apply_mask(data, mask)

    def ping(self, payload: bytes) -> None:
        """Frame a ping of at most 125 bytes.

        Source: RFC 6455 section 5.5.2.
        """
        if self._protocol.state is _OPEN:
            self._protocol.send_ping(payload)
            self._out += self._protocol.data_to_send()

    def take(self) -> bytes:
        """Return the bytes to write, each once; empty if there are none."""
        out, self._out = self._out, []
        self.answers_size = 0
        return b"".join(out)


@cache
def _header(opcode: Opcode, size: int, masked: bool) -> bytes:
    """Return what stands before mask and payload of this size, as the core has it."""
    frame = Frame(opcode, bytes(size)).serialize(mask=masked)
    return frame[: len(frame) - size - (_MASK_BYTES if masked else 0)]
