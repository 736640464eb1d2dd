"""The driver of a connection whose frames are ours: calls, and no task.

The code that reads the socket calls `Intake`: a message, the disconnect, a pong. The
code of a `send` writes. What is queued, because others wait before it or because the
turn has written already, is written by the flusher of `Upkeep` when the turn is over. A
writer task runs only while bytes wait that the kernel does not take, and over a stream
that can only be written by waiting. In the place of scopes with deadlines there is one
alarm of the timekeeper.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from math import inf
from typing import Any, Final

from anyio import CancelScope, current_time, get_cancelled_exc_class
from anyio import Event as Signal
from anyio.lowlevel import checkpoint

from .._values.events import FRAGMENT, Event
from .._values.states import ACCEPT
from .channel import DirectChannel
from .connection import Connection
from .driving import (
    act_in_time,
    begin_in_time,
    count_sent,
    first_deadline,
    hand_over_event,
)
from .stage import Stage
from .timekeeper import Alarm
from .wakeup import Nudge, Wakeup

# How many messages that are queued in one turn of the scheduler make a burst. Messages
# that a burst brings in the next turns go out in the same write, up to these numbers.
_BURST: Final = 8
_WRITE_MESSAGES: Final = 64
_WRITE_BYTES: Final = 16 * 1024

# Bytes of memory of the messages that one write takes, unless it is a single message.
# While the write waits they count in the queue's bound, and their frames beside it.
_PIECE_BYTES: Final = 64 * 1024


class Calls:
    """Drives a connection without a task of its own.

    Args:
        connection: The connection; its channel is a direct one.
        frames: That channel.
        alone: Whether the connection has an `Upkeep` for itself, whose tasks the block
            has that hosts it.
    """

    __slots__ = (
        "_alarm",
        "_alone",
        "_begun",
        "_connection",
        "_due",
        "_flushing",
        "_frames",
        "_gathered",
        "_gave_up",
        "_leaving",
        "_over",
        "_queued",
        "_receipt",
        "_spawned",
        "_upkeep",
        "_writer",
    )

    def __init__(
        self, connection: Connection, frames: DirectChannel, *, alone: bool
    ) -> None:
        self._connection = connection
        self._frames = frames
        self._upkeep = connection.upkeep
        self._alone = alone
        self._alarm = Alarm(self._upkeep.keeper, self._ring)
        self._begun = self._flushing = self._gave_up = False
        self._queued = False  # whether the flusher was told
        self._gathered = 0  # messages that were queued in the turns before
        self._spawned = 0  # tasks of the session
        self._writer: CancelScope | None = None  # of the writer task, if one runs
        self._receipt: Signal | None = None  # of a fragment that is being written
        self._due = Wakeup()  # of a writer task that has nothing to write
        self._over: Signal | None = None  # the code that leaves waits
        self._leaving: CancelScope | None = None
        connection.outbound.filled = Nudge(self._write_later)

    # The block

    def running(self) -> AbstractAsyncContextManager[None]:
        """Drive the connection in a block, and to its end once the code has left it."""
        return self._alone_running() if self._alone else self

    @asynccontextmanager
    async def _alone_running(self) -> AsyncIterator[None]:
        async with self._upkeep.opened(), self:
            yield

    # By methods, as the generator of a block is memory of each idle connection.

    async def __aenter__(self) -> None:
        """Begin to drive the connection, among those of the upkeep."""
        self._upkeep.join()
        try:
            self._begin()
        except BaseException:
            await self.__aexit__()
            raise

    async def __aexit__(self, *exc_info: object) -> None:
        """Drive the connection to its end, unless an interlude begins."""
        try:
            await self._end()
        finally:
            self._upkeep.leave()

    def _begin(self) -> None:
        if self._begun:
            return  # the code goes on with it that was left in an interlude
        self._begun = True
        begin_in_time(self._connection)
        read = self._frames.read()
        if read is not None:
            self._upkeep.spawn(read)

    async def _end(self) -> None:
        """Wait until nothing is left to write or to read, at most to the deadline."""
        connection = self._connection
        self.flush()
        if connection.stage.inside:
            return  # the interlude begins
        cancelled = get_cancelled_exc_class()
        cancellation: BaseException | None = None
        while connection.stage is not Stage.OVER or self._spawned:
            self._over = Signal()
            at = inf if self._gave_up else connection.deadlines.close_at
            self._leaving = scope = CancelScope(deadline=at, shield=True)
            try:
                with scope:
                    await self._over.wait()
            except cancelled as exc:  # asyncio's own, which no scope shields from
                cancellation = exc
            if scope.cancelled_caught:
                self._ring()
        self._over = self._leaving = None
        self._alarm.cancel()
        try:
            if cancellation is not None:
                raise cancellation
        finally:
            cancellation = None  # its traceback holds this frame

    def _give_up(self) -> None:
        """End what has not ended in time."""
        self._gave_up = True
        self.stop_reading()
        self.stop_writing()

    def _settle(self) -> None:
        """Wake the code that leaves, once nothing is left to do."""
        done = self._connection.stage is Stage.OVER and not self._spawned
        if self._over is not None and done:
            self._over.set()

    def pause(self) -> None:
        """Do nothing: without a task, there is none to be paused."""

    def spawn(self, function: Any, *args: Any) -> None:
        """Start another task of the session, which ends when the block is left."""
        self._spawned += 1
        self._upkeep.spawn(partial(self._run_spawned, function, *args))

    async def _run_spawned(self, function: Any, *args: Any) -> None:
        try:
            await function(*args)
        finally:
            self._spawned -= 1
            self._settle()

    # The deadlines

    def rearm(self) -> None:
        """Set the alarm anew: a deadline of the connection has changed."""
        connection, closing = self._connection, self._connection.deadlines.close_at
        first = first_deadline(connection) if connection.stage.reads else closing
        if first != self._alarm.at and not self._gave_up:
            self._alarm.set(first)
        if self._leaving is not None and not self._gave_up:
            self._leaving.deadline = closing

    def _ring(self) -> None:
        """Act on the deadlines that have passed."""
        connection = self._connection
        try:
            late = current_time() >= connection.deadlines.close_at
            if connection.stage.reads and act_in_time(connection):
                self.stop_reading()
            if late:
                self._give_up()
        except Exception as exc:
            connection.lose(exc)
        self.rearm()

    # Reading

    def stop_reading(self) -> None:
        """Note that nothing more will be read."""
        connection = self._connection
        if connection.stage.reads:
            connection.reading_is_over()
            self._frames.stop()
            self.flush()
            self._settle()

    # Writing

    async def answer(self, event: Event) -> None:
        """Send an event of the opening handshake.

        The channel accepts without waiting, so an accept is done when it is cancelled.
        """
        if event["type"] != ACCEPT:
            await self._connection.outbound.put_event(event).wait()
            return
        try:
            await self._frames.send(event)
        except Exception as exc:
            self._connection.lose(exc)
        finally:
            self.flush()

    def _write_later(self) -> None:
        """Write what is queued, when the turn is over at the latest."""
        if self._writer is not None:
            self._due.wake()
        elif self._queued or not (self._begun and self._connection.stage.writes):
            pass
        elif self._frames.writes_at_once:
            self._queued = True
            self._upkeep.flush_later(self)
        elif not self._flushing:
            self._start_writer()

    def end_turn(self) -> bool:
        """Write what is queued, or wait for more of a burst: a write costs more.

        Returns false to wait. A writer task gathers by itself.
        """
        outbound = self._connection.outbound
        fresh, self._gathered = outbound.messages - self._gathered, outbound.messages
        if (
            fresh >= _BURST
            and outbound.messages < _WRITE_MESSAGES
            and outbound.size < _WRITE_BYTES
            and not outbound.closed
            and self._frames.writes_at_once
        ):
            return False
        self._queued, self._gathered = False, 0
        self.flush()
        return True

    def flush(self) -> None:
        """Write what is queued, as far as the kernel takes it; a task has the rest."""
        connection = self._connection
        if self._writer is not None:
            self._due.wake()
        if self._writer or self._flushing or not self._begun:
            return
        if not connection.stage.writes:
            return
        self._flushing = True
        try:
            left = not self._flush()
        except Exception as exc:
            connection.lose(exc)
            left = False
            self._end_writing()
        finally:
            self._flushing = False
        if left:
            self._start_writer()
        elif connection.outbound.closed and connection.stage.writes:
            self._end_writing()

    def _start_writer(self) -> None:
        self._writer = CancelScope(shield=True)
        self._upkeep.spawn(self._write)

    def _flush(self) -> bool:
        """Write all that can be written without waiting; false: something is left."""
        connection, frames = self._connection, self._frames
        outbound = connection.outbound
        while frames.write([]):
            self._wrote()
            if connection.feed is not None:
                connection.feed.refill()
            if not outbound.held:
                return not outbound.closed or self._say_goodbye()
            if not (frames.writes_at_once and self._frame_next()):
                return False
        return False

    def _frame_next(self) -> bool:
        """Frame what comes first in the queue; false: the channel's `send` takes it."""
        outbound, frames = self._connection.outbound, self._frames
        if not outbound.event_first:
            items = outbound.take_messages(_PIECE_BYTES)
            count_sent(self._connection, [item[1] for item in items], len(items))
            frames.write([item[0] for item in items])
        elif outbound.first["type"] == FRAGMENT:
            event, _, self._receipt = outbound.take_nowait()
            frames.write([event])
        else:
            return False
        return True

    def _wrote(self) -> None:
        """Note that all that was framed is written."""
        self._connection.outbound.written()
        if self._receipt is not None:
            self._receipt.set()
            self._receipt = None

    def _say_goodbye(self) -> bool:
        """Frame our closing frame, if there is one; false: a task must send it."""
        connection = self._connection
        farewell = connection.ending.closing_frame
        if farewell is None or not connection.stage.reads:
            return True
        return connection.accepted and self._frames.write([farewell])

    async def _write(self) -> None:
        """Write in a task, as long as something has to wait."""
        connection, over = self._connection, True
        assert self._writer is not None
        try:
            with self._writer:
                over = await self._write_out()
        except Exception as exc:
            connection.lose(exc)
        finally:
            self._writer = None
            self._wrote()
            if over and connection.stage.writes:
                self._end_writing()

    async def _write_out(self) -> bool:
        """Write until nothing is left; true if nothing more will come."""
        connection, frames = self._connection, self._frames
        outbound = connection.outbound
        while True:
            timeout = connection.options.send_timeout
            if timeout is not None:
                connection.await_send(timeout)
            if not frames.writes_at_once:  # as under TLS, where each write is a wait
                await self._gather()
            if outbound.held and not self._frame_next():
                await hand_over_event(connection)
            await frames.flush()
            if timeout is not None:
                connection.await_send(inf)
            self._wrote()
            if connection.feed is not None:
                connection.feed.refill()
            if outbound.held or frames.has_unwritten:
                continue
            if outbound.closed:
                await self._send_goodbye()
                return True
            if frames.writes_at_once:
                return False  # the next message is written within its `send` again
            await self._due.wait()

    async def _gather(self) -> None:
        """Frame the messages of a burst, and those that the next turns bring."""
        outbound = self._connection.outbound
        count = size = 0
        while outbound.messages >= _BURST and not outbound.event_first:
            count, size = count + outbound.messages, size + outbound.size
            if count > _WRITE_MESSAGES or size >= _WRITE_BYTES:
                break
            self._frame_next()
            await checkpoint()

    async def _send_goodbye(self) -> None:
        """Send our closing frame, or reject the client, if that is still to be done."""
        connection = self._connection
        farewell = connection.ending.closing_frame
        if farewell is not None and connection.stage.reads:
            if connection.accepted:
                self._frames.write([farewell])
            else:
                await connection.send_event(farewell)
        await self._frames.flush()

    def stop_writing(self) -> None:
        """End the writing: there is no peer to write to."""
        if self._writer is not None:
            self._writer.cancel()
        elif self._connection.stage.writes:
            self._end_writing()

    def _end_writing(self) -> None:
        self._connection.writing_is_over()
        self._settle()
