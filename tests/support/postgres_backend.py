"""A backend on PostgreSQL's LISTEN and NOTIFY: at most once, and small messages only.

It shows that `anyws.Backend` is a protocol that more than Redis can meet. All messages
go through one channel, in the order of their transactions; PostgreSQL takes at most
8000 bytes for each.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
from psycopg import pq

from anyws import Delivery, Publication

CHANNEL = "anyws"
NOTIFY = b"SELECT pg_notify($1, m) FROM json_array_elements_text($2::json) AS m"
_WAITS: dict[int, Callable[[int], Any]] = {
    pq.PollingStatus.READING: anyio.wait_readable,
    pq.PollingStatus.WRITING: anyio.wait_writable,
}


class Connection:
    """A connection to PostgreSQL that blocks no event loop."""

    def __init__(self, connection: pq.abc.PGconn) -> None:
        self._connection = connection

    @classmethod
    @asynccontextmanager
    async def open(cls, conninfo: str) -> AsyncIterator[Connection]:
        """Open a connection for a block."""
        connection = pq.PGconn.connect_start(conninfo.encode())
        try:
            while (status := connection.connect_poll()) != pq.PollingStatus.OK:
                if status == pq.PollingStatus.FAILED:
                    raise ConnectionError(connection.get_error_message())
                await _WAITS[status](connection.socket)
            connection.nonblocking = 1
            yield cls(connection)
        finally:
            connection.finish()

    async def execute(self, command: bytes, *parameters: str) -> None:
        """Run a command whose rows do not matter."""
        connection = self._connection
        connection.send_query_params(command, [text.encode() for text in parameters])
        while connection.flush():
            await anyio.wait_writable(connection.socket)
        while True:
            while connection.is_busy():
                await self._read()
            result = connection.get_result()
            if result is None:
                return
            if result.status not in (pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK):
                raise ConnectionError(result.get_error_message())

    async def notification(self) -> bytes:
        """Wait for a notification of a channel that is listened to."""
        while (notify := self._connection.notifies()) is None:
            await self._read()
        return notify.extra

    async def _read(self) -> None:
        await anyio.wait_readable(self._connection.socket)
        self._connection.consume_input()  # raises when the connection is lost


class PostgresBackend:
    """Connects hubs by a PostgreSQL server.

    Args:
        conninfo: Where the server is, in the form of libpq.
    """

    def __init__(self, conninfo: str) -> None:
        self._conninfo = conninfo
        self._wanted: tuple[frozenset[str], frozenset[str]] = frozenset(), frozenset()
        self._listening = anyio.Event()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[None]:
        """Do nothing: each method opens the connection that it needs."""
        self._listening = anyio.Event()
        yield

    async def publish(self, publications: Sequence[Publication]) -> None:
        """Publish all in one transaction, or nothing."""
        texts = json.dumps([encoded(publication) for publication in publications])
        async with Connection.open(self._conninfo) as connection:
            await connection.execute(NOTIFY, CHANNEL, texts)

    async def want(self, topics: frozenset[str], patterns: frozenset[str]) -> None:
        """Have these topics delivered, as soon as the server is listened to."""
        self._wanted = topics, patterns
        await self._listening.wait()

    async def deliveries(self) -> AsyncIterator[Delivery]:
        """Yield what is wanted, until the connection is lost."""
        try:
            async with Connection.open(self._conninfo) as connection:
                await connection.execute(b"LISTEN " + CHANNEL.encode())
                self._listening.set()
                while True:
                    delivery = decoded(await connection.notification())
                    topics, patterns = self._wanted
                    if delivery.topic in topics or patterns:
                        yield delivery
        finally:
            self._listening = anyio.Event()


def encoded(publication: Publication) -> str:
    """Return the form of a message in a notification."""
    message = publication.message
    binary = isinstance(message, bytes)
    payload = b64encode(message).decode() if isinstance(message, bytes) else message
    fields = (publication.topic, binary, payload, publication.key, publication.token)
    return json.dumps(fields)


def decoded(data: bytes) -> Delivery:
    """Return a message that `encoded` has made."""
    topic, binary, payload, key, token = json.loads(data)
    return Delivery(topic, b64decode(payload) if binary else payload, key, token)
