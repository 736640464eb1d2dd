"""Hypercorn's asyncio and uvloop workers: their connections, and their end."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from functools import cached_property
from typing import Any, cast

from hypercorn.asyncio import run as stock
from hypercorn.asyncio.tcp_server import MAX_RECV, TCPServer

from .._frames.event_loop import Inlet, write_nowait
from .._frames.transport import Recipient
from ._connection import EngineConnection
from ._worker import Backend, Worker


class EngineTCPServer(EngineConnection, TCPServer):
    """One connection of the asyncio and uvloop workers."""

    _inlet: Inlet | None = None

    @cached_property
    def _transport(self) -> asyncio.WriteTransport:
        """The event loop's transport."""
        return self.writer.transport

    @cached_property
    def _fileno(self) -> int | None:
        """The descriptor of the socket where it is plain TCP on POSIX, else `None`."""
        plain = os.name == "posix" and self.tls is None
        return self.plain_socket.fileno() if plain else None

    @property
    def plain_socket(self) -> Any:
        """The socket, below TLS too, as the event loop shows it."""
        return self.writer.get_extra_info("socket")

    @property
    def tls(self) -> Any:
        """An object with the methods of an `ssl.SSLObject`; `None` without TLS."""
        return self.writer.get_extra_info("ssl_object")

    async def receive(self) -> bytes:
        """Wait for bytes to read; empty at the end, also at one by an error.

        After `read_to` this waits for the end of the connection, and raises an
        exception that the recipient raised meanwhile.
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
        """Replace asyncio's protocol, and hand over the bytes that it has buffered.

        Returns:
            False if the end has been read already; `receive` returns it then.
        """
        more = True
        try:
            while data := self._receive_nowait():
                # A full one takes them, too: the bytes have no other place.
                more = recipient.take_in(data)
        except OSError:
            return False
        if data is not None:
            return False
        transport = self.writer.transport
        self._inlet = inlet = Inlet(transport, recipient, self.config.read_timeout)
        transport.set_protocol(inlet)
        if more:
            inlet.resume()
        else:
            inlet.go_on(False)
        return True

    def _receive_nowait(self) -> bytes | None:
        """Return buffered bytes; empty at the end, `None` if there are none yet.

        This runs the stream reader's own `read` to its first wait.
        """
        reading = self.reader.read(MAX_RECV)
        try:
            reading.send(None)
        except StopIteration as stop:
            return cast("bytes", stop.value)
        reading.close()
        return None

    def resume(self) -> None:
        """Go on reading after the recipient had no room."""
        if self._inlet is not None:
            self._inlet.resume()

    async def send_all(self, data: bytes) -> bool:
        """Write all bytes; return whether any had to wait for the peer.

        Raises:
            OSError: The connection is closed or broken.
        Cancellation:
            Safe: the event loop's transport writes all bytes by itself.
        """
        if self.writer.is_closing():
            raise ConnectionResetError("the connection is gone")
        self.writer.write(data)
        waits = self._inlet is not None and self._inlet.writing_waits
        await self.writer.drain()
        return waits

    def send_nowait(self, data: bytes) -> int:
        """Write if nothing waits to be written; return how many bytes were taken."""
        return write_nowait(self._transport, data, self._fileno)

    async def send_eof(self) -> bool:
        """End the server's half of the connection; false under TLS or when closing."""
        try:
            self.writer.write_eof()
        except (NotImplementedError, RuntimeError):  # TLS; uvloop, when closing
            return False
        return True

    def abort(self) -> None:
        """End the connection now; tasks that wait to send or receive wake."""
        self.writer.transport.abort()

    async def _close(self) -> None:
        # asyncio closes a transport once its buffer is written, which a peer that does
        # not read delays without limit.
        abort = self.loop.call_later(self.close_timeout, self.abort)
        try:
            await super()._close()
        except OSError:
            pass  # TLS: bytes of the peer crossed our closing alert
        finally:
            abort.cancel()


def _abort_later(worker: Worker, seconds: float) -> Callable[[], None]:
    """Abort the connections still open then: Hypercorn waits for them without limit."""
    loop = asyncio.get_running_loop()
    return loop.call_later(seconds, worker.abort_connections).cancel


_backend = Backend(stock.worker_serve, _abort_later)
serve_worker = _backend.serve_worker
serve_process = _backend.serve_process
raise_shutdown = _backend.raise_shutdown
