"""A socket that a watcher reads: what is handed over, what is written, and the end."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count

import anyio
import pytest
from anyio.lowlevel import checkpoint

from anyws._frames.transport import PIECE_BYTES, TURN_SECONDS
from anyws._frames.transports import new_watcher
from anyws._frames.watched_socket import WatchedSocket, Watcher
from anyws._session.timekeeper import Timekeeper


class Taken:
    """A recipient that keeps what it is handed, and what it is told of the end."""

    def __init__(self, step_bytes: int = 2**20) -> None:
        self.step_bytes = step_bytes
        self.data = self._kept = b""
        self.reads = 0
        self.has_room = True
        self.error: Exception | None = None
        self.ends: list[BaseException | None] = []
        self._changed = anyio.Event()

    def take_in(self, data: bytes) -> bool:
        """Keep it, some of it in the next step."""
        self.reads += 1
        if self.error is not None:
            raise self.error
        data = self._kept + data
        self.data += data[: self.step_bytes]
        self._kept = data[self.step_bytes :]
        self._changed.set()
        return self.has_room

    @property
    def unfinished(self) -> bool:
        """Whether some is left."""
        return bool(self._kept) and self.has_room

    def take_end(self, exc: BaseException | None) -> None:
        """Keep it."""
        self.ends.append(exc)
        self._changed.set()

    async def change(self) -> None:
        """Wait for the next call."""
        self._changed = anyio.Event()
        await self._changed.wait()


class World:
    """A watcher and a timekeeper that run."""

    def __init__(self, watcher: Watcher, keeper: Timekeeper) -> None:
        self.watcher, self.keeper = watcher, keeper

    def pair(self) -> tuple[WatchedSocket, socket.socket]:
        """Return a transport, and the peer's end of it."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)
        return WatchedSocket(ours, self.watcher, self.keeper), theirs


@asynccontextmanager
async def world() -> AsyncIterator[World]:
    """Run a watcher and a timekeeper during the block."""
    watcher, keeper = new_watcher(), Timekeeper()
    if watcher is None:
        pytest.skip("this system has no watcher")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watcher.run)
        tasks.start_soon(keeper.run)
        yield World(watcher, keeper)
        tasks.cancel_scope.cancel()


async def test_what_comes_is_handed_over() -> None:
    """Up to the end of the stream, which is told of once."""
    async with world() as here:
        transport, theirs = here.pair()
        taken = Taken()
        assert transport.read_to(taken)
        theirs.send(b"one")
        await taken.change()
        assert taken.data == b"one"
        theirs.close()
        await taken.change()
        assert taken.ends == [None]
        assert await transport.receive() == b""
        await anyio.wait_all_tasks_blocked()
        assert taken.ends == [None]
        transport.close_nowait()


async def test_a_recipient_without_room_is_left_alone() -> None:
    """Until it asks for more."""
    async with world() as here:
        transport, theirs = here.pair()
        taken = Taken()
        taken.has_room = False
        transport.read_to(taken)
        theirs.send(b"one")
        await taken.change()
        theirs.send(b"two")
        await anyio.wait_all_tasks_blocked()
        assert taken.data == b"one"
        taken.has_room = True
        transport.resume()
        await taken.change()
        assert taken.data == b"onetwo"
        transport.close_nowait()
        theirs.close()


