"""How one task keeps the deadlines of many connections."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from math import inf
from typing import Any

import anyio
import pytest
from trio.testing import MockClock

from anyws._session.timekeeper import Alarm, Timekeeper


class Bells:
    """Notes at which second each of its alarms has rung."""

    def __init__(self, keeper: Timekeeper) -> None:
        self.keeper = keeper
        self.rung: list[tuple[str, float]] = []
        self._start = anyio.current_time()

    def alarm(self, name: str, seconds: float | None = None) -> Alarm:
        """Make an alarm, and set it."""
        alarm = Alarm(self.keeper, lambda: self.rung.append((name, self._elapsed)))
        if seconds is not None:
            self.set(alarm, seconds)
        return alarm

    def set(self, alarm: Alarm, seconds: float) -> None:
        """Have an alarm ring at that second."""
        alarm.set(self._start + seconds)

    @property
    def _elapsed(self) -> float:
        return anyio.current_time() - self._start


@asynccontextmanager
async def running(keeper: Timekeeper) -> AsyncIterator[Bells]:
    """Run a timekeeper in a task during a block."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(keeper.run)
        yield Bells(keeper)
        tasks.cancel_scope.cancel()


class TestVirtualTime:
    """When alarms ring."""

    @pytest.fixture(scope="class")
    @classmethod
    def anyio_backend(cls) -> Any:
        """Run on trio, where time passes at once."""
        return "trio", {"clock": MockClock(autojump_threshold=0)}

    async def test_alarms_ring_in_the_order_of_their_times(self) -> None:
        """Also one that is set while the task sleeps until a later time."""
        async with running(Timekeeper()) as bells:
            bells.alarm("late", 60)
            bells.alarm("early", 10)
            await anyio.wait_all_tasks_blocked()
            bells.alarm("first", 5)
            await anyio.sleep(1000)

        assert bells.rung == [("first", 5), ("early", 10), ("late", 60)]

    async def test_an_alarm_that_moves_rings_once(self) -> None:
        """It rings at the last time that was set, be it earlier or later."""
        async with running(Timekeeper()) as bells:
            later, earlier = bells.alarm("later", 10), bells.alarm("earlier", 50)
            both = bells.alarm("both", 30)
            for second in range(11, 60):
                bells.set(later, second)
            bells.set(earlier, 20)
            bells.set(both, 5)
            bells.set(both, 40)
            await anyio.sleep(1000)

        assert bells.rung == [("earlier", 20), ("both", 40), ("later", 59)]

    async def test_a_later_time_enters_no_heap(self) -> None:
        """That is what makes moving it cheap."""
        async with running(Timekeeper()) as bells:
            alarm = bells.alarm("x", 10)
            for second in range(11, 1000):
                bells.set(alarm, second)

            assert len(bells.keeper._heap) == 1

    async def test_an_alarm_that_is_put_off_for_good_does_not_ring(self) -> None:
        """Infinity is no time; set again, it rings."""
        async with running(Timekeeper()) as bells:
            alarm = bells.alarm("x", 10)
            bells.set(alarm, inf)
            await anyio.sleep(100)
            assert not bells.rung
            bells.set(alarm, 150)
            await anyio.sleep(100)

        assert bells.rung == [("x", 150)]

    async def test_an_alarm_can_be_set_while_it_rings(self) -> None:
        """So a heart beats."""
        keeper = Timekeeper()
        rung: list[float] = []

        def ring() -> None:
            rung.append(anyio.current_time())
            alarm.set(rung[-1] + 20)

        alarm = Alarm(keeper, ring)
        async with running(keeper):
            alarm.set(anyio.current_time() + 20)
            await anyio.sleep(70)

        assert [later - rung[0] for later in rung] == [0, 20, 40]

    async def test_a_cancelled_alarm_rings_no_more(self) -> None:
        """Whatever is set afterwards, and however often it is cancelled."""
        async with running(Timekeeper()) as bells:
            alarm = bells.alarm("x", 10)
            alarm.cancel()
            alarm.cancel()
            bells.set(alarm, 20)
            await anyio.sleep(100)

        assert not bells.rung

    async def test_cancelled_alarms_do_not_stay(self) -> None:
        """A heap that consists of them for the most part is made anew."""
        async with running(Timekeeper()) as bells:
            stays = bells.alarm("stays", 10)
            for _ in range(10_000):
                bells.alarm("x", 20).cancel()
            assert len(bells.keeper._heap) < 200
            await anyio.sleep(100)
            assert stays.at == inf

        assert bells.rung == [("stays", 10)]

    async def test_one_alarm_may_cancel_the_next(self) -> None:
        """Though both are due, and the heap is made anew meanwhile."""
        keeper = Timekeeper()
        async with running(keeper) as bells:
            start = anyio.current_time()
            others = [bells.alarm("x", 10) for _ in range(200)]

            def cancel_them() -> None:
                for other in others:
                    other.cancel()

            Alarm(keeper, cancel_them).set(start + 9)
            bells.alarm("last", 10)
            await anyio.sleep(100)

        assert bells.rung == [("last", 10)]


async def test_a_time_that_has_passed_rings_in_the_next_turn() -> None:
    """Not within `set`: the caller may be amid something."""
    async with running(Timekeeper()) as bells:
        await anyio.wait_all_tasks_blocked()
        bells.alarm("x", -1)
        assert not bells.rung
        await anyio.sleep(0.01)
        await anyio.wait_all_tasks_blocked()

    assert [name for name, _ in bells.rung] == ["x"]


async def test_the_task_can_run_on_demand() -> None:
    """It is started by the first alarm, and ends with the last one."""
    started = 0

    async with anyio.create_task_group() as tasks:

        def spawn(run: Any) -> None:
            nonlocal started
            started += 1
            tasks.start_soon(run)

        bells = Bells(Timekeeper(spawn))
        for times in range(1, 3):
            cancelled, rings = bells.alarm("x", 3600), bells.alarm("x", 3600)
            bells.set(rings, 0)
            await anyio.wait_all_tasks_blocked()
            assert started == times
            cancelled.cancel()
            await anyio.wait_all_tasks_blocked()

    assert [name for name, _ in bells.rung] == ["x", "x"]
