"""Where asyncio and uvloop read a socket: their own callbacks, and no task."""

from __future__ import annotations

import asyncio
import os
from contextvars import Context, copy_context
from typing import Any, Final, cast

from anyio.abc import ByteStream
from anyio.lowlevel import RunVar

from .transport import Recipient, StreamTransport

try:
    from sniffio import current_async_library_cvar
except ImportError:  # then AnyIO does not ask it
    current_async_library_cvar = None  # type: ignore[assignment]

# Bytes that are read at most at a time; as asyncio itself, which allocates them anew.
_READ_BYTES: Final = 256 * 1024

# What the connections of an event loop read to, in turn: what is there is copied.
_buffer: Final[RunVar[memoryview]] = RunVar("anyws_read_buffer")


class Inlet(asyncio.BufferedProtocol):
    """Hands what is read straight to a recipient, in the event loop's own callback.

    In the place of asyncio's StreamReaderProtocol it saves a turn of the loop for each
    read, and the 256 KiB that asyncio allocates for it: the connections of a loop
    read into one buffer. The end, and what concerns writing, go on to the protocol
    that stood here, which the connection's StreamWriter asks.

    Args:
        transport: The event loop's, of this connection.
        recipient: Is called in a context in which AnyIO knows its event loop.
        timeout: Seconds of silence after which there is nothing more to read; the time
            in which the recipient has no room does not count.

    Attributes:
        ended: Done at the end of what can be read; has what the recipient raised.
    """

    __slots__ = (
        *("_buffer", "_context", "_recipient", "_replaced", "_take_in", "_timeout"),
        *("_timer", "_transport", "ended"),
    )

    def __init__(
        self,
        transport: asyncio.WriteTransport,
        recipient: Recipient,
        timeout: float | None = None,
    ) -> None:
        # Both directions are one object, which `asyncio.StreamWriter` types as half.
        self._transport = cast("asyncio.Transport", transport)
        self._buffer = _read_buffer()
        self._context = _context()
        self._recipient = recipient
        self._take_in = recipient.take_in
        self._timeout = timeout
        self._timer: asyncio.TimerHandle | None = None
        self._replaced = cast("asyncio.Protocol", transport.get_protocol())
        self.ended = asyncio.get_running_loop().create_future()
        self.ended.add_done_callback(self._tell_the_end, context=self._context)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Say where to read to."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Hand over what was read; what the recipient raises is the end."""
        if self.ended.done():
            return
        try:
            data = bytes(self._buffer[:nbytes])
            more = self._context.run(self._take_in, data)
        except Exception as exc:
            self.ended.set_exception(exc)
        else:
            self.go_on(more)

    def go_on(self, more: bool) -> None:
        """Read on, or do not; the time of silence begins anew, or stands still."""
        if not more:
            self._transport.pause_reading()
        if self._timeout is not None:
            self._stop_timer()
            if more and not self.ended.done():
                loop = asyncio.get_running_loop()
                self._timer = loop.call_later(self._timeout, self.end)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def resume(self) -> None:
        """Go on reading."""
        self._transport.resume_reading()
        self.go_on(True)

    def eof_received(self) -> bool | None:
        """Take note that the peer has ended its half."""
        self.end()
        return self._replaced.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """Take note of the end."""
        self.end()
        self._replaced.connection_lost(exc)

    def end(self) -> None:
        """Take note of the end, unless that is done."""
        if not self.ended.done():
            self.ended.set_result(None)

    def _tell_the_end(self, ended: asyncio.Future[None]) -> None:
        self._stop_timer()
        if not ended.cancelled():  # else the connection's task was, which awaits it
            self._recipient.take_end(ended.exception())

    def pause_writing(self) -> None:
        """Have `StreamWriter.drain` wait."""
        self._replaced.pause_writing()

    def resume_writing(self) -> None:
        """Have `StreamWriter.drain` return."""
        self._replaced.resume_writing()


def _context() -> Context:
    """Return a copy of the context in which AnyIO knows its event loop without a task.

    Where sniffio is installed, AnyIO asks it; and that one looks for a running task.
    """
    context = copy_context()
    if current_async_library_cvar is not None:
        context.run(current_async_library_cvar.set, "asyncio")
    return context


class LoopTransport(StreamTransport):
    """A socket that is read and written by an event loop's own transport.

    Args:
        stream: AnyIO's stream over it, which has its place until `read_to`.
        transport: The event loop's.
    """

    sends_at_once = os.name == "posix"

    def __init__(self, stream: ByteStream, transport: Any) -> None:
        super().__init__(stream)
        self._transport: asyncio.Transport = transport
        self._inlet: Inlet | None = None
        self._fileno: int = transport.get_extra_info("socket").fileno()

    def send_nowait(self, data: bytes) -> int:
        """Write what the kernel takes, if nothing is waiting.

        The transport would take it all, and nobody could tell that the peer is stalled.
        """
        transport = self._transport
        if self._torn or transport.is_closing() or transport.get_write_buffer_size():
            return 0
        try:
            return os.write(self._fileno, data)
        except OSError:  # it would block; or is broken, which the next call will say
            return 0

    def read_to(self, recipient: Recipient) -> bool:
        """Take the place of AnyIO's protocol, and hand over what that has read."""
        transport = self._transport
        stood: Any = transport.get_protocol()
        queue = getattr(stood, "read_queue", None)
        if queue is None:
            return False
        inlet = self._inlet = Inlet(transport, recipient)
        transport.set_protocol(inlet)
        more = True
        while queue:
            more = recipient.take_in(queue.popleft())
        if stood.is_at_eof or transport.is_closing():
            inlet.end()
        elif more:
            transport.resume_reading()
        return True

    def resume(self) -> None:
        """Go on reading, once `read_to` has begun it."""
        if self._inlet is not None:
            self._inlet.resume()

    async def _receive(self) -> bytes:
        """As AnyIO's stream; once that has lost its place, wait for the end."""
        if self._inlet is None:
            return await super()._receive()
        await asyncio.wait([self._inlet.ended])
        return b""


def _read_buffer() -> memoryview:
    """Return the buffer of the event loop that is running."""
    try:
        return _buffer.get()
    except LookupError:
        buffer = memoryview(bytearray(_READ_BYTES))
        _buffer.set(buffer)
        return buffer
