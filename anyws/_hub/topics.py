"""All topics of a hub, and who wants which of them.

A topic is there as long as a member reads it, or its log holds something. A pattern
stands for topics: its members join each topic that it matches, when the topic comes
into being. So `find` looks at the patterns once for a topic, and a message then finds
all members in one place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from .cursor import Cursor
from .forgotten import Forgotten
from .log import Bounds, Log
from .position import Position
from .reading import Reading
from .topic import Horizon, Reader, Topic
from .topic_names import OWN, compiled, is_pattern

Since: TypeAlias = Mapping[str, Position]
Wants: TypeAlias = tuple[frozenset[str], frozenset[str]]


class Wanted:
    """A pattern, and the members that want what it matches.

    Attributes:
        match: Tells whether the pattern matches a topic.
        readings: The members.
    """

    __slots__ = ("match", "readings")

    def __init__(self, pattern: str) -> None:
        self.match = compiled(pattern).fullmatch
        self.readings: dict[Reading, None] = {}


class Topics:
    """The topics of a hub.

    Args:
        bounds: How much of each topic is kept.
        epoch: One life of the hub, for positions.

    Attributes:
        by_name: The topics that are there.
        patterns: The patterns that members want.
        changed: Called when members may want other topics.
        remote: Whether a backend delivers the messages, and only of what is wanted.
        ask: Called with a member and a position, from which the backend is to replay;
            `None`: it cannot.
        order: The number of the latest message of the hub.
        horizon: Up to where members may read.
        forgotten: Where the topics have ended that are not there.
    """

    def __init__(self, bounds: Bounds, epoch: str) -> None:
        self.bounds = bounds
        self.epoch: str = epoch
        self.by_name: dict[str, Topic] = {}
        self.patterns: dict[str, Wanted] = {}
        self.changed: Callable[[], None] = _nothing
        self.remote: bool = False
        self.ask: Callable[[Reading, Cursor, Position], None] | None = None
        self.order: int = 0
        self.horizon: Horizon = Horizon()
        self.forgotten: Forgotten = Forgotten()

    def find(self, name: str) -> Topic | None:
        """Return a topic that is to have a message; `None`: nobody wants it."""
        topic = self.by_name.get(name)
        if topic is not None:
            return topic
        own = name.startswith(OWN)
        matching = [
            wanted
            for wanted in self.patterns.values()
            if not own and wanted.match(name)
        ]
        if not matching and (own or not self.bounds.history):
            return None
        topic = self._add(name)
        for wanted in matching:
            for reading in wanted.readings:
                if name not in reading.cursors:
                    reading.enter(topic, named=False)
        return topic

    def _add(self, name: str) -> Topic:
        log = Log(self.bounds, self.forgotten.take(name))
        if self.remote:  # what came before it was there has not been delivered
            log.begin_epoch((self.order,))
            log.note_hole()
        topic = Topic(name, self.epoch, log, self.horizon, self._settled)
        self.by_name[name] = topic
        return topic

    def readers_of(self, name: str) -> dict[Reader, None]:
        """Return the members that want a topic, whether or not it is there."""
        topic = self.by_name.get(name)
        if topic is not None:
            return topic.readings
        matching = (w for w in self.patterns.values() if w.match(name))
        return {reading: None for wanted in matching for reading in wanted.readings}

    # Members

    def join(self, reading: Reading, name: str, since: Since) -> None:
        """Have a member read a topic, or all topics that a pattern matches."""
        self.changed()
        if not is_pattern(name):
            self._enter(reading, name, since.get(name), named=True)
            return
        wanted = self.patterns.setdefault(name, Wanted(name))
        wanted.readings[reading] = None
        reading.patterns |= {name}
        there = [topic for topic in self.by_name if not topic.startswith(OWN)]
        for topic in dict.fromkeys([*there, *since]):
            if not is_pattern(topic) and wanted.match(topic):
                position = since.get(topic, since.get(name))
                self._enter(reading, topic, position, named=False)

    def _enter(
        self, reading: Reading, name: str, since: Position | None, *, named: bool
    ) -> None:
        cursor = reading.cursors.get(name)
        if cursor is not None:
            cursor.named = cursor.named or named
            return
        topic = self.find(name) or self._add(name)
        cursor = reading.cursors.get(name) or reading.enter(topic, named=named)
        cursor.named = cursor.named or named
        if since is not None:
            self._resume(reading, cursor, since)

    def _resume(self, reading: Reading, cursor: Cursor, since: Position) -> None:
        """Go back to a position. Where that is not possible, tell a gap.

        Behind a gap comes all that is kept.
        """
        topic = cursor.topic
        index: int | None
        if since == Position.OLDEST:
            if self.ask is not None:
                reading.hold(cursor)
                self.ask(reading, cursor, since)
            else:
                reading.resume(cursor, topic.log.first, gap=False)
            return
        epoch, message_id, _ = since.parts
        index = None
        # The hub's own ids grow across topics, so each up to the latest is a place in
        # this topic, too; a backend's ids grow within it. An id beyond is made up.
        known = topic.log.last if topic.epoch != self.epoch else (self.order,)
        if epoch == topic.epoch and message_id <= known:
            index = topic.log.behind(message_id)
        if index is None and self.ask is not None:
            reading.hold(cursor)
            self.ask(reading, cursor, since)
        elif index is None:
            reading.resume(cursor, topic.log.first, gap=True)
        else:
            reading.resume(cursor, index, gap=False)

    def leave(self, reading: Reading, name: str) -> None:
        """Have a member no longer read a topic, or what a pattern matches."""
        self.changed()
        if not is_pattern(name):
            cursor = reading.cursors.get(name)
            if cursor is None:
                return
            cursor.named = False
            self._drop_unwanted(reading, cursor.topic)
            return
        if name in reading.patterns:
            self._drop_pattern(reading, name)
            for topic in list(reading.topics()):
                self._drop_unwanted(reading, topic)

    def _drop_pattern(self, reading: Reading, pattern: str) -> None:
        reading.patterns -= {pattern}
        wanted = self.patterns[pattern]
        del wanted.readings[reading]
        if not wanted.readings:
            del self.patterns[pattern]

    def _drop_unwanted(self, reading: Reading, topic: Topic) -> None:
        """Have a member leave a topic that neither it nor a pattern of it names."""
        matching = any(self.patterns[p].match(topic.name) for p in reading.patterns)
        if not matching and not reading.cursors[topic.name].named:
            reading.leave(topic)

    def remove(self, reading: Reading) -> None:
        """Have a member leave all its topics."""
        self.changed()
        for pattern in list(reading.patterns):
            self._drop_pattern(reading, pattern)
        for topic in list(reading.topics()):
            reading.leave(topic)

    # The end of a topic

    def _settled(self, topic: Topic) -> None:
        """Forget a topic that holds nothing and that no member reads."""
        there = self.by_name.get(topic.name) is topic
        if there and not len(topic.log) and not topic.readings:
            del self.by_name[topic.name]
            if self.remote:
                self.changed()
            elif topic.epoch == self.epoch:
                self.forgotten.note(topic.name, topic.log.floor)

    def wanted(self) -> Wants:
        """Return the topics and the patterns that a backend is to deliver.

        A topic that has messages is wanted without members, too: they resume there.
        """
        names = (
            name
            for name, topic in self.by_name.items()
            if (topic.named or not topic.readings) and not name.startswith(OWN)
        )
        return frozenset(names), frozenset(self.patterns)

    @property
    def sweepable(self) -> bool:
        """Whether `sweep` may find something to do later."""
        return bool(self.by_name) and bool(self.bounds.history or self.patterns)

    def sweep(self, name: str, now: float) -> None:
        """Let what is too old leave a history; end a topic that only patterns keep."""
        topic = self.by_name.get(name)
        if topic is None:
            return
        topic.settle(now)
        idle = not (topic.behind or topic.dirty or len(topic.log))
        if idle and not topic.named:
            for reading in list(topic.readings):
                reading.leave(topic)  # the last one to leave ends it


def _nothing() -> None:
    """Do nothing: no backend has to know what is wanted."""
