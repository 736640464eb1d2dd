"""Ten thousand idle connections at a time, over real sockets."""

from __future__ import annotations

import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from ..support import real_servers
from ..support.servers import HOST

COUNT = 10_000
REQUEST = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
PING, PONG = b"\x89\x80\x00\x00\x00\x00", b"\x8a\x00"
CLOSE, CLOSED = b"\x88\x82\x00\x00\x00\x00\x03\xe8", b"\x88\x02\x03\xe8"


@contextmanager
def many_descriptors() -> Iterator[None]:
    """Let this process, and the servers that it starts, open many files."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    if before[1] < COUNT + 100:
        pytest.skip(f"no process may have more than {before[1]} files open here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def resident_bytes(pid: int) -> int:
    """Return how much memory of a process is resident."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def read(client: socket.socket, size: int) -> bytes:
    """Read so many bytes, or fewer at the end of the stream."""
    data = b""
    while len(data) < size and (more := client.recv(size - len(data))):
        data += more
    return data


def open_one(port: int, source: str) -> socket.socket:
    """Open a WebSocket from an address of its own: a port is free again only later."""
    client = socket.create_connection((HOST, port), 20, source_address=(source, 0))
    client.sendall(REQUEST)
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += client.recv(4096)
    assert head.startswith(b"HTTP/1.1 101"), head
    return client


@pytest.mark.alone
@pytest.mark.slow
@pytest.mark.parametrize("server", ["serve-asyncio", "serve-trio"])
def test_memory_is_flat_over_two_rounds(server: str, tmp_path: Path) -> None:
    """All are opened, pinged and closed; the second round takes what the first took."""
    name = real_servers.need(server)
    resident = []
    with (
        many_descriptors(),
        real_servers.serving(
            name, "engine_apps:latency", tmp_path, "--ping-interval", "0"
        ) as (port, process),
    ):
        for source in ("127.0.0.2", "127.0.0.3"):
            with ExitStack() as stack:
                clients = [
                    stack.enter_context(open_one(port, source)) for _ in range(COUNT)
                ]
                resident.append(resident_bytes(process.pid))
                for words, answer in ((PING, PONG), (CLOSE, CLOSED)):
                    for client in clients:
                        client.sendall(words)
                    assert {read(client, len(answer)) for client in clients} == {answer}
    assert resident[1] < 1.05 * resident[0]
