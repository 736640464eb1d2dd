"""A byte stream of AnyIO's, as the frames of a connection need it."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final, Protocol

from anyio import (
    BrokenResourceError,
    ClosedResourceError,
    EndOfStream,
    move_on_after,
    notify_closing,
    wait_readable,
    wait_writable,
)
from anyio.abc import ByteStream

from .._values.outcomes import leaves_of

_READ_BYTES: Final = 2**16

# Seconds that closing a stream may take: some have a handshake of their own for it.
_CLOSING: Final = 0.1

_BROKEN: Final = (BrokenResourceError, ClosedResourceError, OSError)


class Reader(Protocol):
    """What is read without being asked for goes here."""

    def take_in(self, data: bytes) -> bool:
        """Take what was read; false: no more, until `resume`."""

    def take_end(self, exc: BaseException | None) -> None:
        """Take note of the end; with what `take_in` has raised, if it has."""


class Interrupted(Exception):
    """A wait for something to read was interrupted; the connection is as it was."""


class StreamTransport:
    """Any byte stream, read by one task and written by one at a time.

    Args:
        stream: The stream. It is closed by `aclose`.

    Attributes:
        error: What has ended the reading, if it was not the peer in order.
        write_nowait: Writes what can be written without waiting, and returns how many
            bytes that was; `None` where there is no such thing.
        interrupt: Has `receive` raise `Interrupted`, if that waits; as above.
    """

    write_nowait: Callable[[bytes], int] | None = None
    interrupt: Callable[[], None] | None = None

    def __init__(self, stream: ByteStream) -> None:
        self.error: Exception | None = None
        self._stream = stream
        self._torn = False  # a write was cut short: behind it nothing has a meaning

    async def receive(self) -> bytes:
        """Return what was read; empty at the end, however it came."""
        try:
            return await self._receive()
        except EndOfStream:
            return b""
        except _BROKEN as exc:
            self.error = exc
            return b""

    async def _receive(self) -> bytes:
        return await self._stream.receive(_READ_BYTES)

    def read_to(self, reader: Reader) -> bool:
        """Have all that is read handed over from now on; false: `receive` it."""
        return False

    def resume(self) -> None:
        """Hand over what is read again."""

    async def send_all(self, data: bytes) -> None:
        """Write; raise OSError once that is not possible any more."""
        if self._torn:
            raise ConnectionResetError("a write was cut short")
        self._torn = True
        try:
            await self._send(data)
        except (BrokenResourceError, ClosedResourceError) as exc:
            raise ConnectionResetError("the connection is gone") from exc
        self._torn = False

    async def _send(self, data: bytes) -> None:
        await self._stream.send(data)

    async def send_eof(self) -> None:
        """End our half of the connection, where that can be done: not under TLS."""
        try:
            await self._stream.send_eof()
        except (NotImplementedError, *_BROKEN):
            pass

    async def aclose(self) -> None:
        """Close the stream; soon, whatever it wants to say before."""
        try:
            # Cancelled from the start, AnyIO's older releases keep a socket open for as
            # long as it holds what the peer does not read.
            with move_on_after(_CLOSING):
                await self._stream.aclose()
        except _BROKEN:
            pass


class SocketTransport(StreamTransport):
    """A plain socket that no event loop reads: the system is asked directly.

    AnyIO's streams first ask it in vain, and end a write with a turn of the scheduler.
    """

    def __init__(self, stream: ByteStream, plain: socket.socket) -> None:
        super().__init__(stream)
        self._socket = plain
        self._closing = False
        self.write_nowait = self._write_nowait
        # Who waits for the socket is woken, and finds that it is not being closed.
        self.interrupt = partial(notify_closing, plain)

    async def _receive(self) -> bytes:
        while True:
            try:
                if not self._closed:
                    await wait_readable(self._socket)
                return os.read(self._socket.fileno(), _READ_BYTES)
            except BlockingIOError:
                continue  # it was not
            except ClosedResourceError:
                if self._closed:
                    raise
                raise Interrupted from None

    async def _send(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[os.write(self._socket.fileno(), rest) :]
            except BlockingIOError:
                await self._wait_writable()

    async def _wait_writable(self) -> None:
        try:
            await wait_writable(self._socket)
        except ClosedResourceError:  # it may be the reader that is interrupted
            if self._closed:
                raise

    def _write_nowait(self, data: bytes) -> int:
        if self._torn:
            return 0
        try:
            return os.write(self._socket.fileno(), data)
        except OSError:  # it would block; or is broken, which the next call will say
            return 0

    @property
    def _closed(self) -> bool:
        """Whether we close it; or who has made the stream has done so."""
        return self._closing or self._socket.fileno() < 0

    async def aclose(self) -> None:
        """Close the socket."""
        self._closing = True
        await super().aclose()


def reason_of(exc: BaseException) -> str:
    """Return why, in the words of what came first: AnyIO and others wrap it in theirs.

    There may be more than one, as AnyIO has one error for all of a host's addresses.
    """
    return "; ".join(dict.fromkeys(map(_words_of, _roots_of(exc))))


def _roots_of(exc: BaseException) -> Iterator[BaseException]:
    for leaf in leaves_of(exc):
        if leaf.__cause__ is None:
            yield leaf
        else:
            yield from _roots_of(leaf.__cause__)


def _words_of(exc: BaseException) -> str:
    number = None if isinstance(exc, ssl.SSLError) else getattr(exc, "errno", None)
    if number is not None and number > 0:  # below, they are the resolver's
        return os.strerror(number)
    words = getattr(exc, "strerror", None) or str(exc)
    return words or "the connection is broken"
