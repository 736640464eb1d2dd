"""How one task of a connection wakes another.

A task looks for what it needs, waits if that is not there, and looks again when woken.
A wake-up says no more than that, and is not kept for a task that comes later.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from anyio import Event as Signal
from anyio import Semaphore


class Wakeup:
    """Wakes one task, again and again. An `anyio.Event` serves once, and costs more.

    Attributes:
        waiting: Whether a task waits.
    """

    __slots__ = ("_semaphore", "waiting")

    def __init__(self) -> None:
        self._semaphore: Semaphore | None = None
        self.waiting: bool = False

    def wait(self) -> Awaitable[None]:
        """Wait, when awaited, to be woken; always a checkpoint.

        The semaphore's own coroutine is returned: one frame less for a waiting task.
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


class Nudge(Wakeup):
    """Calls a function in place of waking a task: there is none.

    Args:
        call: The function.
    """

    __slots__ = ("_call",)

    def __init__(self, call: Callable[[], None]) -> None:
        super().__init__()
        self._call = call
        self.waiting = True

    def wake(self) -> None:
        """Call the function."""
        self._call()


class SharedWakeup:
    """Wakes all the tasks that wait, again and again.

    It makes an `anyio.Event` each time: the semaphore of a `Wakeup` would have to be
    released once for each task, and does not tell how many wait.
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
