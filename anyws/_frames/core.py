"""The Sans-I/O core of `websockets`, as the codec uses it.

It hands over each frame as soon as the frame is parsed, refuses no closing frame
between fragments, and tells how many bytes it waits for.
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Sequence
from typing import Final

from websockets.extensions import Extension
from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, Side
from websockets.streams import StreamReader

from .._values.closing import CloseCode
from .assembler import Assembler

CONTROL: Final = 0x8  # the bit of the opcode that control frames have

_LOGGER: Final = logging.getLogger("anyws.wire")
_CONT, _CLOSE = Opcode.CONT, Opcode.CLOSE


class _Reader(StreamReader):
    """The core's reader, which tells how many bytes the core waits for.

    Attributes:
        wanted: The number of bytes that the next step of the core needs.
    """

    wanted: int = 0

    def read_exact(self, n: int) -> Generator[None, None, bytearray]:
        """Read bytes, in the manner of the core's coroutines."""
        self.wanted = n
        return super().read_exact(n)


class Core(Protocol):
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
        first_byte: The first byte of the frame that is under way, if one is.
        advanced: Whether a frame of a message was received; its reader clears it.
    """

    def __init__(
        self, side: Side, max_message_bytes: int, extensions: Sequence[Extension]
    ) -> None:
        super().__init__(side, logger=_LOGGER)
        self.reader = self._reader = _Reader()
        self.parser = self.parse()
        next(self.parser)
        self.extensions = list(extensions)
        self.assembler = Assembler(max_message_bytes)
        self.between_frames = True
        self.first_byte = 0
        self.advanced = False
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

    @property
    def missing(self) -> int:
        """Bytes that complete the frame under way, or the header of it."""
        if self.between_frames:
            return 0
        return max(0, self._reader.wanted - len(self._reader.buffer))

    def recv_frame(self, frame: Frame) -> None:
        """Check the place of a frame, answer it, and add it to its message."""
        opcode = frame.opcode
        if opcode is _CLOSE:
            # A closing frame may stand between fragments (RFC 6455 section 5.4). The
            # core refuses it there, unless it thinks that no message is under way.
            self.current_size = None
        super().recv_frame(frame)
        self.events.clear()
        rest = self.reader.buffer
        self.between_frames = not rest
        if rest:
            self.first_byte = rest[0]
        self.advanced = self.advanced or not opcode & CONTROL
        try:
            self.assembler.add(frame)
        except UnicodeDecodeError as exc:
            self._break(exc, CloseCode.INVALID_FRAME_PAYLOAD_DATA, not_text(exc))
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


def not_text(exc: UnicodeDecodeError) -> str:
    """Return the close reason for text that is not UTF-8."""
    return f"invalid UTF-8: {exc.reason}"
