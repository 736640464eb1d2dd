"""The events that a server has read and the application has not received."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from anyio import get_cancelled_exc_class
from anyio.lowlevel import checkpoint

from ..._session.wakeup import SharedWakeup
from ..._values.events import Event, size_of
from ..._values.states import CONNECT, DISCONNECT
from .dialects import Dialect
from .history import History
from .turns import Pause


class Inbox:
    """A server's queue of events for one application.

    Args:
        dialect: Says how much the queue holds, and what a receive does after the end.
        history: Notes the events that the application receives.
        read: Called when there may be room.
        pause: The server's pause, which a receive does not end if an event is there.

    Attributes:
        changed: Woken when an event has come or gone.
    """

    def __init__(
        self,
        dialect: Dialect,
        history: History,
        read: Callable[[], None],
        pause: Pause,
    ) -> None:
        self.changed = SharedWakeup()
        self._dialect = dialect
        self._history = history
        self._read = read
        self._pause = pause
        self._events = deque[Event]([{"type": CONNECT}])
        self._size = 0  # of the messages, in bytes
        self._asking = 0  # receives under way
        self._over = False  # the application has received the disconnect

    @property
    def has_room(self) -> bool:
        """Whether the server goes on reading."""
        if self._dialect.reads_on_demand:
            return len(self._events) < self._asking
        # A server reads although the application has not yet received the connect.
        connects = bool(self._events) and self._events[0]["type"] == CONNECT
        few = len(self._events) <= max(self._dialect.queue, connects)
        return few and self._size < self._dialect.queue_bytes

    def put(self, event: Event) -> None:
        """Add an event, also where there is no room: the server has read it."""
        self._events.append(event)
        self._size += size_of(event)
        self.changed.wake()

    async def receive(self) -> Event:
        """Receive the next event, for the application."""
        with self._history.calling("receive()"):
            self._asking += 1
            try:
                self._read()
                await (self._pause.checkpoint() if self._events else checkpoint())
                while not self._events:
                    if self._over and self._dialect.after_the_end != "waits":
                        return self._again(self._dialect.after_the_end)
                    await self.changed.wait()
            except get_cancelled_exc_class():
                if self._dialect.cancel_loses and self._events:
                    self._take()
                raise
            finally:
                self._asking -= 1
            event = self._take()
        self._over = self._over or event["type"] == DISCONNECT
        self._history.received(event)
        self.changed.wake()
        self._read()
        return event

    def _take(self) -> Event:
        event = self._events.popleft()
        self._size -= size_of(event)
        return event

    def _again(self, way: str | int) -> Event:
        if isinstance(way, int):
            return {"type": DISCONNECT, "code": way}
        raise RuntimeError("receive() was called after websocket.disconnect")
