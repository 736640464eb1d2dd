"""The backend: what the hub asks for, as commands to Redis."""

from __future__ import annotations

import logging
import secrets
import ssl
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import aclosing, asynccontextmanager
from math import inf
from typing import Any, Final

from anyio import create_task_group, sleep

from .._hub.backend import Delivery, Publication
from .._hub.topic_names import OWN, checked_topic
from .._session.wakeup import SharedWakeup
from .._values.errors import HubError
from ._follower import Entry, Follower
from ._link import Link, Requirements, Server, Source
from ._sentinels import SCHEME, Sentinels
from ._subscriptions import Subscriptions
from ._wire import (
    FETCH,
    NOTHING,
    PUBLISH,
    PUBLISH_DURABLE,
    REPLAY,
    Names,
    StreamId,
    announced,
    checked_id,
    decoded,
    encoded,
    id_of,
    text_of,
)

# Seconds between two looks at what is silent; how many topics are looked at then; and
# after how many looks without an answer the connection counts as lost.
_LOOK_SECONDS: Final = 1.0
_LOOKED_AT: Final = 100
_SILENT: Final = 5

# How many messages of a topic are fetched at a time.
_PAGE: Final = 100

# How often, and after how many seconds each time, it is looked whether the hub has a
# message that a member has had in another process.
_PATIENCE: Final = 100
_PATIENCE_SECONDS: Final = 0.02

# An epoch that no stream has: that of a place that Redis has lost.
_LOST: Final = "?"

# Seconds for which the numbers of a publisher are kept: for as long as it may repeat
# itself.
_PUBLISHER_SECONDS: Final = 24 * 3600

