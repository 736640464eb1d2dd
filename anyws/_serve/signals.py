"""The signals that ask a process to end."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, TypeAlias

from anyio import Event as Signal
from anyio import create_task_group, open_signal_receiver

Trigger: TypeAlias = Callable[[], Awaitable[object]]

# The signals that ask a process to end. SIGBREAK is Ctrl-Break, on Windows only.
ASKING: Final = tuple(
    signal.Signals[name]
    for name in ("SIGINT", "SIGTERM", "SIGBREAK")
    if name in signal.Signals.__members__
)


async def wait_first(*triggers: Trigger) -> None:
    """Wait until one of the triggers returns."""
    async with create_task_group() as tasks:

        async def wait(trigger: Trigger) -> None:
            await trigger()
            tasks.cancel_scope.cancel()

        for trigger in triggers:
            tasks.start_soon(wait, trigger)


async def signalled(*numbers: signal.Signals) -> None:
    """Wait for one of these signals; by default, for one that asks to end."""
    numbers = numbers or ASKING
    try:
        with open_signal_receiver(*numbers) as signals:
            async for _ in signals:
                return
    except NotImplementedError:  # asyncio on Windows
        await _signalled_plainly(numbers)


async def _signalled_plainly(numbers: Iterable[signal.Signals]) -> None:
    """Wait for a signal where the event loop has no handlers, as on Windows.

    The event loop there wakes by itself when a signal arrives, and runs the handler of
    the `signal` module.
    """
    came = Signal()

    def handle(*_: object) -> None:
        came.set()

    former = {number: signal.signal(number, handle) for number in numbers}
    try:
        await came.wait()
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
