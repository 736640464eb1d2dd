"""The keep-alive time of a connection, without a task."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from anyio import current_time

from .._session.timekeeper import Alarm
from ._worker import Worker


class IdleAlarm:
    """Has a connection closed that is idle, in place of Hypercorn's `SingleTask`.

    Hypercorn runs a task for each connection that is idle, as each is until its first
    request. It waits for the keep-alive time or the end of the worker. Here the alarm
    is one of the worker's timekeeper, and the worker itself tells of its end.

    Args:
        worker: The worker.
        seconds: Hypercorn's `keep_alive_timeout`.
        close: Closes the connection; it runs in a task of the connection's group.
    """

    def __init__(
        self, worker: Worker, seconds: float, close: Callable[[], Awaitable[None]]
    ) -> None:
        self._worker = worker
        self._seconds = seconds
        self._close = close
        self._alarm: Alarm | None = None
        self._group: Any = None  # Hypercorn's `TaskGroup`

    # Async, as Hypercorn awaits them; they do not wait.

    async def restart(self, group: Any, _action: object) -> None:
        """Note that the connection is idle from now on.

        Args:
            group: The task group of the connection.
            _action: What Hypercorn's own task would do: wait, and close.
        """
        self._group = group
        if self._alarm is None:
            self._alarm = Alarm(self._worker.upkeep.keeper, self.end)
        self._alarm.set(current_time() + self._seconds)
        if self._worker.terminated:
            self.end()

    async def stop(self) -> None:
        """Note that the connection is not idle any more."""
        self._cancel()

    def end(self) -> None:
        """Close the connection, if it is idle."""
        if self._alarm is not None:
            self._cancel()
            self._group.spawn(self._close)

    def _cancel(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
