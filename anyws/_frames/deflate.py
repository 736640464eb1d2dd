"""permessage-deflate whose contexts are made when the first message needs them.

The core of `websockets` makes a compressor and a decompressor for each connection that
has context takeover, as soon as compression is negotiated: 38 KiB, which a connection
keeps although it may never send or receive a compressed message.
"""

from __future__ import annotations

import zlib
from functools import cached_property, lru_cache
from typing import Any, Final, TypeAlias

from websockets.extensions import Extension
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame

from .._values.deflate import Deflate

# How much of a large message is compressed in one step: some milliseconds.
PIECE_BYTES: Final = 64 * 1024

# The settings by which two blocks of compressed data with the same content differ.
Form: TypeAlias = tuple[int, ...]


class DeflateExtension(PerMessageDeflate):
    """The core's extension, with contexts that are made on first use.

    The core reads the attributes `decoder` and `encoder`, and sets and deletes them
    where a context belongs to one message only. A `cached_property` bears all of that.
    This part of the core is not documented, so `pyproject.toml` allows only the
    releases that were tried.

    Args:
        remote_no_context_takeover: Whether the peer compresses each message by itself.
        local_no_context_takeover: Whether this end does.
        remote_max_window_bits: Bits of the window that the peer's compressor may use.
        local_max_window_bits: Bits of the window that this end's may use.
        compress_settings: Further arguments of `zlib.compressobj`; not changed.
        threshold_bytes: Messages of fewer bytes are not compressed.

    Source: RFC 7692 section 7.
    """

    def __init__(
        self,
        remote_no_context_takeover: bool,
        local_no_context_takeover: bool,
        remote_max_window_bits: int,
        local_max_window_bits: int,
        compress_settings: dict[str, Any],
        threshold_bytes: int = 0,
    ) -> None:
        # Without takeover the core makes no context at this point.
        super().__init__(
            True, True, remote_max_window_bits, local_max_window_bits, compress_settings
        )
        self.remote_no_context_takeover = remote_no_context_takeover
        self.local_no_context_takeover = local_no_context_takeover
        self.threshold_bytes = threshold_bytes

    @classmethod
    def of(cls, agreed: PerMessageDeflate, settings: Deflate) -> DeflateExtension:
        """Return an extension that is agreed on as the core's own object says."""
        return cls(
            agreed.remote_no_context_takeover,
            agreed.local_no_context_takeover,
            agreed.remote_max_window_bits,
            agreed.local_max_window_bits,
            _compress_settings(settings.level, settings.memory_level),
            settings.threshold_bytes,
        )

    @property
    def form(self) -> Form:
        """The settings that a block without references to earlier ones depends on."""
        return self.local_max_window_bits, *self.compress_settings.values()

    @cached_property
    def decoder(self) -> Any:  # type: ignore[override]  # a plain attribute of the core's
        """The context of messages received."""
        return zlib.decompressobj(wbits=-self.remote_max_window_bits)

    @cached_property
    def encoder(self) -> Any:  # type: ignore[override]  # the same
        """The context of messages sent."""
        return self.compressor()

    def compressor(self) -> Any:
        """Return a new context of messages sent."""
        return zlib.compressobj(
            wbits=-self.local_max_window_bits, **self.compress_settings
        )

    def for_one_block(self) -> DeflateExtension:
        """Return an extension that makes blocks of this form, which refer to none."""
        bits = self.local_max_window_bits
        return DeflateExtension(True, True, bits, bits, self.compress_settings)

    def forget(self) -> None:
        """Have the next message sent refer to none before it.

        Between two messages only: the rest of a message needs its context.
        """
        vars(self).pop("encoder", None)


class Deflated(Extension):
    """In place of the extension, for payloads that were compressed before."""

    def encode(self, frame: Frame) -> Frame:
        """Mark the frame of a whole message as compressed (RFC 7692 section 7.2.1)."""
        return Frame(frame.opcode, frame.data, rsv1=True)


class Deflation:
    """A large message that is compressed in steps.

    Other tasks have their turn between two steps, and other messages may be sent. So
    it has a compressor of its own, and refers to nothing before itself.

    Args:
        extension: The extension that the connection has agreed on.
        data: The payload.
    """

    __slots__ = ("_compressor", "_parts", "_rest")

    def __init__(self, extension: DeflateExtension, data: bytes) -> None:
        self._compressor = extension.compressor()
        self._rest = memoryview(data)
        self._parts: list[bytes] = []

    def step(self) -> bytes | None:
        """Compress one piece; return the payload of the frame, once it is whole."""
        piece, self._rest = self._rest[:PIECE_BYTES], self._rest[PIECE_BYTES:]
        self._parts.append(self._compressor.compress(piece))
        if self._rest:
            return None
        self._parts.append(self._compressor.flush(zlib.Z_SYNC_FLUSH)[:-4])
        return b"".join(self._parts)


@lru_cache
def _compress_settings(level: int, memory_level: int) -> dict[str, Any]:
    """Return the arguments of `zlib.compressobj`, which many connections share."""
    return {"level": level, "memLevel": memory_level}
