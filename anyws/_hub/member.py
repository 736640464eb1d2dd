"""The common parts of a hub's members: their topics, their reading, their end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from .position import Position, checked_position
from .reading import RULES, Filter, Overflow, Reading, Taker
from .roster import Roster
from .topic_names import OWN, checked_name, checked_names, is_pattern
from .topics import Topics

# The argument `since=`: one position, or one for each topic or pattern.
SinceArgument: TypeAlias = str | Mapping[str, str] | None

DEFAULT_BUFFER: Final = 256


@dataclass(frozen=True, slots=True)
class MemberStatistics:
    """Counters of one member, at one moment.

    Attributes:
        sent: Messages that the member has taken: handed to the iterating task, or to
            the connection.
        dropped: Messages that the overflow rule has dropped.
        coalesced: Messages that newer ones with the same key have replaced.
        lag: Messages that wait for the member, of the topic with the most.
    """

    sent: int
    dropped: int
    coalesced: int
    lag: int


@dataclass(frozen=True, slots=True)
class Wishes:
    """The arguments of a member, checked before it becomes one.

    Raises:
        TypeError, ValueError: An argument is invalid.
    """

    topics: tuple[str, ...]
    since: SinceArgument
    filter: Filter | None
    buffer: int
    overflow: Overflow
    positions: dict[str, Position] = field(init=False)

    def __post_init__(self) -> None:
        """Check the values."""
        names = checked_names(self.topics)
        if type(self.buffer) is not int or self.buffer < 1:
            raise ValueError(
                f"buffer must be an int of at least 1, not {self.buffer!r}"
            )
        if self.overflow not in RULES:
            rules = ", ".join(map(repr, RULES))
            raise ValueError(f"overflow must be one of {rules}, not {self.overflow!r}")
        if self.filter is not None and not callable(self.filter):
            raise TypeError("filter must be a function of an Event")
        object.__setattr__(self, "positions", checked_since(names, self.since))


def checked_since(names: Iterable[str], since: SinceArgument) -> dict[str, Position]:
    """Return the positions from which topics and patterns go on.

    Raises:
        TypeError: It is neither a position nor a mapping of positions.
        ValueError: A position is invalid, or belongs to another topic.
    """
    wanted = list(names)
    if since is None:
        return {}
    if isinstance(since, str):
        if len(wanted) != 1 and since != Position.OLDEST:
            raise ValueError("since= needs a mapping of positions for several topics")
        since = dict.fromkeys(wanted, since)
    if not isinstance(since, Mapping):
        raise TypeError(
            f"since must be a Position or a mapping, not {type(since).__name__}"
        )
    return {
        checked_name(name): _checked(name, position) for name, position in since.items()
    }


def _checked(name: str, position: object) -> Position:
    if is_pattern(name) and isinstance(position, str):
        return checked_position(position, Position(position).topic or name)
    return checked_position(position, name)


class Membership:
    """The topics of one member of a hub, from its entry to its end.

    Args:
        roster: Knows the topics of the hub, when the member is entered.
        wishes: What the member asks for.
        taker: The member itself.
        own_topic: A topic of the hub's own, which no user can name.

    Attributes:
        reading: What the member has still to read.
        entered: Whether the member is one.
    """

    __slots__ = (
        "_own_topic",
        "_roster",
        "_topics",
        "_wishes",
        "entered",
        "reading",
    )

    def __init__(
        self,
        roster: Roster,
        wishes: Wishes,
        taker: Taker,
        own_topic: str | None = None,
    ) -> None:
        self._roster = roster
        self._topics: Topics
        self._own_topic = own_topic
        self._wishes: Wishes | None = wishes  # until the entry
        self.entered: bool = False
        self.reading: Reading = Reading(
            wishes.buffer, wishes.overflow, wishes.filter, taker
        )

    def enter(self) -> None:
        """Become a member of the topics that were asked for."""
        self.entered = True
        self._topics = self._roster.topics
        wishes, self._wishes = self._wishes, None
        if self._own_topic is not None:
            self._topics.join(self.reading, self._own_topic, {})
        if wishes is not None:
            for name in wishes.topics:
                self._topics.join(self.reading, name, wishes.positions)

    def leave_all(self) -> None:
        """Be a member of nothing any more; again, it does nothing."""
        if self.entered:
            self.entered = False
            self._topics.remove(self.reading)

    def join(self, names: tuple[str, ...], since: SinceArgument) -> None:
        """Join topics or patterns while the member runs.

        Raises:
            RuntimeError: The member has not been entered, or has left.
            TypeError, ValueError: A name or a position is invalid; nothing has
                changed.
        """
        wanted = checked_names(names)
        positions = checked_since(wanted, since)
        if not self.entered:
            raise RuntimeError("a member joins topics inside its 'with' block only")
        for name in wanted:
            self._topics.join(self.reading, name, positions)

    def leave(self, names: tuple[str, ...]) -> None:
        """Leave topics or patterns; those that were not joined are ignored."""
        for name in checked_names(names):
            if self.entered:
                self._topics.leave(self.reading, name)

    @property
    def topics(self) -> frozenset[str]:
        """The topics and patterns that the member has joined."""
        cursors = self.reading.cursors.items()
        named = {
            name
            for name, cursor in cursors
            if cursor.named and not name.startswith(OWN)
        }
        return frozenset(named | self.reading.patterns)

    def statistics(self) -> MemberStatistics:
        """Return the current counters."""
        reading = self.reading
        return MemberStatistics(
            reading.sent, reading.dropped, reading.coalesced, reading.lag
        )


class TopicMember:
    """A subscription or an attachment, in what the two have in common."""

    __slots__ = ("_membership", "_roster")

    def __init__(self, roster: Roster, membership: Membership) -> None:
        self._roster = roster
        self._membership = membership

    def leave(self, *topics: str) -> None:
        """Leave topics or patterns; those that were not joined are ignored.

        Messages of them that the member has not had yet are forgotten.
        """
        self._membership.leave(topics)

    @property
    def topics(self) -> frozenset[str]:
        """The topics and patterns that were joined and not left."""
        return self._membership.topics

    def statistics(self) -> MemberStatistics:
        """Return the current counters."""
        return self._membership.statistics()

    # For the hub

    @property
    def reading(self) -> Reading:
        """The messages that the member has not had yet."""
        return self._membership.reading
