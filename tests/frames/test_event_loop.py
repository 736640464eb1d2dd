"""What the event loop hands over, and whom it tells of the end."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import anyio
import pytest

from anyws._frames.event_loop import Inlet

from ..conftest import backend


@pytest.fixture(
    scope="module",
    params=[
        backend("asyncio", use_uvloop=False),
        backend("asyncio+uvloop", needs="uvloop", use_uvloop=True),
    ],
)
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """Run on the event loops that the module is for."""
    return request.param


class Taken:
    """A recipient that keeps what it is handed, and what it is told of the end."""

    def __init__(self, step_bytes: int = 2**20) -> None:
        self.step_bytes = step_bytes
        self.data = self._kept = b""
        self.ends: list[BaseException | None] = []
        self.changed = anyio.Event()

    def take_in(self, data: bytes) -> bool:
        """Keep it, some of it in the next step."""
        data = self._kept + data
        self.data += data[: self.step_bytes]
        self._kept = data[self.step_bytes :]
        self._change()
        return True

    @property
    def unfinished(self) -> bool:
        """Whether some is left."""
        return bool(self._kept)

    def take_end(self, exc: BaseException | None) -> None:
        """Keep it."""
        self.ends.append(exc)
        self._change()

    def _change(self) -> None:
        self.changed.set()
        self.changed = anyio.Event()


@asynccontextmanager
async def read(
    taken: Taken, timeout: float | None = None
) -> AsyncIterator[tuple[Inlet, socket.socket]]:
    """Give an inlet that reads a socket, and the peer's end of that."""
    ours, theirs = socket.socketpair()
    with theirs:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
        inlet = Inlet(transport, taken, timeout)
        transport.set_protocol(inlet)
        inlet.go_on(True)
        try:
            yield inlet, theirs
        finally:
            transport.abort()
            await asyncio.wait([inlet.ended])


async def test_the_end_is_told_once() -> None:
    """Although the event loop tells of the peer's end, and of the connection's."""
    taken = Taken()
    async with read(taken) as (_, theirs):
        changed = taken.changed
        theirs.send(b"last")
        await changed.wait()
        changed = taken.changed
        theirs.close()
        await changed.wait()
    await anyio.wait_all_tasks_blocked()

    assert (taken.data, taken.ends) == (b"last", [None])


async def test_a_cancelled_wait_for_the_end_is_no_end() -> None:
    """The task that was cancelled ends the connection; nothing is handed over then."""
    taken = Taken()
    async with read(taken) as (inlet, theirs):
        async with anyio.create_task_group() as tasks:

            async def wait() -> None:
                await inlet.ended

            tasks.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
        theirs.send(b"late")
        await anyio.wait_all_tasks_blocked()

    assert inlet.ended.cancelled()
    assert (taken.data, taken.ends) == (b"", [])


async def test_silence_is_the_end() -> None:
    """After so many seconds; what comes later is not taken."""
    taken = Taken()
    async with read(taken, timeout=0.02) as (inlet, theirs):
        await asyncio.wait([inlet.ended])
        theirs.send(b"late")
        await anyio.wait_all_tasks_blocked()

    assert (taken.data, taken.ends) == (b"", [None])


@pytest.mark.parametrize("lost", [False, True])
async def test_a_large_read_is_handed_over_in_turns(
    monkeypatch: pytest.MonkeyPatch, lost: bool
) -> None:
    """Other callbacks run between the turns; the end stops them."""
    clock, data = count(), bytes(range(256)) * 100
    monkeypatch.setattr("anyws._frames.transport.TURN_SECONDS", 0.001)
    monkeypatch.setattr(
        "anyws._frames.transport.perf_counter", lambda: next(clock) / 400
    )
    taken = Taken(4096)
    async with read(taken) as (inlet, theirs):
        theirs.sendall(data)
        await taken.changed.wait()
        assert len(taken.data) < len(data)
        if lost:  # the recipient deals with the rest when it is told of the end
            inlet.connection_lost(None)
            await taken.changed.wait()
        while not lost and taken.data != data:
            await taken.changed.wait()
        await anyio.wait_all_tasks_blocked()
    assert len(taken.data) == (4096 if lost else len(data))
    assert taken.ends == [None]
