"""The frames of one connection: bytes on one side, ASGI events on the other.

The Sans-I/O core of `websockets` parses and makes the frames; it bounds what it
inflates, and checks the size of a frame before its payload. This module adds the rest
of RFC 6455: it joins fragments to messages, within bounds, decodes text, and tells by a
`CloseInfo` how the connection ended. It does no I/O and has no timer; the two roles
differ only in whose frames are masked.

On a connection without compression small messages do not pass through the core. A
header that the core has made once is kept for the next frame of that size, and a
message that is whole in one frame of up to 125 bytes is parsed here. That takes a
quarter of the core's time.
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

# The settings of permessage-deflate at either end, which are the defaults of
# `websockets`: zlib's own window of 15 bits would cost a connection 90 KiB more.
DEFLATE_WINDOW_BITS: Final = 12
DEFLATE_SETTINGS: Final = {"memLevel": 5}

# The limit of frames in one message, since the limit of bytes does not hold for empty
# frames. A message of 4 MiB in frames of 64 bytes passes.
MAX_FRAGMENTS: Final = 80_000

# The largest payload whose frame gets a header from the cache: making the header is
# most of the work on such a frame.
_SMALL_BYTES: Final = 1024

# The first byte of an uncompressed message that is whole in one frame, and the largest
# payload whose length fits into the second byte (RFC 6455 section 5.2).
_WHOLE_TEXT: Final = 0x81
_WHOLE_BINARY: Final = 0x82
_SHORT_BYTES: Final = 125

_MASK_BYTES: Final = 4
_MASKS_AT_ONCE: Final = 32

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
    """The core of `websockets`, with the limit of the options in its close reasons.

    Its own limit is larger, by the slack that compressed frames need.
    """

    max_message_bytes = 0

    def fail(self, code: int, reason: str = "") -> None:
        """Send a closing frame because of a violation, and parse nothing more."""
        if code == CloseCode.MESSAGE_TOO_BIG and not reason.startswith("over "):
            reason = f"over {self.max_message_bytes} bytes"
        super().fail(code, reason)


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
        fragments: Frames received of the message under way; 0 if there is no such
            message.
        answers_size: Bytes of pongs and closing frames that answer the peer, and that
            `take` has not yet returned.
        pongs: Payloads of the pongs received. The reader of the list clears it.
    """

    __slots__ = (
        "_binary",
        "_compressed",
        "_decoder",
        "_in_parts",
        "_limit",
        "_masks",
        "_max_message_bytes",
        "_out",
        "_protocol",
        "_randomness",
        "_size",
        "_skips_parts",
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
        # Compression makes random data longer, and the core compares its limit with the
        # compressed size too; it also refuses a payload that just fills the limit.
        slack = max_message_bytes // 8 + 64 if extensions else 0
        self._limit = max_message_bytes + slack
        self._protocol = _Core(side, max_size=self._limit, logger=_LOGGER)
        self._protocol.max_message_bytes = max_message_bytes
        self._protocol.extensions = list(extensions)
        self._masks = side is Side.CLIENT
        self._compressed = bool(extensions)
        # Bytes that the core holds of a frame that is not yet whole. Under compression
        # that is unknown, since an inflated frame has another size; 1 keeps small
        # messages in the core.
        self._unparsed = 1 if self._compressed else 0
        self._randomness = b""  # masks not yet used
        self._out: list[bytes] = []  # frames that `take` has not yet returned
        self.answers_size = 0
        self._max_message_bytes = max_message_bytes
        self.fragments = self._size = 0  # of the message under way
        self._in_parts = False  # whether the message under way is delivered in parts
        self._skips_parts = False  # whether the rest of those parts is dropped
        self._text: StringIO | None = None
        self._binary: bytearray | None = None
        self._decoder: IncrementalDecoder | None = None
        self.info: CloseInfo | None = None
        self.pongs: list[bytes] = []

    # Receiving

    def receive(self, data: bytes) -> list[Event]:
        """Parse bytes that were read; return the messages as `websocket.receive`.

        Pings and the peer's closing frame are answered: `take` returns the answer. Once
        the connection has ended, all bytes are ignored.

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
                if not self._compressed:
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
        """Parse the small messages at the start; return the bytes left for the core."""
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
        """Return the size of the frame on the wire, with the shortest possible header.

        A longer header is allowed to nobody by RFC 6455 section 5.2, and to everybody
        by the core. After such a frame `_unparsed` stays above 0, and the core parses
        all the rest of the connection.
        """
        size = len(frame.data)
        length = 0 if size <= _SHORT_BYTES else 2 if size < 2**16 else 8
        return 2 + length + (0 if self._masks else _MASK_BYTES) + size

    def _join(self, frame: Frame) -> Event | None:
        """Add a frame to the message under way; return the message once it is whole."""
        if frame.opcode is _BINARY:
            if frame.fin:
                self._check_size(len(frame.data))
                return {"type": RECEIVE, "bytes": bytes(frame.data), "text": None}
            self._binary = bytearray()
        elif frame.opcode is _TEXT:
            self._text, self._decoder = StringIO(), _UTF8()
        self.fragments += 1
        self._size = len(frame.data) if self._in_parts else self._size + len(frame.data)
        self._check_size(self._size)
        if self.fragments > MAX_FRAGMENTS and not self._in_parts:
            raise OverflowError(f"over {MAX_FRAGMENTS} fragments")
        if self._text is not None and self._decoder is not None:
            self._text.write(self._decoder.decode(bytes(frame.data), frame.fin))
        elif self._binary is not None:
            self._binary += frame.data
        if self._in_parts:
            return self._part(last=frame.fin)
        return self._joined() if frame.fin else None

    def _check_size(self, size: int) -> None:
        if size > self._max_message_bytes:
            raise OverflowError(f"over {self._max_message_bytes} bytes")

    def _joined(self) -> Event:
        """Return the event of the payload collected so far, and forget the payload."""
        text = None if self._text is None else self._text.getvalue()
        data = None if self._binary is None else bytes(self._binary)
        self.fragments = self._size = 0
        self._text = self._binary = None
        return {"type": RECEIVE, "bytes": data, "text": text}

    @property
    def under_way(self) -> bool:
        """Whether a part of a message was received, and is kept for the rest of it."""
        return self.fragments > 0 and not self._in_parts

    def part(self) -> Event | None:
        """Deliver the message under way in parts from now on; return the first part.

        `None` if no message is under way. The first part is all that was received so
        far; the next ones are the frames that follow. The limit of a message then holds
        for each part, and there is none for all parts together.
        """
        if not self.under_way:
            return None
        self._in_parts = True
        self._protocol.max_message_size = None
        self._protocol.max_fragment_size = self._limit
        return self._part(last=False, empty=True)

    def skip(self) -> None:
        """Drop the rest of the message that is delivered in parts."""
        self._skips_parts = self._in_parts

    def _part(self, *, last: bool, empty: bool = False) -> Event | None:
        """Return the payload collected so far as a part of the message.

        `None` if the rest is dropped, or if the part would be empty: only the first
        part and the last one may be.
        """
        dropped = self._skips_parts
        part = self._joined()
        part[MORE] = not last
        if last:
            self._in_parts = self._skips_parts = False
            self._protocol.max_message_size = self._limit
            self._protocol.max_fragment_size = None
        else:
            self.fragments = 1
            if part["bytes"] is None:
                self._text = StringIO()
            else:
                self._binary = bytearray()
        return part if not dropped and (last or empty or size_of(part)) else None

    def receive_eof(self) -> None:
        """Note the end of the stream: without a closing frame before it, it is 1006.

        Source: RFC 6455 section 7.1.5.
        """
        self._protocol.receive_eof()
        if self.info is None:
            self.info = CloseInfo(CloseCode.ABNORMAL_CLOSURE, "", "network", False)

    def _violated(self) -> None:
        """Note a violation, as the end that our closing frame tells the peer.

        If we had sent a closing frame before, that one tells the end.
        """
        sent = cast("Close", self._protocol.close_sent)
        self.info = CloseInfo(int(sent.code), sent.reason, "local", False)

    # Sending

    @property
    def open(self) -> bool:
        """Whether messages can still be sent: no closing frame was sent or received."""
        return self._protocol.state is _OPEN

    def send(self, event: Event) -> bool:
        """Frame a message, a fragment or a close; `take` returns the bytes.

        Returns false, and frames nothing, once a closing frame was sent or received.

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
        if not self._compressed and len(data) <= _SMALL_BYTES:
            self._out.append(_header(opcode, len(data), self._masks))
            self._out.append(self._masked(data) if self._masks else data)
            return True
        # The core's `send_text` does the same after checks that hold for fragments
        # only.
        frame = Frame(opcode, data)
        self._out.append(
            frame.serialize(mask=self._masks, extensions=protocol.extensions)
        )
        return True

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

    def ping(self, payload: bytes) -> None:
        """Frame a ping of at most 125 bytes.

        Source: RFC 6455 section 5.5.2.
        """
        if self._protocol.state is _OPEN:
            self._protocol.send_ping(payload)
            self._out += self._protocol.data_to_send()

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