_LOGGER: Final = logging.getLogger("anyws.hub")


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
        self._receiver: Link
        self._follower: Follower
        self._wanted: tuple[frozenset[str], frozenset[str]]
        self._subscriptions: Subscriptions | None
        self._changed: SharedWakeup
        self._failures: int
        self._pushes: int

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
                self._receiver = Link(self._server, tasks)
                self._follower = Follower(_refuse)
                self._wanted = frozenset(), frozenset()
                self._subscriptions = None
                self._changed = SharedWakeup()
                self._failures = self._pushes = 0
                tasks.start_soon(self._look)
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
        self._wanted = topics, patterns
        self._follower.want(topics, patterns)
        failures = self._failures
        if self._subscriptions is not None:
            self._subscriptions.want(topics, patterns)
            asked = self._subscriptions.asked
        else:
            asked = 0  # `deliveries` subscribes to all that is wanted, and waits
        while self._subscriptions is None or self._subscriptions.done < asked:
            if self._failures != failures:
                raise HubError("the connection to Redis is lost")
            await self._changed.wait()
        if self._failures != failures:
            raise HubError("the connection to Redis is lost")

    async def deliveries(self) -> AsyncIterator[Delivery]:
        """Iterate over what arrives, until the connection is lost.

        Raises:
            HubError: The connection is lost. With `durable` the next call goes on where
                this one has ended.
        """
        try:
            connection = await self._receiver.connected()
            subscriptions = Subscriptions(connection.send_command, self._names)
            subscriptions.want(*self._wanted)
            async with aclosing(connection.push_messages) as pushes:
                if not subscriptions.asked:
                    self._subscribed(subscriptions)
                previous: object = None
                async for push in pushes:
                    self._pushes += 1
                    kind = push[0]
                    if kind in (b"message", b"pmessage"):
                        # Redis sends a message once for each channel and each pattern
                        # that matches, one right behind the other.
                        if push[-2:] != previous:
                            previous = push[-2:]
                            arrived, missing = self._arrived(*push[-2:])
                            for delivery in arrived:
                                yield delivery
                            if missing is not None:
                                async for delivery in self._fetch((missing,)):
                                    yield delivery
                    elif kind in (b"subscribe", b"psubscribe"):
                        answered = subscriptions.answered()
                        if answered is not None:
                            async for delivery in self._begun(*answered):
                                yield delivery
                            subscriptions.done += 1
                            if subscriptions.done == subscriptions.asked:
                                self._subscribed(subscriptions)
                            self._changed.wake()
        except HubError:
            raise
        except Exception as exc:
            raise HubError(f"the connection to Redis is lost: {exc}") from exc
        finally:
            self._subscriptions = None
            self._failures += 1
            self._receiver.drop("the deliveries have ended")
            self._changed.wake()

    def _subscribed(self, subscriptions: Subscriptions) -> None:
        """Note that all that was wanted at the beginning is subscribed to."""
        if self._subscriptions is None:
            self._subscriptions = subscriptions
            subscriptions.want(*self._wanted)  # which may have changed meanwhile
            self._changed.wake()

    async def _look(self) -> None:
        """See that the connection lives, and look at topics that are silent.

        Redis answers when a channel is subscribed to again; with `durable`, missed
        messages are fetched then.
        """
        pushes, silent = 0, 0
        while True:
            await sleep(_LOOK_SECONDS)
            subscriptions = self._subscriptions
            # Anything that has come shows that the connection is alive, even before the
            # answer.
            silent = silent + 1 if pushes == self._pushes else 0
            pushes = self._pushes
            if subscriptions is None:
                silent = 0
            elif subscriptions.done == subscriptions.asked:
                busy = self._follower.busy
                self._follower.busy = set()
                subscriptions.repeat(_LOOKED_AT if self.durable else 1, busy)
            elif silent >= _SILENT:
                self._receiver.drop("Redis does not answer")

    # Arriving messages

    def _arrived(
        self, channel: Any, data: Any
    ) -> tuple[Sequence[Delivery], str | None]:
        """Take a message that was published.

        Returns:
            The delivery that it makes, and the topic if messages of it are missing
            before this one.
        """
        try:
            topic = self._names.topic(channel)
            if not topic.startswith(OWN):
                checked_topic(topic)
            if not self.durable:
                return (decoded(topic, data),), None
            kept = announced(data)
        except ValueError as exc:
            _refuse(repr(channel), exc)
            return (), None
        is_next = self._follower.is_next(topic, kept)
        if is_next:
            return list(self._follower.taken(topic, kept)), None
        return (), None if is_next is None else topic

    async def _begun(
        self, names: Sequence[str], are_patterns: bool
    ) -> AsyncIterator[Delivery]:
        """Yield what was missed of topics and patterns that are subscribed to now."""
        if not self.durable:
            return
        if not are_patterns:
            silent = [name for name in names if name not in self._follower.busy]
            async for delivery in self._fetch(silent):
                yield delivery
            return
        seconds, microseconds = await self._receiver.ask(b"TIME")
        floor = 1000 * int(seconds) + int(microseconds) // 1000, 0
        for pattern in names:
            self._follower.begin_pattern(pattern, floor)

    async def _fetch(self, topics: Iterable[str]) -> AsyncIterator[Delivery]:
        """Yield what streams hold behind the places of the hub."""
        left = list(topics)
        while left:
            keys: list[str] = []
            places: list[str] = []
            for topic in left:
                keys += self._names.keys(topic)
                after = self._follower.after(topic)
                places.append("" if after is None else text_of(after))
            answers = await self._receiver.ask(
                b"EVAL", FETCH, len(keys), *keys, self._keep_seconds, _PAGE, *places
            )
            fetched, left = left, []
            for topic, (epoch, last, entries) in zip(fetched, answers, strict=True):
                end = id_of(last)
                found = _entries(entries)
                for delivery in self._follower.fetched(
                    topic, epoch.decode(), end, found
                ):
                    yield delivery
                # One answer has at most `_PAGE` messages of a topic.
                if (self._follower.after(topic) or end) < end:
                    left.append(topic)

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
        epoch, end, entries = answer[0].decode(), id_of(answer[1]), _entries(answer[2])
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


def _entries(entries: Sequence[Any]) -> list[Entry]:
    """Return entries of a stream, as Redis gives them to a script."""
    found: list[Entry] = []
    for message_id, fields in entries:
        values = dict(zip(fields[::2], fields[1::2], strict=True))
        found.append((id_of(message_id), id_of(values[b"p"]), values[b"m"]))
    return found


def _refuse(topic: str, exc: ValueError) -> None:
    """Say that a message cannot be understood; it is passed over."""
    _LOGGER.warning("not a message of a hub, in %s of Redis: %s", topic, exc)
