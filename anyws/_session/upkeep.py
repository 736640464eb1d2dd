"""The tasks that the connections of a server share, in place of tasks of their own.

The *timekeeper* keeps their deadlines. The *flusher* writes, at the end of a turn of
the scheduler, the messages that the turn has queued, with one write for each
connection. Each is one task, which is started when it is first needed. `spawn` starts a
task for one connection that needs it for a while, such as a writer task while the
kernel takes no more.

The two tasks run in shielded scopes: a cancellation that ends the connections must not
end the tasks that are needed to close them properly.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import wraps
from typing import Any, Protocol, Self, TypeAlias

from anyio import CancelScope, create_task_group, get_cancelled_exc_class
from anyio.lowlevel import checkpoint

from .timekeeper import Spawn, Timekeeper
from .wakeup import Wakeup

Run: TypeAlias = Callable[[], Coroutine[Any, Any, None]]


class Flushable(Protocol):
    """A connection on which something was queued."""

    def end_turn(self) -> bool:
        """Write what is queued; false: ask again after the next turn."""


class Upkeep:
    """The tasks that serve the connections of a server, or the one of a client.

    Args:
        spawn: Starts an async function in a task; `None`: in a group of `opened`.
        lasting: Whether the tasks go on while there is no connection.

    Attributes:
        keeper: Keeps the deadlines.
        turn: A number that grows with the turns of the scheduler, as far as is known:
            with each read of a connection, and each time the flusher runs.
    """

    def __init__(self, spawn: Spawn | None = None, *, lasting: bool = False) -> None:
        self.keeper: Timekeeper = Timekeeper(self.start, lasting=lasting)
        self.turn: int = 0
        self._spawn = spawn
        self._lasting = lasting
        self._connections = 0
        self._scopes: set[CancelScope] = set()  # of the tasks that `stop` ends
        self._queued: list[Flushable] = []
        self._wakeup = Wakeup()
        self._flushes = False  # whether the flusher runs

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Self]:
        """Have the tasks in a group of this block, and end them behind it.

        An exception that leaves the block is not put into an exception group.
        """
        cancelled = get_cancelled_exc_class()
        outcome: BaseException | None = None
        async with create_task_group() as group:
            self._spawn = group.start_soon
            try:
                yield self
            except cancelled:
                raise
            except BaseException as exc:
                outcome = exc
            finally:
                self.stop()
        try:
            if outcome is not None:
                raise outcome
        finally:
            outcome = None  # its traceback holds this frame

    def join(self) -> None:
        """Count a connection."""
        self._connections += 1

    def leave(self) -> None:
        """Count a connection no more."""
        self._connections -= 1
        if not self._connections:
            self.keeper.tidy()
            if not self._lasting:
                self.stop()

    def stop(self) -> None:
        """End the timekeeper and the flusher; what starts them again may come."""
        for scope in self._scopes:
            scope.cancel()

    def spawn(self, run: Run) -> None:
        """Start an async function in a task, which has to end by itself."""
        assert self._spawn is not None, "the block was not entered"
        self._spawn(run)

    def start(self, run: Run) -> None:
        """Start an async function in a task that `stop` ends."""
        scope = CancelScope(shield=True)
        self._scopes.add(scope)

        @wraps(run)  # the task has its name
        async def shielded() -> None:
            try:
                with scope:
                    await run()
            finally:
                self._scopes.discard(scope)

        self.spawn(shielded)

    # The flusher

    def flush_later(self, connection: Flushable) -> None:
        """Have queued messages written when the turn is over."""
        self._queued.append(connection)
        if not self._flushes:
            self._flushes = True
            self.start(self._flush)
        elif self._wakeup.waiting:
            self._wakeup.wake()

    async def _flush(self) -> None:
        try:
            await checkpoint()  # the turn may have begun after this task was started
            while True:
                self.turn += 1
                queued, self._queued = self._queued, []
                self._queued += [each for each in queued if not each.end_turn()]
                del queued  # a task that waits keeps no connection alive
                if self._queued:
                    await checkpoint()
                else:
                    await self._wakeup.wait()
        finally:
            self._flushes = False
