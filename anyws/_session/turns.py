"""Checkpoints that are cheap, and every so often one that is whole."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Final

from anyio import Semaphore
from anyio.lowlevel import RunVar, checkpoint

from .connection import Connection

# A full checkpoint at least every so many calls that did not wait: only a turn of the
# scheduler lets deadlines fire, native cancellation arrive and other tasks run.
_CALLS_PER_TURN: Final = 32

# A semaphore that never runs out does what AnyIO's `checkpoint_if_cancelled` does for
# half the price: that one finds out anew, at every call, which event loop is running.
_passes: Final[RunVar[Semaphore]] = RunVar("anyws_passes")
_ENOUGH: Final = 2**62


class Turns:
    """The checkpoints of one connection's calls."""

    __slots__ = ("_calls", "_connection", "_passes")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._calls = 0  # since the last turn of the scheduler
        self._passes: Semaphore  # of the event loop that hosts it

    def begin(self) -> None:
        """Take note of the event loop that is running."""
        self._passes = _passes_here()

    def take(self) -> Awaitable[None]:
        """Be a checkpoint; every so often, one that gives the scheduler its turn."""
        self._calls += 1
        if self._calls < _CALLS_PER_TURN:
            return self._passes.acquire()
        return self._full()

    async def _full(self) -> None:
        self._calls = 0
        await checkpoint()
        self._connection.bursting = False

    def waited(self) -> None:
        """Take note that a call has given the scheduler its turn."""
        self._calls = 0


def _passes_here() -> Semaphore:
    """Return the semaphore of the event loop that is running."""
    try:
        return _passes.get()
    except LookupError:
        passes = Semaphore(_ENOUGH, fast_acquire=True)
        _passes.set(passes)
        return passes
