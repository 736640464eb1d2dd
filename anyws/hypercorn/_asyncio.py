"""Hypercorn's asyncio and uvloop workers: their connections, and their end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from hypercorn.asyncio import run as stock
from hypercorn.asyncio.tcp_server import MAX_RECV, TCPServer

from .._frames.event_loop import Inlet
from ._connection import EngineConnection
from ._worker import Backend, Worker

# Bytes of a write that may be left to the transport: about what a kernel keeps.
_AT_ONCE_BYTES = 128 * 1024


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
        self._inlet = inlet = Inlet(transport, take_in, timeout)
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
        if len(data) > _AT_ONCE_BYTES:
            return 0  # the writer waits for it, and so notices a peer that is stalled
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
