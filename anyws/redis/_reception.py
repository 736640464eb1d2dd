"""What arrives from Redis: one connection that is subscribed, and what it leads to."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any, Final

from anyio import BrokenResourceError, ClosedResourceError, sleep
from coredis.connection import BaseConnection
from coredis.exceptions import RedisError

from .._hub.backend import Delivery
from .._hub.topic_names import OWN, checked_topic
from .._session.wakeup import SharedWakeup
from .._values.errors import HubError
from ._follower import Entry, Follower
from ._link import Link
from ._subscriptions import Subscriptions
from ._wire import FETCH, Names, announced, decoded, id_of, text_of

# Seconds between two looks at what is silent; how many topics are looked at then; and
# after how many looks without an answer the connection counts as lost.
_LOOK_SECONDS: Final = 1.0
_LOOKED_AT: Final = 100
_SILENT: Final = 5

# How many messages of a topic are fetched at a time.
_PAGE: Final = 100

_LOGGER: Final = logging.getLogger("anyws.hub")


class Reception:
    """Subscribes to what a hub wants, and yields what it has not had.

    Args:
        link: Leads to the connection that is subscribed.
        names: The names of channels and keys.
        follower: Where the hub stands in the streams of its topics.
        durable: Whether there are streams.
        keep_seconds: Seconds for which a stream is kept.
    """

    def __init__(
        self,
        link: Link,
        names: Names,
        follower: Follower,
        *,
        durable: bool,
        keep_seconds: int,
    ) -> None:
        self._link = link
        self._names = names
        self._follower = follower
        self._durable = durable
        self._keep_seconds = keep_seconds
        self._wanted = frozenset[str](), frozenset[str]()
        self._subscriptions: Subscriptions | None = None
        self._changed = SharedWakeup()
        self._failures = 0
        self._pushes = 0

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
            connection = await self._link.connected()
            send = partial(self._send, connection)
            subscriptions = Subscriptions(send, self._names)
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
            self._link.drop("the deliveries have ended")
            self._changed.wake()

    def _send(self, connection: BaseConnection, *words: Any) -> None:
        """Send a command, unless the connection has failed: `deliveries` tells that."""
        try:
            connection.send_command(*words)
        except (RedisError, BrokenResourceError, ClosedResourceError):
            self._link.drop("a command could not be sent")

    def _subscribed(self, subscriptions: Subscriptions) -> None:
        """Note that all that was wanted at the beginning is subscribed to."""
        if self._subscriptions is None:
            self._subscriptions = subscriptions
            subscriptions.want(*self._wanted)  # which may have changed meanwhile
            self._changed.wake()

    async def look(self) -> None:
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
                subscriptions.repeat(_LOOKED_AT if self._durable else 1, busy)
            elif silent >= _SILENT:
                self._link.drop("Redis does not answer")

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
            if not self._durable:
                return (decoded(topic, data),), None
            kept = announced(data)
        except ValueError as exc:
            refuse(repr(channel), exc)
            return (), None
        is_next = self._follower.is_next(topic, kept)
        if is_next:
            return list(self._follower.taken(topic, kept)), None
        return (), None if is_next is None else topic

    async def _begun(
        self, names: Sequence[str], are_patterns: bool
    ) -> AsyncIterator[Delivery]:
        """Yield what was missed of topics and patterns that are subscribed to now."""
        if not self._durable:
            return
        if not are_patterns:
            silent = [name for name in names if name not in self._follower.busy]
            async for delivery in self._fetch(silent):
                yield delivery
            return
        seconds, microseconds = await self._link.ask(b"TIME")
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
            answers = await self._link.ask(
                b"EVAL",
                FETCH,
                len(keys),
                *keys,
                self._keep_seconds,
                _PAGE,
                *places,
            )
            fetched, left = left, []
            for topic, (epoch, last, entries) in zip(fetched, answers, strict=True):
                end = id_of(last)
                found = entries_of(entries)
                for delivery in self._follower.fetched(
                    topic, epoch.decode(), end, found
                ):
                    yield delivery
                if (self._follower.after(topic) or end) < end:
                    left.append(topic)


def entries_of(entries: Sequence[Any]) -> list[Entry]:
    """Return entries of a stream, as Redis gives them to a script."""
    found: list[Entry] = []
    for message_id, fields in entries:
        values = dict(zip(fields[::2], fields[1::2], strict=True))
        found.append((id_of(message_id), id_of(values[b"p"]), values[b"m"]))
    return found


def refuse(topic: str, exc: ValueError) -> None:
    """Say that a message cannot be understood; it is passed over."""
    _LOGGER.warning("not a message of a hub, in %s of Redis: %s", topic, exc)
