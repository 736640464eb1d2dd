"""How one task of a connection wakes another.

Being woken says no more than that it is time to look again, and nothing is kept for a
task that comes later: a task looks first, and waits if it has found nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable

from anyio import Event as Signal
from anyio import Semaphore


class Wakeup:
    """Wakes one task, again and again: an `anyio.Event` is for once, and dearer.

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


class SharedWakeup:
    """Wakes all the tasks that wait, again and again.

    How many wait, the semaphore of a `Wakeup` could say only at a cost; this one makes
    an `anyio.Event` each time.
    """

    __slots__ = ("_signal",)

    def __init__(self) -> None:
        self._signal = Signal()

    async def wait(self) -> None:
        """Wait to be woken."""
        await self._signal.wait()

    def wake(self) -> None:
        """Wake the tasks that wait."""
        signal, self._signal = self._signal, Signal()
        signal.set()
