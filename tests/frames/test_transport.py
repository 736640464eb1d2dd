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


class Steps:
    """A recipient that needs some steps, each of which takes some time.

    Args:
        count: How many steps.
        seconds: How long each of them takes.
        room: The number of the step after which there is no room.
    """

    def __init__(self, count: int, seconds: float = 0.0, room: int = 100) -> None:
        self.left, self.seconds, self.room = count, seconds, room
        self.now = 0.0
        self.taken: list[bytes] = []

    def take_in(self, data: bytes) -> bool:
        """Take a step."""
        self.taken.append(data)
        self.left -= 1
        self.now += self.seconds
        return len(self.taken) != self.room

    @property
    def unfinished(self) -> bool:
        """Whether a step is left."""
        return self.left > 0

    def take_end(self, exc: BaseException | None) -> None:
        """Refuse."""
        raise AssertionError("it is not the end")


@pytest.mark.parametrize(
    ("seconds", "turns", "pause"),
    [(0.0, 1, 0.0), (0.001, 4, 0.0), (0.003, 8, 0.0), (0.02, 8, 0.02), (9.0, 8, 0.2)],
)
def test_a_turn_is_bounded(
    monkeypatch: pytest.MonkeyPatch, seconds: float, turns: int, pause: float
) -> None:
    """It has as many steps as fit into its time; a very long one is made up for."""
    recipient = Steps(8, seconds)
    monkeypatch.setattr("anyws._frames.transport.perf_counter", lambda: recipient.now)
    turn, count = Turn(recipient), 1

    assert turn.take(b"data")
    while recipient.unfinished:
        assert turn.over
        assert turn.pause == pytest.approx(pause)
        assert turn.take()
        count += 1

    assert recipient.taken == [b"data", *[b""] * 7]
    assert count == turns
    assert turn.over is (pause > 0)


def test_a_turn_ends_where_there_is_no_room() -> None:
    """The others need not have their turn: the connection waits for room."""
    recipient = Steps(8, room=3)
    turn = Turn(recipient)

    assert not turn.take(b"data")
    assert len(recipient.taken) == 3
    assert not turn.over
