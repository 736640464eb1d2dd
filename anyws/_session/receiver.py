"""The receiving end of the user's code: it takes from the inbound queue.

A receive waits on the queue's wake-up and takes when it is woken, in one step with its
return. So a cancellation, native or of AnyIO, finds the message in the queue (law 1).
"""

from __future__ import annotations

from collections.abc import Awaitable
from math import inf

from anyio import (
    BusyResourceError,
    ClosedResourceError,
    EndOfStream,
    current_time,
    move_on_after,
)
from anyio.lowlevel import checkpoint
from starlette.websockets import WebSocketState

from .._values.events import MORE, Event, disconnect_of, size_of
from .._values.states import CONNECTED, CONNECTING, DISCONNECTED
from .channel import DirectChannel
from .connection import Connection
from .pace import Pace
from .turns import Turns


class Receiver:
    """The user's end of the inbound queue.

    Attributes:
        delivered_state: The client's state, by the events that `receive` has returned.
    """

    __slots__ = ("_connection", "_turns", "delivered_state")

    def __init__(self, connection: Connection, turns: Turns) -> None:
        self.delivered_state: WebSocketState = connection.client_state
        self._connection = connection
        self._turns = turns

    async def receive(self) -> Event:
        """Receive the next event; at the end, once, a `websocket.disconnect`."""
        connection = self._connection
        inbound = connection.inbound
        if connection.receiving:
            await self._wait_for_receiver()
        connection.receiving = True
        try:
            if self.delivered_state is CONNECTING:
                return await self._receive_opening()
            if connection.pace is not None:
                await self._keep_pace(connection.pace)
            if inbound.held or inbound.closed:
                await self._turns.take()  # this call need not wait (law 4)
            else:
                self._turns.waited()
                await self._filled()
                while inbound.blocked:
                    await self._filled()
            # Without an await up to the return, so that no cancellation comes between
            # and loses the event (law 1).
            event, _, _ = inbound.take_nowait()
            if connection.pace is not None:
                self._count(connection.pace)
            self.make_room()
            return event
        except (EndOfStream, ClosedResourceError):
            return self._disconnect()
        finally:
            connection.receiving = False

    async def _receive_opening(self) -> Event:
        """Receive the "websocket.connect", which comes before all messages."""
        connection = self._connection
        if connection.opening is None and not connection.inbound.closed:
            self._turns.waited()
            await connection.inbound.filled.wait()
            while connection.opening is None and not connection.inbound.closed:
                await connection.inbound.filled.wait()
        else:
            await self._turns.take()
        event, connection.opening = connection.opening, None
        if event is None:
            raise EndOfStream
        self.delivered_state = CONNECTED
        return event

    async def _keep_pace(self, pace: Pace) -> None:
        """Wait until the next message may be received, or the connection has ended."""
        connection = self._connection
        inbound = connection.inbound
        if connection.options.rate_overflow != "wait":
            return
        while not inbound.closed and (delay := pace.delay(current_time())):
            self._turns.waited()
            with move_on_after(delay):
                # Where the receiving task reads the transport, it goes on reading.
                waits = inbound.blocked
                await (self._filled() if waits else inbound.filled.wait())

    def _count(self, pace: Pace) -> None:
        if self._connection.options.rate_overflow == "wait":
            pace.count(current_time())

    def make_room(self) -> None:
        """Let reading go on, and the idle time count, if there is room again."""
        connection = self._connection
        frames, deadlines = connection.frames, connection.deadlines
        if frames is None:
            return
        if frames.paused:
            frames.read_on()
        if (
            deadlines.quiet_limit is not None
            and deadlines.idle_at == inf
            and not connection.inbound.full
        ):
            connection.await_message()  # the peer is no longer kept waiting

    def _filled(self) -> Awaitable[None]:
        """Wait, when awaited, until there may be something to take."""
        connection = self._connection
        frames = connection.frames
        read = None if frames is None else frames.read_in_receiving_task()
        return connection.inbound.filled.wait() if read is None else read

    async def _wait_for_receiver(self) -> None:
        """Give the other receiver a turn: on asyncio, one just cancelled needs it."""
        await checkpoint()
        if self._connection.receiving:
            raise BusyResourceError("receiving from")

    def _disconnect(self) -> Event:
        """Return the disconnect, the first time; raise how the connection ended."""
        ending = self._connection.ending
        if self.delivered_state is not CONNECTED or ending.info is None:
            raise ending.error()
        self.delivered_state = DISCONNECTED
        return disconnect_of(ending.info)

    # Messages in parts

    async def begin(self) -> None:
        """Become the only receiver, until `end`.

        Raises:
            BusyResourceError: Another task is receiving.
        """
        await self._turns.take()
        if self._connection.receiving:
            await self._wait_for_receiver()
        self._connection.receiving = True
        pace = self._connection.pace
        if pace is not None:
            try:
                await self._keep_pace(pace)
            except BaseException:
                self.end()
                raise
            self._count(pace)

    def end(self) -> None:
        """Let other tasks receive again."""
        self._connection.receiving = False

    async def receive_part(self, frames: DirectChannel) -> Event:
        """Receive a whole message, or the next part of one, which has the key `MORE`.

        Raises:
            ConnectionClosed: The connection has ended.
        """
        connection = self._connection
        await self._turns.take()
        try:
            while True:
                if not connection.inbound.blocked:
                    return self._take_part()
                first = frames.part()
                if first is not None:
                    connection.counters.bytes_received += size_of(first)
                    return first
                await self._filled()
        except (EndOfStream, ClosedResourceError):
            self.delivered_state = DISCONNECTED
            raise connection.ending.error() from None

    def _take_part(self) -> Event:
        """Take a message or a part of one; count the parts of a message as one."""
        event, _, _ = self._connection.inbound.take_nowait()
        self._connection.counters.messages_received -= event.get(MORE, False)
        self.make_room()
        return event

    def skip_parts(self, frames: DirectChannel) -> None:
        """Drop the rest of a message: the parts that have arrived, and that will."""
        frames.skip()
        while self._connection.inbound.has_parts:
            self._take_part()
