"""The frames of a connection, over a transport that the channel reads by itself.

A server's connection and a client's share this: the event loop hands over what it has
read, where it can, and everywhere else a task reads.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from .._values.events import Event
from .frame_channel import FrameChannel
from .transport import Transport

TransportT = TypeVar("TransportT", bound=Transport)


class TransportChannel(FrameChannel, ABC, Generic[TransportT]):
    """A channel that is the recipient of all that its transport reads.

    Args:
        transport: The transport.
        answer: Sends an event of the opening handshake.
        ended: Called once, when the peer has closed, left or broken the protocol.
    """

    __slots__ = ("_error", "_transport")

    def __init__(
        self,
        transport: TransportT,
        answer: Callable[[Event], Awaitable[None]],
        ended: Callable[[], None],
    ) -> None:
        super().__init__(transport, answer, ended)
        self._transport: TransportT = transport
        self._error: BaseException | None = None  # has ended the event loop's reading

    @property
    @abstractmethod
    def _by_event_loop(self) -> bool:
        """Whether the event loop reads the transport, in callbacks of its own."""

    @abstractmethod
    async def _read_once(self) -> None:
        """Read the transport once, or wait until that is up to the reader task."""

    # Called by the reader task

    async def receive(self) -> Event:
        """Return the next event that is not a message; read the transport, if need be.

        Raises:
            BaseException: The error that has ended the reading in the event loop.
        """
        while not self._events:
            if self._error is not None:
                raise self._error
            if self.paused or self._by_event_loop:
                await self._arrived.wait()
            else:
                await self._read_once()
        return self._events.pop(0)

    # Called with what was read

    def take_in(self, data: bytes) -> bool:
        """Take the bytes that were read; return whether there is room for more."""
        self.receive_data(data)
        return not self.paused

    def take_end(self, exc: BaseException | None) -> None:
        """Take note of the end of the stream, or of an error raised by `take_in`."""
        if exc is None:
            self.receive_eof()
        else:
            self._error = exc
            self._arrived.wake()
