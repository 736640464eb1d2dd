"""The frames of messages that go to many connections: each is made once.

A server's frames are not masked, so two connections that have negotiated the same can
write the same bytes. What tells their frames apart is compression alone:

- A message of less than `COMPRESSED_BYTES`, or below the threshold of a connection, is
  not compressed. RFC 7692 section 6 lets each message be sent either way, and an
  uncompressed one leaves the contexts of both ends as they are. Its frame is the same
  for every connection.
- A larger one is compressed by a fresh compressor, once for each size of the window and
  each setting of zlib. A block that refers to nothing before itself can be inflated in
  any context, but it becomes a part of the peer's context, and our own compressor knows
  nothing of it: a later message would refer to bytes that the peer has elsewhere by
  now, and the peer would inflate other data than was sent, without an error. So the
  compressor of a connection that has context takeover is made anew before it is used
  again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from websockets.extensions import Extension
from websockets.frames import Frame, Opcode

from .._values.shared import SharedMessage
from .deflate import DeflateExtension, Form

# Bytes of payload from which a shared message is compressed, where that is negotiated.
# A smaller one gains little, and would cost each of its connections a new compressor,
# if it has context takeover.
COMPRESSED_BYTES: Final = 1024

# The form of a frame without compression.
PLAIN: Final[Form] = ()


def compression_of(extensions: Sequence[Extension]) -> DeflateExtension | None:
    """Return the extension that compresses, if there is no other one beside it."""
    if len(extensions) == 1 and isinstance(extensions[0], DeflateExtension):
        return extensions[0]
    return None


def compressor_for(
    message: SharedMessage, compression: DeflateExtension | None
) -> DeflateExtension | None:
    """Return what compresses a message for a connection; `None`: nothing does.

    Args:
        message: The message.
        compression: What the connection has agreed on; `None`: no compression.
    """
    if compression is None:
        return None
    least = 0 if compression.local_no_context_takeover else COMPRESSED_BYTES
    if message.size < max(least, compression.threshold_bytes):
        return None
    return compression


def frame_of(message: SharedMessage, compressor: DeflateExtension | None) -> bytes:
    """Return the unmasked frame of a message; make it if it is not there yet.

    Args:
        message: The message. The frame is kept in its `forms`.
        compressor: What compresses it; `None`: nothing does.
    """
    form = PLAIN if compressor is None else compressor.form
    frame = message.forms.get(form)
    if frame is None:
        opcode = Opcode.TEXT if message.text else Opcode.BINARY
        made = Frame(opcode, message.data)
        extensions = [] if compressor is None else [compressor.for_one_block()]
        frame = made.serialize(mask=False, extensions=extensions)
        message.forms[form] = frame
    return frame
