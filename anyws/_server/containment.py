"""What an application raises ends its own connection, and never the server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from anyio import get_cancelled_exc_class


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
    through = (get_cancelled_exc_class(), KeyboardInterrupt, GeneratorExit)
    try:
        await served
    except (Exception, *through):
        raise
    except BaseExceptionGroup as group:
        ends, others = group.split(through)
        if others is not None:
            await log()
        if ends is not None:
            raise ends from None
    except BaseException:
        await log()
