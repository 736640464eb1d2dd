"""The primary of a Redis that sentinels watch over, and connections to it."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import unquote, urlsplit

from anyio.abc import TaskGroup
from coredis.connection import BaseConnection, TCPConnection, TCPLocation

from .._values.errors import HubError
from ._link import ANSWER_SECONDS, CONNECT_SECONDS, Link, Requirements

SCHEME: Final = "redis+sentinel"

_PORT: Final = 26379

# Seconds for one sentinel to be connected to, and to answer: then the next is asked.
_SENTINEL_SECONDS: Final = 1.0


class Sentinels:
    """Finds the primary by asking its sentinels, before each connection.

    Args:
        url: `redis+sentinel://[user[:password]@]host[:port][,host[:port]]/name[/database]`
        requirements: The checks of a server.
        username, password: Used instead of those of the URL.
    Raises:
        ValueError: The URL is invalid.
    """

    def __init__(
        self,
        url: str,
        requirements: Requirements,
        *,
        username: str | None,
        password: str | None,
    ) -> None:
        parts = urlsplit(url)
        userinfo, _, hosts = parts.netloc.rpartition("@")
        user, _, secret = userinfo.partition(":")
        name, _, database = parts.path.removeprefix("/").partition("/")
        if not name or not hosts or not (database or "0").isdecimal():
            raise ValueError(
                f"url must be {SCHEME}://host,host/name or .../name/number"
            )
        self._locations = [_location(host) for host in hosts.split(",")]
        self._requirements = requirements
        self._name = unquote(name)
        self._options: dict[str, Any] = {
            "username": username or unquote(user) or None,
            "password": password or unquote(secret) or None,
            "db": int(database or 0),
            "connect_timeout": CONNECT_SECONDS,
            "stream_timeout": ANSWER_SECONDS,
        }
        self.location: Any = f"{self._name!r} of the sentinels {hosts}"

    async def connection(self, tasks: TaskGroup) -> BaseConnection:
        """Return a connection to the primary, which has still to be run.

        Raises:
            HubError: No sentinel has told where the primary is.
        """
        errors: list[str] = []
        for sentinel in list(self._locations):
            try:
                primary = await self._ask(sentinel, tasks)
            except HubError as exc:
                errors.append(str(exc))
                continue
            self._locations.remove(sentinel)
            self._locations.insert(0, sentinel)  # it is asked first the next time
            connection = TCPConnection(primary, **self._options)
            connection.register_connect_callback(self._requirements.check_primary)
            return connection
        raise HubError("; ".join(errors))

    async def _ask(self, sentinel: TCPLocation, tasks: TaskGroup) -> TCPLocation:
        """Ask one sentinel.

        Raises:
            HubError: It does not answer, or does not know the primary.
        """
        link = Link(_Sentinel(sentinel), tasks)
        try:
            await link.connected()
            told = await link.ask(b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", self._name)
        finally:
            link.drop("the sentinel was asked")
        if told is None:
            raise HubError(f"the sentinel {sentinel} knows no {self._name!r}")
        host, port = told
        return TCPLocation(host.decode(), int(port))


class _Sentinel:
    """One sentinel, as a `Link` connects to it."""

    def __init__(self, location: TCPLocation) -> None:
        self.location: Any = location

    async def connection(self, tasks: TaskGroup) -> BaseConnection:
        """Return a connection that has still to be run."""
        return TCPConnection(
            self.location,
            connect_timeout=_SENTINEL_SECONDS,
            stream_timeout=_SENTINEL_SECONDS,
        )


def _location(host: str) -> TCPLocation:
    """Return the host and port of a sentinel; raise ValueError if there are none."""
    parts = urlsplit(f"//{host}")
    if not parts.hostname:
        raise ValueError(f"{host!r} is no host of a sentinel")
    return TCPLocation(parts.hostname, parts.port or _PORT)
