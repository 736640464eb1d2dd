"""From an accepted connection to a WebSocket that is served."""

from __future__ import annotations

import logging
import socket
import ssl
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Final

from anyio import BrokenResourceError, CancelScope, EndOfStream
from anyio.abc import ByteStream, TaskGroup
from starlette.types import ASGIApp

from .._frames.transport import StreamTransport
from .._frames.transports import transport_of
from .._frames.watched_socket import WatchedSocket, Watcher
from .._server.connection import ServerConnection, ServerTransport, Terms
from .._server.containment import contain
from .._server.drain import Drain
from .._server.handshake import HandshakeRefusal
from .._server.request import Request
from .._session.upkeep import Upkeep
from .arrival import Arrival
from .greeting import Entrance, addresses, addresses_of, encrypted, read_request, refuse
from .served import ServedConnection

_log: Final = logging.getLogger("anyws.server")


class Reception:
    """Takes in what is accepted, and serves it.

    Args:
        app: The application.
        terms: The settings that the connections have in common.
        drain: Counts them.
        entrance: Counts those whose request is not complete.
        upkeep: The tasks that the connections share; keeps the deadlines of plain
            sockets, too.
        most: The number of WebSockets at a time; more are refused with 503.
        ssl_context: Serve `wss`.
        state: The state that the application's lifespan keeps for its connections.
        watcher: Reads plain sockets; `None`: there are none.
        tasks: Where the tasks of the connections run.
    """

    def __init__(
        self,
        app: ASGIApp,
        terms: Terms,
        drain: Drain,
        entrance: Entrance,
        upkeep: Upkeep,
        *,
        most: float,
        ssl_context: ssl.SSLContext | None,
        state: Mapping[str, Any],
        watcher: Watcher | None,
        tasks: TaskGroup,
    ) -> None:
        self._app = app
        self._terms = terms
        self._drain = drain
        self._entrance = entrance
        self._upkeep = upkeep
        self._most = most
        self._ssl_context = ssl_context
        self._state = state
        self._watcher = watcher
        self._tasks = tasks
        self._connections: dict[ServerConnection, ServedConnection] = {}

    @property
    def connections(self) -> list[ServedConnection]:
        """The WebSockets that are being served, the oldest first."""
        known = self._connections.items()
        return [shown for connection, shown in known if connection.opened_session]

    # A stream, which has a task from its first byte on

    async def receive_stream(self, stream: ByteStream) -> None:
        """Serve one connection, from its first byte to its end."""
        transport = StreamTransport(stream)
        connection: ServerConnection | None = None
        try:
            with self._entrance.entering():
                stream = await encrypted(stream, self._ssl_context)
                transport = transport_of(stream)
                try:
                    request, early = await read_request(transport)
                    facts = addresses_of(stream)
                    connection = self._connect(transport, request, early, facts)
                except HandshakeRefusal as exc:
                    await refuse(transport, exc, self._terms.headers())
            if connection is not None:
                await self._host(connection)
        except (OSError, EndOfStream, BrokenResourceError, EOFError):
            pass  # the client does not speak TLS, or has gone
        finally:
            if connection is None:
                with CancelScope(shield=True):
                    await transport.aclose()

    # A plain socket, which has a task once its request is complete

    def receive_socket(self, plain: socket.socket, client: Any) -> None:
        """Take in a socket that was accepted.

        Args:
            plain: The socket.
            client: The address of the client.
        """
        assert self._watcher is not None, "no socket comes here without a watcher"
        plain.setblocking(False)
        with suppress(OSError):  # it is no TCP, or the client has gone already
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            facts = addresses(plain.getsockname(), client, secure=False)
        except OSError:  # macOS tells no address of a client that has gone
            plain.close()
            return
        transport = WatchedSocket(plain, self._watcher, self._upkeep.keeper)
        Arrival(transport, self._entrance, partial(self._begin, facts), self._refuse)

    def _begin(
        self,
        facts: Mapping[str, Any],
        transport: WatchedSocket,
        request: Request,
        early: bytes,
    ) -> None:
        connection = self._connect(transport, request, early, facts)
        self._tasks.start_soon(self._host, connection)

    def _refuse(self, transport: WatchedSocket, refusal: HandshakeRefusal) -> None:
        self._tasks.start_soon(self._refuse_socket, transport, refusal)

    async def _refuse_socket(
        self, transport: WatchedSocket, refusal: HandshakeRefusal
    ) -> None:
        try:
            with self._entrance.entering():
                await refuse(transport, refusal, self._terms.headers())
        finally:
            transport.close_nowait()

    # Either

    def _connect(
        self,
        transport: ServerTransport,
        request: Request,
        early: bytes,
        facts: Mapping[str, Any],
    ) -> ServerConnection:
        """Make the connection of a request.

        Raises:
            HandshakeRefusal: The request is refused.
        """
        if len(self._connections) >= self._most:
            raise HandshakeRefusal(503)
        connection = ServerConnection(
            transport,
            request,
            self._terms,
            self._upkeep,
            early=early,
            state=self._state,
            **facts,
        )
        self._connections[connection] = ServedConnection(connection)
        return connection

    async def _host(self, connection: ServerConnection) -> None:
        """Run the application; an error in it ends no other connection."""
        try:
            await contain(connection.run(self._app, self._drain), _log_error)
        except Exception:
            await _log_error()
        finally:
            del self._connections[connection]


async def _log_error() -> None:
    _log.exception("Exception in the application")
