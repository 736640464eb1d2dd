"""What compressing a message saves in bytes, and costs in CPU time, at both ends.

    python benchmarks/compression.py
    python benchmarks/compression.py --rounds 3 --messages 2000

Needs the extra `uvloop`. A client sends JSON to an `anyws.serve` in the same process,
on loopback: the same messages compressed, and as they are, several times each. Shown
are the mean size on the wire without the frame's head, and the medians of the CPU time
of both ends for each message, and of the difference (microseconds).
"""

from __future__ import annotations

import argparse
import json
import random
import time
import zlib
from statistics import mean, median
from typing import Final

import anyio

import anyws

SIZES: Final = (64, 256, 1024, 4096)
WORDS: Final = [
    "open",
    "high",
    "low",
    "close",
    "volume",
    "bid",
    "ask",
    "trade",
    "symbol",
    "venue",
    "price",
    "time",
]


def messages_of(size: int, count: int) -> list[str]:
    """Return different messages of JSON, each of just so many characters."""
    chance, made = random.Random(size), list[str]()
    while len(made) < count:
        values: dict[str, object] = {"id": len(made)}
        text = json.dumps(values)
        while len(text) < size:
            values[f"{chance.choice(WORDS)}{len(values)}"] = (
                chance.randrange(10_000) / 100
            )
            text = json.dumps(values)
        made.append(text[:size])
    return made


def compressed(messages: list[str], deflate: anyws.Deflate) -> float:
    """Return the mean size, as a client's compressor with a context makes it."""
    bits = -(deflate.client_max_window_bits or 12)
    level, memory = deflate.level, deflate.memory_level
    packer = zlib.compressobj(level, zlib.DEFLATED, bits, memory)
    return mean(
        len(packer.compress(text.encode()) + packer.flush(zlib.Z_SYNC_FLUSH)) - 4
        for text in messages
    )


async def sink(ws: anyws.WebSocket) -> None:
    """Take messages in; answer the last one."""
    await ws.accept()
    async for message in ws:
        if message == "last":
            await ws.send_text("all")


async def measure(
    ws: anyws.ClientWebSocket, messages: list[str], packed: bool
) -> float:
    """Return the CPU time for one message (microseconds)."""
    before = time.process_time()
    for text in messages:
        await ws.send_text(text, compress=packed)
    await ws.send_text("last", compress=False)
    await ws.receive_text()
    return (time.process_time() - before) / len(messages) * 1e6


async def main(rounds: int, count: int) -> None:
    """Measure all sizes in turn, and print a table."""
    deflate = anyws.Deflate(threshold_bytes=0)
    options = anyws.Options(compression=deflate)
    print("| bytes | compressed | as it is, µs | compressed, µs | more, µs |")
    print("|---:|---:|---:|---:|---:|")
    async with (
        anyws.serve(sink, "127.0.0.1", options=options) as server,
        anyws.connect(server.url, compression=deflate, proxy=None) as ws,
    ):
        for size in SIZES:
            messages = messages_of(size, count)
            pairs = [
                (await measure(ws, messages, False), await measure(ws, messages, True))
                for _ in range(rounds)
            ]
            bare, packed = (median(side) for side in zip(*pairs, strict=True))
            more = median(packed - bare for bare, packed in pairs)
            small = compressed(messages, deflate)
            print(f"| {size} | {small:.0f} | {bare:.0f} | {packed:.0f} | {more:.0f} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--messages", type=int, default=5000)
    arguments = parser.parse_args()
    anyio.run(
        main,
        arguments.rounds,
        arguments.messages,
        backend_options={"use_uvloop": True},
    )
