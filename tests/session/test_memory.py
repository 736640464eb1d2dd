"""What a peer that sends and an application that does not read cost, in memory."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import anyio
import pytest
from websockets.extensions.permessage_deflate import PerMessageDeflate

from anyws._frames.codec import Codec, Side

from ..support.wired import (
    BINARY,
    CONT,
    PING,
    PONG,
    TEXT,
    EagerChannel,
    WiredChannel,
    frame,
)
from .test_reading_ahead import compressed

MIB = 1024 * 1024
READS = {
    "empty texts": frame(TEXT) * 20_000,
    "empty binaries": frame(BINARY) * 20_000,
    "short texts": frame(TEXT, "a") * 18_000,
    "behind a long frame": (frame(BINARY, bytes(5000)) + frame(TEXT) * 3000) * 8,
    "wide texts": frame(TEXT, "\U0001f600" + "a" * 1000) * 1000,
    "long ones": frame(BINARY, bytes(50_000)) * 40,
    "fragments": frame(TEXT, fin=False) + frame(CONT, fin=False) * 20_000,
    "pings": frame(PING) * 20_000,
    "pongs": frame(PONG) * 20_000,
}


@contextmanager
def measured() -> Iterator[Callable[[], int]]:
    """Give a function that returns the bytes allocated in the block, and still held."""
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        yield lambda: tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("what", READS)
async def test_a_deaf_application_costs_what_is_declared(what: str) -> None:
    """First mark and read-ahead, and the slice that passed them."""
    channel = WiredChannel()
    read = READS[what]
    reads = [read[start : start + 65536] for start in range(0, len(read), 65536)]
    async with channel.websocket(max_message_bytes=65536) as ws:
        await ws.accept()
        channel.stall()
        with measured() as held:
            channel.read(*reads)
            await anyio.wait_all_tasks_blocked()
            assert held() < 1.75 * MIB
            held_messages = ws.statistics().receive_queued
        assert held_messages <= 2048 + 16 + 256
        channel.resume()


async def test_messages_that_inflate_cost_what_is_declared() -> None:
    """A slice of them is smaller, as each byte may become a thousand."""
    channel = WiredChannel()
    channel.extensions = [PerMessageDeflate(False, False, 12, 12)]
    read = compressed(bytes(50_000)) * 900
    async with channel.websocket() as ws:
        await ws.accept()
        with measured() as held:
            channel.read(read)
            assert held() < 3.25 * MIB  # two of them, and what the slices bring


@pytest.mark.parametrize("at_once", [False, True], ids=["by the task", "at once"])
@pytest.mark.parametrize("size", [0, 1000, 64 * 1024])
@pytest.mark.parametrize("kind", ["bytes", "wide text"])
async def test_a_stalled_peer_costs_the_send_buffer(
    size: int, kind: str, at_once: bool
) -> None:
    """Its bound counts what is framed and not written too, and what Python adds."""
    channel = EagerChannel() if at_once else WiredChannel()

    def fresh(number: int) -> str | bytes:
        data = b"%c" % (number % 128) * size
        return data if kind == "bytes" else data.decode() + chr(0x1F600 + number % 50)

    async with channel.websocket(send_buffer=10**6) as ws:
        await ws.accept()
        channel.stall()
        with measured() as held:
            for _ in range(3):  # the writer task takes what it can between them
                with pytest.raises(anyio.WouldBlock):
                    for number in range(10**6):
                        ws.send_nowait(fresh(number))
                await anyio.wait_all_tasks_blocked()
            # A piece is held as messages or as frames, and its frames once more.
            assert held() < 1.75 * MIB
        channel.resume()


def test_answers_take_little_more_than_their_bytes() -> None:
    """However many reads they answer."""
    codec = Codec(Side.SERVER, max_message_bytes=1000)
    with measured() as held:
        for _ in range(10_000):
            codec.receive(frame(PING))
        assert codec.answers_size == 20_000
        assert held() < 100_000
