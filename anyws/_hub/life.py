"""One life of a hub, from the entry of its block to its end: topics, tasks, a backend.

A hub may be entered again after its end. All its state then begins anew, and positions
of the earlier life belong to another epoch.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from anyio import create_task_group, current_time, sleep
from anyio.lowlevel import checkpoint

from .._session.wakeup import Wakeup
from .backend import Backend, Delivery, Publication
from .cursor import Cursor
from .dispatcher import Dispatcher
from .gossip import GOSSIP, Gossip
from .log import Bounds, Entry
from .position import Position
from .presence import Presence
from .reading import Reading
from .relay import Question, Relay
from .replay import Place, place_of, replay
from .topic import Topic
from .topic_names import HEARTBEAT, OWN, checked_topic
from .topics import Topics, Wants

# Seconds between two looks at histories for messages that are too old, and how many
# topics are looked at before the event loop has its turn.
_SWEEP_SECONDS: Final = 5.0
_SWEPT_AT_ONCE: Final = 100

# How many messages of a topic a member is replayed by a backend at most.
_REPLAYED: Final = 1000

# How many times as many messages as a queue holds may be on their way back to the hub
# that has published them, and each still be kept from those whom it excludes.
_DELIVERED_LATE: Final = 10

_LOGGER: Final = logging.getLogger("anyws.hub")

NOBODY: Final[frozenset[Reading]] = frozenset()


class Life:
    """One life of a hub.

    Args:
        bounds: How much of each topic is kept.
        heartbeat: Seconds between two heartbeats; `None`: there are none.
        backend: The backend that connects the hub with those of other processes, if
            any.
        max_queued: How many publications may wait for the backend.
        presence: The presences, which hubs exchange through the backend.
        presence_seconds: Seconds after which the presences of a killed hub are removed.

    Attributes:
        topics: The topics.
        published: Messages published here.
    """

    def __init__(
        self,
        bounds: Bounds,
        heartbeat: float | None,
        backend: Backend | None,
        max_queued: int,
        presence: Presence,
        presence_seconds: float,
    ) -> None:
        self.topics: Topics = Topics(bounds, secrets.token_hex(8))
        self.published: int = 0
        self._tokens = 0
        self._dispatcher = Dispatcher(self.topics)
        self._heartbeat = heartbeat
        self._sweepable = Wakeup()
        self._heard = Wakeup()  # woken when there is a member for heartbeats
        self._relay: Relay | None = None
        self._gossip: Gossip | None = None
        if backend is not None:
            relay = self._relay = Relay(backend, self, max_queued)
            self.topics.remote = True
            self.topics.changed = relay.wants_change
            if relay.durable is not None:
                self.topics.ask = self._ask
            self._gossip = Gossip(
                self.topics.epoch,
                presence,
                self._whisper,
                lambda: relay.idle,
                presence_seconds,
            )
        self._presence = presence
        self._excluded: dict[str, frozenset[Reading]] = {}  # by the tokens under way
        self._most_excluded = _DELIVERED_LATE * max_queued

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the tasks; at the end of the block, tell members of all messages."""
        async with AsyncExitStack() as stack:
            if self._relay is not None:  # outside of the group, which would wrap errors
                await stack.enter_async_context(self._relay.connection())
            tasks = await stack.enter_async_context(create_task_group())
            tasks.start_soon(self._dispatcher.run)
            tasks.start_soon(self._sweep)
            if self._heartbeat is not None:
                tasks.start_soon(self._beat, self._heartbeat)
            if self._relay is None or self._gossip is None:
                yield
            else:
                self._presence.told = self._gossip.change
                async with self._relay.running():
                    tasks.start_soon(self._gossip.run)
                    try:
                        yield
                    finally:
                        self._presence.told = None
                        self._gossip.end()
            self._dispatcher.close()
            await self._dispatcher.ended()
            tasks.cancel_scope.cancel()

    # Publishing

    def publish(
        self,
        name: str,
        message: str | bytes,
        size: int,
        key: str | None,
        excluded: frozenset[Reading],
    ) -> int:
        """Publish a message; return how many members want it.

        Raises:
            HubError: Too many messages wait for the backend.
        """
        if self._relay is None:
            return self.append(name, message, size, key, excluded)
        token = self._token()
        self._relay.put(Publication(name, message, key, token))
        self.published += 1
        wanting = self.topics.readers_of(name).keys()
        if not excluded.isdisjoint(wanting):
            self._exclude(token, excluded)
        return len(wanting - excluded)

    def _exclude(self, token: str, excluded: frozenset[Reading]) -> None:
        """Remember until its delivery whom a message excludes.

        It may never be delivered: the members may leave the topic before.
        """
        self._excluded[token] = excluded
        if len(self._excluded) > self._most_excluded:
            del self._excluded[next(iter(self._excluded))]

    def _token(self) -> str:
        self._tokens += 1
        return f"{self.topics.epoch}-{self._tokens}"

    def _whisper(self, text: str) -> bool:
        """Tell the other hubs something, if the queue has room for it."""
        if self._relay is None or self._relay.full:
            return False
        self._relay.put(Publication(GOSSIP, text, None, self._token()))
        return True

    def append(
        self,
        name: str,
        message: str | bytes,
        size: int,
        key: str | None,
        excluded: frozenset[Reading] = NOBODY,
        position: Place | None = None,
    ) -> int:
        """Put a message into the log of its topic; return how many members want it.

        Args:
            position: The epoch, the id, and the id before it, that the backend has
                given; `None`: the message is numbered here.
        """
        topics = self.topics
        topics.order += 1
        if self._relay is None:  # deliveries of a backend may be other hubs' messages
            self.published += 1
        topic = topics.find(name)
        if topic is None:
            topics.forgotten.note(name, (topics.order,))
            return 0
        log = topic.log
        epoch, message_id, before = position or (topics.epoch, (topics.order,), None)
        if epoch != topic.epoch:
            # The backend has lost the topic and counts anew: what lay between the last
            # message and this one is not known.
            if log.end:
                self._put_gap(topic)
            topic.epoch = epoch
            log.begin_epoch(message_id if before is None else before)
        entry = Entry(
            name,
            message,
            epoch,
            message_id,
            topics.order,
            log.last if before is None else before,
            key=key,
            exclude=excluded,
            at=current_time(),
            size=size,
        )
        for reading in excluded:
            reading.make_way(topic)
        self._put(topic, entry)
        for reading in excluded:
            reading.pass_over(topic)
        topic.published += 1
        readings = topic.readings
        return len(readings) - (len(excluded & readings.keys()) if excluded else 0)

    def _put(self, topic: Topic, entry: Entry) -> None:
        log = topic.log
        if topic.keepers and log.full:
            for reading in topic.keepers:
                reading.notice(topic)
        log.append(entry)
        if self.topics.sweepable:
            self._sweepable.wake()
        self._dispatcher.add(topic)  # also without members: one may come to resume

    def _put_gap(self, topic: Topic) -> None:
        """Put a gap behind the messages of a topic: others may be missing there."""
        self.topics.order += 1
        order, last = self.topics.order, topic.log.last
        numbered = topic.epoch != self.topics.epoch
        gap_id = last if numbered else (order,)
        now = current_time()
        self._put(
            topic, Entry(topic.name, None, topic.epoch, gap_id, order, last, at=now)
        )
        if numbered:  # by the backend, which has no id for a gap
            topic.log.note_hole()

    # The receiver of the relay

    def wanted(self) -> Wants:
        """Return the topics and the patterns that members have named."""
        names, patterns = self.topics.wanted()
        return names | {GOSSIP}, patterns

    def deliver(self, delivery: Delivery) -> None:
        """Take a message or a gap from the backend."""
        message = delivery.message
        if self._gossip is not None and delivery.topic in (None, GOSSIP):
            if message is None:
                self._gossip.lost()
            else:
                _hear(self._gossip, message)
            if delivery.topic is not None:
                return
        if message is None:
            self._excluded.clear()  # of messages that may be lost
            self._tell_gap(delivery.topic)
            return
        excluded = self._excluded.pop(delivery.token, NOBODY)
        position = place_of(delivery)
        size = len(message.encode() if isinstance(message, str) else message)
        name = checked_topic(delivery.topic)
        self.append(name, message, size, delivery.key, excluded, position)

    def _tell_gap(self, name: str | None) -> None:
        """Tell the members of a topic, or all members, that messages may be missing."""
        # A topic that is not there needs none: with a backend it begins with a hole.
        names = list(self.topics.by_name) if name is None else [name]
        for topic in filter(None, map(self.topics.by_name.get, names)):
            if not topic.name.startswith(OWN):
                self._put_gap(topic)

    # Messages that the backend keeps

    def _ask(self, reading: Reading, cursor: Cursor, since: Position) -> None:
        """Ask the backend for what a member has missed of a topic."""
        bounds = self.topics.bounds
        if self._relay is None:
            return
        if since == Position.OLDEST:
            place, limit = None, min(bounds.history or _REPLAYED, _REPLAYED)
        else:
            place, limit = since.place, _REPLAYED
        self._relay.ask(
            Question(
                cursor.topic.name,
                place,
                limit,
                wanted=lambda: reading.cursors.get(cursor.topic.name) is cursor,
                answer=lambda missed: replay(reading, cursor, missed, place, bounds),
            )
        )

    # Tasks

    def expect_heartbeats(self) -> str | None:
        """Return the topic of heartbeats, for a new member; `None`: there are none."""
        if self._heartbeat is None:
            return None
        self._heard.wake()
        return HEARTBEAT

    async def _beat(self, seconds: float) -> None:
        """Publish heartbeats as long as there are members for them."""
        message = f"{seconds:g}"
        while True:
            if HEARTBEAT not in self.topics.by_name:
                await self._heard.wait()
            await sleep(seconds)
            if HEARTBEAT in self.topics.by_name:
                self.append(HEARTBEAT, message, len(message), None)

    async def _sweep(self) -> None:
        """Let messages leave the histories when they are too old."""
        while True:
            if not self.topics.sweepable:
                await self._sweepable.wait()
            await sleep(_SWEEP_SECONDS)
            for number, name in enumerate(list(self.topics.by_name)):
                if number % _SWEPT_AT_ONCE == 0:
                    await checkpoint()
                self.topics.sweep(name, current_time())


def _hear(gossip: Gossip, message: str | bytes) -> None:
    try:
        gossip.hear(str(message))
    except (ValueError, TypeError, KeyError) as exc:
        _LOGGER.warning("not a message of a hub: %r", exc)
