"""The frames of a client's connection, and who reads them."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Final

from anyio import CancelScope, move_on_after

from .._frames.frame_channel import FrameChannel
from .._frames.transport import Interrupted, StreamTransport
from .._values.events import Event

# Seconds that a server has to close the connection once both have said goodbye: who
# closes first keeps the port (RFC 6455 section 7.1.1).
_GOODBYE: Final = 1.0

# Seconds in which who receives has to come back, or the session's reader reads again.
_TERM: Final = 0.01


class ClientChannel(FrameChannel):
    """The frames of a client's connection.

    The stream is read by the event loop, where it can do so. Else the session's reader
    reads it. Where a wait for the stream can be interrupted, it leaves that to the task
    that waits for a message, for as long as that keeps coming back: to hand over each
    message from one task to another is a large part of what it costs.

    Args:
        transport: The stream.
        rest: What was read behind the opening handshake.
    """

    __slots__ = (
        *("_came_back", "_early", "_error", "_fetching", "_handed"),
        *("_lent", "_parked", "_transport"),
    )

    def __init__(self, transport: StreamTransport, rest: bytes = b"") -> None:
        super().__init__(transport, self._refuse, _nothing)
        self._transport = transport
        self._early = rest
        self._handed = False  # what is read is handed to us
        self._lent = False  # to who receives: the session's reader does not read
        self._fetching = False  # who receives is waiting for the stream
        self._came_back = False  # since the reader looked last
        self._parked = False  # the reader waits for who receives to leave the stream
        self._error: BaseException | None = None

    def read(self) -> None:
        """Begin to read."""
        early, self._early = self._early, b""
        if early:
            self.receive_data(early)
        self._handed = self._transport.read_to(self)

    async def receive(self) -> Event:
        """Wait for, or read, the next event that is not a message."""
        transport = self._transport
        while not self._events:
            if self._error is not None:
                raise self._error
            if self._handed or self.paused:
                await self._arrived.wait()
            elif self._lent:
                await self._wait_for_stream()
            else:
                data = await transport.receive()
                waited = self.session.waiting
                self._take(data)
                lend = waited and not self.session.waiting
                self._lent = self._came_back = lend and transport.interruptible
        return self._events.pop(0)

    async def _wait_for_stream(self) -> None:
        """Wait until who receives lets go of the stream, or has found an event."""
        while self._came_back and not self._events:
            self._came_back = False
            with move_on_after(_TERM):
                await self._arrived.wait()
        if self._fetching:
            self._parked = True
            await self._arrived.wait()
            self._parked = False
        self._lent = self._fetching

    def _take(self, data: bytes) -> None:
        if data:
            self.receive_data(data)
        else:
            self.receive_eof()

    def take_in(self, data: bytes) -> bool:
        """Take what was read; false: no more, for now."""
        self.receive_data(data)
        return not self.paused

    def take_end(self, exc: BaseException | None) -> None:
        """Take note of the end of the stream, or of a defect of ours."""
        if exc is None:
            self.receive_eof()
        else:
            self._error = exc
            self._arrived.wake()

    def _resume_reading(self) -> None:
        self.interrupt()
        super()._resume_reading()

    def fetch(self) -> Awaitable[None] | None:
        """Read, in the task that receives; `None`: somebody else does."""
        if self._lent and not self.paused and not self.ended:
            return self._fetch()
        return None

    async def _fetch(self) -> None:
        self._fetching = True
        try:
            data = await self._transport.receive()
            self._fetching, self._came_back = False, True
            self._take(data)
        except Interrupted:
            pass
        except Exception as exc:  # is the connection's end, and not who receives'
            self._lent = self._came_back = False
            self.take_end(exc)
        finally:
            self._fetching = False
            if self._parked:
                self._arrived.wake()

    def interrupt(self) -> None:
        """Have the session's reader read again, and who receives look at its buffer."""
        self._came_back = False
        if self._fetching:
            self._transport.interrupt()
        self._arrived.wake()

    def ping(self, payload: bytes) -> None:
        """Frame a ping, to be written by the next `send_messages`."""
        super().ping(payload)
        if self._lent:
            self.interrupt()  # who has received last may not come back for its answer

    async def _refuse(self, event: Event) -> None:
        raise RuntimeError(f"a client does not send {event['type']!r}")

    async def aclose(self) -> None:
        """Close the stream; in order, if both ends have said goodbye by frames."""
        try:
            with move_on_after(_GOODBYE, shield=True):
                if self.said_goodbye:
                    await self.flush()
                    await self._transport.send_eof()
                    while await self._transport.receive():
                        pass
        except Exception:  # how a stream fails by now is nobody's business
            pass
        finally:
            with CancelScope(shield=True):
                await self._transport.aclose()


def _nothing() -> None:
    """Let the session alone hear of the end."""
