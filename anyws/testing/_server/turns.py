"""The pause of a server until the next turn of its event loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from anyio.lowlevel import checkpoint, current_token

# Calls of the application after which a pause ends all the same. An application that
# only calls `receive` and `send`, without ever waiting, would freeze the real server;
# its test must end.
_MOST_CALLS: Final = 100


class Pause:
    """The time until the event loop of the imitated server would turn.

    On the real server a call that need not wait returns without letting another task
    run. Here every call is a checkpoint; so a checkpoint in a call does not count as a
    turn.

    Attributes:
        on: Whether the server pauses.
    """

    def __init__(self) -> None:
        self.on: bool = False
        self._end: Callable[[], None]
        self._uncounted = 0  # checkpoints under way
        self._left = 0  # calls that do not end the pause

    def begin(self, end: Callable[[], None]) -> None:
        """Begin a pause; call `end` at its end."""
        self.on, self._end, self._left = True, end, _MOST_CALLS
        self._end_soon()

    async def checkpoint(self) -> None:
        """Let other tasks run, without ending the pause."""
        self._uncounted += 1
        self._left -= 1
        try:
            await checkpoint()
        finally:
            self._uncounted -= 1
            if self.on:
                self._end_soon()

    def _end_soon(self) -> None:
        # A callback of the event loop, not a task: it runs before any task but the
        # application. AnyIO has no such call; asyncio and trio each have one.
        loop: Any = current_token().native_token
        soon = getattr(loop, "call_soon", None) or loop.run_sync_soon
        soon(self._try_end)

    def _try_end(self) -> None:
        if self.on and (self._uncounted == 0 or self._left < 0):
            self.on = False
            self._end()
