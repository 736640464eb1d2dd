"""How tasks are woken, again and again."""

from __future__ import annotations

import anyio
import pytest

from anyws._session.wakeup import SharedWakeup, Wakeup


@pytest.mark.parametrize(("kind", "tasks"), [(Wakeup, 1), (SharedWakeup, 3)])
async def test_it_wakes_the_tasks_that_wait(
    kind: type[Wakeup | SharedWakeup], tasks: int
) -> None:
    """Each time anew, and never a task that comes later."""
    wakeup, woken = kind(), 0

    async def wait() -> None:
        nonlocal woken
        await wakeup.wait()
        woken += 1

    for times in range(1, 4):
        wakeup.wake()  # nobody waits
        async with anyio.create_task_group() as group:
            for _ in range(tasks):
                group.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            assert woken == (times - 1) * tasks
            wakeup.wake()
        assert woken == times * tasks


@pytest.mark.parametrize("kind", [Wakeup, SharedWakeup])
async def test_a_cancelled_wait_leaves_it_usable(
    kind: type[Wakeup | SharedWakeup],
) -> None:
    """The next task that waits is woken, if perhaps once too often."""
    wakeup, looked = kind(), 0
    with anyio.CancelScope() as scope:
        scope.cancel()
        await wakeup.wait()

    async def look(times: int) -> None:
        nonlocal looked
        while looked < times:
            await wakeup.wait()
            looked += 1

    async with anyio.create_task_group() as group:
        group.start_soon(look, 2)
        for _ in range(2):
            await anyio.wait_all_tasks_blocked()
            wakeup.wake()

    assert looked == 2
