"""What a receive does: it takes from the inbound queue, and loses nothing."""

from __future__ import annotations

from collections.abc import Awaitable

from anyio import BusyResourceError, ClosedResourceError, EndOfStream
from anyio.lowlevel import checkpoint
from starlette.websockets import WebSocketState

from .._values.events import MORE, Event, disconnect_of, size_of
from .._values.states import CONNECTED, DISCONNECTED
from .channel import DirectChannel
from .connection import Connection
from .turns import Turns


class Receiver:
    """The user's end of the inbound queue.

    Attributes:
        delivered_state: The client's state, by what `receive` has returned.
    """

    __slots__ = ("_connection", "_receiving", "_turns", "delivered_state")

    def __init__(self, connection: Connection, turns: Turns) -> None:
        self.delivered_state: WebSocketState = connection.client_state
        self._connection = connection
        self._turns = turns
        self._receiving = False

    async def receive(self) -> Event:
        """Receive the next event; at the end, once, a `websocket.disconnect`."""
        connection = self._connection
        inbound = connection.inbound
        if self._receiving:
            await self._wait_for_receiver()
        self._receiving = True
        try:
            if connection.frames is not None and inbound.empty:
                connection.frames.deliver()
            if inbound.blocked:
                self._turns.waited()
                await self._filled()
                while inbound.blocked:
                    await self._filled()
            else:
                await self._turns.take()
            event, _, receipt = inbound.take_nowait()
            if receipt is not None:
                self.delivered_state = CONNECTED
            return event
        except (EndOfStream, ClosedResourceError):
            return self._disconnect()
        finally:
            self._receiving = False

    @property
    def waiting(self) -> bool:
        """Whether a task waits for a message."""
        return self._receiving and self._connection.inbound.blocked

    def _filled(self) -> Awaitable[None]:
        """Wait, when awaited, for something to take; it is time to look again then."""
        connection = self._connection
        frames = connection.frames
        read = None if frames is None else frames.read_in_receiving_task()
        return connection.inbound.filled.wait() if read is None else read

    async def _wait_for_receiver(self) -> None:
        """Give a receiver a turn to let go: on asyncio one just cancelled needs it."""
        await checkpoint()
        if self._receiving:
            raise BusyResourceError("receiving from")

    def _disconnect(self) -> Event:
        ending = self._connection.ending
        if self.delivered_state is not CONNECTED or ending.info is None:
            raise ending.error()
        self.delivered_state = DISCONNECTED
        return disconnect_of(ending.info)

    # Messages in parts

    async def begin(self) -> None:
        """Become the one receiver, until `end`."""
        await self._turns.take()
        if self._receiving:
            await self._wait_for_receiver()
        self._receiving = True

    def end(self) -> None:
        """Let others receive."""
        self._receiving = False

    async def receive_part(self, frames: DirectChannel) -> Event:
        """Receive a message, or the next part of one: that comes with `MORE`."""
        connection = self._connection
        await self._turns.take()
        try:
            while True:
                if connection.inbound.empty:
                    frames.deliver()
                if not connection.inbound.blocked:
                    event, _, _ = connection.inbound.take_nowait()
                    connection.messages_received -= event.get(
                        MORE, False
                    )  # the last counts
                    return event
                first = frames.part()
                if first is not None:
                    connection.bytes_received += size_of(first)
                    return first
                await self._filled()
        except (EndOfStream, ClosedResourceError):
            self.delivered_state = DISCONNECTED
            raise connection.ending.error() from None

    def skip_parts(self, frames: DirectChannel) -> None:
        """Drop what has come, and will come, of a message that nobody reads on."""
        connection = self._connection
        frames.skip()
        frames.deliver()
        while connection.inbound.has_parts:
            event, _, _ = connection.inbound.take_nowait()
            connection.messages_received -= event[MORE]
            frames.deliver()
