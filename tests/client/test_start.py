"""What a client does, and meets, in the very moment in which it is connected."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

import anyws

from ..support.ends import KINDS, RawServer, opened
from ..support.wired import BINARY, CLOSE, PING, PONG, TEXT, close_payload, frame

SIZE = 4 * 1024 * 1024


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("kind", KINDS)
async def test_the_first_message_may_be_large(
    kind: str, tmp_path: Path, at_once: bool
) -> None:
    """What cannot be written at once is written soon, though nothing follows it."""
    async with opened(kind, tmp_path) as (ws, server):
        async with ws, anyio.create_task_group() as tasks:

            async def answer() -> None:
                size = 14 + SIZE  # with the longest header, and the mask
                while len(server.received) < size:
                    server.received += await server.stream.receive()
                assert server.received[0] == 0x80 | BINARY
                await server.send(frame(TEXT, "thanks", mask=None))
                await server.send(frame(CLOSE, close_payload(1000), mask=None))

            if not at_once:
                await anyio.wait_all_tasks_blocked()
            await ws.send_bytes(bytes(SIZE))
            tasks.start_soon(answer)
            assert [message async for message in ws] == ["thanks"]
            await anyio.aclose_forcefully(server.stream)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_ping_may_come_first(kind: str, tmp_path: Path) -> None:
    """A ping is sent though no message ever is."""
    async with opened(kind, tmp_path, close_timeout=0.05) as (ws, server):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(pong, server)
            async with ws:
                assert await ws.ping(b"first") < 10


async def pong(server: RawServer) -> None:
    """Answer the first ping."""
    assert await server.receive() == (PING, b"first")
    await server.send(frame(PONG, b"first", mask=None))


async def test_what_comes_with_the_handshake_is_received(tmp_path: Path) -> None:
    """Messages and pings behind the response, in one read with it, are as any other."""
    frames = frame(TEXT, "early", mask=None) + frame(PING, b"x", mask=None)
    async with opened("memory", tmp_path, trailing=frames, close_timeout=0.05) as (
        ws,
        server,
    ):
        async with ws:
            assert await server.receive() == (PONG, b"x")
            assert await ws.receive_text() == "early"


@pytest.mark.parametrize(
    ("ending", "code"),
    [
        (frame(CLOSE, close_payload(4001), mask=None), 4001),
        (frame(3, mask=None), 1002),
    ],
    ids=["a close", "a violation"],
)
async def test_an_end_that_comes_with_the_handshake(
    tmp_path: Path, ending: bytes, code: int
) -> None:
    """It is answered, and told to the user."""
    async with opened("memory", tmp_path, trailing=ending) as (ws, server):
        async with ws:
            with pytest.raises(anyws.ConnectionClosed) as caught:
                await ws.receive_text()
            assert await server.until_close() == ([], code)
            await server.stream.aclose()
        assert caught.value.code == code


async def test_a_connection_that_is_not_entered_is_closed(tmp_path: Path) -> None:
    """A block that is left at once says goodbye in order."""
    async with opened("memory", tmp_path, close_timeout=0.05) as (ws, server):
        async with ws:
            pass
        assert await server.until_close() == ([], 1000)
