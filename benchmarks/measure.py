"""What is measured: the cells, one load on one server, and memory per connection."""

from __future__ import annotations

import os
import resource
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from benchmarks import loads, wire

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator, Sequence

    from benchmarks.server import Server

WARM_UP = 0.15  # seconds at most, before each measurement
FULL = 0.9  # share of a core from which on it is taken for the limit


@dataclass(frozen=True)
class Cell:
    """One kind of load; without one, connections are opened and closed."""

    title: str
    load: Callable[[Sequence[socket.socket], wire.Exchange, float], int] | None = None
    size: int = 32
    binary: bool = False
    connections: int = 1


CELLS = {
    "ping-pong-1": Cell("ping-pong, 1 connection", loads.ping_pong),
    "ping-pong-64": Cell(
        "ping-pong, 64 connections", loads.ping_pong_many, connections=64
    ),
    "ping-pong-512": Cell(
        "ping-pong, 512 connections", loads.ping_pong_many, connections=512
    ),
    "pipelined": Cell(f"pipelined, {loads.DEPTH} in flight", loads.pipelined),
    "64KiB": Cell("64 KiB messages", loads.ping_pong, size=2**16, binary=True),
    "handshakes": Cell("connections opened and closed"),
}
# What an idle connection has behind it: permessage-deflate agreed on, a message echoed.
# End of the name of a cell: its title.
IDLE = {
    "": "plain",
    "-echo": "plain, one echo",
    "-deflate": "deflate",
    "-deflate-echo": "deflate, one echo",
}


@dataclass(frozen=True)
class Load:
    """What one load came to."""

    count: int
    seconds: float
    cpu_seconds: float
    client_cpu_seconds: float
    warm_up_count: int

    @property
    def rate(self) -> float:
        """Messages echoed, or connections, a second."""
        return self.count / self.seconds

    @property
    def cpu_us(self) -> float:
        """Server CPU time per message (microseconds): steadier than the rate."""
        return self.cpu_seconds / self.count * 1e6

    @property
    def client_bound(self) -> bool:
        """Whether the client had its core full, and the server had not."""
        full = FULL * self.seconds
        return self.client_cpu_seconds > full > self.cpu_seconds


@dataclass(frozen=True)
class Cores:
    """The core of the server and that of the client; None where there is one core."""

    server: int | None
    client: int | None


def prepare() -> Cores:
    """Pin this process, the client, to one core and name another for the servers.

    Also let it, and the servers after it, open as many files as may be.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        return Cores(None, None)
    os.sched_setaffinity(0, {cores[0]})
    return Cores(server=cores[-1], client=cores[0])


def load(target: Server, cell: Cell, seconds: float) -> Load:
    """Put `cell` on `target` for `seconds`, after a warm-up."""
    with target.explaining():
        with _prepared(target, cell) as run:
            warm_up = run(time.monotonic() + min(WARM_UP, seconds))
            cpu, client_cpu = target.cpu_seconds(), time.process_time()
            started = time.monotonic()
            count = run(started + seconds)
            elapsed = time.monotonic() - started
            client_cpu = time.process_time() - client_cpu
            cpu = target.cpu_seconds() - cpu
        target.wait_quiet()  # it may still be closing connections, in another's turn
    return Load(count, elapsed, cpu, client_cpu, warm_up)


@contextmanager
def _prepared(target: Server, cell: Cell) -> Iterator[Callable[[float], int]]:
    """Open what the load needs; it then runs to the deadline that it is given."""
    if cell.load is None:
        yield partial(loads.handshakes, target.peer, target.address)
        return
    exchange = target.peer.exchange(cell.size, binary=cell.binary)
    with _open(target, cell.connections, binary=cell.binary) as connections:
        for connection in connections:
            target.peer.echo_once(connection, exchange)
        yield partial(cell.load, connections, exchange)


@contextmanager
def _open(
    target: Server, count: int, *, binary: bool = False, deflate: bool = False
) -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        yield [
            stack.enter_context(
                wire.connect(
                    target.peer, target.address, binary=binary, deflate=deflate
                )
            )
            for _ in range(count)
        ]


def idle_kib(target: Server, connections: int, *, deflate: bool) -> tuple[float, float]:
    """Return the resident memory that one more idle connection costs (KiB).

    Before and after it has echoed a message. A first quarter of connections, which
    takes up what the server had free, is not counted.
    """
    exchange = wire.deflated_exchange(32) if deflate else target.peer.exchange(32)

    def resident(echoing: Sequence[socket.socket]) -> int:
        for connection in echoing:
            target.peer.echo_once(connection, exchange)
        target.wait_quiet()
        return target.resident_kib()

    with (
        target.explaining(),
        _open(target, connections // 4, deflate=deflate) as first,
    ):
        before = resident(first)
        with _open(target, connections, deflate=deflate) as opened:
            silent, used = resident(()) - before, resident(opened) - before
    return silent / connections, used / connections
