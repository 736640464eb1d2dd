"""A bounded buffer of events between two tasks of one connection."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TypeAlias

from anyio import EndOfStream, Semaphore
from anyio import Event as Signal

from ._events import MORE, Event

Item: TypeAlias = tuple[Event, int, Signal | None]


class Wakeup:
    """Wakes one task, again and again: an `anyio.Event` is for once, and dearer.

    Being woken says no more than that it is time to look again.
    """

    __slots__ = ("_semaphore", "_waiting")

    def __init__(self) -> None:
        self._semaphore: Semaphore | None = None
        self._waiting = False

    def wait(self) -> Awaitable[None]:
        """Wait, when awaited, to be woken; always a checkpoint.

        It hands on the semaphore's own coroutine, one frame less for a parked task.
        """
        if self._semaphore is None:
            self._semaphore = Semaphore(0, fast_acquire=True)
        self._waiting = True
        return self._semaphore.acquire()

    def wake(self) -> None:
        """Wake the task, if it waits."""
        if self._waiting and self._semaphore is not None:
            self._waiting = False
            self._semaphore.release()


class Buffer:
    """Events in order, bounded in messages and bytes.

    Taking never waits: a native asyncio cancellation that meets a delivery loses the
    item which an awaited take, as AnyIO's memory streams have it, had already been
    handed. What waits, waits beside the buffer, where nothing can be lost: one task for
    something to take (`filled`), one for room (`room`).

    Events of the handshake are not subject to the bounds and are never dropped.

    Attributes:
        filled: Woken when there may be something to take, or nothing any more.
        room: Woken when there may be room, or no use for it any more.
        closed: Whether it takes no more in.
        messages: Messages held.
        size: Their payload together, in bytes.
        dropped: Messages dropped so far.
    """

    __slots__ = (
        "_items",
        "_max_bytes",
        "_max_messages",
        "closed",
        "dropped",
        "filled",
        "messages",
        "room",
        "size",
    )

    def __init__(self, max_messages: int, max_bytes: int) -> None:
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        # A list, since it is short, and an idle connection's empty deque is 0.7 KiB.
        self._items: list[Item] = []
        self.filled = Wakeup()
        self.room = Wakeup()
        self.closed = False
        self.messages = 0
        self.size = 0
        self.dropped = 0

    def put_nowait(self, event: Event, size: int) -> bool:
        """Add a message if it has room; a large one has it alone."""
        if self.messages and (
            self.messages >= self._max_messages or self.size + size > self._max_bytes
        ):
            return False
        self._items.append((event, size, None))
        self.messages += 1
        self.size += size
        self.filled.wake()
        return True

    def put_handshake(self, event: Event) -> Signal:
        """Add an event of the handshake; the signal is set once it is dealt with."""
        receipt = Signal()
        self._items.append((event, 0, receipt))
        self.filled.wake()
        return receipt

    def put_by_dropping(self, event: Event, size: int) -> None:
        """Add a message, dropping the oldest ones until it has room."""
        while not self.put_nowait(event, size):
            oldest = next(n for n, item in enumerate(self._items) if item[2] is None)
            self._take(oldest)
            self.dropped += 1

    @property
    def empty(self) -> bool:
        """Whether there is nothing to take."""
        return not self._items

    @property
    def has_parts(self) -> bool:
        """Whether the next message comes in parts."""
        return bool(self._items) and MORE in self._items[0][0]

    @property
    def event_first(self) -> bool:
        """Whether the next to take is an event of the handshake."""
        return bool(self._items) and self._items[0][2] is not None

    @property
    def blocked(self) -> bool:
        """Whether who wants to take has to wait."""
        return not (self._items or self.closed)

    def take_nowait(self) -> Item:
        """Take the next event; there must be one, or the buffer be closed.

        Raises:
            EndOfStream: There is none any more.
        """
        if not self._items:
            raise EndOfStream
        return self._take(0)

    def take_messages(self) -> list[Item]:
        """Take the messages that come first, up to the next event of the handshake."""
        if self.messages == len(self._items):
            taken, self._items = self._items, []
            self.messages = self.size = 0
            self.room.wake()
            return taken
        taken = []
        while self._items and not self.event_first:
            taken.append(self._take(0))
        return taken

    def _take(self, index: int) -> Item:
        item = self._items.pop(index)
        if item[2] is None:
            self.messages -= 1
            self.size -= item[1]
            self.room.wake()
        return item

    def resize(self, max_messages: int, max_bytes: int) -> None:
        """Change the bounds; what is held stays."""
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self.room.wake()

    def close(self) -> None:
        """Take no more in; what is held can still be taken."""
        self.closed = True
        self.filled.wake()
        self.room.wake()

    def discard(self) -> None:
        """Close the buffer and let go of all that it holds."""
        self.close()
        while self._items:
            _, _, receipt = self._take(0)
            if receipt is not None:
                receipt.set()
