"""Whether a task is woken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio

from anyws._session.wakeup import Wakeup


async def woken_by(wakeup: Wakeup, act: Callable[[], Any]) -> bool:
    """Return whether an action wakes the task that waits."""
    woken = False

    async def wait() -> None:
        nonlocal woken
        await wakeup.wait()
        woken = True

    async with anyio.create_task_group() as group:
        group.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        act()
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()
    return woken
