"""A socket that a server has accepted: no stream, and no task that reads it.

    Watcher --- "it is readable" ---> WatchedSocket --- bytes ---> Recipient

A `Watcher` calls a function whenever a descriptor is readable. On asyncio and uvloop
the event loop does so (`LoopWatcher` in `event_loop.py`); on trio one task of the
server does, by an epoll of its own (`Poller`). Where a server has no watcher, and under
TLS, AnyIO's streams are read by a task of each connection.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Callable
from math import inf
from typing import Final, Protocol

from anyio import (
    ClosedResourceError,
    current_time,
    notify_closing,
    wait_readable,
    wait_writable,
)
from anyio import Event as Signal

from .._session.timekeeper import Alarm, Timekeeper
from .attributes import Attributes, attributes_of
from .transport import (
    Recipient,
    Turn,
    WholeWrites,
    keep_little_unsent,
    write_all,
    write_some,
)

# The largest read. All sockets of a watcher are read into one buffer, out of which
# every read is copied at once.
_READ_BYTES: Final = 256 * 1024


class Watcher(Protocol):
    """Calls functions of many connections, each when a descriptor is readable.

    The functions are called by one task, or by the event loop, and must not raise.

    Attributes:
        buffer: What the functions may read into.
    """

    buffer: memoryview

    def watch(self, fileno: int, call: Callable[[], None]) -> None:
        """Call a function whenever the descriptor is readable, until `unwatch`."""

    def unwatch(self, fileno: int) -> None:
        """Call the function no more."""

    async def run(self) -> None:
        """Call the functions; run it in a task from the first `watch` to the end."""


class Poller:
    """Watches descriptors by one task, which waits for an epoll of its own.

    A task of trio that waits for a descriptor registers that for each wait, and takes a
    turn of the scheduler. Here the scheduler knows of one descriptor, whatever the
    number of connections. This is not for asyncio: there AnyIO adds the epoll to that
    of the event loop for each wait, and the kernel then looks at all that is in it.
    """

    def __init__(self) -> None:
        self.buffer: memoryview = memoryview(bytearray(_READ_BYTES))
        self._epoll = select.epoll()
        self._calls: dict[int, Callable[[], None]] = {}

    def watch(self, fileno: int, call: Callable[[], None]) -> None:
        """Call a function whenever the descriptor is readable, until `unwatch`."""
        self._calls[fileno] = call
        self._epoll.register(fileno, select.EPOLLIN)

    def unwatch(self, fileno: int) -> None:
        """Call the function no more."""
        del self._calls[fileno]
        self._epoll.unregister(fileno)

    async def run(self) -> None:
        """Call the functions; run it in a task from the first `watch` to the end."""
        poll, calls = self._epoll.poll, self._calls
        try:
            while True:
                await wait_readable(self._epoll.fileno())
                for fileno, _ in poll(0):
                    # One of the calls before may have ended this connection.
                    call = calls.get(fileno)
                    if call is not None:
                        call()
        finally:
            self._epoll.close()


class WatchedSocket(WholeWrites):
    """The transport of a connection over a plain socket.

    Args:
        plain: The socket, which does not block. It is closed by `close_nowait`.
        watcher: Tells when it is readable.
        keeper: Tells when the next turn of the connection begins, after a long one.
    """

    sends_at_once = True

    __slots__ = (
        *("_ended", "_keeper", "_next_turn", "_reads", "_recipient", "_socket"),
        *("_turn", "_waits", "_watched", "_watcher"),
    )

    def __init__(
        self, plain: socket.socket, watcher: Watcher, keeper: Timekeeper
    ) -> None:
        super().__init__()
        keep_little_unsent(plain)
        self._socket = plain
        self._watcher = watcher
        self._keeper = keeper
        self._reads = False  # whether bytes are to be handed over
        self._watched = False  # whether the watcher knows the socket
        self._recipient: Recipient | None = None
        self._turn: Turn
        self._next_turn: Alarm | None = None
        self._ended: Signal | None = None  # a task waits for the end of the reading
        self._waits = False  # whether a task waits for the socket

    @property
    def extra_attributes(self) -> Attributes:
        """AnyIO's typed attributes of the socket."""
        return attributes_of(self._socket, None)

    # Reading

    def read_to(self, recipient: Recipient) -> bool:
        """Hand all bytes to the recipient from now on; return true."""
        self._recipient, self._turn = recipient, Turn(recipient)
        self._read(True)
        return True

    def detach(self) -> None:
        """Hand nothing over any more: from now on `receive` reads."""
        self._unwatch()
        self._recipient = None

    def resume(self) -> None:
        """Go on reading; bytes that are left come first, in a turn of their own."""
        if self._recipient is None or self._is_between_turns:
            return
        if self._recipient.unfinished:
            self._pause(0)
        else:
            self._read(True)

    @property
    def _is_between_turns(self) -> bool:
        return self._next_turn is not None and self._next_turn.at < inf

    def _read(self, on: bool) -> None:
        """Hand over all bytes from now on, or none for a while.

        A pause costs no call of the kernel: most often, as between the request and the
        accept, the peer sends nothing meanwhile.
        """
        self._reads = on
        if on and not self._watched and self._socket.fileno() >= 0:
            self._watched = True
            self._watcher.watch(self._socket.fileno(), self._on_readable)

    def _unwatch(self) -> None:
        self._reads = False
        if self._watched:
            self._watched = False
            self._watcher.unwatch(self._socket.fileno())

    def _on_readable(self) -> None:
        if not self._reads:
            self._unwatch()
            return
        buffer = self._watcher.buffer
        try:
            size = self._socket.recv_into(buffer)
        except BlockingIOError:
            return  # the event was for a connection that had the descriptor before
        except OSError:
            size = 0
        if size:
            self._hand_over(bytes(buffer[:size]))
        else:
            self._end(None)

    def _hand_over(self, data: bytes = b"") -> None:
        """Hand over bytes for one turn; the recipient leaves the rest to the next."""
        recipient, turn = self._recipient, self._turn
        try:
            more = turn.take(data)
        except Exception as exc:
            self._end(exc)
            return
        if recipient is not self._recipient:
            return  # it has handed the connection over
        self._read(more and not turn.over)
        if turn.over:
            self._pause(turn.pause)

    def _pause(self, seconds: float) -> None:
        """Let other connections have their turn, and go on then."""
        if self._socket.fileno() >= 0:
            if self._next_turn is None:
                self._next_turn = Alarm(self._keeper, self._hand_over)
            self._next_turn.set(current_time() + seconds)

    def _end(self, exc: Exception | None) -> None:
        self._unwatch()
        if self._recipient is not None:
            self._recipient.take_end(exc)
        if self._ended is not None:
            self._ended.set()

    async def receive(self) -> bytes:
        """Wait for bytes; after `read_to`, wait for the end of the stream."""
        if self._recipient is not None:
            if self._reads or self._is_between_turns:
                self._ended = Signal()
                await self._ended.wait()
            return b""
        while True:
            try:
                await wait_readable(self._socket)
                return self._socket.recv(_READ_BYTES)
            except BlockingIOError:
                continue
            except (OSError, ClosedResourceError):
                return b""

    # Writing

    def send_nowait(self, data: bytes) -> int:
        """Write what the kernel takes; return the number of bytes."""
        return 0 if self._cut_short else write_some(self._socket, data)

    async def _send(self, data: bytes) -> bool:
        return await write_all(self._socket, data, self._wait_writable)

    async def _wait_writable(self) -> None:
        self._waits = True
        try:
            await wait_writable(self._socket)
        except ClosedResourceError as exc:
            raise ConnectionResetError("the connection is closed") from exc
        finally:
            self._waits = False

    async def send_eof(self) -> bool:
        """End our half of the connection; false if it is broken."""
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            return False
        return True

    # The end

    def close_nowait(self) -> bool:
        """Close the socket; return true, as nothing is left to be waited for."""
        self._unwatch()
        if self._next_turn is not None:
            self._next_turn.cancel()
        if self._waits:
            notify_closing(self._socket)
        self._socket.close()
        if self._ended is not None:
            self._ended.set()
        return True

    async def aclose(self) -> None:
        """Close the socket. This does not wait."""
        self.close_nowait()
