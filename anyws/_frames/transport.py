"""The bytes of a connection: what a transport promises, and AnyIO's streams as one.

    frames -> Outlet: send_all, send_nowait ------> the peer
    frames <- Recipient: take_in, take_end <- Transport <- the peer

A `Transport` is a connection to a peer: one of AnyIO's streams (here, for clients), or
a server's own connection object. Bytes come out of it in one of two ways. On asyncio
and uvloop the event loop reads the socket in its own callbacks: there `read_to` has
every read handed to a `Recipient`, and no task is needed. Everywhere else `read_to`
returns false, and a task calls `receive`. The choice is made once: after `read_to` has
returned true, `receive` only waits for the end.

`Outlet` is the half of a transport that a `FrameChannel` calls. An HTTP/2 stream has no
more than this half: its bytes are read as events of a connection that it shares with
other streams.

A transport has no verb for closing in this module. The code that has opened the
connection closes it, and knows what to wait for before.
"""

from __future__ import annotations

import os
import socket
import ssl
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from time import perf_counter
from typing import Any, Final, Protocol

from anyio import (
    BrokenResourceError,
    ClosedResourceError,
    EndOfStream,
    current_time,
    move_on_after,
    notify_closing,
    wait_readable,
    wait_writable,
)
from anyio.abc import ByteStream

from .._values.outcomes import leaves_of
from .attributes import Attributes

# The largest read of a task. The event loop's own reads are larger: see
# `_READ_BUFFER_BYTES` in `event_loop.py`.
_READ_BYTES: Final = 2**16

# The largest write, in bytes, and how many bytes the kernel is to hold that it has not
# sent yet. So a large message moves in many steps, each of which shows that the peer is
# alive; and a ping waits behind so many bytes, where it would wait behind megabytes.
PIECE_BYTES: Final = 64 * 1024

# Seconds after which a write is taken to have waited for the peer, on a stream that
# does not tell.
_WAITED_SECONDS: Final = 0.03

# Seconds that closing a stream may take: TLS has a closing handshake of its own.
_CLOSE_SECONDS: Final = 0.1

_BROKEN: Final = (BrokenResourceError, ClosedResourceError, OSError)


# The seconds of work after which a connection lets the others have their turn. The
# clock is read after each step, and the recipient bounds a step.
TURN_SECONDS: Final = 0.002

# The longest pause after a turn that was much too long (seconds). Time in which the
# process did not run counts as work.
_LONGEST_PAUSE: Final = 0.2


class Recipient(Protocol):
    """The object that gets all bytes that a transport reads."""

    def take_in(self, data: bytes) -> bool:
        """Take the bytes of one read; return whether there is room for more.

        One call is one step: it deals with a bounded number of frames. After false no
        bytes are handed over until the transport's `resume` is called. An exception
        raised here ends the reading.
        """

    @property
    def unfinished(self) -> bool:
        """Whether bytes are left for the next step: `take_in`, without new bytes."""

    def take_end(self, exc: BaseException | None) -> None:
        """Note, once, that no more bytes will come.

        Args:
            exc: The exception that `take_in` has raised; `None` at the end of the
                stream, whether the peer ended it in order or not.
        """


class Turn:
    """The work of one connection until other connections have their turn.

    Args:
        recipient: The object that gets the bytes.

    Attributes:
        over: Whether other connections have to have their turn first.
        pause: Seconds until the next turn, at least. A turn that was much too long, by
            one message that inflates to many megabytes, is followed by a pause as long.
    """

    __slots__ = ("_recipient", "over", "pause")

    def __init__(self, recipient: Recipient) -> None:
        self._recipient = recipient
        self.over = False
        self.pause = 0.0

    def take(self, data: bytes = b"") -> bool:
        """Hand over bytes, in as many steps as the turn has time for.

        Returns whether there is room for more. Without bytes it goes on with those of
        the turn before.
        """
        recipient, began = self._recipient, perf_counter()
        more = recipient.take_in(data)
        unfinished, spent = recipient.unfinished, perf_counter() - began
        while more and unfinished and spent < TURN_SECONDS:
            more = recipient.take_in(b"")
            unfinished, spent = recipient.unfinished, perf_counter() - began
        self.pause = min(spent, _LONGEST_PAUSE) if spent > 5 * TURN_SECONDS else 0.0
        self.over = more and (self.pause > 0 or unfinished)
        return more


