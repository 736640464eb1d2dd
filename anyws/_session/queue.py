"""A bounded queue of events, for one direction of a connection.

The events are the items of an AnyIO memory stream, which also knows its end: what was
put in before `close()` can still be taken, nothing can be put in after it, and behind
the last item comes `EndOfStream`. The stream is never awaited. `await receive()` loses
an item when a native asyncio cancellation comes after the item was handed to the task
and before the task runs. So items go in and out by the stream's `_nowait` calls alone,
and a task that has to wait does so on a wake-up beside the stream.

The bounds stand around the stream, which is unbounded itself: a memory stream counts
items and no bytes, and its bound would hold up the handshake. The bound in bytes holds
for the payload, and for the memory that the messages take: an empty one takes some too.
There are two marks. At
the first one (`full`) a message no longer has room, and the overflow rule of the
options decides. A channel whose frames are ours reads on for a while behind the first
mark (`put_ahead`), so that pings and the peer's closing frame are seen although the
application does not read. At the second mark (`crowded`) it stops reading.

Many connections never need both directions, so a stream is made with the first message.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from sys import getsizeof
from typing import Final, TypeAlias

from anyio import ClosedResourceError, EndOfStream, create_memory_object_stream
from anyio import Event as Signal
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from .._values.events import MORE, Event
from .._values.options import ReceiveOverflow, SendOverflow
from .wakeup import Wakeup

Item: TypeAlias = tuple[Event, int, Signal | None]
Overflow: TypeAlias = ReceiveOverflow | SendOverflow

# How many messages, and bytes of memory, the second mark is behind the first.
AHEAD_MESSAGES: Final = 256
AHEAD_BYTES: Final = 1024 * 1024

# Bytes of memory that a message takes beside its payload: its dict, its item and its
# place in the stream take 230 to 260 bytes, as tracemalloc measures it on Python 3.11
# to 3.13, and the header of its payload 33 to 57.
MESSAGE_BYTES: Final = 320

# The least bound of memory. Where the bound in bytes is lower, it holds for the payload
# alone, so that a few small messages do not fill a queue by their overhead.
LEAST_MEMORY: Final = 64 * 1024


def _widening(text: str | None, size: int) -> int:
    """Return how many bytes more than its UTF-8 a text takes.

    One character outside the basic plane has each character of a text take four bytes.
    A binary message and ASCII take none more.
    """
    if text is None or len(text) == size:
        return 0
    return max(0, getsizeof(text) - size)


class MessageQueue:
    """A memory stream of events, bounded in messages and bytes.

    Events that are not messages (an accept, a part of a denial response, a fragment)
    are not subject to the bounds and are never dropped. Each has a receipt, which is
    set once the event has been sent or discarded.

    Args:
        max_messages: Messages up to the first mark.
        max_bytes: Bytes up to the first mark, of payload, and (if it is more than
            `LEAST_MEMORY`) of memory. A message that is larger passes if no other
            message is in the queue.

    Attributes:
        filled: Woken when there may be an event to take, or the queue was closed.
        room: Woken when there may be room, or the queue was closed.
        closed: Whether nothing more can be put in.
        held: Events in the queue, messages and others.
        messages: Messages in the queue.
        size: Bytes of payload that these messages hold together.
        unwritten: Bytes of memory that messages take which have left the queue and are
            not written yet. They count against the bound of memory.
        dropped: Messages dropped so far.
    """

    __slots__ = (
        "_mark",
        "_max_bytes",
        "_max_memory",
        "_max_messages",
        "_next",
        "_receive",
        "_send",
        "_wide",
        "closed",
        "dropped",
        "filled",
        "held",
        "messages",
        "room",
        "size",
        "unwritten",
    )

    def __init__(self, max_messages: int, max_bytes: int) -> None:
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._max_memory = max(max_bytes, LEAST_MEMORY)
        self._send: MemoryObjectSendStream[Item] | None = None
        self._receive: MemoryObjectReceiveStream[Item] | None = None
        self._mark: int | None = None  # `memory` when the first mark was passed
        self._next: Item | None = None  # the first item, outside the stream
        self._wide = 0  # bytes of memory that wide text takes beside its payload
        self.filled: Wakeup = Wakeup()
        self.room: Wakeup = Wakeup()
        self.closed: bool = False
        self.held: int = 0
        self.messages: int = 0
        self.size: int = 0
        self.unwritten: int = 0
        self.dropped: int = 0

    # Putting in

    def put_nowait(self, event: Event, size: int) -> bool:
        """Put a message in if it has room; any message has room in an empty queue.

        Returns:
            Whether the message was put in.

        Raises:
            ClosedResourceError: The queue is closed.
        """
        wide, messages, total = 0, self.messages, self.size + size
        text = event.get("text")
        if text is not None and len(text) != size:
            wide = _widening(text, size)
        # The bounds of messages, payload and memory, with this message in the queue.
        if messages and (
            messages >= self._max_messages
            or total > self._max_bytes
            or total + wide + self._wide + self.unwritten + MESSAGE_BYTES * messages
            > self._max_memory - MESSAGE_BYTES
        ):
            if self.closed:
                raise ClosedResourceError
            return False
        send = self._send or self._open()
        send.send_nowait((event, size, None))
        self._mark = None
        self.held += 1
        self.messages = messages + 1
        self.size = total
        if wide:
            self._wide += wide
        if self.filled.waiting:
            self.filled.wake()
        return True

    def put_ahead(self, event: Event, size: int) -> None:
        """Put a message in although it has no room, behind the first mark.

        Raises:
            ClosedResourceError: The queue is closed.
        """
        if self._mark is None:
            self._mark = self.memory
        self._put((event, size, None))
        if self.filled.waiting:
            self.filled.wake()

    def put_by_rule(self, event: Event, size: int, rule: Overflow) -> bool:
        """Apply an overflow rule to a message that has no room.

        Returns:
            False if the queue cannot do that: the rule is to wait for room, or to close
            the connection.
        """
        if rule == "drop_newest":
            self.dropped += 1
        elif rule == "drop_oldest":
            while not self.put_nowait(event, size):
                self.drop_oldest()
        else:
            return False
        return True

    def put_event(self, event: Event) -> Signal:
        """Put in an event that is not a message; return its receipt.

        In a closed queue the event is discarded, and the receipt set at once.
        """
        receipt = Signal()
        if self.closed:
            receipt.set()
            return receipt
        if self.held:
            self._put((event, 0, receipt))
        else:
            # An accept comes first, so that most connections need no stream for it.
            self._next = event, 0, receipt
            self.held = 1
        self.filled.wake()
        return receipt

    def _open(self) -> MemoryObjectSendStream[Item]:
        """Make the stream, for the first item."""
        if self.closed:
            raise ClosedResourceError
        self._send, self._receive = create_memory_object_stream[Item](inf)
        return self._send

    def drop_oldest(self) -> None:
        """Drop the oldest message."""
        self.dropped += 1
        if not self.event_first:
            self.take_nowait()
            return
        # An event that is not a message comes first, and keeps its place. The middle of
        # a stream cannot be reached, so all items are taken out and put in again.
        items = [self.take_nowait() for _ in range(self.held)]
        oldest = next(n for n, item in enumerate(items) if item[2] is None)
        del items[oldest]
        for item in items:
            self._put(item)

    def _put(self, item: Item) -> None:
        send = self._send or self._open()
        send.send_nowait(item)
        self.held += 1
        if item[2] is None:
            self.messages += 1
            self.size += item[1]
            self._wide += _widening(item[0].get("text"), item[1])

    def has_room(self, size: int, *, messages: int, held: int) -> bool:
        """Whether a message has room behind others that are to be put in before it.

        Args:
            size: Bytes of payload of the message.
            messages, held: How many the others are, and their bytes of payload.
        """
        memory = self.memory + self.unwritten + held + size
        memory += MESSAGE_BYTES * (messages + 1)
        messages += self.messages
        return messages == 0 or (
            messages < self._max_messages
            and self.size + held + size <= self._max_bytes
            and memory <= self._max_memory
        )

    @property
    def memory(self) -> int:
        """Bytes of memory that the messages in the queue take."""
        return self.size + self._wide + MESSAGE_BYTES * self.messages

    @property
    def full(self) -> bool:
        """Whether the first mark is reached: one more message has no room."""
        return (
            self.messages >= self._max_messages
            or self.size >= self._max_bytes
            or self.memory >= self._max_memory
        )

    @property
    def crowded(self) -> bool:
        """Whether the second mark is reached: the channel should stop reading."""
        return self._mark is not None and (
            self.messages >= self._max_messages + AHEAD_MESSAGES
            or self.memory >= self._mark + AHEAD_BYTES
        )

    def resize(self, max_messages: int, max_bytes: int) -> None:
        """Change the bounds; what is in the queue stays."""
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._max_memory = max(max_bytes, LEAST_MEMORY)
        self.room.wake()

    def written(self) -> None:
        """Note that all messages which have left the queue are written."""
        self.unwritten = 0
        if self.room.waiting:
            self.room.wake()

    # Taking out

    @property
    def blocked(self) -> bool:
        """Whether a task that wants to take has to wait."""
        return not (self.held or self.closed)

    def take_nowait(self) -> Item:
        """Take the next event; the queue must hold one, or be closed.

        Raises:
            EndOfStream: The queue is closed and empty.
            ClosedResourceError: The queue was discarded.
        """
        item, self._next = self._next, None
        if item is None:
            if self._receive is None:
                raise EndOfStream
            item = self._receive.receive_nowait()
        self.held -= 1
        if item[2] is None:
            self.messages -= 1
            self.size -= item[1]
            if self._wide:
                # Nothing for none, whatever has become of the events meanwhile.
                wide = self._wide - _widening(item[0].get("text"), item[1])
                self._wide = wide if self.messages else 0
            if self.room.waiting:
                self.room.wake()
        return item

    def take_first(self, wanted: Callable[[Event], bool]) -> Item | None:
        """Take the first whole message that is wanted; the others keep their order."""
        items = [self.take_nowait() for _ in range(self.held)]
        found = None
        try:
            for item in items:
                event, _, receipt = item
                if receipt is None and MORE not in event and wanted(event):
                    found = item
                    break
        finally:
            self._put_back([item for item in items if item is not found])
        return found

    def _put_back(self, items: list[Item]) -> None:
        """Put in again what was taken out of a queue that may have been closed."""
        if self.closed and items:
            if self._receive is not None:
                self._receive.close()
            self._send, self._receive = create_memory_object_stream[Item](inf)
        for item in items:
            self._put(item)
        if self.closed and self._send is not None:
            self._send.close()

    def take_messages(self, max_bytes: float = inf) -> list[Item]:
        """Take the messages that come first, up to an event that is not a message.

        They count as `unwritten`, until `written` is called.

        Args:
            max_bytes: Bytes of memory after which no more is taken.
        """
        if self._receive is None:
            return []
        if (
            self.held == self.messages
            and self._next is None
            and self.memory <= max_bytes
        ):
            receive = self._receive.receive_nowait
            taken = [receive() for _ in range(self.messages)]
            self.unwritten += self.memory
            self.held = self.messages = self.size = self._wide = 0
            self.room.wake()
            return taken
        taken, before = [], self.memory
        least = max(before - max_bytes, 0)
        while self.held and not self.event_first and self.memory > least:
            taken.append(self.take_nowait())
        self.unwritten += before - self.memory
        return taken

    def _look(self) -> Item | None:
        """Return the next item without taking it."""
        if self._next is None and self.held and self._receive is not None:
            self._next = self._receive.receive_nowait()
        return self._next

    @property
    def first(self) -> Event:
        """The next event to take; the queue must hold one."""
        item = self._look()
        assert item is not None
        return item[0]

    @property
    def event_first(self) -> bool:
        """Whether the next event to take is no message."""
        if self.held == self.messages:
            return False
        item = self._look()
        return item is not None and item[2] is not None

    @property
    def has_parts(self) -> bool:
        """Whether the next event to take is a part of a message."""
        item = self._look()
        return item is not None and MORE in item[0]

    # The end

    def close(self) -> None:
        """Let no more events in; those in the queue can still be taken."""
        if self.closed:
            return
        self.closed = True
        if self._send is not None:
            self._send.close()
        if self.filled.waiting:
            self.filled.wake()
        if self.room.waiting:
            self.room.wake()

    def discard(self) -> None:
        """Close the queue and drop all events in it; set their receipts.

        Both ends of the stream are closed, so that none is reported as leaked.
        """
        if not self.closed:
            self.close()
        while self.held:
            _, _, receipt = self.take_nowait()
            if receipt is not None:
                receipt.set()
        if self._receive is not None:
            self._receive.close()
