"""The writer task: it moves events out of the outbound queue into the channel.

Only this task calls the channel's own `send`, so a cancelled call of the user's code
never reaches that (law 2): a server's `send` that is cancelled may tear a frame. The
task ends after the block, when it has sent what was queued and then the closing frame.
"""

from __future__ import annotations

from math import inf
from typing import Final

from anyio import CancelScope
from anyio.lowlevel import checkpoint

from .._values.states import ACCEPT
from .channel import DirectChannel
from .connection import Connection
from .queue import Item
from .reader import Reader

# How many messages that are queued in one turn of the scheduler make a burst. Messages
# that a burst brings in the next turns go out in the same write, up to these numbers.
_BURST: Final = 8
_WRITE_MESSAGES: Final = 64
_WRITE_BYTES: Final = 16 * 1024

# Bytes of memory of the messages that one write takes, unless it is a single message.
# While the write waits they count in the queue's bound, and their frames beside it.
_PIECE_BYTES: Final = 64 * 1024


class Writer:
    """Hands the queued events to the channel, in order, and then the closing frame.

    Attributes:
        scope: The scope of the pending send.
    """

    __slots__ = ("_connection", "_paused", "_reader", "scope")

    def __init__(self, connection: Connection, reader: Reader) -> None:
        self.scope = CancelScope(shield=True)
        self._paused = False
        self._connection = connection
        self._reader = reader

    async def run(self) -> None:
        """Hand over queued events until the queue is closed and empty, then close."""
        connection = self._connection
        outbound, frames = connection.outbound, connection.frames
        # Pongs and pings may have been framed before the task started.
        woken = frames is not None
        with self.scope:
            try:
                while woken or outbound.held or not outbound.closed:
                    if connection.feed is not None:
                        connection.feed.refill()
                    if not outbound.held and not woken:
                        if self._paused:
                            return
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

    def pause(self, by: float) -> None:
        """End the task once the queue is written out, and at that time at the latest.

        Writing goes on in a later run, unless what was queued took too long: then a
        message may be torn, and writing is over.
        """
        self._paused = True
        self.scope.deadline = by
        self._connection.outbound.filled.wake()

    def resume(self) -> None:
        """Let the next run go on with the writing."""
        self._paused = False
        self.scope = CancelScope(shield=True)

    async def _hand_over_event(self) -> None:
        connection = self._connection
        event, size, receipt = connection.outbound.take_nowait()
        frames = connection.frames
        late = frames is not None and frames.answers_late
        if late and receipt is not None and event["type"] == ACCEPT:
            # An application that registers itself after the accept has done so before
            # the peer, and anyone it tells, can know of the accept.
            receipt.set()
        try:
            await connection.send_event(event)
        finally:
            if receipt is not None:
                receipt.set()
        if receipt is None:
            connection.counters.messages_sent += 1
            connection.counters.bytes_sent += size
            if connection.observation is not None:
                queue = connection.outbound
                connection.observation.passed(
                    "sent", size, queue.messages + 1, queue.dropped
                )

    async def _hand_over_messages(self, frames: DirectChannel) -> None:
        """Hand over the messages that come first, in one go.

        If there are none, the channel writes its own frames: pongs and pings.
        """
        connection = self._connection
        outbound, counters = connection.outbound, connection.counters
        items = outbound.take_messages(_PIECE_BYTES)
        connection.bursting = False
        if len(items) >= _BURST:
            await self._gather(items)
        events = [item[0] for item in items]
        sizes = [item[1] for item in items]
        items.clear()  # the frames are kept while the write waits, and no messages
        await frames.send_messages(events)
        outbound.written()
        counters.messages_sent += len(sizes)
        counters.bytes_sent += sum(sizes)
        if connection.observation is not None:
            for size in sizes:
                connection.observation.passed(
                    "sent", size, len(sizes), outbound.dropped
                )

    async def _gather(self, items: list[Item]) -> None:
        """Add the messages of the next turns: a write costs more than the turns do."""
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