class Outlet(Protocol):
    """Where the frames of a connection are written.

    Only one call of `send_all` may be under way at a time, and no `send_nowait` beside
    it.

    Attributes:
        sends_at_once: Whether to offer `send_nowait` a message before it is queued.
    """

    sends_at_once: bool

    @property
    def extra_attributes(self) -> Attributes:
        """AnyIO's typed attributes of the connection."""

    async def send_all(self, data: bytes) -> bool:
        """Write all of the data; wait as long as the peer does not read.

        Args:
            data: At most `PIECE_BYTES`, so that each step is told of.

        Returns:
            Whether the kernel refused some of the data at first, and has taken it since
            then: so the peer is alive. What the kernel takes at once shows nothing.

        Raises:
            OSError: The connection is broken, or an earlier write was cut short.
        Cancellation:
            Some, all or none of the data is written. Nothing is ever written behind a
            frame that was cut short: a transport either writes the rest by itself, or
            raises `OSError` from then on.
        """

    def send_nowait(self, data: bytes) -> int:
        """Write what can be written without waiting; return the number of bytes.

        It never raises: on a broken connection it returns 0, and the next `send_all`
        raises.
        """

    def resume(self) -> None:
        """Resume reading, after the recipient had no room. It never raises."""


class Transport(Outlet, Protocol):
    """A connection to a peer: bytes out, and bytes in."""

    async def send_eof(self) -> bool:
        """End our half of the connection, behind all that was written.

        Returns false where that is not possible: under TLS, or on a broken connection.
        It raises nothing but a cancellation.
        """

    async def receive(self) -> bytes:
        """Wait for bytes; return `b""` at the end of the stream, in order or not.

        Only one task may be receiving at a time.

        Cancellation:
            Safe: no bytes are lost; the next call returns them.
        """

    def read_to(self, recipient: Recipient) -> bool:
        """Have the event loop hand all bytes to the recipient, to the end.

        Bytes that were read before are handed over within this call; an exception that
        `take_in` raises then is raised here. Returns false where no event loop reads,
        and where the end of the stream was read before: then a task has to call
        `receive`, and hand over what it returns.
        """


class Interrupted(Exception):
    """A task that waited in `receive` was woken; the connection is as it was."""


class WholeWrites(ABC):
    """Writes that may be cancelled: nothing is written behind a part of one."""

    __slots__ = ("_cut_short",)

    def __init__(self) -> None:
        self._cut_short = False  # whether a write was: then nothing more is written

    async def send_all(self, data: bytes) -> bool:
        """Write all of the data; wait as long as the peer does not read.

        Returns:
            Whether the data had to wait for the peer.

        Raises:
            OSError: The connection is broken, or an earlier write was cut short.
        Cancellation:
            Some, all or none of the data is written: every later call raises `OSError`.
        """
        if self._cut_short:
            raise ConnectionResetError("a write was cut short")
        self._cut_short = True
        try:
            waited = await self._send(data)
        except (BrokenResourceError, ClosedResourceError) as exc:
            raise ConnectionResetError("the connection is gone") from exc
        self._cut_short = False
        return waited

    @abstractmethod
    async def _send(self, data: bytes) -> bool:
        """Write all of the data; return whether it had to wait for the peer."""


class StreamTransport(WholeWrites):
    """A transport over any byte stream.

    Args:
        stream: The stream. It is closed by `aclose`.

    Attributes:
        error: The exception that ended the reading; `None` if the peer ended the stream
            in order.
        interruptible: Whether `interrupt` has an effect.
    """

    sends_at_once = False
    interruptible = False

    def __init__(self, stream: ByteStream) -> None:
        super().__init__()
        self.error: Exception | None = None
        self._stream = stream

    async def receive(self) -> bytes:
        """Wait for bytes; return `b""` at the end of the stream, in order or not."""
        try:
            return await self._receive()
        except EndOfStream:
            return b""
        except _BROKEN as exc:
            self.error = exc
            return b""

    @property
    def extra_attributes(self) -> Attributes:
        """AnyIO's typed attributes of the stream."""
        return self._stream.extra_attributes

    async def _receive(self) -> bytes:
        return await self._stream.receive(_READ_BYTES)

    def interrupt(self) -> None:
        """Wake a task that waits in `receive`, which then raises `Interrupted`."""

    def read_to(self, recipient: Recipient) -> bool:
        """Return false: a task has to call `receive`."""
        return False

    def resume(self) -> None:
        """Do nothing: a task calls `receive` when there is room."""

    async def _send(self, data: bytes) -> bool:
        """Write to the stream, which may be TLS, and does not tell of a wait."""
        began = current_time()
        await self._stream.send(data)
        return waited_since(began)

    def send_nowait(self, data: bytes) -> int:
        """Return 0: AnyIO's streams cannot write without waiting."""
        return 0

    async def send_eof(self) -> bool:
        """End our half of the connection; false under TLS, or if it is broken."""
        try:
            await self._stream.send_eof()
        except (NotImplementedError, *_BROKEN):
            return False
        return True

    def close_nowait(self) -> bool:
        """Return false: AnyIO's streams are closed by waiting."""
        return False

    async def aclose(self) -> None:
        """Close the stream, within a tenth of a second."""
        try:
            # The time is not 0: an `aclose` that is cancelled at once leaves the socket
            # open, in AnyIO's older releases, until the peer has read all of it.
            with move_on_after(_CLOSE_SECONDS):
                await self._stream.aclose()
        except _BROKEN:
            pass


