"""The frames of a client's connection, and the reading of the stream below them."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Final

from anyio import CancelScope, move_on_after
from anyio.lowlevel import checkpoint

from .._frames.attributes import peer_address_of
from .._frames.transport import Interrupted, StreamTransport
from .._frames.transport_channel import TransportChannel
from .._session.upkeep import Run
from .._values.events import Event
from .who_reads import FREE, RECEIVING, SHARED, TRANSITIONS, Reads, Step

# Seconds that a server has to close TCP once both closing frames are through. The end
# that closes TCP first keeps its port in TIME_WAIT: that should be the server's (RFC
# 6455 section 7.1.1).
_SERVER_CLOSE_TIMEOUT: Final = 1.0

# Seconds between two looks of the reader task at the state of the stream.
_LOOK_INTERVAL: Final = 0.01


class ClientChannel(TransportChannel[StreamTransport]):
    """The frames of a client's connection.

    The stream is read by the event loop, by the session's reader task or by a receiving
    task: `who_reads` has the theory and the table.

    Args:
        transport: The transport over the stream.
        rest: The bytes that were read behind the server's answer to the handshake.
    """

    __slots__ = ("_early", "_reads")

    def __init__(self, transport: StreamTransport, rest: bytes = b"") -> None:
        super().__init__(transport, self._refuse, _nothing)
        self.peer_address = peer_address_of(transport.extra_attributes)
        self._early = rest
        self._reads = Reads.READER_TASK

    def read(self) -> Run | None:
        """Begin to read: the bytes behind the handshake first."""
        early, self._early = self._early, b""
        if early:
            self.receive_data(early)
        read = super().read()
        if read is None:
            self._advance(Step.HANDED_OVER)
        return read

    def _advance(self, step: Step) -> None:
        """Take a step in the table; wake the reader task where its sleep has ended."""
        reads = self._reads
        self._reads = TRANSITIONS[reads][step]
        if reads is Reads.RECEIVING_TASK_SEEN:
            self._arrived.wake()

    # Called by the reader task

    async def _read_once(self) -> None:
        """Read, or look whether the receiving task still does."""
        if self._reads is Reads.READER_TASK:
            await self._read_in_reader_task()
        else:
            await self._watch()

    async def _read_in_reader_task(self) -> None:
        data = await self._read()
        waited = self.inbox.waiting
        self._take(data)
        if waited and not self.inbox.waiting and self._transport.interruptible:
            self._advance(Step.OFFERED)

    async def _read(self) -> bytes | None:
        """Return bytes of the stream, empty at its end.

        `None` if bytes are left that were read before: others have had their turn now.
        """
        if self.unfinished:
            await checkpoint()
            return None
        return await self._transport.receive()

    def _take(self, data: bytes | None) -> None:
        """Take the bytes that `_read` has returned."""
        if data is None:
            self.receive_data(b"")
        elif data:
            self.receive_data(data)
        else:
            self.receive_eof()

    async def _watch(self) -> None:
        """Leave the stream to the receiving task, and take a look after a while.

        An event, an interruption and an error wake the reader task at once.
        """
        if self._reads is Reads.RECEIVING_TASK_SEEN:
            await self._arrived.wait()
            return
        with move_on_after(_LOOK_INTERVAL):
            await self._arrived.wait()
        self._reads = TRANSITIONS[self._reads][Step.LOOKED_AT]

    # Called by the receiving task

    def read_in_receiving_task(self) -> Awaitable[None] | None:
        """Return a read to be awaited, or `None` if the stream is read elsewhere."""
        if self._reads in FREE and not self.paused and self._ended is not None:
            return self._read_in_receiving_task()
        return None

    async def _read_in_receiving_task(self) -> None:
        self._reads = TRANSITIONS[self._reads][Step.BEGUN]
        try:
            try:
                data = await self._read()
            except BaseException:  # a cancellation, or `Interrupted`
                self._advance(Step.STOPPED)
                raise
            self._advance(Step.READ)
            self._take(data)
        except Interrupted:
            pass
        except Exception as exc:
            # The user's receive does not raise it: the reader task does, and the
            # session ends the connection by it.
            self.take_end(exc)
            self.interrupt()

    # Called by any task

    def interrupt(self) -> None:
        """Have the reader task read, and end a receiving task's wait for the stream."""
        if self._reads in RECEIVING:
            self._transport.interrupt()
        self._reads = TRANSITIONS[self._reads][Step.INTERRUPTED]
        self._arrived.wake()

    def _resume_reading(self) -> None:
        self.interrupt()
        super()._resume_reading()

    def ping(self, payload: bytes) -> bytes | None:
        """Frame a ping, which the next `write` writes."""
        ping = super().ping(payload)
        if self._reads in SHARED:
            self.interrupt()  # a receiving task may never come back to read the pong
        return ping

    # Closing

    async def _refuse(self, event: Event) -> None:
        """Refuse an event of a server's opening handshake."""
        raise RuntimeError(f"a client does not send {event['type']!r}")

    async def aclose(self) -> None:
        """Close the stream; raise nothing but a cancellation.

        Once both closing frames are through, the server has a second to close first.
        """
        try:
            with move_on_after(_SERVER_CLOSE_TIMEOUT, shield=True):
                if self.said_goodbye:
                    await self.flush()
                    await self._transport.send_eof()
                    while await self._transport.receive():
                        pass
        except Exception:  # the connection has ended: a failure changes nothing
            pass
        finally:
            with CancelScope(shield=True):
                await self._transport.aclose()


def _nothing() -> None:
    """Do nothing at the end of the frames: the session hears of it by an event."""
