"""Where a hub stands in the streams of its topics: pure, without I/O.

For each topic that is followed, the *place* is the epoch of its stream and the id of
the message that the hub has had last. A message names the one before it. If that is the
place, nothing was missed. If not, the messages between have to be fetched; where the
stream has lost them, a gap is reported.

Of a topic that only a pattern has named there is no place before its first message. The
*floor* of the pattern, the time when it was subscribed to, stands for it: messages from
before the floor were not wanted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, TypeAlias

from .._hub.backend import Delivery
from .._hub.topic_names import compiled
from ._wire import NOTHING, Kept, StreamId, decoded

Place: TypeAlias = tuple[str, StreamId]
Entry: TypeAlias = tuple[StreamId, StreamId, bytes]  # id, the id before, message

# How many topics are remembered that no member has named.
_REMEMBERED: Final = 10_000

_UNBORN: Final = ""  # the epoch of a stream that does not exist


class Follower:
    """The places of a hub.

    Args:
        refuse: Called with a topic and an error for data that is not a message of a
            hub.

    Attributes:
        busy: The topics that have had a message since the silent ones were looked at
            last. Nothing is missing before that message, and what is behind it comes.
            (To fetch it would be wrong in a burst: a stream may have lost already what
            is still on its way.)
    """

    def __init__(self, refuse: Callable[[str, ValueError], None]) -> None:
        self._refuse = refuse
        self._places: dict[str, Place] = {}
        self._named: frozenset[str] = frozenset()
        self._floors: dict[str, tuple[Callable[[str], object], StreamId]] = {}
        self._forgotten: StreamId = NOTHING  # the highest id of those forgotten
        self.busy: set[str] = set()

    def want(self, topics: frozenset[str], patterns: frozenset[str]) -> None:
        """Note what is named."""
        self._named = topics
        for pattern in self._floors.keys() - patterns:
            del self._floors[pattern]
        if not patterns:
            for topic in self._places.keys() - topics:
                del self._places[topic]

    def begin_pattern(self, pattern: str, floor: StreamId) -> None:
        """Follow a pattern from now on, unless it is followed already."""
        self._floors.setdefault(pattern, (compiled(pattern).fullmatch, floor))

    def after(self, topic: str) -> StreamId | None:
        """Return the id behind which messages are wanted; `None`: it is not known."""
        place = self._places.get(topic)
        if place is not None:
            return place[1]
        floors = [floor for match, floor in self._floors.values() if match(topic)]
        return max(min(floors), self._forgotten) if floors else None

    def is_next(self, topic: str, kept: Kept) -> bool | None:
        """Whether a message is the next one; `None`: it was had, or nobody wants it."""
        place = self._places.get(topic)
        if place is None:
            after = self.after(topic)
            return None if after is None else kept.before <= after
        epoch, had = place
        if epoch == kept.epoch:
            return None if kept.id <= had else kept.before == had
        return epoch == _UNBORN and kept.before == NOTHING

    def taken(self, topic: str, kept: Kept) -> Iterator[Delivery]:
        """Take a message that is the next one."""
        unknown = topic not in self._places
        if unknown and NOTHING < kept.before <= self._forgotten:
            yield Delivery(topic, None)  # whether it was had is not known any more
        self._set(topic, (kept.epoch, kept.id))
        self.busy.add(topic)
        yield from self._delivered(topic, kept)

    def fetched(
        self, topic: str, epoch: str, last: StreamId, entries: Sequence[Entry]
    ) -> Iterator[Delivery]:
        """Take what was fetched behind `after`.

        Args:
            epoch, last: Those of the stream; `""`: there is none.
            entries: The messages, as many as were asked for at most.
        """
        place = self._places.get(topic)
        if place is None and self.after(topic) is None:
            self._set(topic, (epoch, last))
            return
        had = NOTHING if place is None else place[1]
        if place is not None and place[0] not in (epoch, _UNBORN):
            # The stream was lost. What stands in the new one is fetched next.
            self._set(topic, (epoch, NOTHING))
            yield Delivery(topic, None)
            return
        if place is not None and last < had:  # the end of the stream was lost
            self._set(topic, (epoch, last))
            yield Delivery(topic, None)
            return
        known = place is not None
        for number, (message_id, before, message) in enumerate(entries):
            if known and not number and before != had:
                yield Delivery(topic, None)
            had = message_id
            self._set(topic, (epoch, message_id))
            kept = Kept(epoch, before, message_id, message)
            yield from self._delivered(topic, kept)
        if not entries:
            self._set(topic, (epoch, last))
            if known and last > had:  # it is not kept any more
                yield Delivery(topic, None)

    def replayed(
        self, topic: str, since: Place | None, epoch: str, entries: Iterable[Entry]
    ) -> Iterator[Delivery]:
        """Return what a member has missed, up to the place of the hub, as deliveries.

        Args:
            since: The place of the member; `None`: before everything.
            epoch: That of the stream.
            entries: The newest messages of the stream, behind the place of the member
                if it has the same epoch.
        """
        after = self.after(topic)
        place = since[1] if since is not None and since[0] == epoch else None
        if since is not None and place is None:
            yield Delivery(topic, None)
        for message_id, before, message in entries:
            if after is None or message_id > after:
                break
            if place is not None and before != place:
                yield Delivery(topic, None)
            place = None
            kept = Kept(epoch, before, message_id, message)
            yield from self._delivered(topic, kept)
        if place is not None and after is not None and place < after:
            yield Delivery(topic, None)  # the stream has lost it all

    def _delivered(self, topic: str, kept: Kept) -> Iterator[Delivery]:
        epoch, before, message_id, message = kept
        try:
            yield decoded(topic, message, epoch, message_id, before)
        except ValueError as exc:
            self._refuse(topic, exc)

    def _set(self, topic: str, place: Place) -> None:
        self._places.pop(topic, None)
        self._places[topic] = place  # the one that was set latest is the last
        if len(self._places) - len(self._named) > _REMEMBERED:
            self._forget()

    def _forget(self) -> None:
        for topic, (_, message_id) in self._places.items():
            if topic not in self._named:
                del self._places[topic]
                self._forgotten = max(self._forgotten, message_id)
                return
