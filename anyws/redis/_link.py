"""One connection to Redis, made when it is needed, and again after it has ended.

coredis' own connections are used, without its pool and its class for pub/sub: these
repeat commands and subscriptions by themselves, so that a loss would never be noticed.
Each connection runs in a task; an error that ends the connection ends nothing else.
"""

from __future__ import annotations

import ssl
from typing import Any, Final, Protocol, cast
from urllib.parse import parse_qs, urlsplit

from anyio import Lock
from anyio.abc import TaskGroup, TaskStatus
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from coredis.connection import BaseConnection
from coredis.exceptions import ConnectionError as RedisConnectionError
from coredis.exceptions import ReadOnlyError, ResponseError
from coredis.pool import ConnectionPool

from .._values.errors import HubError

# Seconds for a connection to be made, and for a command to be answered.
CONNECT_SECONDS: Final = 5.0
ANSWER_SECONDS: Final = 5.0

_SCHEMES: Final = ("redis", "rediss", "unix")


class Source(Protocol):
    """Makes connections, each to be run once.

    Attributes:
        location: Where they lead, for error messages.
    """

    location: Any

    async def connection(self, tasks: TaskGroup) -> BaseConnection:
        """Return a connection that has still to be run.

        Args:
            tasks: Where a connection may run that is needed to find out.
        Raises:
            HubError: It is not known where to connect to.
        """


class Requirements:
    """The checks of a server, made first when it is connected to.

    Args:
        keeps: Whether it is to keep streams, and scripts use those of several topics.
    """

    def __init__(self, *, keeps: bool) -> None:
        self._keeps = keeps

    async def check(self, connection: BaseConnection) -> None:
        """Refuse a sentinel, and where streams are kept, a node of a cluster.

        Raises:
            RedisConnectionError: The server is refused.
        """
        self._check_mode((await _told_by(connection))[b"mode"])

    def _check_mode(self, mode: bytes) -> None:
        if mode == b"sentinel":
            raise RedisConnectionError(
                "this is a sentinel: the URL begins with redis+sentinel://"
            )
        if mode == b"cluster" and self._keeps:
            raise RedisConnectionError(
                "durable=True needs one Redis server, and this is a node of a cluster"
            )

    async def check_primary(self, connection: BaseConnection) -> None:
        """Also refuse a replica: sentinels may name a former primary.

        Raises:
            RedisConnectionError: The server is refused.
        """
        told = await _told_by(connection)
        self._check_mode(told[b"mode"])
        role = told[b"role"]
        if role != b"master":
            raise RedisConnectionError(f"it is not a primary but a {role.decode()}")


async def _told_by(connection: BaseConnection) -> dict[bytes, bytes]:
    """Return the facts that a server tells about itself."""
    told = await connection.create_request(b"HELLO", decode=False)
    return cast("dict[bytes, bytes]", told)


