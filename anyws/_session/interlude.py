"""The time between a block that an exception has left and the end of its connection.

FastAPI leaves the blocks of dependencies before it calls an exception handler, which
may yet send, and choose the close code (law 8). So the block that hosts a session ends
its tasks, and not the connection. In the interlude no task drives the connection: each
call starts the tasks again, and pauses them when it is over. The end follows when the
handlers are done.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from anyio import Event as Signal
from anyio import get_cancelled_exc_class

from .calls import Calls
from .tasks import Tasks

T = TypeVar("T")


class Interlude:
    """Drives a connection for as long as there are calls."""

    __slots__ = ("_calls", "_driver", "_over")

    def __init__(self, driver: Tasks | Calls) -> None:
        self._calls = 0
        self._over: Signal | None = None  # set when the tasks that run are paused
        self._driver = driver

    async def during(self, call: Callable[..., Awaitable[T]], *args: Any) -> T:
        """Drive the connection during a call, and at least until the queue is written.

        Calls that come meanwhile are driven too; the first one returns with the last.
        """
        while self._over is not None and not self._calls:
            await self._over.wait()
        self._calls += 1
        if self._over is not None:
            return await self._counted(call(*args))
        self._over = over = Signal()
        try:
            return await self._drive(call(*args))
        finally:
            self._over = None
            over.set()

    async def _drive(self, call: Awaitable[T]) -> T:
        cancelled = get_cancelled_exc_class()
        outcome: BaseException | None = None
        results: list[T] = []
        try:
            async with self._driver.running():
                try:
                    results.append(await self._counted(call))
                except cancelled:
                    raise
                except BaseException as exc:
                    outcome = exc  # the task group would raise it in a group (law 10)
            if outcome is not None:
                raise outcome
        finally:
            outcome = None  # its traceback holds this frame
        return results[0]

    async def _counted(self, call: Awaitable[T]) -> T:
        try:
            return await call
        finally:
            self._calls -= 1
            if not self._calls:
                self._driver.pause()

    async def wait_idle(self) -> None:
        """Wait for the calls of tasks that a handler has left behind."""
        while self._over is not None:
            await self._over.wait()
