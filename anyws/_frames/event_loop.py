"""A socket that asyncio or uvloop reads: in callbacks, without a task."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextvars import Context, copy_context
from typing import Any, Final, cast

from anyio import sleep_forever
from anyio.abc import ByteStream
from anyio.lowlevel import RunVar

from .transport import PIECE_BYTES, Recipient, StreamTransport, Turn

try:
    from sniffio import current_async_library_cvar
except ImportError:  # AnyIO runs without sniffio, and does not need the variable then
    current_async_library_cvar = None  # type: ignore[assignment]

# The largest read of the event loop, which is asyncio's own; asyncio allocates a buffer
# for each. Where a task reads, `_READ_BYTES` in `transport.py` is the largest.
_READ_BUFFER_BYTES: Final = 256 * 1024

# One buffer for all connections of an event loop: every read is copied out of it at
# once.
_buffer: Final[RunVar[memoryview]] = RunVar("anyws_read_buffer")


class Inlet(asyncio.BufferedProtocol):
    """Hands every read to a recipient, in the callback of the event loop.

    It replaces asyncio's `StreamReaderProtocol`. That saves a turn of the loop for each
    read, and the 256 KiB that asyncio allocates for it, as all connections of a loop
    read into one buffer. The replaced protocol is still told of the end and of all that
    concerns writing: the connection's `StreamWriter` waits for it.

    Args:
        transport: The event loop's transport of this connection.
        recipient: The object that gets the bytes. It is called in a context in which
            AnyIO knows its event loop.
        timeout: Seconds without a read that end the reading. While the recipient has no
            room, they do not pass.
        paused: Whether the transport is not reading.

    Attributes:
        ended: A future that is done when no more bytes will be handed over; it has the
            exception that the recipient has raised.
        writing_waits: Whether the transport has bytes that the kernel has refused.
    """

    __slots__ = (
        *("_buffer", "_context", "_next_turn", "_paused", "_recipient", "_replaced"),
        *("_timeout", "_timer", "_transport", "_turn", "ended", "writing_waits"),
    )

    def __init__(
        self,
        transport: asyncio.WriteTransport,
        recipient: Recipient,
        timeout: float | None = None,
        *,
        paused: bool = False,
    ) -> None:
        # The object is both halves, although `asyncio.StreamWriter` types it as one.
        self._transport = cast("asyncio.Transport", transport)
        self._buffer = _read_buffer()
        self._context = _context()
        self._recipient = recipient
        self._timeout = timeout
        self._timer: asyncio.TimerHandle | None = None
        self._turn = Turn(recipient)
        self._next_turn: asyncio.TimerHandle | None = None
        self._paused = paused
        self.writing_waits = False
        # The transport tells of each byte that the kernel refuses, and when it has
        # taken all. (With 0 in place of 1, asyncio's TLS tells without a reason.)
        self._transport.set_write_buffer_limits(high=1, low=0)
        self._replaced = cast("asyncio.Protocol", transport.get_protocol())
        self.ended = asyncio.get_running_loop().create_future()
        self.ended.add_done_callback(self._tell_the_end, context=self._context)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return the buffer of the event loop."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Hand over the bytes of a read; the recipient's exception ends the reading."""
        if not self.ended.done():
            self._hand_over(bytes(self._buffer[:nbytes]))

    def _hand_over(self, data: bytes = b"") -> None:
        """Hand over bytes for one turn; the recipient leaves the rest to the next."""
        turn = self._turn
        try:
            more = self._context.run(turn.take, data)
        except Exception as exc:
            if not self.ended.done():
                self.ended.set_exception(exc)
            return
        self.go_on(more and not turn.over)
        if turn.over:
            self._take_turn(turn.pause)

    def _take_turn(self, pause: float = 0.0) -> None:
        loop = asyncio.get_running_loop()
        self._next_turn = loop.call_later(pause, self._begin_turn)

    def _begin_turn(self) -> None:
        self._next_turn = None
        if not self.ended.done():
            self._hand_over()

    def go_on(self, more: bool) -> None:
        """Go on reading if there is room for more, else pause; restart the timeout."""
        if more is self._paused and not self._transport.is_closing():
            self._paused = not more
            if more:
                self._transport.resume_reading()
            else:
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
        """Resume reading; bytes that were read before come first, in the next turn."""
        if self._next_turn is not None:
            return
        if self._recipient.unfinished:
            self._take_turn()
        else:
            self.go_on(True)

    def eof_received(self) -> bool | None:
        """Note that the peer has ended its half of the connection."""
        self.end()
        return self._replaced.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """Note the end of the connection."""
        self.end()
        self._replaced.connection_lost(exc)

    def end(self) -> None:
        """End the reading, unless it has ended."""
        if not self.ended.done():
            self.ended.set_result(None)

    def _tell_the_end(self, ended: asyncio.Future[None]) -> None:
        self._stop_timer()
        if self._next_turn is not None:
            self._next_turn.cancel()
        # Cancelled, the future was awaited by the connection's task, which ends now:
        # the recipient ends with it.
        if not ended.cancelled():
            self._recipient.take_end(ended.exception())

    def pause_writing(self) -> None:
        """Make `StreamWriter.drain` wait."""
        self.writing_waits = True
        self._replaced.pause_writing()

    def resume_writing(self) -> None:
        """Make `StreamWriter.drain` return."""
        self.writing_waits = False
        self._replaced.resume_writing()


