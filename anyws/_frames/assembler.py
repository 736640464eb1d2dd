"""Messages out of frames: fragments are joined, and text is decoded (RFC 6455, 5.4).

It is pure, and knows nothing of bytes on the wire: the core has parsed each frame, and
checked its place among the others.
"""

from __future__ import annotations

from codecs import IncrementalDecoder, getincrementaldecoder
from io import StringIO
from typing import Final

from websockets.frames import Frame, Opcode

from .._values.events import MORE, Event, size_of
from .._values.states import RECEIVE

# The limit of frames in one message, since the limit of bytes does not hold for empty
# frames. A message of 4 MiB in frames of 64 bytes passes.
MAX_FRAGMENTS: Final = 80_000

_UTF8: Final = getincrementaldecoder("utf-8")
_CONT, _TEXT, _BINARY, _PONG = Opcode.CONT, Opcode.TEXT, Opcode.BINARY, Opcode.PONG


class Assembler:
    """Makes messages of the frames of one connection.

    Args:
        max_message_bytes: Largest message accepted, in bytes of payload after
            decompression.

    Attributes:
        events: Messages and parts of messages that were found, as `websocket.receive`.
            The reader of the list replaces it.
        pongs: Payloads of the pongs received. The reader of the list clears it.
        fragments: Frames received of the message under way; 0 if there is no such
            message.
        in_parts: Whether the message under way is delivered in parts.
    """

    __slots__ = (
        "_binary",
        "_decoder",
        "_size",
        "_skips_parts",
        "_text",
        "events",
        "fragments",
        "in_parts",
        "max_message_bytes",
        "pongs",
    )

    def __init__(self, max_message_bytes: int) -> None:
        self.events: list[Event] = []
        self.pongs: list[bytes] = []
        self.fragments = self._size = 0  # of the message under way
        self.in_parts = False
        self._skips_parts = False  # whether the rest of the parts is dropped
        self.max_message_bytes = max_message_bytes
        self._text: StringIO | None = None
        self._binary: bytearray | None = None
        self._decoder: IncrementalDecoder | None = None

    def add(self, frame: Frame) -> None:
        """Add a frame, and the message or the part that it completes.

        Raises:
            UnicodeDecodeError: The text is not UTF-8.
            OverflowError: The message is too large; the message says which limit it
                exceeds.
        """
        opcode = frame.opcode
        if opcode is _TEXT and frame.fin:
            self._check_size(len(frame.data))
            text = str(frame.data, "utf-8")
            self.events.append({"type": RECEIVE, "bytes": None, "text": text})
        elif opcode is _BINARY and frame.fin:
            self._check_size(len(frame.data))
            data = bytes(frame.data)
            self.events.append({"type": RECEIVE, "bytes": data, "text": None})
        elif opcode is _TEXT or opcode is _BINARY or opcode is _CONT:
            event = self._join(frame)
            if event is not None:
                self.events.append(event)
        elif opcode is _PONG:
            self.pongs.append(bytes(frame.data))

    def _join(self, frame: Frame) -> Event | None:
        """Add a frame to the message under way; return the message once it is whole."""
        if frame.opcode is _BINARY:
            self._binary = bytearray()
        elif frame.opcode is _TEXT:
            self._text, self._decoder = StringIO(), _UTF8()
        self.fragments += 1
        self._size = len(frame.data) if self.in_parts else self._size + len(frame.data)
        self._check_size(self._size)
        if self.fragments > MAX_FRAGMENTS and not self.in_parts:
            raise OverflowError(f"over {MAX_FRAGMENTS} fragments")
        if self._text is not None and self._decoder is not None:
            self._text.write(self._decoder.decode(bytes(frame.data), frame.fin))
        elif self._binary is not None:
            self._binary += frame.data
        if self.in_parts:
            return self._part(last=frame.fin)
        return self._joined() if frame.fin else None

    def _check_size(self, size: int) -> None:
        if size > self.max_message_bytes:
            raise OverflowError(f"over {self.max_message_bytes} bytes")

    def _joined(self) -> Event:
        """Return the event of the payload collected so far, and forget the payload."""
        text = None if self._text is None else self._text.getvalue()
        data = None if self._binary is None else bytes(self._binary)
        self.fragments = self._size = 0
        self._text = self._binary = None
        return {"type": RECEIVE, "bytes": data, "text": text}

    def first_part(self) -> Event:
        """Deliver the message under way in parts from now on; return the first part."""
        self.in_parts = True
        part = self._part(last=False, first=True)
        assert part is not None
        return part

    def skip(self) -> None:
        """Drop the rest of the message that is delivered in parts."""
        self._skips_parts = self.in_parts

    def _part(self, *, last: bool, first: bool = False) -> Event | None:
        """Return the payload collected so far as a part of the message.

        `None` if the rest is dropped, or if the part would be empty: only the first
        part and the last one may be.
        """
        dropped = self._skips_parts
        part = self._joined()
        part[MORE] = not last
        if last:
            self.in_parts = self._skips_parts = False
        else:
            self.fragments = 1
            if part["bytes"] is None:
                self._text = StringIO()
            else:
                self._binary = bytearray()
        return part if not dropped and (last or first or size_of(part)) else None
