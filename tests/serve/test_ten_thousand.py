"""Ten thousand idle connections at a time, over real sockets."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from ..support import real_servers
from ..support.servers import Frame, RawClient, frame_bytes, resident_bytes

COUNT = 10_000


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
        for _round in range(2):
            with ExitStack() as stack:
                clients = list[RawClient]()
                for _ in range(COUNT):
                    clients.append(stack.enter_context(closing(RawClient(port))))
                    clients[-1].open("/")
                resident.append(resident_bytes(process.pid))
                for client in clients:
                    client.socket.sendall(frame_bytes(client.PING, b""))
                assert {client.receive() for client in clients} == {
                    Frame(RawClient.PONG, b"")
                }
                for client in clients:
                    client.send_close(1000)
                for client in clients:
                    assert client.receive_until_close() == ([], 1000)
    assert resident[1] < 1.05 * resident[0]