async def test_what_a_turn_leaves_is_handed_over_in_the_next_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Other connections have had their turn by then."""
    clock = count(step=TURN_SECONDS)  # each step takes all of a turn
    monkeypatch.setattr("anyws._frames.transport.perf_counter", lambda: next(clock))
    async with world() as here:
        transport, theirs = here.pair()
        taken = Taken(step_bytes=1)
        transport.read_to(taken)
        theirs.send(b"abc")
        await taken.change()
        while taken.data != b"abc":
            await checkpoint()
        assert taken.reads == 3
        theirs.send(b"d")
        await taken.change()
        assert taken.data == b"abcd"
        transport.close_nowait()
        theirs.close()


async def test_an_error_of_the_recipient_ends_the_reading() -> None:
    """It is told of its own error, and others are served."""
    async with world() as here:
        (bad, bad_peer), (good, good_peer) = here.pair(), here.pair()
        failing, taken = Taken(), Taken()
        failing.error = ZeroDivisionError()
        bad.read_to(failing)
        good.read_to(taken)
        bad_peer.send(b"one")
        await failing.change()
        assert failing.ends == [failing.error]
        good_peer.send(b"two")
        await taken.change()
        assert (taken.data, taken.ends) == (b"two", [])
        for each in (bad, good):
            each.close_nowait()
        for peer in (bad_peer, good_peer):
            peer.close()


async def test_a_connection_may_end_in_the_call_of_another_one() -> None:
    """What the kernel has told of it by then is not for it any more."""

    class Ending(Taken):
        def take_in(self, data: bytes) -> bool:
            for transport in others:
                transport.close_nowait()
            return super().take_in(data)

    async with world() as here:
        pairs = [here.pair() for _ in range(3)]
        taken = [Ending() for _ in pairs]
        others = [transport for transport, _ in pairs]
        for (transport, theirs), recipient in zip(pairs, taken, strict=True):
            transport.read_to(recipient)
            theirs.send(b"one")
        while not any(recipient.reads for recipient in taken):
            await checkpoint()
        await anyio.wait_all_tasks_blocked()
        assert sum(recipient.reads for recipient in taken) == 1
        assert all(not recipient.ends for recipient in taken)
        for _, theirs in pairs:
            theirs.close()


async def test_a_detached_socket_is_read_by_a_task() -> None:
    """The recipient gets nothing more."""
    async with world() as here:
        transport, theirs = here.pair()
        taken = Taken()
        transport.read_to(taken)
        transport.detach()
        theirs.send(b"one")
        await anyio.wait_all_tasks_blocked()
        assert await transport.receive() == b"one"
        theirs.close()
        assert await transport.receive() == b""
        assert not taken.reads
        transport.close_nowait()


async def test_a_write_waits_for_the_peer_and_says_so() -> None:
    """What the kernel takes at once is no sign of the peer."""
    async with world() as here:
        transport, theirs = here.pair()
        assert await transport.send_all(b"a" * 100) is False
        data = bytes(PIECE_BYTES)
        while transport.send_nowait(data) == len(data):
            pass
        waited: list[bool] = []

        async def send() -> None:
            waited.append(await transport.send_all(b"b" * PIECE_BYTES))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send)
            await anyio.wait_all_tasks_blocked()
            assert not waited
            while not waited:
                try:
                    theirs.recv(PIECE_BYTES)
                except BlockingIOError:
                    pass
                await checkpoint()
        assert waited == [True]
        transport.close_nowait()
        theirs.close()


async def test_nothing_is_written_behind_a_write_that_was_cut_short() -> None:
    """It was cancelled, or the socket was closed meanwhile."""
    async with world() as here:
        for closes in (False, True):
            transport, theirs = here.pair()
            while transport.send_nowait(bytes(PIECE_BYTES)):
                pass
            errors: list[OSError] = []

            async def send(transport: WatchedSocket, errors: list[OSError]) -> None:
                try:
                    await transport.send_all(b"a")
                except OSError as exc:
                    errors.append(exc)

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(send, transport, errors)
                await anyio.wait_all_tasks_blocked()
                if closes:
                    transport.close_nowait()
                else:
                    tasks.cancel_scope.cancel()
            assert len(errors) == closes
            assert transport.send_nowait(b"a") == 0
            with pytest.raises(ConnectionResetError, match="cut short"):
                await transport.send_all(b"a")
            transport.close_nowait()
            theirs.close()


async def test_an_end_of_ours_leaves_the_other_half_open() -> None:
    """The peer reads the end, and is read to its own."""
    async with world() as here:
        transport, theirs = here.pair()
        taken = Taken()
        transport.read_to(taken)
        assert await transport.send_eof()
        assert theirs.recv(1) == b""
        theirs.send(b"one")
        theirs.shutdown(socket.SHUT_WR)
        assert await transport.receive() == b""
        assert (taken.data, taken.ends) == (b"one", [None])
        transport.close_nowait()
        transport.close_nowait()
        assert not await transport.send_eof()
        await transport.aclose()
        theirs.close()
