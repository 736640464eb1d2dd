"""Hypercorn's trio worker: its connections, and its end."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cached_property
from typing import Any

import trio
from hypercorn.trio import run as stock
from hypercorn.trio.tcp_server import MAX_RECV, TCPServer

from .._frames.transport import waited_since
from ._connection import EngineConnection
from ._worker import Backend, Worker

_BROKEN_STREAM = (trio.BrokenResourceError, trio.ClosedResourceError, OSError)


class EngineTCPServer(EngineConnection, TCPServer):
    """One connection of the trio worker."""

    @cached_property
    def _socket(self) -> trio.socket.SocketType | None:
        """The connection's socket where it is plain TCP on POSIX, else `None`.

        A plain socket is read and written by system calls: trio's `recv` first tries in
        vain, and its `send` ends with a turn of the scheduler, together a third of the
        cost of an echo.
        """
        plain = os.name == "posix" and isinstance(self.stream, trio.SocketStream)
        return self.stream.socket if plain else None

    @property
    def plain_socket(self) -> Any:
        """The socket, below TLS too, as trio shows it."""
        return getattr(self.stream, "transport_stream", self.stream).socket

    @property
    def tls(self) -> Any:
        """An object with the methods of an `ssl.SSLObject`; `None` without TLS.

        trio's stream has them itself.
        """
        return self.stream if hasattr(self.stream, "transport_stream") else None

    async def receive(self) -> bytes:
        """Wait for bytes to read; empty at the end, also at one by an error."""
        try:
            if self.config.read_timeout is None:
                return await self._receive()
            with trio.fail_after(self.config.read_timeout):
                return await self._receive()
        except (*_BROKEN_STREAM, trio.TooSlowError):
            return b""

    async def _receive(self) -> bytes:
        if self._socket is None:
            return bytes(await self.stream.receive_some(MAX_RECV))
        while self._socket.fileno() >= 0:
            await trio.lowlevel.wait_readable(self._socket)
            try:
                return os.read(self._socket.fileno(), MAX_RECV)
            except BlockingIOError:
                continue  # it was a spurious wakeup
        return b""  # closed by another task

    async def send_all(self, data: bytes) -> bool:
        """Write all bytes; return whether any had to wait for the peer.

        Raises:
            OSError: The connection is closed or broken.
        Cancellation:
            Some, all or none of the bytes are written; the connection is then aborted.
        """
        try:
            rest = memoryview(data)[self.send_nowait(data) :]
            if not rest:
                return False
            began = trio.current_time()
            await self.stream.send_all(rest)
        except _BROKEN_STREAM as exc:
            raise ConnectionResetError("the connection is gone") from exc
        except BaseException:
            self.abort()
            raise
        # The kernel has refused the rest; TLS does not tell.
        return self._socket is not None or waited_since(began)

    def send_nowait(self, data: bytes) -> int:
        """Write as many bytes as the kernel takes at once; return how many."""
        if self._socket is None:
            return 0
        try:
            return os.write(self._socket.fileno(), data)
        except OSError:  # would block, or broken: `send_all` then finds out
            return 0

    async def send_eof(self) -> bool:
        """End the server's half of the connection; false under TLS or when broken."""
        if not hasattr(self.stream, "send_eof"):
            return False
        try:
            await self.stream.send_eof()
        except (*_BROKEN_STREAM, trio.BusyResourceError):
            return False
        return True

    def abort(self) -> None:
        """End the connection now; tasks that wait to send or receive wake."""
        self.plain_socket.close()

    async def _close(self) -> None:
        with trio.move_on_after(self.close_timeout):
            await super()._close()
        self.abort()


def _abort_later(worker: Worker, seconds: float) -> Callable[[], None]:
    """Abort the connections still open then: Hypercorn shields its sends."""

    scope = trio.CancelScope()

    async def abort() -> None:
        with scope:
            await trio.sleep(seconds)
            worker.abort_connections()

    trio.lowlevel.spawn_system_task(abort)
    return scope.cancel


_backend = Backend(stock.worker_serve, _abort_later)
serve_worker = _backend.serve_worker
serve_process = _backend.serve_process
raise_shutdown = _backend.raise_shutdown