class Server:
    """Where a Redis server is, and how connections to it are made.

    Args:
        url: `redis://[user[:password]@]host[:port][/database]`, the same with `rediss`
            for TLS, or `unix://[user:password@]/path[?db=number]`.
        requirements: The checks of the server.
        username, password: Used instead of those of the URL.
        ssl_context: For TLS; `None`: certificates and names are verified.
    Raises:
        TypeError, ValueError: An argument is invalid.
    """

    def __init__(
        self,
        url: str,
        requirements: Requirements,
        *,
        username: str | None,
        password: str | None,
        ssl_context: ssl.SSLContext | None,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in _SCHEMES or not (parts.hostname or parts.path):
            raise ValueError(
                "url must be redis://host, rediss://host, unix:///path or "
                f"redis+sentinel://host,host/name, not {_without_password(url)!r}"
            )
        if ssl_context is not None and parts.scheme != "rediss":
            raise ValueError("ssl_context needs a URL that begins with rediss://")
        options: dict[str, Any] = {}
        if parts.scheme == "rediss" and not any(
            name.startswith("ssl_") for name in parse_qs(parts.query)
        ):
            # The default of coredis checks no names, and certificates if there are any.
            options["ssl_context"] = ssl_context or ssl.create_default_context()
        pool = ConnectionPool.from_url(url, decode_components=True, **options)
        self._class: type[BaseConnection] = pool.connection_class
        self._options: dict[str, Any] = {
            **pool.connection_kwargs,
            "connect_timeout": CONNECT_SECONDS,
            "stream_timeout": ANSWER_SECONDS,
        }
        # One for each connection: the limiter of the pool belongs to its event loop.
        self._options.pop("processing_budget", None)
        for name, value in (("username", username), ("password", password)):
            if value is not None:
                self._options[name] = value
        self._requirements = requirements
        self.location: Any = pool.location

    async def connection(self, tasks: TaskGroup) -> BaseConnection:
        """Return a connection that has still to be run."""
        connection = self._class(self.location, **self._options)
        connection.register_connect_callback(self._requirements.check)
        return connection


class Link:
    """A connection to Redis, made anew after it has ended.

    Args:
        server: Makes connections to the server.
        tasks: Where the connection runs.
    """

    def __init__(self, server: Source, tasks: TaskGroup) -> None:
        self._server = server
        self._tasks = tasks
        self._connection: BaseConnection | None = None
        self._connecting = Lock(fast_acquire=True)

    async def connected(self) -> BaseConnection:
        """Return the connection; make it, if there is none.

        Raises:
            HubError: It cannot be made.
        """
        async with self._connecting:  # several tasks use one connection
            if self._connection is None or not self._connection.usable:
                self._connection = await self._connect()
            return self._connection

    async def _connect(self) -> BaseConnection:
        self.drop("it has ended")
        connection = await self._server.connection(self._tasks)
        error: Exception | None = await self._tasks.start(_run, connection)
        if error is not None:
            raise HubError(
                f"no connection to Redis at {self._server.location}: {error}"
            ) from error
        return connection

    async def ask(self, command: bytes, *arguments: str | bytes | int) -> Any:
        """Send a command on the connection that there is, and return the answer.

        Raises:
            HubError: There is no connection, no answer in time, or the answer is an
                error.
        """
        connection = self._connection
        if connection is None:
            raise HubError(f"no connection to Redis at {self._server.location}")
        try:
            return await connection.create_request(command, *arguments)
        except Exception as exc:
            if not isinstance(exc, ResponseError):
                self.drop("the answer did not come")
            elif isinstance(exc, ReadOnlyError):  # it is a primary no longer
                self.drop("it is a replica")
            raise HubError(f"Redis at {self._server.location}: {exc}") from exc

    def drop(self, why: str) -> None:
        """End the connection, if there is one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.invalidate(why)


class _Once:
    """Tells once that a task has started."""

    def __init__(self, status: TaskStatus[Exception | None]) -> None:
        self._status = status
        self._told = False

    def started(self, value: Exception | None = None) -> None:
        if not self._told:
            self._told = True
            self._status.started(value)


async def _run(
    connection: BaseConnection, *, task_status: TaskStatus[Exception | None]
) -> None:
    """Run a connection to its end; its errors, in groups or not, end it alone."""
    status = _Once(task_status)
    try:
        await connection.run(task_status=status)
    except Exception as exc:
        status.started(_first(exc))
    finally:
        # coredis leaves them open when it could not connect, and Python warns of it.
        for stream in vars(connection).values():
            if isinstance(stream, MemoryObjectSendStream | MemoryObjectReceiveStream):
                stream.close()


def _first(exc: Exception) -> Exception:
    """Return the first exception in a group."""
    while isinstance(exc, ExceptionGroup):
        exc = exc.exceptions[0]
    return exc


def _without_password(url: str) -> str:
    """Return a URL without the user and the password."""
    scheme, mark, rest = url.partition("://")
    return f"{scheme}{mark}{rest.rpartition('@')[2]}"
