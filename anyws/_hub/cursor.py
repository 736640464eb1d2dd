"""Where a member stands in one topic: an index into its log, and what comes before."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from .log import Entry
from .position import Id
from .topic import Topic


class Cursor:
    """Where a member stands in one topic.

    Attributes:
        topic: The topic.
        next: The index of the message in its log that comes next.
        named: Whether the member named the topic itself; otherwise a pattern did.
        pending: Whether the reading has the cursor in its heap.
        gap: Whether a gap is to be reported before the next message.
        kept: Messages and gaps that stand before `next`, by key or by number; `None`:
            there never were any.
        replay: Messages and gaps from the backend that stand before all others; empty:
            the member waits for them; `None`: there are none.
        keeping: How many messages, not gaps, are in `kept`.
        seen: The end of the log when the member looked last.
    """

    __slots__ = (
        "gap",
        "keeping",
        "kept",
        "named",
        "next",
        "pending",
        "replay",
        "seen",
        "topic",
    )

    def __init__(self, topic: Topic, index: int, *, named: bool) -> None:
        self.topic: Topic = topic
        self.next: int = index
        self.named: bool = named
        self.pending: bool = False
        self.gap: bool = False
        self.kept: dict[str | int, Entry] | None = None
        self.keeping: int = 0
        self.replay: deque[Entry] | None = None
        self.seen: int = index

    @property
    def waits(self) -> bool:
        """Whether the member waits for the backend's replay."""
        return self.replay is not None and not self.replay

    @property
    def lag(self) -> int:
        """How many messages the member has not taken."""
        replayed = 0 if self.replay is None else len(self.replay)
        return self.topic.log.end - self.next + self.keeping + replayed

    def fill(
        self,
        replay: Sequence[Entry],
        since: Id | None,
        wants: Callable[[Entry], bool],
    ) -> None:
        """Put the backend's replay before the messages here; see `Reading.fill`."""
        log, kept = self.topic.log, self.kept or {}
        if since is not None:  # in another process, which was ahead of this one
            for key in [key for key, entry in kept.items() if entry.id <= since]:
                self.keeping -= kept.pop(key).message is not None
            while log.first <= self.next < log.end and log[self.next].id <= since:
                self.next += 1
        following = next(iter(kept.values()), None)
        if following is None and log.first <= self.next < log.end:
            following = log[self.next]
        before = [
            entry
            for entry in replay
            if entry.message is None or following is None or entry.id < following.id
        ]
        if before and following is not None and before[-1].id == following.before:
            self.gap = False  # what a rule has dropped meanwhile is among them
        wanted = deque(e for e in before if e.message is None or wants(e))
        self.replay = wanted or None

    def gap_before(self) -> Entry:
        """Return the gap that is reported before the next message, or at the end."""
        log, topic = self.topic.log, self.topic
        if self.kept:
            following = next(iter(self.kept.values()))
        elif self.next < log.end:
            following = log[self.next]
        else:
            order = log.last_order
            return Entry(topic.name, None, topic.epoch, log.last, order, log.last)
        before = following.before
        return Entry(topic.name, None, following.epoch, before, following.order, before)


def keep_gap(kept: dict[str | int, Entry], index: int, dropped: Entry) -> None:
    """Add a gap after the kept messages; each dropped message extends it."""
    last = next(reversed(kept), None)
    if last is not None and kept[last].message is None:
        del kept[last]
    kept[index] = Entry(
        dropped.topic,
        None,
        dropped.epoch,
        dropped.id,
        dropped.order,
        dropped.id,
    )
