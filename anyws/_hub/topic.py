"""One topic: its log, and the members that read it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from .log import Log


class Reader(Protocol):
    """The reading of one member, as its topics see it."""

    def notice(self, topic: Topic) -> None:
        """Look at the log, which has new messages."""

    def wake(self) -> None:
        """Wake the member."""

    def tell(self, topic: Topic) -> None:
        """Look at the log, which has new messages, and wake the member."""

    def leave(self, topic: Topic) -> None:
        """Read the topic no more."""

    def names(self, topic: str) -> bool:
        """Whether the member has named the topic itself, rather than a pattern."""


class Horizon:
    """Up to where the members of a hub may read.

    Attributes:
        order: The number of the latest message up to which all members were told.
    """

    __slots__ = ("order",)

    def __init__(self) -> None:
        self.order: int = 0


class Topic:
    """One topic.

    Args:
        name: The name.
        epoch: What its positions begin with.
        log: Its messages.
        horizon: Up to where the members may read.
        settled: Called when all members have read everything.

    Attributes:
        name: The name.
        epoch: What its positions begin with.
        log: Its messages.
        horizon: Up to where the members may read.
        readings: The members, in the order in which they came.
        keepers: Those of the members that look before the log forgets a message.
        behind: Those of the members that have something to read.
        dirty: Whether the hub's task has still to tell members of a message, or is just
            telling them.
        published, sent, dropped, coalesced: Messages published, those that members have
            taken, and those that members' rules dropped or replaced by newer ones.
    """

    __slots__ = (
        "_settled",
        "behind",
        "coalesced",
        "dirty",
        "dropped",
        "epoch",
        "horizon",
        "keepers",
        "log",
        "name",
        "published",
        "readings",
        "sent",
    )

    def __init__(
        self,
        name: str,
        epoch: str,
        log: Log,
        horizon: Horizon,
        settled: Callable[[Topic], None],
    ) -> None:
        self.horizon: Horizon = horizon
        self._settled = settled
        self.name: str = name
        self.epoch: str = epoch
        self.log: Log = log
        self.readings: dict[Reader, None] = {}
        self.keepers: dict[Reader, None] = {}
        self.behind: set[Reader] = set()
        self.dirty: bool = False
        self.published: int = 0
        self.sent: int = 0
        self.dropped: int = 0
        self.coalesced: int = 0

    def add(self, reading: Reader, buffer: int, *, keeps: bool) -> None:
        """Take a member in."""
        self.readings[reading] = None
        if keeps:
            self.keepers[reading] = None
            buffer += 1  # such a member is told when it has one too many
        self.log.capacity = max(self.log.capacity, buffer)

    def remove(self, reading: Reader) -> None:
        """Let a member go."""
        del self.readings[reading]
        self.keepers.pop(reading, None)
        if not self.readings:
            self.log.capacity = 0
        self.caught_up(reading)

    def caught_up(self, reading: Reader) -> None:
        """Note that a member has read everything, or has left."""
        self.behind.discard(reading)
        self.settle()

    def settle(self, now: float | None = None) -> None:
        """If all members have read everything, keep the history alone."""
        if not (self.behind or self.dirty):
            self.log.release(now)
            self._settled(self)

    @property
    def named(self) -> bool:
        """Whether a member has named the topic itself, rather than a pattern."""
        return any(reading.names(self.name) for reading in self.readings)
