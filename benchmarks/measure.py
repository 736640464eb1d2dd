"""What is measured: the cells, one load on one server, and memory per connection."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks import client

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator, Sequence

    from benchmarks import server

WARM_UP = 0.15  # seconds at most, before each measurement


@dataclass(frozen=True)
class Cell:
    """One kind of load."""

    title: str
    load: Callable[[Sequence[socket.socket], client.Exchange, float], int]
    size: int = 32
    connections: int = 1


CELLS = {
    "ping-pong-1": Cell("ping-pong, 1 connection, 32 B", client.ping_pong),
    "ping-pong-64": Cell(
        "ping-pong, 64 connections, 32 B", client.ping_pong_many, connections=64
    ),
    "pipelined": Cell(f"pipelined, {client.DEPTH} in flight, 32 B", client.pipelined),
    "64KiB": Cell("ping-pong, 1 connection, 64 KiB", client.ping_pong, size=2**16),
}


@dataclass(frozen=True)
class Load:
    """What one load came to."""

    messages: int
    seconds: float
    cpu_seconds: float
    warm_up_messages: int

    @property
    def rate(self) -> float:
        """Messages echoed a second."""
        return self.messages / self.seconds

    @property
    def cpu_us(self) -> float:
        """Server CPU time per message (microseconds): steadier than the rate."""
        return self.cpu_seconds / self.messages * 1e6


@dataclass(frozen=True)
class Cores:
    """The core of the server and that of the client; None where there is one core."""

    server: int | None
    client: int | None


def pin() -> Cores:
    """Pin this process, the client, to one core and name another for the servers."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        return Cores(None, None)
    os.sched_setaffinity(0, {cores[0]})
    return Cores(server=cores[-1], client=cores[0])


def load(target: server.Server, cell: Cell, seconds: float) -> Load:
    """Put `cell` on `target` for `seconds`, after a warm-up."""
    exchange = client.Exchange(cell.size)
    with _open(target, cell.connections, deflate=False) as connections:
        for connection in connections:
            client.echo_once(connection, exchange, deflate=False)
        warm_up = cell.load(
            connections, exchange, time.monotonic() + min(WARM_UP, seconds)
        )
        cpu, started = target.cpu_seconds(), time.monotonic()
        messages = cell.load(connections, exchange, started + seconds)
        elapsed = time.monotonic() - started
        return Load(messages, elapsed, target.cpu_seconds() - cpu, warm_up)


@contextmanager
def _open(
    target: server.Server, count: int, *, deflate: bool
) -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        yield [
            stack.enter_context(client.connect(target.address, deflate=deflate))
            for _ in range(count)
        ]


def idle_kib(
    target: server.Server, connections: int, *, deflate: bool, echo: bool
) -> float:
    """Return the resident memory that one more idle connection costs (KiB).

    A first quarter, which takes up what the server had free, is not counted.
    """
    with ExitStack() as stack:

        def resident_after(count: int) -> int:
            opened = stack.enter_context(_open(target, count, deflate=deflate))
            for connection in opened if echo else ():
                client.echo_once(connection, client.Exchange(32), deflate=deflate)
            target.wait_quiet()
            return target.resident_kib()

        before = resident_after(connections // 4)
        return (resident_after(connections) - before) / connections
