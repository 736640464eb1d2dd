"""The settings of compression: what is negotiated, and how messages are compressed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

# The limit of each end's own window, and of the window of a server's clients, unless
# the settings name it: zlib's own 15 bits cost a connection 130 KiB more.
DEFAULT_WINDOW_BITS: Final = 12

# The least and the largest value of each setting that is a number. The level 0 does not
# compress, and a window has 8 to 15 bits (RFC 7692 sections 7.1.2.1 and 7.1.2.2).
_RANGES: Final = {
    "threshold_bytes": (0, 2**63),
    "level": (1, 9),
    "memory_level": (1, 9),
    "server_max_window_bits": (8, 15),
    "client_max_window_bits": (8, 15),
}
_SWITCHES: Final = ("server_no_context_takeover", "client_no_context_takeover")


@dataclass(frozen=True, kw_only=True, slots=True)
class Deflate:
    """Settings of compression with permessage-deflate.

        anyws.connect(url, compression=anyws.Deflate(level=1))
        anyws.Options(compression=anyws.Deflate(server_no_context_takeover=True))

    The settings with `server` and `client` in their names are terms of RFC 7692. They
    mean the same at either end: a server that sets `client_max_window_bits` limits its
    clients, and a client that sets `server_max_window_bits` asks its server for that
    limit.

    Once a connection has compressed a message, it keeps memory for that: at most `2 **
    (window bits + 2) + 2 ** (memory_level + 9)` bytes and 6 KiB. Once it has received a
    compressed message, it keeps `2 ** (window bits)` bytes and 8 KiB for that. The
    window bits are those of the end that compresses. Measured, in KiB:

        window bits, memory_level    sent    received
        15, 8 (zlib's own)            200          41
        15, 5                         142          41
        12, 5 (the default)            37          13
        10, 3                          14           9
        no context takeover             0           0

    Without context takeover, a connection has this memory only while it handles a
    message, and each message is compressed by itself: 1024 bytes of JSON become 402
    bytes instead of 281.

    A message of more than 256 KiB is compressed in steps, between which other tasks
    run. `send_nowait` and hubs compress it in one step.

    Attributes:
        threshold_bytes: Messages of fewer bytes are sent uncompressed (default 256).
            Measured for typical JSON, at both ends together: 64 bytes become 33 and
            take 16 µs more of CPU time; 256 bytes become 90 and take 23 µs more; 1024
            become 281 and take 44 µs more; 4096 become 993 and take 109 µs more.
            A message that is sent in parts is always compressed, because its size is
            not known when it begins. One that a hub sends to many connections is
            compressed from 1024 bytes on, or from this threshold where that is larger
            or the server has no context takeover.
        level: How hard zlib tries, from 1 (fast) to 9 (small); the default is 6. For
            1024 bytes of JSON the level 1 takes two thirds of its time, and makes
            messages that are a fifth larger; the level 9 gains 1 %.
        memory_level: Memory for the compressor's tables, from 1 to 9 (default 5).
        server_max_window_bits: How far back messages of the server refer, as a power of
            two, from 8 to 15 (default `None`: a server's own limit is 12, and a client
            asks for none). A server that does not know the parameter refuses the
            client's offer of compression, or fails the opening handshake.
        client_max_window_bits: The same for messages of the client (default `None`:
            12 at either end). A client that cannot limit its window is not asked to.
        server_no_context_takeover: Whether the server compresses each message by
            itself (default false).
        client_no_context_takeover: Whether the client does (default false).

    Raises:
        TypeError, ValueError: A setting is invalid; the message says which and why.

    Source: RFC 7692 section 7.
    """

    threshold_bytes: int = 256
    level: int = 6
    memory_level: int = 5
    server_max_window_bits: int | None = None
    client_max_window_bits: int | None = None
    server_no_context_takeover: bool = False
    client_no_context_takeover: bool = False

    def __post_init__(self) -> None:
        """Refuse invalid values."""
        for name, (least, largest) in _RANGES.items():
            value = getattr(self, name)
            if value is None and name.endswith("window_bits"):
                continue
            if type(value) is not int:
                kind = type(value).__name__
                raise TypeError(f"{name} must be an int, not {kind}")
            if not least <= value <= largest:
                up_to = "or more" if largest > 15 else f"to {largest}"
                raise ValueError(f"{name} is {least} {up_to}, not {value}")
        for name in _SWITCHES:
            value = getattr(self, name)
            if type(value) is not bool:
                kind = type(value).__name__
                raise TypeError(f"{name} must be a bool, not {kind}")


# `"deflate"` stands for `Deflate()`; `None`: no compression.
Compression: TypeAlias = Deflate | Literal["deflate"] | None


def check_compression(compression: object) -> None:
    """Raise ValueError unless this is a `Compression`."""
    if not (
        compression is None
        or compression == "deflate"
        or isinstance(compression, Deflate)
    ):
        raise ValueError(
            f"compression is 'deflate', an anyws.Deflate or None, not {compression!r}"
        )


DEFAULT_DEFLATE: Final = Deflate()


def deflate_of(compression: Compression) -> Deflate | None:
    """Return the settings that a `Compression` stands for."""
    return DEFAULT_DEFLATE if isinstance(compression, str) else compression
