"""What a client's transport tells of its peer, and a server that stops to read."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any, Final

import anyio
import pytest
from anyio.abc import SocketAttribute

import anyws
from anyws._frames.transport import PIECE_BYTES

from ..support.ends import KINDS, opened, raw
from ..support.wired import BINARY, PING, frame

PIECE: Final = bytes(PIECE_BYTES)
SOON: Final[dict[str, Any]] = {
    "ping_interval": 0.1,
    "ping_timeout": 0.2,
    "close_timeout": 0.2,
}


@pytest.mark.parametrize("kind", KINDS)
async def test_a_write_tells_whether_it_had_to_wait(kind: str, tmp_path: Path) -> None:
    """What is taken at once is not told of; what was refused and then taken is."""
    async with (
        opened(kind, tmp_path) as (ws, server),
        anyio.create_task_group() as tasks,
    ):
        channel: Any = ws._channel
        transport = channel._transport
        waited = list[bool]()
        done = anyio.Event()

        async def send() -> None:
            for _ in range(128):
                waited.append(await transport.send_all(PIECE))
            done.set()

        tasks.start_soon(send)
        await anyio.wait_all_tasks_blocked()
        taken = len(waited)
        assert taken < 128
        if kind in ("tcp", "unix"):  # the others guess by the time
            assert not any(waited)
        await anyio.sleep(0.05)
        tasks.start_soon(server.drain)
        await done.wait()
        assert waited[taken] is True
        await transport.aclose()


@pytest.mark.skipif(
    not hasattr(socket, "TCP_NOTSENT_LOWAT"), reason="this system has no such option"
)
@pytest.mark.parametrize("kind", ["tcp", "tls"])
async def test_the_kernel_holds_little_that_is_not_sent(
    kind: str, tmp_path: Path
) -> None:
    """A ping does not wait behind megabytes."""
    async with opened(kind, tmp_path) as (ws, _):
        channel: Any = ws._channel
        transport = channel._transport
        plain = transport._stream.extra(SocketAttribute.raw_socket)
        option = socket.TCP_NOTSENT_LOWAT
        assert plain.getsockopt(socket.IPPROTO_TCP, option) == 64 * 1024
        await transport.aclose()


@pytest.mark.parametrize("what", ["messages", "pings"])
@pytest.mark.parametrize("kind", KINDS)
async def test_a_server_that_writes_and_never_reads_is_closed(
    kind: str, what: str, tmp_path: Path
) -> None:
    """An echo that is stuck in a send is no reason to wait."""
    data = frame(BINARY, PIECE, mask=None)
    if what == "pings":
        data = frame(PING, bytes(125), mask=None) * 500
    async with (
        anyio.create_task_group() as tasks,
        raw(kind, tmp_path, **SOON) as (ws, server),
    ):

        async def write() -> None:
            while True:
                await server.send(data)
                await anyio.lowlevel.checkpoint()

        tasks.start_soon(write)
        with pytest.raises(anyws.ConnectionClosed, match="1011 'keepalive ping time"):
            while True:
                await ws.send_message(await ws.receive_message())
        assert ws.close_info == anyws.CloseInfo(1011, "keepalive ping timeout", "local")
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("kind", KINDS)
async def test_a_server_that_stops_to_read_is_closed(kind: str, tmp_path: Path) -> None:
    """A send that waits is woken."""
    async with raw(kind, tmp_path, **SOON) as (ws, _):
        with pytest.raises(anyws.ConnectionClosed, match="1011 'keepalive ping time"):
            while True:
                await ws.send_bytes(PIECE)
