"""The checkpoints of calls that do not wait: cheap ones, and at times a full one."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Final

from anyio import Semaphore
from anyio.lowlevel import RunVar, checkpoint

from .connection import Connection

# At least every 32nd call that did not wait is a full checkpoint (law 4): only a turn
# of the scheduler lets deadlines pass, native cancellations arrive and tasks run.
_CALLS_PER_TURN: Final = 32

# A semaphore that never runs out does what `checkpoint_if_cancelled` of AnyIO does, at
# half the cost: the latter looks up the running event loop at every call.
_passes: Final[RunVar[Semaphore]] = RunVar("anyws_passes")
_ENOUGH: Final = 2**62


class Turns:
    """The checkpoints of one connection's calls."""

    __slots__ = ("_calls", "_connection", "_passes")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._calls = 0  # since the last turn of the scheduler
        self._passes: Semaphore  # of the event loop that runs the block

    def begin(self) -> None:
        """Note the running event loop."""
        self._passes = _passes_here()

    def take(self) -> Awaitable[None]:
        """Be a checkpoint, when awaited; every 32nd time, a turn of the scheduler."""
        self._calls += 1
        if self._calls < _CALLS_PER_TURN:
            return self._passes.acquire()
        return self._full()

    async def _full(self) -> None:
        self._calls = 0
        await checkpoint()
        self._connection.upkeep.turn += 1

    def waited(self) -> None:
        """Note that a call has given the scheduler its turn."""
        self._calls = 0


def _passes_here() -> Semaphore:
    """Return the semaphore of the running event loop."""
    try:
        return _passes.get()
    except LookupError:
        passes = Semaphore(_ENOUGH, fast_acquire=True)
        _passes.set(passes)
        return passes
