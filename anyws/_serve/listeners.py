"""The listeners of a server: those that it opens, and those that it was given."""

from __future__ import annotations

import errno
import logging
import os
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from time import monotonic
from typing import Any, Final

from anyio import (
    CancelScope,
    create_task_group,
    create_tcp_listener,
    create_unix_listener,
    sleep,
)
from anyio import Event as Signal
from anyio.abc import ByteStream, Listener, SocketAttribute, SocketListener, TaskGroup
from anyio.streams.stapled import MultiListener
from anyio.streams.tls import TLSListener

from .._frames.watched_socket import Watcher

Accept = Callable[[ByteStream], Awaitable[None]]
Arrive = Callable[[socket.socket, Any], None]

# The most sockets that are accepted at a time, in one turn.
_ACCEPTED_AT_ONCE: Final = 64

# Seconds until the next try, when the system had no room for another connection.
_PAUSE: Final = 0.1
_QUIET_SECONDS: Final = 60.0

# The host that a URL shows for an address that stands for all addresses of the machine.
_LOOPBACK: Final = {"0.0.0.0": "127.0.0.1", "::": "localhost"}

_log: Final = logging.getLogger("anyws.server")


class Listeners:
    """All that a server listens on.

    Attributes:
        urls: The URLs of the addresses, for a client on this machine.
        port: The first TCP port; `None` if there is none.
    """

    def __init__(self, listeners: Iterable[Listener[Any]], *, secure: bool) -> None:
        self._listeners = list(flattened(listeners))
        self._paths: dict[str, int] = {}
        self.port: int | None = None
        self.urls: list[str] = []
        self._quiet_until = 0.0
        for listener in self._listeners:
            source = listener
            if isinstance(source, TLSListener):
                source = source.listener
            scheme = "wss" if secure or source is not listener else "ws"
            address = source.extra(SocketAttribute.local_address, None)
            if isinstance(address, tuple):
                host, port = str(address[0]), int(address[1])
                self.port = self.port or port
                self.urls.append(f"{scheme}://{_shown(host)}:{port}")
            elif address is not None:
                self.urls.append(f"{scheme}+unix://{address}")

    @classmethod
    async def open(
        cls,
        host: str | None,
        port: int,
        unix_path: str | None,
        given: Sequence[Listener[Any]] | None,
        ssl_context: ssl.SSLContext | None,
    ) -> Listeners:
        """Listen on the addresses, or take the listeners that were given.

        Raises:
            OSError: An address cannot be bound; the message names it.
        """
        secure = ssl_context is not None
        if given is not None:
            return cls(given, secure=secure)
        where = repr(unix_path) if unix_path else f"{host or 'all addresses'}:{port}"
        try:
            if unix_path is None:
                tcp = await create_tcp_listener(local_host=host, local_port=port)
                return cls([tcp], secure=secure)
            unix = await create_unix_listener(unix_path)
        except OSError as exc:
            words = f"cannot listen on {where}: {exc.strerror or exc}"
            raise OSError(exc.errno, words) from exc
        listeners = cls([unix], secure=secure)
        listeners._paths[unix_path] = os.stat(unix_path).st_ino
        return listeners

    async def accept(
        self,
        arrive: Arrive,
        watcher: Watcher | None,
        handle: Accept,
        tasks: TaskGroup,
    ) -> None:
        """Hand over each connection that arrives, until cancelled.

        Args:
            arrive: Called with a plain socket that was accepted, and the address of the
                client. It does not raise.
            watcher: Tells of plain sockets that arrive; `None`: streams are made of
                these, too.
            handle: Called in a task of its own with any other stream.
            tasks: Where these tasks run.

        Raises:
            BaseException: A listener is broken.
        """
        async with create_task_group() as accepting:
            for listener in self._listeners:
                listening = _plain_socket_of(listener)
                if listening is None or watcher is None:
                    serve = partial(listener.serve, handle, tasks)
                else:
                    serve = partial(_accept_sockets, listening, arrive, watcher)
                accepting.start_soon(self._accept, serve)

    async def _accept(self, serve: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await serve()
            except OSError as exc:
                if exc.errno == errno.EBADF:
                    raise
                # No descriptor is left, or the peer was gone before it was accepted.
                # The listener itself is as it was.
                self._say(exc)
                await sleep(_PAUSE)

    def _say(self, exc: OSError) -> None:
        """Log an error of accepting once a minute: a peer may cause many."""
        if monotonic() >= self._quiet_until:
            self._quiet_until = monotonic() + _QUIET_SECONDS
            _log.warning("connections cannot be accepted: %s", exc.strerror or exc)

    async def aclose(self) -> None:
        """Close all listeners; remove the unix sockets that were opened here."""
        with CancelScope(shield=True):
            for listener in self._listeners:
                await listener.aclose()
        for path, inode in self._paths.items():
            try:
                if os.stat(path).st_ino == inode:  # and not another server's by now
                    os.unlink(path)
            except OSError:
                pass
        self._paths.clear()


def _plain_socket_of(listener: Listener[Any]) -> socket.socket | None:
    """Return the socket of one of AnyIO's own listeners, on a system like POSIX."""
    is_known = isinstance(listener, SocketListener) and os.name == "posix"
    if not is_known or not type(listener).__module__.startswith("anyio."):
        return None
    listening = listener.extra(SocketAttribute.raw_socket, None)
    return listening if isinstance(listening, socket.socket) else None


async def _accept_sockets(
    listening: socket.socket, arrive: Arrive, watcher: Watcher
) -> None:
    """Accept sockets without a stream for each, and without a task.

    Raises:
        OSError: One cannot be accepted.
    """
    failed, failures = Signal(), list[OSError]()

    def accept() -> None:
        try:
            for _ in range(_ACCEPTED_AT_ONCE):
                arrive(*listening.accept())
        except BlockingIOError:
            pass
        except OSError as exc:
            failures.append(exc)
            failed.set()

    watcher.watch(listening.fileno(), accept)
    try:
        await failed.wait()
    finally:
        watcher.unwatch(listening.fileno())
    raise failures.pop()


def flattened(listeners: Iterable[Listener[Any]]) -> Iterable[Listener[Any]]:
    """Yield the listeners one by one: a name may have had several addresses."""
    for listener in listeners:
        if isinstance(listener, MultiListener):
            yield from flattened(listener.listeners)
        else:
            yield listener


def _shown(host: str) -> str:
    host = _LOOPBACK.get(host, host)
    return f"[{host}]" if ":" in host else host
