"""How one task of a connection wakes another."""

from __future__ import annotations

from collections.abc import Awaitable

from anyio import Semaphore


class Wakeup:
    """Wakes one task, again and again: an `anyio.Event` is for once, and dearer.

    Being woken says no more than that it is time to look again.

    Attributes:
        waiting: Whether a task waits.
    """

    __slots__ = ("_semaphore", "waiting")

    def __init__(self) -> None:
        self._semaphore: Semaphore | None = None
        self.waiting = False

    def wait(self) -> Awaitable[None]:
        """Wait, when awaited, to be woken; always a checkpoint.

        It hands on the semaphore's own coroutine, one frame less for a parked task.
        """
        if self._semaphore is None:
            self._semaphore = Semaphore(0, fast_acquire=True)
        self.waiting = True
        return self._semaphore.acquire()

    def wake(self) -> None:
        """Wake the task, if it waits."""
        if self.waiting and self._semaphore is not None:
            self.waiting = False
            self._semaphore.release()
