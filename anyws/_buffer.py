"""A bounded buffer of events between two tasks of one connection."""

from __future__ import annotations

from typing import TypeAlias

from anyio import EndOfStream, create_memory_object_stream
from anyio import Event as Signal

from ._events import Event

Item: TypeAlias = tuple[Event, int, Signal | None]


class Buffer:
    """Events in order, bounded in messages and bytes.

    A memory stream holds the messages, and they are only ever taken with `take_nowait`:
    a native asyncio cancellation that meets a delivery loses the item which
    `await stream.receive()` had already been handed. What waits, waits on a signal
    beside the stream, where nothing can be lost: one task for something to take, one
    for room.

    Events of the handshake are kept apart: they come before any message, are not
    subject to the bounds and are never dropped.

    Attributes:
        messages: Messages held.
        size: Their payload together, in bytes.
        dropped: Messages dropped so far.
    """

    __slots__ = (
        "_filled",
        "_handshake",
        "_max_bytes",
        "_max_messages",
        "_put_end",
        "_room",
        "_take_end",
        "dropped",
        "messages",
        "size",
    )

    def __init__(self, max_messages: int, max_bytes: int) -> None:
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._put_end, self._take_end = create_memory_object_stream[Item](max_messages)
        self._handshake: list[Item] = []
        self._filled: Signal | None = None
        self._room: Signal | None = None
        self.messages = 0
        self.size = 0
        self.dropped = 0

    def fits(self, size: int) -> bool:
        """Whether a message of this size has room; a large one has it alone."""
        if self.messages >= self._max_messages:
            return False
        return self.size + size <= self._max_bytes or not self.messages

    def put_nowait(self, event: Event, size: int) -> None:
        """Add a message that `fits`."""
        self._put_end.send_nowait((event, size, None))
        self.messages += 1
        self.size += size
        if self._filled is not None:
            self._filled.set()

    def put_handshake(self, event: Event) -> Signal:
        """Add an event of the handshake; the signal is set once it is dealt with."""
        receipt = Signal()
        self._handshake.append((event, 0, receipt))
        if self._filled is not None:
            self._filled.set()
        return receipt

    def take_nowait(self) -> Item:
        """Take the next event.

        Raises:
            WouldBlock: There is none now.
            EndOfStream: There is none any more.
        """
        if self._handshake:
            return self._handshake.pop(0)
        item = self._take_end.receive_nowait()
        self.messages -= 1
        self.size -= item[1]
        if self._room is not None:
            self._room.set()
        return item

    def make_room(self, size: int) -> None:
        """Drop the oldest messages until one of this size fits."""
        while not self.fits(size):
            _, dropped_size, _ = self._take_end.receive_nowait()
            self.messages -= 1
            self.size -= dropped_size
            self.dropped += 1

    @property
    def empty(self) -> bool:
        """Whether there is nothing to take now."""
        return not self.messages and not self._handshake

    async def wait_filled(self) -> None:
        """Wait until there may be something to take. Always a checkpoint."""
        self._filled = Signal()
        await self._filled.wait()

    async def wait_room(self) -> None:
        """Wait until there may be room. Always a checkpoint."""
        self._room = Signal()
        await self._room.wait()

    def wake(self) -> None:
        """Let both waiters look again."""
        for signal in (self._filled, self._room):
            if signal is not None:
                signal.set()

    def close(self) -> None:
        """Take no more in; what is held can still be taken."""
        self._put_end.close()
        self.wake()

    def discard(self) -> None:
        """Close the buffer and let go of all that it holds."""
        self.close()
        for _, _, receipt in self._handshake:
            if receipt is not None:
                receipt.set()
        self._handshake.clear()
        try:
            while True:
                self.take_nowait()
        except EndOfStream:
            pass

    def release(self) -> None:
        """Discard what is held and free the stream."""
        self.discard()
        self._take_end.close()
