"""Hypercorn's trio worker: its connections, and its end."""

from __future__ import annotations

import os
from functools import cached_property

import trio
from hypercorn.trio import run as stock
from hypercorn.trio.tcp_server import MAX_RECV, TCPServer

from ._connection import EngineConnection
from ._worker import Backend, Worker

_BROKEN = (trio.BrokenResourceError, trio.ClosedResourceError, OSError)


class EngineTCPServer(EngineConnection, TCPServer):
    """One connection of the trio worker."""

    @cached_property
    def _socket(self) -> trio.socket.SocketType | None:
        """The connection's socket, where that is all there is to it.

        The system is asked directly then: trio's `recv` first tries in vain, and its
        `send` ends with a turn of the scheduler, together a third of an echo's cost.
        """
        plain = os.name == "posix" and isinstance(self.stream, trio.SocketStream)
        return self.stream.socket if plain else None

    async def receive(self) -> bytes:
        """Wait for bytes to read; empty at the end, however it came."""
        try:
            if self.config.read_timeout is None:
                return await self._receive()
            with trio.fail_after(self.config.read_timeout):
                return await self._receive()
        except (*_BROKEN, trio.TooSlowError):
            return b""

    async def _receive(self) -> bytes:
        if self._socket is None:
            return bytes(await self.stream.receive_some(MAX_RECV))
        while self._socket.fileno() >= 0:
            await trio.lowlevel.wait_readable(self._socket)
            try:
                return os.read(self._socket.fileno(), MAX_RECV)
            except BlockingIOError:
                continue  # it was not
        return b""  # closed by another task

    async def send_all(self, data: bytes) -> None:
        """Write; raise OSError once that is not possible any more.

        Cancellation:
            Some, all or none of it is written: the connection is ended.
        """
        try:
            if rest := memoryview(data)[self.send_nowait(data) :]:
                await self.stream.send_all(rest)
        except _BROKEN as exc:
            raise ConnectionResetError("the connection is gone") from exc
        except BaseException:
            self.abort()
            raise

    def send_nowait(self, data: bytes) -> int:
        """Write what can be written without waiting; return how many bytes it was."""
        if self._socket is None:
            return 0
        try:
            return os.write(self._socket.fileno(), data)
        except OSError:  # it would block; or is broken, which the next call will say
            return 0

    async def send_eof(self) -> bool:
        """End our half of the connection; false: it is under TLS, or broken."""
        if not hasattr(self.stream, "send_eof"):
            return False
        try:
            await self.stream.send_eof()
        except (*_BROKEN, trio.BusyResourceError):
            return False
        return True

    def abort(self) -> None:
        """End the connection now: tasks that wait to send or receive are told."""
        stream = getattr(self.stream, "transport_stream", self.stream)
        stream.socket.close()

    async def _close(self) -> None:
        with trio.move_on_after(self.worker.options.close_timeout):
            await super()._close()
        self.abort()


def _abort_later(worker: Worker, seconds: float) -> None:
    """Abort what is left in the end: a send of Hypercorn's own cannot be cancelled."""

    async def abort() -> None:
        await trio.sleep(seconds)
        worker.abort_connections()

    trio.lowlevel.spawn_system_task(abort)


_backend = Backend(stock.worker_serve, _abort_later)
serve_worker = _backend.serve_worker
serve_process = _backend.serve_process
raise_shutdown = _backend.raise_shutdown
