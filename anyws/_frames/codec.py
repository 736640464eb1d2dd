"""The frames of one connection: bytes on one side, ASGI events on the other.

The Sans-I/O core of `websockets` parses and makes the frames; it bounds what it
inflates, and checks the size of a frame before its payload. This module adds the rest
of RFC 6455: messages (`assembler.py`), and a `CloseInfo` that tells how the connection
ended. It does no I/O and has no timer; the two roles differ only in whose frames are
masked.

On a connection without compression small messages do not pass through the core. A
header that the core has made once is kept for the next frame of that size, and a
message that is whole in one frame of up to 125 bytes is parsed here. That takes a
quarter of the core's time.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cache
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
from .._values.events import FRAGMENT, Event
from .._values.shared import SHARED, SharedMessage
from .._values.states import CLOSE, RECEIVE
from .assembler import Assembler
from .shared_frames import COMPRESSED_BYTES, compression_of, frame_of, renew

# The settings of permessage-deflate at either end, which are the defaults of
# `websockets`: zlib's own window of 15 bits would cost a connection 90 KiB more.
DEFLATE_WINDOW_BITS: Final = 12
DEFLATE_SETTINGS: Final = {"memLevel": 5}

# The largest payload whose frame gets a header from the cache: making the header is
# most of the work on such a frame.
_SMALL_BYTES: Final = 1024

# The first byte of an uncompressed message that is whole in one frame, that of a pong,
# and the largest payload whose length fits into the second byte (RFC 6455 section 5.2).
_WHOLE_TEXT: Final = 0x81
_WHOLE_BINARY: Final = 0x82
_WHOLE_PONG: Final = 0x8A
_SHORT_BYTES: Final = 125

_MASK_BYTES: Final = 4
_MASKS_AT_ONCE: Final = 32

_LOGGER: Final = logging.getLogger("anyws.wire")
_CONT, _TEXT, _BINARY, _CLOSE = Opcode.CONT, Opcode.TEXT, Opcode.BINARY, Opcode.CLOSE
_OPEN: Final = State.OPEN
_FRAGMENTS: Final = {
    "text": Protocol.send_text,
    "binary": Protocol.send_binary,
    None: Protocol.send_continuation,
}


class _Core(Protocol):
    """The core of `websockets`, which hands each frame to the assembler at once.

    So a frame is dealt with before the next one is parsed, and no close or violation
    overtakes one before it in the same read.

    Args:
        side: The end of the connection that this is.
        max_message_bytes: The limit of the options, for close reasons.
        extensions: The extensions that the opening handshake has agreed on.

    Attributes:
        assembler: Makes messages of the frames.
        between_frames: Whether all bytes received belong to whole frames.
    """

    def __init__(
        self, side: Side, max_message_bytes: int, extensions: Sequence[Extension]
    ) -> None:
        super().__init__(side, logger=_LOGGER)
        self.extensions = list(extensions)
        self.assembler = Assembler(max_message_bytes)
        self.between_frames = True
        self.limit(max_message_bytes)

    def limit(self, max_message_bytes: int) -> None:
        """Set the limit; a message that is under way is judged anew."""
        self._max_message_bytes = self.assembler.max_message_bytes = max_message_bytes
        # Compression makes random data longer, and the core compares its limit with the
        # compressed size too; it also refuses a payload that just fills the limit.
        slack = max_message_bytes // 8 + 64 if self.extensions else 0
        self._max_size = max_message_bytes + slack
        if self.assembler.in_parts:
            self.limit_fragments()
        else:
            self.limit_messages()

    @property
    def is_at_message_start(self) -> bool:
        """Whether no frame and no message is under way."""
        return self.between_frames and not self.assembler.fragments

    def recv_frame(self, frame: Frame) -> None:
        """Check the place of a frame, answer it, and add it to its message."""
        opcode = frame.opcode
        if opcode is _CLOSE:
            # A closing frame may stand between fragments (RFC 6455 section 5.4). The
            # core refuses it there, unless it thinks that no message is under way.
            self.current_size = None
        super().recv_frame(frame)
        self.events.clear()
        self.between_frames = not self.reader.buffer
        try:
            self.assembler.add(frame)
        except UnicodeDecodeError as exc:
            self._break(exc, CloseCode.INVALID_FRAME_PAYLOAD_DATA, _not_text(exc))
        except OverflowError as exc:
            self._break(exc, CloseCode.MESSAGE_TOO_BIG, str(exc))
        if opcode is _CONT and frame.fin:
            self.limit_messages()

    def _break(self, exc: Exception, code: int, reason: str) -> None:
        """Fail the connection, as the core does for violations that it finds itself."""
        self.fail(code, reason)
        self.parser_exc = exc

    def fail(self, code: int, reason: str = "") -> None:
        """Send a closing frame because of a violation, and parse nothing more."""
        if code == CloseCode.MESSAGE_TOO_BIG and not reason.startswith("over "):
            # The core would name its own limit, which has some slack.
            reason = f"over {self._max_message_bytes} bytes"
        super().fail(code, reason)

    def limit_messages(self) -> None:
        """Bound each message."""
        self.max_message_size, self.max_fragment_size = self._max_size, None

    def limit_fragments(self) -> None:
        """Bound each frame of the message under way, instead of the message."""
        self.max_message_size, self.max_fragment_size = None, self._max_size


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
    """

    __slots__ = (
        "_compressed",
        "_core",
        "_extensions",
        "_masks",
        "_max_message_bytes",
        "_out",
        "_outdated",
        "_randomness",
        "_side",
        "answers_size",
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
        self._side = side
        self._extensions = list(extensions)
        self._core: _Core | None = None
        self._masks = side is Side.CLIENT
        self._compressed = bool(extensions)
        self._outdated = False  # whether the peer's context is ahead of our compressor
        self._randomness = b""  # masks not yet used
        self._out: list[bytes] = []  # frames that `take` has not yet returned
        self.answers_size = 0
        self._max_message_bytes = max_message_bytes
        self.info: CloseInfo | None = None
        self.pongs: list[bytes] = []

    @property
    def _protocol(self) -> _Core:
        """The core, made when it is first needed.

        Connections that exchange small messages, pings and pongs never need it.
        """
        core = self._core
        if core is None:
            core = _Core(self._side, self._max_message_bytes, self._extensions)
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

        Source: RFC 6455 sections 5 and 7; ASGI "websocket.receive".
        """
        if self.info is not None:
            return []
        core, events = self._core, list[Event]()
        if not self._compressed and (core is None or core.is_at_message_start):
            try:
                data = self._read_small(data, events)
            except UnicodeDecodeError as exc:
                data = b""
                reason = _not_text(exc)
                self._protocol.fail(CloseCode.INVALID_FRAME_PAYLOAD_DATA, reason)
                self._note_violation()
            else:
                if not data:
                    return events
        core = self._protocol
        if data:
            core.between_frames = False
            core.assembler.events = events
            core.receive_data(data)
            core.assembler.events = []
            self._check_end()
        for answer in core.data_to_send():
            self._out.append(answer)
            self.answers_size += len(answer)
        return events

    def _read_small(self, data: bytes, events: list[Event]) -> bytes:
        """Parse the small messages and pongs at the start; return what is left."""
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
            elif first == _WHOLE_PONG:
                self.pongs.append(payload)
            else:
                break
            at = end
        return data[at:]

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
        self._protocol.receive_eof()
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
        return self._core is None or self._core.state is _OPEN

    def send(self, event: Event) -> bool:
        """Frame a message, a fragment or a close; `take` returns the bytes.

        Returns false, and frames nothing, once a closing frame was sent or received.

        Source: RFC 6455 sections 5.6 and 5.5.1; ASGI "websocket.send", ".close".
        """
        if self._core is not None and self._core.state is not _OPEN:
            return False
        if event["type"] == CLOSE:
            self._protocol.send_close(event["code"], event["reason"])
            self._out += self._protocol.data_to_send()
            return True
        if SHARED in event:
            return self.send_shared(event[SHARED])
        if self._outdated:
            self._renew_compressor()
        if event["type"] == FRAGMENT:
            send = _FRAGMENTS[event["kind"]]
            send(self._protocol, event["data"], event["fin"])
            self._out += self._protocol.data_to_send()
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
        self._out.append(frame.serialize(mask=self._masks, extensions=self._extensions))
        return True

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
        compression = compression_of(self._extensions) if self._compressed else None
        if self._masks or (self._compressed and compression is None):
            return self.send(message.plain)
        if compression is None or message.size < COMPRESSED_BYTES:
            self._out.append(frame_of(message))
            return True
        self._out.append(frame_of(message, compression.local_max_window_bits))
        self._outdated = True
        return True

    def _renew_compressor(self) -> None:
        """Make our compressor anew: the peer's context holds what it has not seen."""
        self._outdated = False
        compression = compression_of(self._extensions)
        if compression is not None:
            renew(compression)

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
        if self.open:
            self._out.append(_header(Opcode.PING, len(payload), self._masks))
            self._out.append(self._masked(payload) if self._masks else payload)

    def take(self) -> bytes:
        """Return the bytes to write, and forget them; empty if there are none."""
        out, self._out = self._out, []
        self.answers_size = 0
        return b"".join(out)


def _not_text(exc: UnicodeDecodeError) -> str:
    """Return the close reason for text that is not UTF-8."""
    return f"invalid UTF-8: {exc.reason}"


@cache
def _header(opcode: Opcode, size: int, masked: bool) -> bytes:
    """Return the header of a frame with a payload of this size, made by the core."""
    frame = Frame(opcode, bytes(size)).serialize(mask=masked)
    return frame[: len(frame) - size - (_MASK_BYTES if masked else 0)]
