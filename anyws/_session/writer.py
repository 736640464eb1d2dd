"""The task that moves what is in a session's outbound queue into its channel.

The channel's own `send` is called by this task alone, so that a cancelled call of the
user's never reaches it: a server's `send` that is cancelled tears frames. It ends after
the block, when it has sent what was queued and the closing frame.
"""

from __future__ import annotations

from math import inf
from typing import Final

from anyio.lowlevel import checkpoint

from .._values.events import Event
from .channel import DirectChannel
from .connection import Connection
from .queue import Item
from .reader import Reader

# So many messages that were queued in one turn of the scheduler are a burst. What it
# brings in the next turns goes out in the same write, up to these messages and bytes.
_BURST: Final = 8
_WRITE_MESSAGES: Final = 64
_WRITE_BYTES: Final = 16 * 1024


class Writer:
    """Hands over what is queued, in order, and then the closing frame."""

    __slots__ = ("_connection", "_gathering", "_reader")

    def __init__(self, connection: Connection, reader: Reader) -> None:
        self._connection = connection
        self._reader = reader
        self._gathering = False  # it has messages that are not framed yet

    async def run(self) -> None:
        """Be the task."""
        connection = self._connection
        with connection.write_scope:
            try:
                await self._hand_over()
                farewell = connection.ending.closing_frame
                if farewell is not None and connection.reading:
                    if connection.frames is None:
                        await self._reader.step_back()
                    await connection.send_event(farewell)
            except Exception as exc:
                connection.lose(exc)
        connection.writing = False
        connection.outbound.discard()
        if connection.written_done is not None:
            connection.written_done.set()
        connection.settle()

    async def _hand_over(self) -> None:
        connection = self._connection
        outbound, frames = connection.outbound, connection.frames
        woken = frames is not None  # by what came about before this task did
        while woken or not (outbound.empty and outbound.closed):
            if outbound.empty and not woken:
                await outbound.filled.wait()
                if frames is None:
                    continue
            woken = False
            timeout = connection.options.send_timeout
            if timeout is not None:
                connection.await_send(timeout)
            if frames is None or outbound.event_first:
                await self._hand_over_event()
            else:
                await self._hand_over_messages(frames)
            if timeout is not None:
                connection.await_send(inf)

    async def _hand_over_event(self) -> None:
        connection = self._connection
        event, size, receipt = connection.outbound.take_nowait()
        try:
            await connection.send_event(event)
        finally:
            if receipt is not None:
                receipt.set()
        if receipt is None:
            self._count(1, size)

    async def _hand_over_messages(self, frames: DirectChannel) -> None:
        """Hand over the messages that come first, in one go; without any, its own."""
        items = self._connection.outbound.take_messages()
        self._connection.bursting = False
        if len(items) >= _BURST:
            await self._gather(items)
        await frames.send_messages([item[0] for item in items])
        self._count(len(items), sum([item[1] for item in items]))

    async def _gather(self, items: list[Item]) -> None:
        """Add what a burst brings in the next turns: a write costs more than these."""
        fresh, size = items, 0
        self._gathering = True
        while len(fresh) >= _BURST and len(items) < _WRITE_MESSAGES:
            size += sum([item[1] for item in fresh])
            if size >= _WRITE_BYTES:
                break
            await checkpoint()
            fresh = self._connection.outbound.take_messages()
            items += fresh
        self._gathering = False

    def send_at_once(self, event: Event, size: int) -> bool:
        """Send a message that is alone: one hand-over less. False: queue it.

        It is alone if none waits, in either direction, and if it is the first since the
        last turn of the scheduler that we know of: those of a burst go in one write.
        """
        connection = self._connection
        frames = connection.frames
        if (
            frames is None
            or connection.bursting
            or self._gathering
            or not (connection.outbound.empty and connection.inbound.empty)
            or not frames.send_nowait(event)
        ):
            return False
        connection.bursting = True
        self._count(1, size)
        return True

    def _count(self, messages: int, size: int) -> None:
        self._connection.messages_sent += messages
        self._connection.bytes_sent += size
