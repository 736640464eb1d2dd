"""The frames of messages that go to many connections: each is made once.

A server's frames are not masked, so two connections that have negotiated the same can
write the same bytes. What tells their frames apart is compression alone:

- A message of less than `COMPRESSED_BYTES` is not compressed. RFC 7692 section 6 lets
  each message be sent either way, and an uncompressed one leaves the contexts of both
  ends as they are. Its frame is the same for every connection.
- A larger one is compressed by a fresh compressor, once for each size of the window. A
  block that refers to nothing before itself can be inflated in any context, but it
  becomes a part of the peer's context, and our own compressor knows nothing of it: a
  later message would refer to bytes that the peer has elsewhere by now, and the peer
  would inflate other data than was sent, without an error. So the compressor of a
  connection that has context takeover is made anew before it is used again.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Final

from websockets.extensions import Extension
from websockets.frames import Frame, Opcode

from .._values.shared import SharedMessage
from .deflate import DEFLATE_SETTINGS, Deflate

# Bytes of payload from which a shared message is compressed, where that is negotiated.
# A smaller one gains little, and would cost each of its connections a new compressor.
COMPRESSED_BYTES: Final = 1024

# The form of a frame without compression; others are the bits of the window.
PLAIN: Final = 0


def compression_of(extensions: Sequence[Extension]) -> Deflate | None:
    """Return the extension that compresses, if there is no other one beside it."""
    if len(extensions) == 1 and isinstance(extensions[0], Deflate):
        return extensions[0]
    return None


def frame_of(message: SharedMessage, window_bits: int = PLAIN) -> bytes:
    """Return the unmasked frame of a message; make it if it is not there yet.

    Args:
        message: The message. The frame is kept in its `forms`.
        window_bits: Bits of the window that the compressor may use; `PLAIN`: none.
    """
    frame = message.forms.get(window_bits)
    if frame is None:
        opcode = Opcode.TEXT if message.text else Opcode.BINARY
        made = Frame(opcode, message.data)
        extensions = [_one_block(window_bits)] if window_bits else []
        frame = made.serialize(mask=False, extensions=extensions)
        message.forms[window_bits] = frame
    return frame


@cache
def _one_block(window_bits: int) -> Deflate:
    """Return an extension that compresses each message by a compressor of its own."""
    return Deflate(True, True, window_bits, window_bits, DEFLATE_SETTINGS)
