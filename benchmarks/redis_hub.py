"""What hubs on a Redis server carry, beside coredis alone.

python -m benchmarks.redis_hub [--backend asyncio trio] [--messages 20000]

Prints the messages of 100 bytes that a process publishes and receives in a second of
its CPU time: coredis' pipelines of 100 and its pub/sub; a hub whose backend is plain;
one whose backend is durable. Then, for hubs, the time from publishing to receiving of
one message at a time (p50 and p99, in milliseconds). At last the same for each message
of a burst of 3000, from a WebSocket of a server on trio to one of a server on asyncio.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
from contextlib import contextmanager
from functools import partial
from statistics import median, quantiles
from typing import TYPE_CHECKING

import anyio
import coredis

import anyws
from anyws.redis import RedisBackend
from benchmarks import two_servers

if TYPE_CHECKING:
    from collections.abc import Iterator

TEXT = "x" * 100
AT_ONCE = 100
BURST = 3000


@contextmanager
def redis() -> Iterator[str]:
    """Run a Redis server; yield the path of its socket."""
    with tempfile.TemporaryDirectory(prefix="redis") as folder:
        path = f"{folder}/redis.sock"
        options = ("--port", "0", "--unixsocket", path, "--save", "", "--dir", folder)
        process = subprocess.Popen(
            ["redis-server", *options, "--loglevel", "warning"],
            stdout=subprocess.DEVNULL,
        )
        time.sleep(0.5)
        try:
            yield path
        finally:
            process.terminate()
            process.wait()


async def alone(path: str, count: int) -> float:
    """Return the messages per second of coredis alone."""
    async with (
        coredis.Redis(unix_socket_path=path) as client,
        client.pubsub(channels=["a"]) as pubsub,
        anyio.create_task_group() as tasks,
    ):

        async def publish() -> None:
            for _ in range(count // AT_ONCE):
                async with client.pipeline(transaction=False) as pipeline:
                    for _ in range(AT_ONCE):
                        pipeline.publish("a", TEXT)

        begin = time.process_time()
        tasks.start_soon(publish)
        got = 0
        while got < count:
            message = await anext(pubsub)
            got += message["type"] == "message"
        seconds = time.process_time() - begin
    return count / seconds


async def by_hub(path: str, count: int, *, durable: bool) -> tuple[float, list[float]]:
    """Return the messages per second of a hub, and times of single messages."""
    backend = RedisBackend(f"unix://{path}", durable=durable)
    async with (
        anyws.Hub(backend=backend, max_queued=1000) as hub,
        anyio.create_task_group() as tasks,
    ):
        times: list[float] = []
        seconds = 0.0
        with hub.subscribe("a", buffer=count) as events:
            for _ in range(500):
                begin = time.perf_counter()
                hub.publish("a", TEXT)
                await anext(events)
                times.append(1000 * (time.perf_counter() - begin))

            async def publish() -> None:
                left = count
                while left:
                    try:
                        hub.publish("a", TEXT)
                        left -= 1
                    except anyws.HubError:
                        await anyio.sleep(0.001)

            begin = time.process_time()
            tasks.start_soon(publish)
            for _ in range(count):
                event = await anext(events)
                if event.gap:
                    raise RuntimeError("messages were lost")
            seconds = time.process_time() - begin
    return count / seconds, times


def percentiles(times: list[float]) -> str:
    """Return the middle of some times, and what one in a hundred exceeds."""
    hundredths = quantiles(times, n=100)
    return f"  p50 {hundredths[49]:.2f} ms  p99 {hundredths[98]:.2f} ms"


def main() -> None:
    """Measure in turn, and print medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backend", nargs="+", default=["asyncio", "trio"])
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    for backend in arguments.backend:
        rates: dict[str, list[float]] = {"coredis": [], "plain": [], "durable": []}
        times: dict[str, list[float]] = {"plain": [], "durable": []}
        for _ in range(arguments.rounds):
            with redis() as path:
                count = arguments.messages
                rates["coredis"].append(anyio.run(alone, path, count, backend=backend))
                for name in times:
                    durable = name == "durable"
                    measure = partial(by_hub, path, count, durable=durable)
                    rate, single = anyio.run(measure, backend=backend)
                    rates[name].append(rate)
                    times[name] += single
        base = median(rates["coredis"])
        for name, values in rates.items():
            rate = median(values)
            line = f"{backend:8} {name:8} {rate:9,.0f}/s of CPU  {rate / base:.2f}"
            if name in times:
                line += percentiles(times[name])
            print(line, flush=True)
    with redis() as path:
        for name in ("plain", "durable"):
            durable = name == "durable"
            took = two_servers.times(f"unix://{path}", BURST, durable=durable)
            print(f"burst    {name:8} {percentiles(took)}", flush=True)


if __name__ == "__main__":
    main()
