"""The bytes of a connection: what a transport promises, and AnyIO's streams as one.

    frames -> Outlet: send_all, send_nowait ------> the peer
    frames <- Recipient: take_in, take_end <- Transport <- the peer

A `Transport` is a connection to a peer, whoever has made it: a client over one of
AnyIO's streams (here), or a server's own connection object. What it reads comes out in
one of two ways. Where an event loop reads the socket in callbacks of its own, `read_to`
has all of it handed to a `Recipient`, and no task runs for that. Everywhere else
`read_to` refuses, and a task calls `receive`. Which of the two it is, is decided once:
after `read_to` has returned true, `receive` only waits for the end.

`Outlet` is the half of a transport that a `FrameChannel` calls. It stands by itself
because an HTTP/2 stream has no more than that: what comes in reaches it as events of a
connection that it shares with others.

Closing is not among the verbs. It is left to who has opened the connection, and knows
what there is to wait for.
"""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Iterator
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


class Recipient(Protocol):
    """Whatever is handed what a transport reads, by an event loop or by a task."""

    def take_in(self, data: bytes) -> bool:
        """Take all of what was read; false: there is no room for more, for now.

        After false nothing is handed over until the transport's `resume` is called.
        What this raises ends the reading.
        """

    def take_end(self, exc: BaseException | None) -> None:
        """Take note, once, that nothing more can be read.

        Args:
            exc: What `take_in` has raised; `None` for every end of the connection.
        """


class Outlet(Protocol):
    """Where the frames of a connection are written.

    Only one call of `send_all` may be under way at a time, and no `send_nowait` beside
    it.

    Attributes:
        sends_at_once: Whether to offer `send_nowait` a message before it is queued.
    """

    sends_at_once: bool

    async def send_all(self, data: bytes) -> None:
        """Write all of it, and wait as long as the peer keeps that waiting.

        Raises:
            OSError: The connection is broken, or an earlier write was cut short.
        Cancellation:
            Some, all or none of it is written. Nothing is ever written behind a frame
            that was cut short: a transport either writes the rest by itself, or raises
            `OSError` from then on.
        """

    def send_nowait(self, data: bytes) -> int:
        """Write what can be written without waiting; return how many bytes it was.

        It does not raise: of a connection that is broken it writes 0 bytes, and the
        next `send_all` raises.
        """

    def resume(self) -> None:
        """Have reading go on, after a recipient has had no room. It does not raise."""


class Transport(Outlet, Protocol):
    """A connection to a peer: bytes out, and bytes in."""

    async def send_eof(self) -> bool:
        """End our half of the connection, behind all that was written.

        Returns false where that cannot be done: under TLS, or once the connection is
        broken. It raises nothing but a cancellation.
        """

    async def receive(self) -> bytes:
        """Wait for bytes to read; empty at the end, however it came.

        Only one task may be receiving at a time.

        Cancellation:
            Safe: nothing that was read is lost; the next call returns it.
        """

    def read_to(self, recipient: Recipient) -> bool:
        """Have all that is read handed over from now on, without a task, to the end.

        What was read before is handed over first, within this call, and what `take_in`
        raises of that leaves it. Returns false where no event loop reads, or where the
        end has been read: a task has to call `receive`, and hand over what it returns.
        """


class Interrupted(Exception):
    """A wait for something to read was interrupted; the connection is as it was."""


class StreamTransport:
    """A transport over any byte stream.

    Args:
        stream: The stream. It is closed by `aclose`.

    Attributes:
        error: What has ended the reading, if it was not the peer in order.
        interruptible: Whether `interrupt` does anything.
    """

    sends_at_once = False
    interruptible = False

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

    def interrupt(self) -> None:
        """Have a call of `receive` that is waiting raise `Interrupted`."""

    def read_to(self, recipient: Recipient) -> bool:
        """Return false: nothing reads but a task that calls `receive`."""
        return False

    def resume(self) -> None:
        """Do nothing: a task that has room calls `receive`."""

    async def send_all(self, data: bytes) -> None:
        """Write; raise OSError if the connection is broken, or a write was cut short.

        Cancellation:
            Some, all or none of it is written: every later call raises OSError.
        """
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

    def send_nowait(self, data: bytes) -> int:
        """Write nothing: a stream has no such call."""
        return 0

    async def send_eof(self) -> bool:
        """End our half of the connection; false: it is under TLS, or broken."""
        try:
            await self._stream.send_eof()
        except (NotImplementedError, *_BROKEN):
            return False
        return True

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

    sends_at_once = True
    interruptible = True

    def __init__(self, stream: ByteStream, plain: socket.socket) -> None:
        super().__init__(stream)
        self._socket = plain
        self._closing = False

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

    def interrupt(self) -> None:
        """Wake the task that waits in `receive`, which finds the socket still open."""
        notify_closing(self._socket)

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
        except ClosedResourceError:  # `interrupt` is meant for a reading task
            if self._closed:
                raise

    def send_nowait(self, data: bytes) -> int:
        """Write what the kernel takes; return how many bytes it was."""
        if self._torn:
            return 0
        try:
            return os.write(self._socket.fileno(), data)
        except OSError:  # it would block; or is broken, which the next call will say
            return 0

    @property
    def _closed(self) -> bool:
        """Whether it is closed, by `aclose` or by the maker of the stream."""
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
