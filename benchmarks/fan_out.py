"""What it costs a server to send one message to many members.

python -m benchmarks.fan_out [--members 10 100 1000 10000] [--worker asyncio trio]

Prints the CPU time of the server for one message and member, in microseconds: the
median of some rounds, servers in turn. One message is under way at a time: the next one
is published when all members have the one before.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import select
import socket
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.fan_out_servers import SERVERS, WORKERS
from benchmarks.wire import PATIENCE, PING, PONG, TEXT, WebSocketPeer, connect, frame

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
PIECE = 2**16


class Members:
    """A server with members, and the process that it is.

    Args:
        name, worker: Which server.
        count: How many members.
        deflate: Whether they negotiate compression.
    """

    def __init__(self, name: str, worker: str, count: int, *, deflate: bool) -> None:
        listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        words = [name, worker, "deflate" if deflate else "plain"]
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "benchmarks.fan_out_servers",
                *words,
                str(listener.fileno()),
            ],
            pass_fds=[listener.fileno()],
            cwd=ROOT,
        )
        address = listener.getsockname()
        listener.close()
        self._epoll = select.epoll()
        self._members: dict[int, socket.socket] = {}
        try:
            for number in range(count):
                if number % 100 == 0:
                    self._answer_pings()
                member = connect(WebSocketPeer(), address, deflate=deflate)
                self._members[member.fileno()] = member
                self._epoll.register(member, select.EPOLLIN)
        except BaseException:
            self.close()
            raise
        self._first = next(iter(self._members.values()))

    def close(self) -> None:
        """End the server, and the members."""
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(3)
        self._process.kill()
        self._process.wait()
        self._epoll.close()
        for member in self._members.values():
            member.close()

    def _answer_pings(self) -> None:
        """Answer the pings that have come while no message is under way."""
        for fd, _ in self._epoll.poll(0):
            self._without_pings(fd, self._members[fd].recv(PIECE))

    def _without_pings(self, fd: int, data: bytes) -> bytes:
        """Answer the pings at the start; opening many connections takes long."""
        while data[:1] == bytes([PING]) and len(data) >= 2 + data[1]:
            end = 2 + data[1]
            self._members[fd].sendall(frame(PONG, data[2:end], masked=True))
            data = data[end:]
        return data

    def cpu(self) -> float:
        """Return the CPU time of the server so far, in seconds."""
        tasks = Path(f"/proc/{self._process.pid}/task").iterdir()
        return sum(int((t / "schedstat").read_text().split()[0]) for t in tasks) / 1e9

    def publish(self, size: int) -> None:
        """Send one message, and wait until all members have it."""
        payload = os.urandom(size // 2).hex().encode()
        self._first.sendall(frame(TEXT, payload, masked=True))
        waiting = dict.fromkeys(self._members, b"")
        deadline = time.monotonic() + PATIENCE
        while waiting:
            for fd, _ in self._epoll.poll(PATIENCE):
                data = waiting.get(fd, b"") + self._members[fd].recv(PIECE)
                data = self._without_pings(fd, data)
                if _whole(data):
                    del waiting[fd]
                elif data:
                    waiting[fd] = data
            if time.monotonic() > deadline:
                raise TimeoutError(f"{len(waiting)} members have no message")


def _whole(data: bytes) -> bool:
    """Whether this is a whole frame of the server's."""
    if len(data) < 4:
        return False
    size, start = data[1], 2
    if size == 126:
        size, start = int.from_bytes(data[2:4]), 4
    return len(data) >= start + size


def cost(name: str, worker: str, count: int, arguments: argparse.Namespace) -> float:
    """Return the CPU time for one message and member, in microseconds."""
    members = Members(name, worker, count, deflate=arguments.deflate)
    try:
        messages: int = max(5, arguments.deliveries // count)
        for _ in range(3):
            members.publish(arguments.size)
        before = members.cpu()
        for _ in range(messages):
            members.publish(arguments.size)
        return (members.cpu() - before) / messages / count * 1e6
    finally:
        members.close()


def cells(arguments: argparse.Namespace) -> Iterator[tuple[str, int]]:
    """Yield what to measure."""
    for worker in arguments.worker:
        for count in arguments.members:
            yield worker, count


def main() -> None:
    """Measure, and print a line for each number of members."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--members", type=int, nargs="+", default=[10, 100, 1000, 10000]
    )
    parser.add_argument(
        "--worker", nargs="+", choices=WORKERS, default=["asyncio", "trio"]
    )
    parser.add_argument("--server", nargs="+", choices=SERVERS, default=list(SERVERS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", type=int, default=100, help="bytes of a message")
    parser.add_argument("--deliveries", type=int, default=20_000)
    parser.add_argument("--deflate", action="store_true")
    arguments = parser.parse_args()
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    print("CPU of the server for one message and member, in µs")
    titles = (f"{name:>10}" for name in arguments.server)
    print(f"{'worker':8} {'members':>8}", *titles, flush=True)
    for worker, count in cells(arguments):
        rounds = [
            [cost(name, worker, count, arguments) for name in arguments.server]
            for _ in range(arguments.rounds)
        ]
        costs = [median(column) for column in zip(*rounds, strict=True)]
        values = (f"{value:>10.1f}" for value in costs)
        print(f"{worker:8} {count:>8}", *values, flush=True)


if __name__ == "__main__":
    main()
