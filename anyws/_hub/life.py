"""One life of a hub, from the entry of its block to its end: topics, tasks, a backend.

A hub may be entered again after its end. Then all that stood in it begins anew, and
positions of the life before are of another epoch.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from anyio import create_task_group, current_time, sleep
from anyio.lowlevel import checkpoint

from .._session.wakeup import Wakeup
from .backend import Backend, Delivery, Publication
from .dispatcher import Dispatcher
from .log import Bounds, Entry
from .position import Id, Position
from .reading import Reading
from .relay import Relay
from .topic import Topic
from .topic_names import HEARTBEAT, OWN, checked_topic
from .topics import Topics, Wants

# Seconds between two looks at histories for messages that are too old, and how many
# topics are looked at before the event loop has its turn.
_SWEEP_SECONDS: Final = 5.0
_SWEPT_AT_ONCE: Final = 100

NOBODY: Final[frozenset[Reading]] = frozenset()


class Life:
    """One life of a hub.

    Args:
        bounds: How much of each topic is kept.
        heartbeat: Seconds between two heartbeats; `None`: there are none.
        backend: What connects the hub with those of other processes, if anything does.
        max_queued: How many publications may wait for the backend.

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
    ) -> None:
        self.topics: Topics = Topics(bounds, secrets.token_hex(8))
        self.published: int = 0
        self._dispatcher = Dispatcher(self.topics)
        self._heartbeat = heartbeat
        self._sweepable = Wakeup()
        self._heard = Wakeup()  # woken when there is a member for heartbeats
        self._relay: Relay | None = None
        if backend is not None:
            self._relay = Relay(backend, self, max_queued)
            self.topics.changed = self._relay.wants_change
        self._excluded: dict[str, frozenset[Reading]] = {}  # by the tokens under way

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the tasks; at the end of the block, tell members of all messages."""
        async with create_task_group() as tasks:
            tasks.start_soon(self._dispatcher.run)
            tasks.start_soon(self._sweep)
            if self._heartbeat is not None:
                tasks.start_soon(self._beat, self._heartbeat)
            if self._relay is None:
                yield
            else:
                async with self._relay.running():
                    yield
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
        token = f"{self.topics.epoch}-{self.published}"
        self._relay.put(Publication(name, message, key, token))
        self.published += 1
        if excluded:
            self._excluded[token] = excluded
        return len(self.topics.readers_of(name).keys() - excluded)

    def append(
        self,
        name: str,
        message: str | bytes,
        size: int,
        key: str | None,
        excluded: frozenset[Reading] = NOBODY,
        position: tuple[str, Id] | None = None,
    ) -> int:
        """Put a message into the log of its topic; return how many members want it.

        Args:
            position: The epoch and id that the backend has given; `None`: the message
                is numbered here.
        """
        topics = self.topics
        topics.order += 1
        if self._relay is None:
            self.published += 1
        topic = topics.find(name)
        if topic is None:
            topics.forgotten = (topics.order,)
            return 0
        epoch, message_id = position or (topics.epoch, (topics.order,))
        if epoch != topic.epoch:
            _begin_epoch(topic, epoch, message_id)
        log = topic.log
        entry = Entry(
            name,
            message,
            epoch,
            message_id,
            topics.order,
            log.last,
            key=key,
            exclude=excluded,
            at=current_time(),
            size=size,
        )
        if topic.keepers and log.full:
            for reading in topic.keepers:
                reading.notice(topic)
        log.append(entry)
        topic.published += 1
        if topics.sweepable:
            self._sweepable.wake()
        self._dispatcher.add(topic)  # also without members: one may come to resume
        readings = topic.readings
        return len(readings) - (len(excluded & readings.keys()) if excluded else 0)

    # The receiver of the relay

    def wanted(self) -> Wants:
        """Return the topics and the patterns that members have named."""
        return self.topics.wanted()

    def deliver(self, delivery: Delivery) -> None:
        """Take a message or a gap from the backend."""
        message = delivery.message
        if message is None:
            self._excluded.clear()  # of messages that may be lost
            self._tell_gap(delivery.topic)
            return
        excluded = self._excluded.pop(delivery.token, NOBODY)
        position = None
        if delivery.id is not None and delivery.epoch is not None:
            position = delivery.epoch, Position.id_of(delivery.id)
        size = len(message.encode() if isinstance(message, str) else message)
        name = checked_topic(delivery.topic)
        self.append(name, message, size, delivery.key, excluded, position)

    def _tell_gap(self, name: str | None) -> None:
        """Tell the members of a topic, or all members, that messages may be missing."""
        names = list(self.topics.by_name) if name is None else [name]
        for topic in filter(None, map(self.topics.by_name.get, names)):
            if not topic.name.startswith(OWN):
                for reading in topic.readings:
                    reading.tell_gap(topic)
                self._dispatcher.add(topic)

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


def _begin_epoch(topic: Topic, epoch: str, first: Id) -> None:
    """Have the positions of a topic be of another epoch from now on."""
    if topic.log.end:
        for reading in topic.readings:
            reading.tell_gap(topic)
    topic.epoch = epoch
    topic.log.begin_epoch(first)
