"""A byte stream as the frames need it: how it fails, and what is never written."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import anyio
import pytest
from anyio import wait_all_tasks_blocked
from anyio.abc import ByteStream

from anyws._frames.transport import Interrupted, SocketTransport, StreamTransport, Turn


class Fragile(ByteStream):
    """A stream that fails as a test says, and that takes some bytes before it does."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.taken = b""

    async def _fail(self) -> None:
        if self.error is not None:
            raise self.error
        await anyio.sleep_forever()

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """Fail."""
        await self._fail()
        return b""

    async def send(self, item: bytes) -> None:
        """Take one byte, and fail."""
        self.taken += item[:1]
        await self._fail()

    async def send_eof(self) -> None:
        """Fail."""
        await self._fail()

    async def aclose(self) -> None:
        """Fail."""
        await self._fail()


FAILURES = [
    anyio.BrokenResourceError(),
    anyio.ClosedResourceError(),
    ConnectionResetError(),
]


@pytest.mark.parametrize("error", FAILURES, ids=repr)
async def test_a_failing_stream_is_at_its_end(error: Exception) -> None:
    """Reads give nothing, writes raise OSError, and what ends it is silent."""
    transport = StreamTransport(Fragile(error))

    assert await transport.receive() == b""
    with pytest.raises(OSError, match=r"gone|^$"):
        await transport.send_all(b"x")
    assert await transport.send_eof() is False
    await transport.aclose()


@pytest.mark.parametrize("cancelled", [True, False])
async def test_a_write_that_was_cut_short_is_the_last(cancelled: bool) -> None:
    """What follows half a frame would be read as the rest of it."""
    stream = Fragile(None if cancelled else LookupError())
    transport = StreamTransport(stream)
    try:
        with anyio.move_on_after(0.01):
            await transport.send_all(b"12")
    except LookupError:
        assert not cancelled
    stream.error = None
    with pytest.raises(ConnectionResetError, match="cut short"):
        await transport.send_all(b"34")

    assert stream.taken == b"1"


# Sockets

LARGE = bytes(range(256)) * 2**15  # what no socket takes at once


@contextmanager
def sockets() -> Iterator[tuple[SocketTransport, socket.socket]]:
    """Give a transport, and the socket at its other end."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        for end in (ours, theirs):
            end.setblocking(False)
        yield SocketTransport(Fragile(), ours), theirs


async def read(theirs: socket.socket, size: int) -> bytes:
    """Read so many bytes."""
    data = bytearray()
    while len(data) < size:
        await anyio.wait_readable(theirs)
        data += theirs.recv(2**20)
    return bytes(data)


@pytest.mark.parametrize("cancelled", [True, False])
async def test_a_socket_takes_nothing_behind_what_was_cut_short(
    cancelled: bool,
) -> None:
    """Neither way of writing is a way around it."""
    with sockets() as (transport, theirs):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(fails, transport)
            await wait_all_tasks_blocked()
            if cancelled:
                tasks.cancel_scope.cancel()
            else:
                theirs.close()
        with pytest.raises(ConnectionResetError, match="cut short"):
            await transport.send_all(b"34")
        assert transport.send_nowait(b"56") == 0


async def fails(transport: SocketTransport) -> None:
    """Write what is not taken."""
    with pytest.raises(OSError, match=r"Broken pipe|reset"):
        await transport.send_all(LARGE)


async def test_a_wait_is_interrupted_and_loses_nothing() -> None:
    """Who reads is woken; who writes meanwhile writes on; both can go on."""
    interrupted = 0

    async def receive() -> None:
        nonlocal interrupted
        with pytest.raises(Interrupted):
            await transport.receive()
        interrupted += 1

    async def send() -> None:
        await transport.send_all(LARGE)
        theirs.send(b"more")

    with sockets() as (transport, theirs):
        assert transport.interruptible
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send)
            for number in range(3):
                tasks.start_soon(receive)
                await wait_all_tasks_blocked()
                transport.interrupt()
                await wait_all_tasks_blocked()
                assert interrupted == number + 1
            assert await read(theirs, len(LARGE)) == LARGE
        assert await transport.receive() == b"more"


async def test_an_interruption_is_no_close() -> None:
    """Who reads finds the end once the transport is closed."""
    with sockets() as (transport, _):
        async with anyio.create_task_group() as tasks:

            async def receive() -> None:
                assert await transport.receive() == b""

            tasks.start_soon(receive)
            await wait_all_tasks_blocked()
            await transport.aclose()
            anyio.notify_closing(transport._socket)  # as AnyIO's stream does


@pytest.mark.parametrize("waits", [True, False])
async def test_a_socket_that_is_closed_elsewhere_is_at_its_end(waits: bool) -> None:
    """Who has made a stream may close it, although we are told nothing of that."""
    with sockets() as (transport, _):
        ours = transport._socket

        async def receive() -> None:
            assert await transport.receive() == b""

        async with anyio.create_task_group() as tasks:
            if waits:
                tasks.start_soon(receive)
                await wait_all_tasks_blocked()
                anyio.notify_closing(ours)
            ours.close()
            tasks.start_soon(receive)


@pytest.mark.parametrize("seconds", [0.0, 0.003, 0.02])
def test_a_turn_is_bounded(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Bytes are handed over in pieces, each once, until the time of a turn is over."""
    clock, taken, turns = [0.0], list[bytes](), 0
    monkeypatch.setattr("anyws._frames.transport.thread_time", lambda: clock[0])

    def take_in(data: bytes) -> bool:
        clock[0] += seconds
        taken.append(data)
        return True

    data = rest = bytes(range(256)) * 256
    turn = Turn()
    while rest:
        # So few bytes are handed over at once, without a look at the clock.
        long = seconds > 0.01 and len(rest) > 16384
        assert turn.hand_over(take_in, rest)
        rest, turns = turn.rest, turns + 1
        assert turn.over is bool(rest or long)
        assert turn.pause == pytest.approx(seconds if long else 0)

    assert b"".join(taken) == data
    assert turns == (len(taken) if seconds else 1)
    sizes = [len(piece) for piece in taken]
    assert max(sizes) == (16384 if seconds else 49152)


def test_a_turn_ends_where_there_is_no_room() -> None:
    """What is not handed over is left, whole."""
    turn, data = Turn(), bytes(range(256)) * 256

    assert not turn.hand_over(lambda piece: False, data)
    assert turn.rest == data[16384:]