class SocketTransport(StreamTransport):
    """A plain socket on trio, where no event loop reads it: system calls, no stream.

    AnyIO's stream would try a read before it waits, in vain, and end each write with a
    turn of the scheduler.
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
                continue  # the socket was not readable after all
            except ClosedResourceError:  # raised by `notify_closing` too
                if self._closed:
                    raise
                raise Interrupted from None

    def interrupt(self) -> None:
        """Wake a task that waits in `receive`, which then raises `Interrupted`."""
        notify_closing(self._socket)

    async def _send(self, data: bytes) -> bool:
        return await write_all(self._socket, data, self._wait_writable)

    async def _wait_writable(self) -> None:
        try:
            await wait_writable(self._socket)
        except ClosedResourceError:  # `interrupt` wakes a task that writes too
            if self._closed:
                raise

    def send_nowait(self, data: bytes) -> int:
        """Write what the kernel takes; return the number of bytes."""
        return 0 if self._cut_short else write_some(self._socket, data)

    @property
    def _closed(self) -> bool:
        """Whether the socket is closed, by `aclose` or by the maker of the stream."""
        return self._closing or self._socket.fileno() < 0

    async def aclose(self) -> None:
        """Close the socket."""
        self._closing = True
        await super().aclose()


async def write_all(
    plain: socket.socket, data: bytes, wait: Callable[[], Awaitable[None]]
) -> bool:
    """Write all of the data to a socket; return whether it had to wait for the peer.

    Args:
        plain: The socket.
        data: The bytes.
        wait: Waits until the socket is writable.

    Raises:
        OSError: The connection is broken.
    """
    rest, waited = memoryview(data), False
    while rest:
        try:
            rest = rest[os.write(plain.fileno(), rest) :]
        except BlockingIOError:
            await wait()
            waited = True
    return waited


def write_some(plain: socket.socket, data: bytes) -> int:
    """Write what the kernel takes at once; return the number of bytes."""
    try:
        return os.write(plain.fileno(), data)
    except OSError:  # the socket is full, or broken: then `write_all` will raise
        return 0


def waited_since(began: float) -> bool:
    """Guess whether a write that began then has waited, on a stream that does not tell.

    A guess may be wrong when the event loop was held up. What the kernel takes in such
    a moment can hide a peer that is gone until the kernel is full, and not longer.
    """
    return current_time() - began >= _WAITED_SECONDS


def keep_little_unsent(plain: Any) -> None:
    """Have the kernel refuse bytes while it holds `PIECE_BYTES` that are not sent.

    So a ping is not far behind, and a peer that does not read is noticed. Nothing
    happens on a socket that is not TCP, and on a system without this option (Linux and
    macOS have it).

    Args:
        plain: The socket, or what an event loop shows of it; `None`: there is none.
    """
    option = getattr(socket, "TCP_NOTSENT_LOWAT", None)
    if option is not None and plain is not None:
        with suppress(OSError):  # also of a connection that is gone already
            plain.setsockopt(socket.IPPROTO_TCP, option, PIECE_BYTES)


def reason_of(exc: BaseException) -> str:
    """Return the cause of an error in words: that of the innermost exception.

    AnyIO and others wrap the system's errors in their own. There may be several causes:
    AnyIO raises one error for all addresses of a host.
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
    if number is not None and number > 0:  # the resolver's own numbers are negative
        return os.strerror(number)
    words = getattr(exc, "strerror", None) or str(exc)
    return words or "the connection is broken"
