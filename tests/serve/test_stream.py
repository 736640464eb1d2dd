"""`anyws.accept_stream`: the server's end on a byte stream of somebody else's."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any

import anyio
import pytest

import anyws

from ..support.ends import KINDS, Listener, Pipe, listening
from .test_server import request


@asynccontextmanager
async def client(
    listener: Listener, talk: Callable[[anyws.ClientWebSocket], Awaitable[None]]
) -> AsyncIterator[Any]:
    """Run a client beside the block; give the server's stream."""

    async def run() -> None:
        async with listener.connect() as ws:
            await talk(ws)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        yield await listener.accept()


@pytest.mark.parametrize("kind", KINDS)
async def test_a_stream_of_any_kind(kind: str, tmp_path: Path) -> None:
    """Messages pass both ways, and leaving the block closes with 1000."""

    async def talk(ws: anyws.ClientWebSocket) -> None:
        for size in (1, 300_000):
            await ws.send_bytes(bytes(size))
            assert len(await ws.receive_bytes()) == size
        assert (await ws.wait_closed()).code == 1000

    async with listening(kind, tmp_path) as listener:
        async with client(listener, talk) as stream:
            async with anyws.accept_stream(stream) as ws:
                await ws.accept()
                for _ in range(2):
                    await ws.send_bytes(await ws.receive_bytes())


async def test_a_rejection_and_an_error() -> None:
    """A block that does not accept rejects with 403; one that fails, with 500."""
    for error, status in ((None, 403), (KeyError("mine"), 500)):
        near, far = Pipe.pair()
        statuses = list[int]()

        async def talk(stream: Any, statuses: list[int] = statuses) -> None:
            with pytest.raises(anyws.HandshakeRejected) as caught:
                async with anyws.connect("ws://memory/", stream=stream):
                    pass
            statuses.append(caught.value.status)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(talk, near)
            raised: AbstractContextManager[Any] = nullcontext()
            if error is not None:
                raised = pytest.raises(KeyError)
            with raised:
                async with anyws.accept_stream(far) as ws:
                    assert ws.url.path == "/"
                    if error is not None:
                        raise error
        assert statuses == [status]


@pytest.mark.parametrize(
    ("data", "status"),
    [(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 426), (b"\x16\x03", 400)],
)
async def test_what_is_no_request(data: bytes, status: int) -> None:
    """It is answered, the error says with what, and the stream is closed."""
    near, far = Pipe.pair()
    await near.send(data)
    await near.send_eof()
    with pytest.raises(anyws.ProtocolError, match=str(status)):
        async with anyws.accept_stream(far):
            pytest.fail("entered")
    assert (await near.receive()).startswith(b"HTTP/1.1 %d " % status)
    with pytest.raises(anyio.ClosedResourceError):
        await far.receive()


async def test_a_client_that_says_nothing() -> None:
    """`open_timeout` bounds the wait, and a client that leaves ends it."""
    near, far = Pipe.pair()
    with pytest.raises(anyws.HandshakeError, match=r"open_timeout, 0\.05 s"):
        async with anyws.accept_stream(far, open_timeout=0.05):
            pytest.fail("entered")
    near, far = Pipe.pair()
    await near.aclose()
    with pytest.raises(anyws.HandshakeError, match="has gone"):
        async with anyws.accept_stream(far):
            pytest.fail("entered")


async def test_cancelled_on_entry() -> None:
    """The stream is closed."""
    _, far = Pipe.pair()
    with anyio.move_on_after(0.05) as scope:
        async with anyws.accept_stream(far, open_timeout=None):
            pytest.fail("entered")
    assert scope.cancelled_caught
    with pytest.raises(anyio.ClosedResourceError):
        await far.receive()


async def test_the_peer_leaves_while_the_block_is_busy() -> None:
    """The closing frame is answered, and the stream closed, before the block ends."""
    near, far = Pipe.pair()
    await near.send(request())
    async with anyws.accept_stream(far, compression=None) as ws:
        await ws.accept()
        received = await near.receive()
        await near.send(b"\x88\x82\0\0\0\0\x0f\xa0")
        while True:
            try:
                received += await near.receive()
            except anyio.EndOfStream:
                break
        assert received.endswith(b"\x88\x02\x0f\xa0")
        assert ws.close_info is not None
        assert ws.close_info.code == 4000


@pytest.mark.parametrize("arguments", [{"options": 1}, {"compression": "gzip"}])
async def test_arguments_are_checked(arguments: Any) -> None:
    """Before anything is read."""
    _, far = Pipe.pair()
    with pytest.raises((TypeError, ValueError)):
        async with anyws.accept_stream(far, **arguments):
            pytest.fail("entered")
