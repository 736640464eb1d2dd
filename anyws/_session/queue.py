"""A bounded queue of events between two tasks of one connection.

The events are in an AnyIO memory stream, which also knows its end: what was sent before
`close()` can still be received, then comes `EndOfStream`. It is never awaited. A native
asyncio cancellation that meets a delivery loses the item which `await receive()` had
already been handed; so items are sent and received by the stream's `_nowait` calls
alone, and who has to wait does so beside it, where nothing can be lost.
"""

from __future__ import annotations

from math import inf
from typing import TypeAlias

from anyio import Event as Signal
from anyio import create_memory_object_stream

from .._values.events import MORE, Event
from .wakeup import Wakeup

Item: TypeAlias = tuple[Event, int, Signal | None]


class MessageQueue:
    """A memory stream of events, bounded in messages and bytes.

    Events of the handshake are not subject to the bounds and are never dropped.

    Attributes:
        filled: Woken when there may be something to take, or nothing any more.
        room: Woken when there may be room, or no use for it any more.
        closed: Whether it takes no more in.
        events: Events of the handshake held.
        messages: Messages held.
        size: Their payload together, in bytes.
        dropped: Messages dropped so far.
    """

    __slots__ = (
        "_max_bytes",
        "_max_messages",
        "_next",
        "_receive",
        "_send",
        "closed",
        "dropped",
        "events",
        "filled",
        "messages",
        "room",
        "size",
    )

    def __init__(self, max_messages: int, max_bytes: int) -> None:
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        # Its own bound counts items alone, and would hold up the handshake.
        self._send, self._receive = create_memory_object_stream[Item](inf)
        self._next: Item | None = None  # looked at, and not taken yet
        self.filled = Wakeup()
        self.room = Wakeup()
        self.closed = False
        self.events = self.messages = self.size = self.dropped = 0

    def put_nowait(self, event: Event, size: int) -> bool:
        """Add a message if it has room; a large one has it alone."""
        if self.messages and (
            self.messages >= self._max_messages or self.size + size > self._max_bytes
        ):
            return False
        self._send.send_nowait((event, size, None))
        self.messages += 1
        self.size += size
        if self.filled.waiting:
            self.filled.wake()
        return True

    def put_handshake(self, event: Event) -> Signal:
        """Add an event of the handshake; the signal is set once it is dealt with."""
        receipt = Signal()
        if self.closed:
            receipt.set()  # nobody takes it any more
            return receipt
        self._send.send_nowait((event, 0, receipt))
        self.events += 1
        self.filled.wake()
        return receipt

    def put_by_dropping(self, event: Event, size: int) -> None:
        """Add a message, dropping the oldest ones until it has room."""
        while not self.put_nowait(event, size):
            if not self.event_first:
                self.take_nowait()
            else:  # it stays, in its place: the stream is sent round once
                items = [self.take_nowait() for _ in range(self.messages + self.events)]
                oldest = next(n for n, item in enumerate(items) if item[2] is None)
                del items[oldest]
                self._put_back(items)
            self.dropped += 1

    def _put_back(self, items: list[Item]) -> None:
        for item in items:
            self._send.send_nowait(item)
            if item[2] is not None:
                self.events += 1
            else:
                self.messages += 1
                self.size += item[1]

    @property
    def empty(self) -> bool:
        """Whether there is nothing to take."""
        return not (self.messages or self.events)

    def _look(self) -> Item | None:
        if self._next is None and not self.empty:
            self._next = self._receive.receive_nowait()
        return self._next

    @property
    def has_parts(self) -> bool:
        """Whether the next message comes in parts."""
        item = self._look()
        return item is not None and MORE in item[0]

    @property
    def event_first(self) -> bool:
        """Whether the next to take is an event of the handshake."""
        if not self.events:
            return False
        item = self._look()
        return item is not None and item[2] is not None

    @property
    def blocked(self) -> bool:
        """Whether who wants to take has to wait."""
        return not (self.messages or self.events or self.closed)

    def take_nowait(self) -> Item:
        """Take the next event; there must be one, or the buffer be closed.

        Raises:
            EndOfStream: There is none any more.
        """
        if self._next is None:
            if self.empty:  # closed: by now nothing is read ahead either
                self._send.close()
            item = self._receive.receive_nowait()
        else:
            item, self._next = self._next, None
        if item[2] is not None:
            self.events -= 1
            return item
        self.messages -= 1
        self.size -= item[1]
        if self.room.waiting:
            self.room.wake()
        return item

    def take_messages(self) -> list[Item]:
        """Take the messages that come first, up to the next event of the handshake."""
        if not self.events and self._next is None:
            receive = self._receive.receive_nowait
            taken = [receive() for _ in range(self.messages)]
            self.messages = self.size = 0
            self.room.wake()
            return taken
        taken = []
        while not (self.empty or self.event_first):
            taken.append(self.take_nowait())
        return taken

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
        while not self.empty:
            _, _, receipt = self.take_nowait()
            if receipt is not None:
                receipt.set()
        self._send.close()
        self._receive.close()
