"""The backend: what the hub asks for, as commands to Redis."""

from __future__ import annotations

import secrets
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from math import inf
from typing import Final

from anyio import create_task_group, sleep

from .._hub.backend import Delivery, Publication
from .._values.errors import HubError
from ._follower import Follower
from ._link import Link, Requirements, Server, Source
from ._reception import Reception, entries_of, refuse
from ._sentinels import SCHEME, Sentinels
from ._wire import (
    NOTHING,
    PUBLISH,
    PUBLISH_DURABLE,
    REPLAY,
    Names,
    StreamId,
    checked_id,
    encoded,
    id_of,
    text_of,
)

# How often, and after how many seconds each time, it is looked whether the hub has a
# message that a member has had in another process.
_PATIENCE: Final = 100
_PATIENCE_SECONDS: Final = 0.02

# An epoch that no stream has: that of a place that Redis has lost.
_LOST: Final = "?"

# Seconds for which the numbers of a publisher are kept: for as long as it may repeat
# itself.
_PUBLISHER_SECONDS: Final = 24 * 3600


class RedisBackend:
    """Connects the hubs of several processes by a Redis server, version 6.2 or later.

        hub = anyws.Hub(backend=RedisBackend("redis://localhost"))

    A hub starts and runs even if its Redis server is away, and reconnects by itself;
    the logger `anyws.hub` reports both. While Redis is away, published messages wait in
    the hub's queue (`max_queued`); once that is full, `publish` raises
    `anyws.HubError`.

    Without `durable`, a message is delivered at most once: Redis gives it to the hubs
    that are connected at that moment (PUBLISH). After an outage all members get a gap,
    and also after Redis has disconnected their hub because it read too slowly.

    With `durable=True` each topic is a stream, too. A hub publishes messages again
    after an outage, and fetches the messages that it has missed from the stream. A
    member gets each message exactly once and in order, or a gap if the stream no longer
    has it. Positions are ids of the stream, so a member can resume in any process, even
    from messages that are older than that process. If Redis is killed, it loses up to a
    second of messages, unless it runs with `appendonly yes` and `appendfsync always`;
    members then get a gap.

    Args:
        url: `redis://[user[:password]@]host[:port][/database]`, the same with `rediss`
            for TLS, or `unix://[user:password@]/path[?db=number]`. With sentinels:
            `redis+sentinel://[user[:password]@]host[:port][,host[:port]]/name[/database]`
            has the sentinels' hosts, and the user, the password and the database of the
            primary, which is asked for before each connection.
        durable: Whether messages are kept in streams.
        keep: With `durable`, the number of messages of each topic that Redis keeps at
            least (default 1000).
        keep_seconds: With `durable`, seconds after its last message for which a topic
            is kept (default a day).
        prefix: The prefix of the names of all keys and channels (default `"anyws"`).
        username, password: Used instead of those of the URL.
        ssl_context: For `rediss`. `None` (default): certificates and host names are
            checked.

    Attributes:
        durable: Whether messages are kept in streams.

    Raises:
        TypeError, ValueError: An argument is invalid.
    """

    def __init__(
        self,
        url: str = "redis://localhost",
        *,
        durable: bool = False,
        keep: int = 1000,
        keep_seconds: float = 86400.0,
        prefix: str = "anyws",
        username: str | None = None,
        password: str | None = None,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        if type(keep) is not int or keep < 1:
            raise ValueError(f"keep must be an int of at least 1, not {keep!r}")
        if not (isinstance(keep_seconds, int | float) and 1 <= keep_seconds < inf):
            raise ValueError(
                f"keep_seconds must be a number of at least 1, not {keep_seconds!r}"
            )
        if not isinstance(prefix, str) or not prefix.isprintable() or not prefix:
            raise ValueError(f"prefix must be a name, not {prefix!r}")
        if set(prefix) & set("{}*?[]\\^"):
            raise ValueError(f"prefix must hold no brackets or wildcards: {prefix!r}")
        self._server = _source(
            url,
            Requirements(keeps=durable),
            username=username,
            password=password,
            ssl_context=ssl_context,
        )
        self.durable: bool = durable
        self._keep = keep
        self._keep_seconds = int(keep_seconds)
        self._names = Names(prefix)
        self._connected = False
        self._sender: Link
        self._follower: Follower
        self._reception: Reception

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[None]:
        """Run the connections to Redis, which are made when they are needed.

        Raises:
            RuntimeError: Another hub is using this backend.
        """
        if self._connected:
            raise RuntimeError("a RedisBackend serves one hub at a time")
        self._connected = True
        try:
            async with create_task_group() as tasks:
                self._sender = Link(self._server, tasks)
                self._follower = Follower(refuse)
                self._reception = Reception(
                    Link(self._server, tasks),
                    self._names,
                    self._follower,
                    durable=self.durable,
                    keep_seconds=self._keep_seconds,
                )
                tasks.start_soon(self._reception.look)
                yield
                tasks.cancel_scope.cancel()
        finally:
            self._connected = False

    # Publishing

    async def publish(self, publications: Sequence[Publication]) -> None:
        """Publish messages, in order, by one script.

        Raises:
            HubError: Redis cannot be reached, or refuses. With `durable` the same call
                may be made again: what was published is not published twice.
        Cancellation:
            Safe: Redis runs the whole script, or nothing of it.
        """
        await self._sender.connected()
        if self.durable:
            await self._publish_durable(publications)
            return
        arguments: list[str | bytes] = []
        for publication in publications:
            channel = self._names.channel(publication.topic)
            arguments += (channel, encoded(publication))
        await self._sender.ask(b"EVAL", PUBLISH, 0, *arguments)

    async def _publish_durable(self, publications: Sequence[Publication]) -> None:
        keys: list[str] = []
        numbers: dict[tuple[str, str], int] = {}  # topic and publisher -> which keys
        arguments: list[str | bytes | int] = [
            secrets.token_hex(8),
            self._keep,
            self._keep_seconds,
            _PUBLISHER_SECONDS,
        ]
        for publication in publications:
            topic = publication.topic
            publisher, _, number = publication.token.rpartition("-")
            place = numbers.setdefault((topic, publisher), len(numbers))
            if 3 * place == len(keys):
                keys += self._names.keys(topic)
                keys.append(self._names.publisher(topic, publisher))
            channel = self._names.channel(topic)
            arguments += (place, channel, number, encoded(publication))
        await self._sender.ask(b"EVAL", PUBLISH_DURABLE, len(keys), *keys, *arguments)

    # Subscribing

    async def want(self, topics: frozenset[str], patterns: frozenset[str]) -> None:
        """Subscribe to these topics and patterns, and to no others.

        Raises:
            HubError: Redis cannot be reached.
        Cancellation:
            The topics may be subscribed to all the same, and are after the next outage.
        """
        await self._reception.want(topics, patterns)

    def deliveries(self) -> AsyncIterator[Delivery]:
        """Iterate over what arrives, until the connection is lost.

        Raises:
            HubError: The connection is lost. With `durable` the next call goes on where
                this one has ended.
        """
        return self._reception.deliveries()

    # Replaying

    async def replay(
        self, topic: str, since: tuple[str, str] | None, limit: int
    ) -> Sequence[Delivery]:
        """Return what a member has missed of a topic that is wanted.

        Args:
            topic: The topic.
            since: The epoch and the id of the position of the member; `None`: before
                everything.
            limit: How many messages it gets at most, which are the newest ones.
        Returns:
            The messages behind the position, up to the latest one that `deliveries` has
            yielded; where some are missing, a gap.
        Raises:
            HubError: Redis cannot be reached.
        Cancellation:
            Safe.
        """
        await self._sender.connected()
        place = None if since is None else (since[0], checked_id(since[1]))
        low = "-" if place is None else text_of(place[1])
        keys = self._names.keys(topic)
        named = "" if place is None else place[0]
        answer = await self._sender.ask(
            b"EVAL", REPLAY, len(keys), *keys, low, limit, named
        )
        epoch, end = answer[0].decode(), id_of(answer[1])
        entries = entries_of(answer[2])
        if place is not None and (place[0] != epoch or not NOTHING < place[1] <= end):
            place = _LOST, NOTHING
        await self._caught_up(topic, NOTHING if place is None else place[1])
        return list(self._follower.replayed(topic, place, epoch, reversed(entries)))

    async def _caught_up(self, topic: str, message_id: StreamId) -> None:
        """Wait until the hub has had a message that another process has had already."""
        for _ in range(_PATIENCE):
            after = self._follower.after(topic)
            if after is not None and after >= message_id:
                return
            await sleep(_PATIENCE_SECONDS)
        raise HubError(f"messages of {topic!r} have not come from Redis yet")


def _source(
    url: str,
    requirements: Requirements,
    *,
    username: str | None,
    password: str | None,
    ssl_context: ssl.SSLContext | None,
) -> Source:
    """Return what makes connections to the server that a URL names."""
    if not isinstance(url, str):
        raise TypeError(f"url must be a str, not {type(url).__name__}")
    if not url.startswith(f"{SCHEME}://"):
        return Server(
            url,
            requirements,
            username=username,
            password=password,
            ssl_context=ssl_context,
        )
    if ssl_context is not None:
        raise ValueError("ssl_context needs a URL that begins with rediss://")
    return Sentinels(url, requirements, username=username, password=password)
