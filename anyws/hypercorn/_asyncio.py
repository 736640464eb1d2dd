"""Hypercorn's asyncio and uvloop workers: their connections, and their end."""

from __future__ import annotations

import asyncio
from typing import cast

from hypercorn.asyncio import run as stock
from hypercorn.asyncio.tcp_server import MAX_RECV, TCPServer

from .._frames.event_loop import Inlet
from .._frames.transport import Recipient
from ._connection import EngineConnection
from ._worker import Backend, Worker

# Bytes of a write that may be left to the transport: about what a kernel keeps.
_AT_ONCE_BYTES = 128 * 1024


class EngineTCPServer(EngineConnection, TCPServer):
    """One connection of the asyncio and uvloop workers."""

    _inlet: Inlet | None = None

    async def receive(self) -> bytes:
        """Wait for bytes to read; empty at the end, however it came.

        After `read_to` wait for the end, and raise what the recipient has raised.
        """
        if self._inlet is not None:
            await self._inlet.ended
            return b""
        try:
            if self.config.read_timeout is None:
                return await self.reader.read(MAX_RECV)
            async with asyncio.timeout(self.config.read_timeout):
                return await self.reader.read(MAX_RECV)
        except OSError:  # TimeoutError and SSLError among them
            return b""

    def read_to(self, recipient: Recipient) -> bool:
        """Take the place of asyncio's protocol, and hand over what that has read.

        False: the end has been read already, and `receive` returns it.
        """
        more = True
        try:
            while data := self._receive_nowait():
                more = recipient.take_in(data)  # all of it: nothing else will
        except OSError:
            return False
        if data is not None:
            return False
        transport = self.writer.transport
        self._inlet = inlet = Inlet(transport, recipient, self.config.read_timeout)
        transport.set_protocol(inlet)
        inlet.go_on(more)
        return True

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
        """Write; raise OSError once that is not possible any more.

        Cancellation:
            All of it is written: the event loop's transport goes on by itself.
        """
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
            return 0  # the writer task waits for it, and so notices a stalled peer
        transport.write(data)
        return len(data)

    async def send_eof(self) -> bool:
        """End our half of the connection; false: it is under TLS, or closing."""
        try:
            self.writer.write_eof()
        except (NotImplementedError, RuntimeError):  # TLS; uvloop: it is closing
            return False
        return True

    def abort(self) -> None:
        """End the connection now: tasks that wait to send or receive are told."""
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
