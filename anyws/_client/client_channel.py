"""The frames of a client's connection, and the stream that they come by."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Final

from anyio import CancelScope, move_on_after

from .._frames.frame_channel import FrameChannel
from .._frames.transport import Interrupted, StreamTransport
from .._values.events import Event
from .who_reads import FREE, RECEIVING, SHARED, TRANSITIONS, Reads, Step

# Seconds that a server has to close the connection once both have said goodbye: who
# closes first keeps the port (RFC 6455 section 7.1.1).
_GOODBYE: Final = 1.0

# Seconds from one look of the reader task at who reads to the next.
_LOOK_INTERVAL: Final = 0.01


class ClientChannel(FrameChannel):
    """The frames of a client's connection.

    The event loop, the session's reader task or a receiving task reads the stream:
    see `who_reads`, which has the theory of it.

    Args:
        transport: The stream.
        rest: What was read behind the opening handshake.
    """

    __slots__ = ("_early", "_error", "_reads", "_transport")

    def __init__(self, transport: StreamTransport, rest: bytes = b"") -> None:
        super().__init__(transport, self._refuse, _nothing)
        self._transport = transport
        self._early = rest
        self._reads = Reads.READER_TASK
        self._error: BaseException | None = None

    def read(self) -> None:
        """Begin to read."""
        early, self._early = self._early, b""
        if early:
            self.receive_data(early)
        if self._transport.read_to(self):
            self._advance(Step.HANDED_OVER)

    def _advance(self, step: Step) -> None:
        """Go to the next state; wake the reader task, if it sleeps through this one."""
        reads = self._reads
        self._reads = TRANSITIONS[reads][step]
        if reads is Reads.RECEIVING_TASK_SEEN:
            self._arrived.wake()

    # In the reader task

    async def receive(self) -> Event:
        """Wait for, or read, the next event that is not a message."""
        while not self._events:
            if self._error is not None:
                raise self._error
            if self.paused or self._reads is Reads.EVENT_LOOP:
                await self._arrived.wait()
            elif self._reads is Reads.READER_TASK:
                await self._read_in_reader_task()
            else:
                await self._watch()
        return self._events.pop(0)

    async def _read_in_reader_task(self) -> None:
        data = await self._transport.receive()
        waited = self.inbox.waiting
        if data:
            self.receive_data(data)
        else:
            self.receive_eof()
        if waited and not self.inbox.waiting and self._transport.interruptible:
            self._advance(Step.OFFERED)

    async def _watch(self) -> None:
        """Sleep while the receiving task has the stream, and take a look after that.

        An event, an interruption and an error end the sleep at once.
        """
        if self._reads is Reads.RECEIVING_TASK_SEEN:
            await self._arrived.wait()
            return
        with move_on_after(_LOOK_INTERVAL):
            await self._arrived.wait()
        self._reads = TRANSITIONS[self._reads][Step.LOOKED_AT]

    # In the receiving task

    def read_in_receiving_task(self) -> Awaitable[None] | None:
        """Return a read, to be awaited; `None`: the receiving task must not read."""
        if self._reads in FREE and not self.paused and self._ended is not None:
            return self._read_in_receiving_task()
        return None

    async def _read_in_receiving_task(self) -> None:
        self._reads = TRANSITIONS[self._reads][Step.BEGUN]
        try:
            try:
                data = await self._transport.receive()
            except BaseException:  # a cancellation, and an interruption
                self._advance(Step.STOPPED)
                raise
            self._advance(Step.READ)
            if data:
                self.receive_data(data)
            else:
                self.receive_eof()
        except Interrupted:
            pass
        except Exception as exc:  # ends the connection, and is not raised by a receive
            self.take_end(exc)
            self.interrupt()

    # In any task

    def interrupt(self) -> None:
        """Have the reader task read; a receiving task that reads looks at its queue."""
        if self._reads in RECEIVING:
            self._transport.interrupt()
        self._reads = TRANSITIONS[self._reads][Step.INTERRUPTED]
        self._arrived.wake()

    def _resume_reading(self) -> None:
        self.interrupt()
        super()._resume_reading()

    def ping(self, payload: bytes) -> None:
        """Frame a ping, to be written by the next `send_messages`."""
        super().ping(payload)
        if self._reads in SHARED:
            self.interrupt()  # the receiving task may not come back for the answer

    # In the event loop's callback

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

    # The end

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
