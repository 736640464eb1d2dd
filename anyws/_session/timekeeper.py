"""The deadlines of many connections, which one task keeps.

A deadline that belongs to a connection moves with almost every message, nearly always
to a later time. A cancel scope pays for each move. An `Alarm` that moves to a later
time is only written down: its place in the heap stays, and the timekeeper looks at the
new time when the old one has come.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from heapq import heapify, heappop, heappush
from itertools import count
from math import inf
from typing import Any, Final, TypeAlias

from anyio import CancelScope, current_time, sleep_forever

Spawn: TypeAlias = Callable[[Callable[[], Coroutine[Any, Any, None]]], object]

# The fewest entries of cancelled alarms for which the heap is made anew.
_FEW: Final = 8


class Alarm:
    """A time at which a function is to be called; it can be moved again and again.

    Args:
        keeper: The timekeeper.
        ring: The function. It runs in the timekeeper's task, and must not raise.

    Attributes:
        at: When it rings, by AnyIO's clock; infinite: not yet known. Written by `set`.
    """

    __slots__ = ("_keeper", "at", "queued", "ring")

    def __init__(self, keeper: Timekeeper, ring: Callable[[], None]) -> None:
        self._keeper = keeper
        self.ring: Callable[[], None] | None = ring
        self.at: float = inf
        self.queued: float = inf  # when the timekeeper looks at it next

    def set(self, at: float) -> None:
        """Have it ring once at this time, and not at the time that was set before."""
        self.at = at
        if at < self.queued and self.ring is not None:
            self._keeper.queue(self, at)

    def cancel(self) -> None:
        """Never let it ring again, and drop the function."""
        if self.ring is not None:
            self.ring, self.at = None, inf
            self._keeper.forget()


class Timekeeper:
    """Rings the alarms of a server's connections, or of one connection, in one task.

    Args:
        spawn: Starts `run` in a task when an alarm is set and no task runs. `None`: the
            owner runs `run`, which never ends.
        lasting: Whether a task that was started goes on when no alarm is left.
    """

    def __init__(self, spawn: Spawn | None = None, *, lasting: bool = False) -> None:
        self._spawn = spawn
        self._lasting = lasting or spawn is None
        self._heap: list[tuple[float, int, Alarm]] = []
        self._numbers = count()  # alarms themselves are not compared
        self._cancelled = 0  # entries whose alarm was cancelled, at most
        self._running = False
        self._sleep: CancelScope | None = None

    def queue(self, alarm: Alarm, at: float) -> None:
        """Look at an alarm at this time, which is earlier than was known."""
        alarm.queued = at
        heappush(self._heap, (at, next(self._numbers), alarm))
        if self._sleep is not None and at < self._sleep.deadline:
            self._sleep.deadline = at
        if self._spawn is not None and not self._running:
            self._running = True
            self._spawn(self.run)

    def forget(self) -> None:
        """Note that an alarm was cancelled, which the heap may hold."""
        self._cancelled += 1
        if self._cancelled > max(_FEW, len(self._heap) // 2) or not self._lasting:
            self.tidy()

    def tidy(self) -> None:
        """Drop the alarms that were cancelled."""
        if self._cancelled:
            self._heap = [entry for entry in self._heap if _is_valid(*entry)]
            heapify(self._heap)
            self._cancelled = 0
            if self._sleep is not None and not (self._lasting or self._heap):
                self._sleep.cancel()

    async def run(self) -> None:
        """Ring alarms when they are due; run it in one task at a time.

        Cancellation:
            Safe: alarms that have not rung stay set.
        """
        self._running = True
        try:
            while self._lasting or self._heap:
                first = self._heap[0][0] if self._heap else inf
                with CancelScope(deadline=first) as self._sleep:
                    await sleep_forever()
                self._sleep = None
                self._ring(current_time())
        finally:
            self._sleep, self._running = None, False

    def _ring(self, now: float) -> None:
        """Ring what is due. What was moved to a later time is put back."""
        due = []
        while self._heap and self._heap[0][0] <= now:
            due.append(heappop(self._heap))
        for entry in due:
            _, _, alarm = entry
            if not _is_valid(*entry):
                continue
            alarm.queued = inf
            if alarm.at > now:
                alarm.set(alarm.at)
            elif alarm.ring is not None:
                alarm.at = inf
                alarm.ring()


def _is_valid(at: float, _: int, alarm: Alarm) -> bool:
    """Whether the alarm was not cancelled, and has no entry that is earlier."""
    return alarm.ring is not None and at == alarm.queued
