"""The writer task: it moves what is in the outbound queue into the channel.

The channel's own `send` is called by this task alone, so that a cancelled call of the
user's never reaches it: a server's `send` that is cancelled tears frames. The task ends
after the block, when it has sent what was queued and the closing frame.
"""

from __future__ import annotations

from math import inf
from typing import Final

from anyio import CancelScope
from anyio.lowlevel import checkpoint

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
    """Hands over what is queued, in order, and then the closing frame.

    Attributes:
        scope: Of what is handed over.
    """

    __slots__ = ("_connection", "_reader", "scope")

    def __init__(self, connection: Connection, reader: Reader) -> None:
        self.scope = CancelScope(shield=True)
        self._connection = connection
        self._reader = reader

    async def run(self) -> None:
        """Be the task: hand over what is queued until the queue is closed and empty."""
        connection = self._connection
        outbound, frames = connection.outbound, connection.frames
        woken = frames is not None  # by what came about before this task did
        with self.scope:
            try:
                while woken or outbound.held or not outbound.closed:
                    if not outbound.held and not woken:
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
                farewell = connection.ending.closing_frame
                if farewell is not None and connection.stage.reads:
                    if frames is None:
                        await self._reader.step_aside()
                    await connection.send_event(farewell)
            except Exception as exc:
                connection.lose(exc)
        connection.writing_is_over()

    async def _hand_over_event(self) -> None:
        connection = self._connection
        event, size, receipt = connection.outbound.take_nowait()
        try:
            await connection.send_event(event)
        finally:
            if receipt is not None:
                receipt.set()
        if receipt is None:
            connection.counters.messages_sent += 1
            connection.counters.bytes_sent += size

    async def _hand_over_messages(self, frames: DirectChannel) -> None:
        """Hand over the messages that come first, in one go.

        Without any, the channel writes what it has of its own: answers, pings.
        """
        connection = self._connection
        items = connection.outbound.take_messages()
        connection.bursting = False
        if len(items) >= _BURST:
            await self._gather(items)
        await frames.send_messages([item[0] for item in items])
        connection.counters.messages_sent += len(items)
        connection.counters.bytes_sent += sum([item[1] for item in items])

    async def _gather(self, items: list[Item]) -> None:
        """Add what a burst brings in the next turns: a write costs more than these."""
        connection, fresh, size = self._connection, items, 0
        while len(fresh) >= _BURST and len(items) < _WRITE_MESSAGES:
            size += sum([item[1] for item in fresh])
            if size >= _WRITE_BYTES:
                break
            connection.in_hand = len(items)
            await checkpoint()
            fresh = connection.outbound.take_messages()
            items += fresh
        connection.in_hand = 0