class LoopWatcher:
    """A `Watcher`: the event loop calls the functions.

    It calls them in a context in which AnyIO knows its event loop. What tasks inherit
    that they start is a copy of the context in which this object was made.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.buffer: memoryview = _read_buffer()
        self._loop = loop
        self._context = _context()

    def watch(self, fileno: int, call: Callable[[], None]) -> None:
        """Call a function whenever the descriptor is readable, until `unwatch`."""
        self._loop.add_reader(fileno, self._context.run, call)

    def unwatch(self, fileno: int) -> None:
        """Call the function no more."""
        self._loop.remove_reader(fileno)

    async def run(self) -> None:
        """Do nothing: the event loop runs."""
        await sleep_forever()


def loop_of_task() -> asyncio.AbstractEventLoop | None:
    """Return asyncio's event loop, if this is one of its tasks.

    Trio may run inside an event loop of asyncio, as a guest: its tasks are no tasks of
    the loop.
    """
    try:
        task = asyncio.current_task()
    except RuntimeError:
        return None
    return None if task is None else task.get_loop()


def _context() -> Context:
    """Copy this context; in the copy AnyIO knows its event loop without a task.

    AnyIO asks sniffio, where it is installed, and sniffio finds asyncio by the running
    task. A callback of the event loop has none.
    """
    context = copy_context()
    if current_async_library_cvar is not None:
        context.run(current_async_library_cvar.set, "asyncio")
    return context


def write_nowait(
    transport: asyncio.WriteTransport, data: bytes, fileno: int | None = None
) -> int:
    """Write at once, if no earlier write is waiting; return how many bytes were taken.

    The transport would buffer what the kernel refuses without a bound, and the session
    could not tell that the peer has stalled. So a socket that is known is written
    directly. Otherwise (under TLS, say) large writes are left to the writer task.

    Args:
        transport: The event loop's transport.
        data: The bytes.
        fileno: The descriptor of the socket, where it may be written directly.
    """
    if transport.is_closing() or transport.get_write_buffer_size():
        return 0
    if fileno is not None:
        try:
            return os.write(fileno, data)
        except OSError:  # the socket is full, or broken: then `send_all` will raise
            return 0
    if len(data) > PIECE_BYTES:
        return 0
    transport.write(data)
    return len(data)


class LoopTransport(StreamTransport):
    """A socket that is read and written by a transport of the event loop.

    Args:
        stream: AnyIO's stream over the transport, which reads until `read_to`.
        transport: The event loop's transport.
    """

    sends_at_once = os.name == "posix"

    def __init__(self, stream: ByteStream, transport: Any) -> None:
        super().__init__(stream)
        self._transport: asyncio.Transport = transport
        self._inlet: Inlet | None = None
        self._fileno: int = transport.get_extra_info("socket").fileno()

    def send_nowait(self, data: bytes) -> int:
        """Write what the kernel takes, unless an earlier write is still waiting."""
        if self._cut_short:
            return 0
        return write_nowait(self._transport, data, self._fileno)

    async def _send(self, data: bytes) -> bool:
        """Write what the kernel takes, and have AnyIO's stream wait with the rest."""
        if not self.sends_at_once:
            return await super()._send(data)
        rest = data[write_nowait(self._transport, data, self._fileno) :]
        await self._stream.send(rest)  # a checkpoint, if there is none
        return bool(rest)

    def read_to(self, recipient: Recipient) -> bool:
        """Replace AnyIO's protocol; hand over the bytes that it has read.

        Returns false if the protocol is not AnyIO's: a task has to call `receive`.
        """
        transport = self._transport
        replaced: Any = transport.get_protocol()
        queue = getattr(replaced, "read_queue", None)
        if queue is None:
            return False
        inlet = self._inlet = Inlet(transport, recipient, paused=True)  # by AnyIO
        transport.set_protocol(inlet)
        more = True
        while queue:
            more = recipient.take_in(queue.popleft())
        if replaced.is_at_eof or transport.is_closing():
            inlet.end()
        elif more:
            inlet.resume()
        return True

    def resume(self) -> None:
        """Resume reading, if `read_to` has begun it."""
        if self._inlet is not None:
            self._inlet.resume()

    async def _receive(self) -> bytes:
        """Read AnyIO's stream; after `read_to`, wait for the end."""
        if self._inlet is None:
            return await super()._receive()
        await asyncio.wait([self._inlet.ended])
        return b""


def _read_buffer() -> memoryview:
    """Return the read buffer of the running event loop; make it for the first one."""
    try:
        return _buffer.get()
    except LookupError:
        buffer = memoryview(bytearray(_READ_BUFFER_BYTES))
        _buffer.set(buffer)
        return buffer
