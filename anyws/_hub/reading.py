"""The reading of one member: a cursor into the log of each of its topics.

    topic "a"   log  . . . . . . . . . .|
                             ^ cursor         at most `buffer` messages behind the end
    topic "b"   log  . . . .|
                            ^ cursor          up to date

A member that is up to date costs an index for each topic. A message that it has not
read stays in the log, where it stands for all members. If the member falls more than
`buffer` messages behind the end of a log, its overflow rule decides:

    drop_oldest   the cursor moves on; a gap is reported in place of what was skipped
    close         the member is closed
    drop_newest,  the member keeps messages in a list of its own from now on (`kept`),
    coalesce      at most `buffer` of them; when it has read them all, its cursor goes
                  on at the end of the log

A member with a filter keeps messages in such a list under every rule: only those count
that its filter lets pass. So does a member that is behind when a message excludes it,
until it has read all.

Rules are applied when the member looks: by the hub's task after each message, and
before each message that is taken. The time at which it looks does not change which
messages are dropped. The rules that keep messages must look before the log forgets one
(`Topic.keepers`).

The messages of several topics come in the order in which they were published.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from heapq import heappop, heappush, heapreplace
from typing import Final, Literal, Protocol, TypeAlias

from .cursor import Cursor, keep_gap
from .event import Event
from .log import Entry
from .position import Id
from .topic import Topic
from .topic_names import OWN

Overflow: TypeAlias = Literal["drop_oldest", "drop_newest", "coalesce", "close"]
Filter: TypeAlias = Callable[[Event], bool]

RULES: Final = ("drop_oldest", "drop_newest", "coalesce", "close")
_NO_PATTERNS: Final[frozenset[str]] = frozenset()  # one for all: it takes 216 bytes
_KEEPING: Final = ("drop_newest", "coalesce")


class Taker(Protocol):
    """A member, as its reading sees it."""

    def wake(self) -> None:
        """Take what there is to read, or have a task do so."""

    def take_now(self, entry: Entry) -> bool:
        """Take a message that is the only one to read; false: it comes by `peek`."""


class Reading:
    """The reading of one member: the messages that it has not taken yet.

    Args:
        buffer: How many messages of a topic the member may be behind.
        overflow: The rule for a member that is further behind.
        filter: Says which events the member gets; `None`: all.
        taker: The member.

    Attributes:
        cursors: Where the member stands, by the name of the topic.
        patterns: The patterns that the member wants.
        sent, dropped, coalesced: Messages that the member has taken, and those that its
            rule dropped, or replaced by newer ones.
        overrun: Whether the rule was to close the member.
        error: The exception that the filter has raised; the member is to fail with it.
    """

    __slots__ = (
        "_buffer",
        "_filter",
        "_heap",
        "_keeps",
        "_overflow",
        "_serial",
        "_taker",
        "coalesced",
        "cursors",
        "dropped",
        "error",
        "overrun",
        "patterns",
        "sent",
    )

    def __init__(
        self,
        buffer: int,
        overflow: Overflow,
        filter: Filter | None,
        taker: Taker,
    ) -> None:
        self._buffer = buffer
        self._overflow = overflow
        self._filter = filter
        self._taker = taker
        self._keeps = overflow in _KEEPING or filter is not None
        self._heap: list[tuple[int, int, Cursor]] = []
        self._serial = 0  # tells entries of the heap apart
        self.cursors: dict[str, Cursor] = {}
        self.patterns: frozenset[str] = _NO_PATTERNS
        self.sent: int = 0
        self.dropped: int = 0
        self.coalesced: int = 0
        self.overrun: bool = False
        self.error: Exception | None = None

    # Topics

    def enter(self, topic: Topic, *, named: bool) -> Cursor:
        """Begin to read a topic at its end."""
        cursor = self.cursors[topic.name] = Cursor(topic, topic.log.end, named=named)
        topic.add(self, self._buffer, keeps=self._keeps)
        return cursor

    def leave(self, topic: Topic) -> None:
        """Stop reading a topic; its unread messages are forgotten."""
        cursor = self.cursors.pop(topic.name)
        topic.remove(self)
        if cursor.pending:
            self._heap = [item for item in self._heap if item[2] is not cursor]
            self._heap.sort()

    def resume(self, cursor: Cursor, index: int, *, gap: bool) -> None:
        """Go back to a message, or report a gap before the next one."""
        cursor.next, cursor.gap = index, gap
        cursor.seen = -1  # the next message is to be looked at
        if gap or index < cursor.topic.log.end:
            self._push(cursor)

    def hold(self, cursor: Cursor) -> None:
        """Read nothing of a topic until `fill` is called: the backend is asked."""
        cursor.replay = deque()
        cursor.topic.behind.add(self)  # so that its log keeps what comes meanwhile

    def fill(self, cursor: Cursor, replay: Sequence[Entry], since: Id | None) -> None:
        """Put the backend's replay before the messages of the log.

        Args:
            cursor: Where the member stands.
            replay: Messages and gaps.
            since: The id of the latest message that the member has had, if `replay`
                goes on behind it.
        """
        cursor.fill(replay, since, self._wants)
        cursor.seen = -1
        self._push(cursor)

    @property
    def lag(self) -> int:
        """How many messages the member has not taken, of the topic with the most."""
        cursors = self.cursors.values()
        return max((cursor.lag for cursor in cursors), default=0)

    # New messages

    def tell(self, topic: Topic) -> None:
        """Look at a log that has new messages, and wake the member.

        A message that is the only one is handed over here, if the member takes it.
        """
        cursor = self.cursors[topic.name]
        log = topic.log
        if (
            log.end - cursor.next == 1
            and log.end > log.first
            and not (self._heap or cursor.gap or cursor.replay is not None)
        ):
            entry = log[cursor.next]
            if self._wants(entry) and self._taker.take_now(entry):
                cursor.next = cursor.seen = log.end
                self.sent += 1
                topic.sent += 1
                return
        self.notice(topic)
        self._taker.wake()

    def wake(self) -> None:
        """Wake the member, which may have something to read."""
        self._taker.wake()

    # Falling behind

    def notice(self, topic: Topic) -> None:
        """Look at a log that has new messages: apply the rule, note what is to read."""
        cursor = self.cursors.get(topic.name)
        if cursor is None:
            return
        log = topic.log
        cursor.seen = log.end
        if cursor.kept:
            self._keep(cursor)
        else:
            self._skip_unwanted(cursor)
            if log.end - cursor.next > self._buffer or cursor.next < log.first:
                self._fall_behind(cursor)
                self._skip_unwanted(cursor)
        if not cursor.pending and (cursor.next < log.end or cursor.kept):
            self._push(cursor)

    def make_way(self, topic: Topic) -> None:
        """Look at a log before a message is appended that the member does not get.

        If the member is behind, it keeps its messages in a list of its own from now on,
        so that this message displaces none of them.
        """
        cursor = self.cursors.get(topic.name)
        if cursor is None or (cursor.next == topic.log.end and not cursor.kept):
            return
        self._keep(cursor)
        if cursor.kept:
            topic.keepers[self] = None
            self._push(cursor)

    def pass_over(self, topic: Topic) -> None:
        """Move on behind the message for which `make_way` was called."""
        cursor = self.cursors.get(topic.name)
        if cursor is not None and cursor.next == topic.log.end - 1:
            cursor.next = cursor.seen = topic.log.end

    def _fall_behind(self, cursor: Cursor) -> None:
        """Apply the rule to a member that is too far behind in one topic."""
        log = cursor.topic.log
        if self._keeps:
            self._keep(cursor)
        elif self._overflow == "close":
            self.overrun = True
        else:
            self._skip(cursor, max(log.end - self._buffer, log.first))

    def _skip(self, cursor: Cursor, index: int) -> None:
        """Move the cursor on; report a gap if a skipped message was wanted."""
        log = cursor.topic.log
        forgotten = max(log.first - cursor.next, 0)
        skipped = forgotten + sum(
            self._wants(log[n]) for n in range(cursor.next + forgotten, index)
        )
        if self._overflow == "coalesce" and not log.lost_any(cursor.next):
            self._count_coalesced(cursor.topic, skipped)
        elif skipped:
            cursor.gap = True
            self._count_dropped(cursor.topic, skipped)
        cursor.next = index

    def _keep(self, cursor: Cursor) -> None:
        """Take the messages of the log into the list of the member, by the rule."""
        log, topic = cursor.topic.log, cursor.topic
        kept = cursor.kept = {} if cursor.kept is None else cursor.kept
        if cursor.next < log.first:
            self._skip(cursor, log.first)
            self.overrun = self.overrun or self._overflow == "close"
        merges = self._overflow == "coalesce"
        for index in range(cursor.next, log.end):
            entry = log[index]
            if not self._wants(entry):
                continue
            if entry.message is None:
                keep_gap(kept, index, entry)
                continue
            key = entry.key if merges and entry.key is not None else index
            if kept.pop(key, None) is not None:  # the newest has its own place
                cursor.keeping -= 1
                self._count_coalesced(topic, 1)
            if cursor.keeping < self._buffer:
                kept[key] = entry
                cursor.keeping += 1
                continue
            if self._overflow == "close":
                self.overrun = True
                return
            self._count_dropped(topic, 1)
            if self._overflow != "drop_newest":
                while kept.pop(next(iter(kept))).message is None:
                    pass  # a gap goes with the message behind it
                kept[key] = entry
                cursor.gap = True
            else:
                keep_gap(kept, index, entry)
        cursor.next = log.end

    def _count_dropped(self, topic: Topic, messages: int) -> None:
        self.dropped += messages
        topic.dropped += messages

    def _count_coalesced(self, topic: Topic, messages: int) -> None:
        self.coalesced += messages
        topic.coalesced += messages

    # Taking

    def peek(self) -> Entry | None:
        """Return the next message or gap; `None`: all is read."""
        heap = self._heap
        while heap:
            order, serial, cursor = heap[0]
            entry = self._head(cursor)
            if entry is None:
                cursor.pending = False
                heappop(heap)
                self._caught_up(cursor.topic)
            elif entry.order != order:  # others have overtaken what was skipped
                heapreplace(heap, (entry.order, serial, cursor))
            elif order > cursor.topic.horizon.order:
                return None
            else:
                return entry
        return None

    def advance(self) -> None:
        """Take the message that `peek` has returned."""
        cursor = self._heap[0][2]
        topic = cursor.topic
        if cursor.replay:
            taken = cursor.replay.popleft().message is not None
            if not cursor.replay:
                cursor.replay = None
            self.sent += taken
            topic.sent += taken
            return
        if cursor.gap:
            cursor.gap = False
            return
        if cursor.kept:
            first = next(iter(cursor.kept))
            taken = cursor.kept.pop(first).message is not None
            cursor.keeping -= taken
        else:
            taken = topic.log[cursor.next].message is not None
            cursor.next += 1
            if cursor.next < topic.log.end:
                self._skip_unwanted(cursor)
        self.sent += taken
        topic.sent += taken
        if not cursor.kept and cursor.next == topic.log.end:
            cursor.pending = False
            heappop(self._heap)
            self._caught_up(topic)

    def _caught_up(self, topic: Topic) -> None:
        if not self._keeps:
            topic.keepers.pop(self, None)
        topic.caught_up(self)

    def take(self) -> Entry | None:
        """Take the next message or gap; `None`: all is read."""
        entry = self.peek()
        if entry is not None:
            self.advance()
        return entry

    def _head(self, cursor: Cursor) -> Entry | None:
        """Return what comes next in one topic; skip what the member does not want."""
        log = cursor.topic.log
        if cursor.seen != log.end:
            self.notice(cursor.topic)
        if self.overrun:
            return None
        if cursor.replay:
            return cursor.replay[0]
        if cursor.gap:
            return cursor.gap_before()
        if cursor.kept:
            return next(iter(cursor.kept.values()))
        return log[cursor.next] if cursor.next < log.end else None

    def _skip_unwanted(self, cursor: Cursor) -> None:
        """Move the cursor on to the first message that the member wants."""
        log = cursor.topic.log
        while log.first <= cursor.next < log.end and not self._wants(log[cursor.next]):
            cursor.next += 1

    def _wants(self, entry: Entry) -> bool:
        if self in entry.exclude or self.error is not None:
            return False
        try:
            if entry.message is None or self._filter is None:
                return True
            if entry.topic.startswith(OWN):
                return True
            return bool(self._filter(entry.event))
        except Exception as exc:
            self.error = exc
            return False

    def _push(self, cursor: Cursor) -> None:
        if cursor.pending or cursor.waits:
            return
        cursor.pending = True
        self._serial += 1
        # The next message is looked at when it is taken; until then it is in front.
        order, log = 0, cursor.topic.log
        if cursor.replay is None and log.first <= cursor.next < log.end:
            order = log[cursor.next].order
        heappush(self._heap, (order, self._serial, cursor))
        cursor.topic.behind.add(self)

    def names(self, topic: str) -> bool:
        """Whether the member has named a topic itself, rather than a pattern."""
        return self.cursors[topic].named

    def topics(self) -> Iterator[Topic]:
        """Yield the topics that the member reads."""
        for cursor in list(self.cursors.values()):
            yield cursor.topic
