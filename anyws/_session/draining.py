"""A flag that tells a handler that its server is about to stop."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from anyio import Event as Signal
from anyio.lowlevel import checkpoint


class Draining:
    """Whether the server has begun to end a connection: a flag, and an awaitable.

        while not ws.draining:
            await turn(ws)

    `await ws.draining` waits until it is true. That may never happen, so wait for it in
    a task that ends with the handler.

    Cancellation:
        Safe: waiting changes nothing.
    """

    __slots__ = ("_begun",)

    def __init__(self) -> None:
        self._begun = Signal()

    def __bool__(self) -> bool:
        """Whether the drain has told this connection."""
        return self._begun.is_set()

    def __await__(self) -> Generator[Any, Any, None]:
        """Wait until it has; always a checkpoint."""
        return self._wait().__await__()

    async def _wait(self) -> None:
        if self._begun.is_set():
            await checkpoint()
        else:
            await self._begun.wait()

    def begin(self) -> None:
        """Set the flag, and wake the tasks that wait."""
        self._begun.set()
