"""A byte stream of AnyIO's, as the frames of a connection need it."""

from __future__ import annotations

import os
import socket
from typing import Final

from anyio import (
    BrokenResourceError,
    ClosedResourceError,
    EndOfStream,
    aclose_forcefully,
    wait_readable,
)
from anyio.abc import ByteStream, SocketAttribute, SocketStream, UNIXSocketStream

_READ_SIZE: Final = 2**16

# Modules of the socket objects whose `fileno()` is -1 once they are closed. uvloop's
# keeps a number that may be another file's by then.
_HONEST: Final = frozenset({"socket", "asyncio.trsock"})


class StreamTransport:
    """One byte stream, read by one task and written by one at a time.

    Args:
        stream: The stream. It is closed by `aclose`.
    """

    __slots__ = ("_reads_directly", "_socket", "_stream")

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self._socket = _plain_socket(stream)
        # Otherwise it is an event loop's transport that reads it.
        self._reads_directly = isinstance(self._socket, socket.socket)

    @property
    def writes_at_once(self) -> bool:
        """Whether `send_nowait` can write anything."""
        return self._socket is not None

    async def receive(self) -> bytes:
        """Return what was read; empty at the end, however it came."""
        try:
            if not self._reads_directly:
                return await self._stream.receive(_READ_SIZE)
            return await self._read()
        except (EndOfStream, BrokenResourceError, ClosedResourceError, OSError):
            return b""

    async def _read(self) -> bytes:
        """Ask the system directly: trio's own way first tries in vain."""
        assert self._socket is not None
        while True:
            await wait_readable(self._socket)
            try:
                return os.read(self._socket.fileno(), _READ_SIZE)
            except BlockingIOError:
                continue  # it was not

    async def send_all(self, data: bytes) -> None:
        """Write; raise OSError once that is not possible any more."""
        try:
            await self._stream.send(data)
        except (BrokenResourceError, ClosedResourceError) as exc:
            raise ConnectionResetError("the connection is gone") from exc

    def send_nowait(self, data: bytes) -> int:
        """Write what can be written without waiting; return how many bytes it was.

        AnyIO leaves nothing behind in a buffer of its own when a `send` has returned.
        """
        if self._socket is None:
            return 0
        try:
            return os.write(self._socket.fileno(), data)
        except OSError:  # it would block; or is broken, which the next call will say
            return 0

    async def send_eof(self) -> None:
        """End our half of the connection, where that can be done: not under TLS."""
        try:
            await self._stream.send_eof()
        except (NotImplementedError, BrokenResourceError, ClosedResourceError, OSError):
            pass

    async def aclose(self) -> None:
        """Close the stream now."""
        try:
            await aclose_forcefully(self._stream)
        except (BrokenResourceError, ClosedResourceError, OSError):
            pass


def _plain_socket(stream: ByteStream) -> socket.socket | None:
    """Return a stream's socket, if there is nothing between, on a POSIX system."""
    if os.name != "posix" or not isinstance(stream, SocketStream | UNIXSocketStream):
        return None
    found: socket.socket = stream.extra(SocketAttribute.raw_socket)
    return found if type(found).__module__ in _HONEST else None
