"""The frames of a connection, over a transport that the channel reads by itself.

A server's connection and a client's share this: the event loop hands over what it has
read, where it can, and everywhere else a task reads.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from anyio import CancelScope

from .._session.upkeep import Run
from .._session.wakeup import Wakeup
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

    __slots__ = ("_arrived", "_reading", "_transport")

    def __init__(
        self,
        transport: TransportT,
        answer: Callable[[Event], Awaitable[None]],
        ended: Callable[[], None],
    ) -> None:
        super().__init__(transport, answer, ended)
        self._transport: TransportT = transport
        self._arrived = Wakeup()  # of the reader task
        self._reading: CancelScope | None = None  # of the reader task

    @abstractmethod
    async def _read_once(self) -> None:
        """Read the transport once, or wait until that is up to the reader task."""

    # The reader task, where the event loop does not read

    def read(self) -> Run | None:
        """Begin to read; return what a task is to run, if the event loop does not."""
        if self._transport.read_to(self):
            return None
        self._reading = CancelScope(shield=True)
        return self._pump

    async def _pump(self) -> None:
        """Read the transport until its end, or until `stop`."""
        assert self._reading is not None
        with self._reading:
            try:
                while not self.ended:
                    if self.paused:
                        await self._arrived.wait()
                    else:
                        await self._read_once()
            except Exception as exc:
                self.take_end(exc)

    def stop(self) -> None:
        """Read no more."""
        if self._reading is not None:
            self._reading.cancel()

    # Called with what was read

    def take_in(self, data: bytes) -> bool:
        """Take the bytes that were read; return whether there is room for more."""
        self.receive_data(data)
        return not self.paused

    def take_end(self, exc: BaseException | None) -> None:
        """Note the end of the stream, or of an error raised by `take_in`."""
        if exc is None:
            self.receive_eof()
        else:
            self.inbox.fail(exc)
