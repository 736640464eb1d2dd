"""Containment: an exception of an application ends its connection, not the server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from anyio import get_cancelled_exc_class, get_current_task


async def contain(served: Awaitable[None], log: Callable[[], Awaitable[None]]) -> None:
    """Wait for an application; log what would otherwise end the server.

    `SystemExit`, and an exception of the application's that is a `BaseException` only,
    would go through trio's nurseries or asyncio's loop, and with them through every
    other connection. An `Exception` is left to the server, which knows how to log it.

    Args:
        served: The application.
        log: Logs the exception that is being handled.

    Raises:
        Exception: What the application raises.
        KeyboardInterrupt: It ends the server.
        BaseException: A cancellation.
    """
    task = get_current_task().id
    through = get_cancelled_exc_class(), KeyboardInterrupt
    try:
        await served
    except Exception:
        raise
    except BaseException as exc:
        if isinstance(exc, through):
            raise
        if isinstance(exc, GeneratorExit) and not _is_current(task):
            raise  # not the application's: the coroutine is closed from outside
        ends: BaseException | None = None
        others: BaseException | None = exc
        if isinstance(exc, BaseExceptionGroup):
            ends, others = exc.split(through)
        if others is not None:
            await log()
        if ends is not None:
            raise ends from None


def _is_current(task: int) -> bool:
    """Whether the task with this number is the one that runs now."""
    try:
        return get_current_task().id == task
    except Exception:  # no loop, or no task
        return False
