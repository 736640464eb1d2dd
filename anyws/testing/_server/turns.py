"""What a server does in the next turn of its event loop, and not before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from anyio.lowlevel import checkpoint, current_token

# Checkpoints that do not end a pause. A loop of nothing but calls would freeze the
# server that is imitated; a test of it is to end.
_MOST: Final = 100


class Pause:
    """The time until the event loop of the server that is imitated would turn.

    A call of the application lets nobody else run there, if there is nothing to wait
    for, where ours always is a checkpoint: that does not count.

    Attributes:
        on: Whether there is one.
    """

    def __init__(self) -> None:
        self.on: bool = False
        self._end: Callable[[], None]
        self._uncounted = 0  # checkpoints under way
        self._left = 0  # those that may follow

    def begin(self, end: Callable[[], None]) -> None:
        """Have it begin; at its end, something is called."""
        self.on, self._end, self._left = True, end, _MOST
        self._end_soon()

    async def checkpoint(self) -> None:
        """Be a checkpoint that does not count."""
        self._uncounted += 1
        self._left -= 1
        try:
            await checkpoint()
        finally:
            self._uncounted -= 1
            if self.on:
                self._end_soon()

    def _end_soon(self) -> None:
        # By a call from the loop, as nobody may run by then but the application. AnyIO
        # has none; this is asyncio's name for it, or trio's.
        loop: Any = current_token().native_token
        soon = getattr(loop, "call_soon", None) or loop.run_sync_soon
        soon(self._try_end)

    def _try_end(self) -> None:
        if self.on and (self._uncounted == 0 or self._left < 0):
            self.on = False
            self._end()
