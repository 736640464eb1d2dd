"""Compression whose contexts are made late, and the core's own beside it."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame, Opcode

from anyws import Deflate
from anyws._frames.deflate import DeflateExtension
from anyws._server.handshake import ServerHandshake

DEFLATE_SETTINGS: Final = {"memLevel": 5}

# What a connection may cost more for compression that was negotiated and not used.
UNUSED_BYTES: Final = 2048

TAKEOVERS: Final = [(remote, local) for remote in (0, 1) for local in (0, 1)]
messages = st.lists(
    st.lists(st.binary(max_size=40) | st.just(b"anyws " * 500), min_size=1, max_size=3),
    max_size=6,
)


def frames_of(parts: list[bytes]) -> list[Frame]:
    """Return the frames of one message."""
    last = len(parts) - 1
    return [
        Frame(Opcode.CONT if at else Opcode.BINARY, part, fin=at == last)
        for at, part in enumerate(parts)
    ]


def made(
    remote: int, local: int, bits: int
) -> tuple[DeflateExtension, PerMessageDeflate]:
    """Return an extension that is made late, and the core's own, agreed on alike."""
    core = PerMessageDeflate(bool(remote), bool(local), 12, bits, DEFLATE_SETTINGS)
    return DeflateExtension.of(core, Deflate()), core


@pytest.mark.parametrize(("remote", "local"), TAKEOVERS)
@given(messages=messages, bits=st.integers(9, 15))
def test_it_writes_what_the_core_writes(
    remote: int, local: int, messages: list[list[bytes]], bits: int
) -> None:
    """In every combination of takeover, and in fragments too."""
    late, core = made(remote, local, bits)
    for parts in messages:
        for frame in frames_of(parts):
            assert late.encode(frame) == core.encode(frame)


@pytest.mark.parametrize(("remote", "local"), TAKEOVERS)
@given(messages=messages)
def test_it_reads_what_the_core_reads(
    remote: int, local: int, messages: list[list[bytes]]
) -> None:
    """Of a peer that compresses as was agreed."""
    late, core = made(remote, local, 12)
    peer = PerMessageDeflate(bool(local), bool(remote), 12, 12, DEFLATE_SETTINGS)
    for parts in messages:
        received = b""
        for frame in frames_of(parts):
            sent = peer.encode(frame)
            decoded = late.decode(sent, max_size=10_000)
            assert decoded == core.decode(sent, max_size=10_000)
            received += decoded.data
        assert received == b"".join(parts)


@pytest.mark.parametrize(("remote", "local"), TAKEOVERS)
def test_a_context_is_there_when_a_message_needs_it(remote: int, local: int) -> None:
    """Not before; and not after it, if it is for one message."""
    late, _ = made(remote, local, 12)
    assert vars(late).keys().isdisjoint({"decoder", "encoder"})

    [frame] = frames_of([b"a" * 100])
    late.decode(late.encode(frame))
    assert ("encoder" in vars(late)) is not bool(local)
    assert ("decoder" in vars(late)) is not bool(remote)

    late.forget()
    assert "encoder" not in vars(late)
    late.forget()


def request(offer: bytes) -> Callable[[], ServerHandshake]:
    """Return what makes a handshake of a client that offers compression."""
    headers = [
        (b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ=="),
        (b"sec-websocket-version", b"13"),
        (b"sec-websocket-extensions", offer),
    ]
    return lambda: ServerHandshake(b"/", headers, "1.1")


def test_compression_that_is_not_used_costs_next_to_nothing() -> None:
    """A server that agrees on it holds its settings alone."""
    handshake = request(b"permessage-deflate; client_max_window_bits")
    handshake().agree()
    tracemalloc.start()
    try:
        agreed = [handshake().agree()[1] for _ in range(20)]
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(agreed[0]) == 1
    assert held / len(agreed) < UNUSED_BYTES
