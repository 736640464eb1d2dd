"""Hypercorn's asyncio and uvloop workers: their connections, and their end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context, copy_context
from typing import cast

from hypercorn.asyncio import run as stock
from hypercorn.asyncio.tcp_server import MAX_RECV, TCPServer

from ._connection import EngineConnection
from ._worker import Backend, Worker

try:
    from sniffio import current_async_library_cvar
except ImportError:  # then AnyIO does not ask it
    current_async_library_cvar = None  # type: ignore[assignment]


class Inlet(asyncio.BufferedProtocol):
    """Takes what is read straight to a stream, in the event loop's own callback.

    In the place of asyncio's StreamReaderProtocol it saves a turn of the loop for each
    read, and the 256 KiB that asyncio allocates for it: the connections of a worker
    read into one buffer. The end, and what concerns writing, go on to the protocol
    that stood here, which the connection's StreamWriter asks.

    Args:
        transport: The connection's.
        buffer: Where to read to; what is there is copied at once.
        take_in: Takes what was read; false: no more, until `resume`.
        timeout: Seconds of silence after which to give up.

    Attributes:
        ended: Done at the end of what can be read; has what `take_in` raised.
        limit: When to give up.
    """

    __slots__ = (
        *("_buffer", "_context", "_replaced", "_take_in", "_timeout", "_transport"),
        *("ended", "limit"),
    )

    def __init__(
        self,
        transport: asyncio.WriteTransport,
        buffer: memoryview,
        take_in: Callable[[bytes], bool],
        timeout: float | None,
    ) -> None:
        self.limit: asyncio.Timeout
        # Both directions are one object, which `asyncio.StreamWriter` types as half.
        self._transport = cast("asyncio.Transport", transport)
        self._buffer = buffer
        self._context = _context()
        self._take_in = take_in
        self._timeout = timeout
        self._replaced = cast("asyncio.Protocol", transport.get_protocol())
        self.ended = asyncio.get_running_loop().create_future()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Say where to read to."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Take what was read to the stream; what goes wrong ends this connection."""
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
        """Read on, or do not; time that is spent not reading does not count."""
        if not more:
            self._transport.pause_reading()
        if self._timeout is not None and not self.ended.done():
            now = asyncio.get_running_loop().time()
            self.limit.reschedule(now + self._timeout if more else None)

    def resume(self) -> None:
        """Go on reading."""
        self._transport.resume_reading()
        self.go_on(True)

    def eof_received(self) -> bool | None:
        """Take note that the peer has ended its half."""
        self._end()
        return self._replaced.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """Take note of the end."""
        self._end()
        self._replaced.connection_lost(exc)

    def _end(self) -> None:
        if not self.ended.done():
            self.ended.set_result(None)

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


class EngineTCPServer(EngineConnection, TCPServer):
    """One connection of the asyncio and uvloop workers."""

    _inlet: Inlet | None = None

    async def receive(self) -> bytes:
        """Return what was read; empty at the end, however it came."""
        try:
            if self.config.read_timeout is None:
                return await self.reader.read(MAX_RECV)
            async with asyncio.timeout(self.config.read_timeout):
                return await self.reader.read(MAX_RECV)
        except OSError:  # TimeoutError and SSLError among them
            return b""

    async def pump(self, take_in: Callable[[bytes], bool]) -> None:
        """Hand over what is read; this task only waits for the end."""
        more = True
        try:
            while (data := self._receive_nowait()) is not None:
                if not data:
                    return
                more = take_in(data)  # all of it: nobody else will ask for the rest
        except OSError:
            return
        transport, timeout = self.writer.transport, self.config.read_timeout
        self._inlet = inlet = Inlet(
            transport, self.worker.read_buffer, take_in, timeout
        )
        transport.set_protocol(inlet)
        if timeout is None:
            inlet.go_on(more)
            await inlet.ended
            return
        try:
            async with asyncio.timeout(timeout) as inlet.limit:
                inlet.go_on(more)
                await inlet.ended
        except TimeoutError:
            pass

    def _receive_nowait(self) -> bytes | None:
        """Return what was read already; empty at the end, `None` if there is nothing.

        The reader's own `read`, as far as it goes without waiting.
        """
        reading = self.reader.read(MAX_RECV)
        try:
            reading.send(None)
        except StopIteration as stop:
            return cast("bytes", stop.value)
        reading.close()
        return None

    def resume(self) -> None:
        """Go on reading."""
        if self._inlet is not None:
            self._inlet.resume()

    async def send_all(self, data: bytes) -> None:
        """Write; a cancelled call leaves the rest to the transport."""
        if self.writer.is_closing():
            raise ConnectionResetError("the connection is gone")
        self.writer.write(data)
        await self.writer.drain()

    def send_nowait(self, data: bytes) -> int:
        """Write if nothing is waiting; the transport keeps what the kernel refuses."""
        transport = self.writer.transport
        if transport.is_closing() or transport.get_write_buffer_size():
            return 0
        transport.write(data)
        return len(data)

    async def send_eof(self) -> bool:
        """End our half of the connection; false: that cannot be done under TLS."""
        try:
            self.writer.write_eof()
        except (NotImplementedError, RuntimeError):  # TLS; uvloop: it is closing
            return False
        return True

    def abort(self) -> None:
        """End the connection now: who waits to send or receive is told."""
        self.writer.transport.abort()

    async def _close(self) -> None:
        # A peer that does not read would keep what is buffered, and so the closing,
        # waiting for ever.
        timeout = self.worker.options.close_timeout
        abort = self.loop.call_later(timeout, self.abort)
        try:
            await super()._close()
        except OSError:
            pass  # TLS: what the peer has sent crossed our end of it
        finally:
            abort.cancel()


def _abort_later(worker: Worker, seconds: float) -> None:
    """Abort what is left in the end: Hypercorn would wait for it without limit."""
    asyncio.get_running_loop().call_later(seconds, worker.abort_connections)


_backend = Backend(stock.worker_serve, _abort_later)
serve_worker = _backend.serve_worker
serve_process = _backend.serve_process
raise_shutdown = _backend.raise_shutdown
