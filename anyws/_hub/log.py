"""The log of one topic: its latest messages, in order, each with an index.

Members are cursors into it: a member knows the index of the message that it reads next.
The log does not know its members. It is bounded in messages and bytes, and forgets its
oldest messages even if members have not read them. A member whose index is below
`first` has missed something.

There are two bounds. While some member is behind, `bound` keeps what members may be
behind (`capacity`). When all have read everything, `release` keeps the history.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from .._values.shared import SharedMessage
from .event import Event
from .position import Id, Position

Encode: TypeAlias = Callable[[Event], str | bytes | None]


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much of a topic is kept.

    Attributes:
        history: Messages that are kept although all members have read them.
        history_bytes: Bytes of payload that the history holds together.
        history_seconds: Seconds after which a message leaves the history.
        buffer_bytes: Bytes of payload that a log holds together for members that are
            behind; a single larger message is kept all the same.
    """

    history: int
    history_bytes: int
    history_seconds: float
    buffer_bytes: int


class Entry:
    """One message in a log, or a gap for one member.

    Attributes:
        topic: The topic.
        message: The message; `None`: a gap. (The hub's own topics carry other objects.)
        epoch, id: The position of the message.
        order: The place among all messages of the hub, of whatever topic.
        before: The id of the message before it.
        key: The key for coalescing; `None`: there is none.
        exclude: The members that do not get it.
        at: When it came (seconds, by the clock of AnyIO).
        size: The size of the payload, in bytes.
    """

    __slots__ = (
        "_event",
        "_forms",
        "at",
        "before",
        "epoch",
        "exclude",
        "id",
        "key",
        "message",
        "order",
        "size",
        "topic",
    )

    def __init__(
        self,
        topic: str,
        message: Any,
        epoch: str,
        message_id: Id,
        order: int,
        before: Id,
        *,
        key: str | None = None,
        exclude: frozenset[Any] = frozenset(),
        at: float = 0.0,
        size: int = 0,
    ) -> None:
        self.topic: str = topic
        self.message: Any = message
        self.epoch: str = epoch
        self.id: Id = message_id
        self.order: int = order
        self.before: Id = before
        self.key: str | None = key
        self.exclude: frozenset[Any] = exclude
        self.at: float = at
        self.size: int = size
        self._event: Event | None = None
        self._forms: dict[Encode | None, SharedMessage | None] = {}

    @property
    def event(self) -> Event:
        """The entry as users see it."""
        event = self._event
        if event is None:
            position = Position.of(self.topic, self.epoch, self.id)
            event = self._event = Event(self.topic, self.message, position)
        return event

    def shared(self, encode: Encode | None) -> SharedMessage | None:
        """Return the message for the peers of all members that encode alike.

        `None`: the peers get nothing. Whatever `encode` raises is raised here.
        """
        try:
            return self._forms[encode]
        except KeyError:
            message = self.message if encode is None else encode(self.event)
            form = None if message is None else SharedMessage(message)
            self._forms[encode] = form
            return form


class Log:
    """The latest messages of one topic.

    Args:
        bounds: How much is kept.
        floor: The id of the last message that is known not to be here: messages of this
            topic that came up to it are gone.

    Attributes:
        first, end: The index of the oldest message, and that behind the newest one.
        size: Bytes of payload that the messages hold together.
        capacity: How many messages a member may be behind.
        floor: The id of the newest message that the log has forgotten.
        last: The id of the newest message.
        hole: The id of the newest message behind which others are missing that have
            never been here; empty: there is no such message.
        last_order: Its place among all messages of the hub.
    """

    __slots__ = (
        "_bounds",
        "_entries",
        "_last_unreplaced",
        "_newest",
        "capacity",
        "end",
        "first",
        "floor",
        "hole",
        "last",
        "last_order",
        "size",
    )

    def __init__(self, bounds: Bounds, floor: Id) -> None:
        self._bounds = bounds
        self._entries: dict[int, Entry] = {}
        self._newest: dict[str, int] = {}  # key -> index of its newest message
        self._last_unreplaced = -1  # index of the last lost message that was the newest
        self.first: int = 0
        self.end: int = 0
        self.size: int = 0
        self.capacity: int = 0
        self.floor: Id = floor
        self.last: Id = floor
        self.hole: Id = ()
        self.last_order: int = 0

    def __len__(self) -> int:
        return self.end - self.first

    def __getitem__(self, index: int) -> Entry:
        return self._entries[index]

    @property
    def full(self) -> bool:
        """Whether one more message makes the log forget its oldest one."""
        return len(self) >= max(self.capacity, self._bounds.history)

    def append(self, entry: Entry) -> None:
        """Append a message; forget the oldest ones that are too many."""
        self._entries[self.end] = entry
        if entry.key is not None:
            self._newest[entry.key] = self.end
        self.end += 1
        self.size += entry.size
        self.last = entry.id
        self.last_order = entry.order
        bounds = self._bounds
        while len(self) > max(self.capacity, bounds.history) or (
            self.size > max(bounds.buffer_bytes, bounds.history_bytes) and len(self) > 1
        ):
            self._forget()

    def release(self, now: float | None = None) -> None:
        """Keep nothing but the history: all members have read everything.

        Args:
            now: The time that decides what is too old for the history (seconds, by the
                clock of AnyIO); `None`: that of the newest message.
        """
        if self.end == self.first:
            return
        bounds = self._bounds
        oldest = self._entries[self.end - 1].at if now is None else now
        oldest -= bounds.history_seconds
        while self.end > self.first and (
            len(self) > bounds.history
            or self.size > bounds.history_bytes
            or self._entries[self.first].at < oldest
        ):
            self._forget()

    def begin_epoch(self, before: Id) -> None:
        """Note that the ids begin anew, behind an id."""
        self.floor = self.last = before
        self.hole = ()

    def note_hole(self) -> None:
        """Note that messages may be missing behind the newest one."""
        self.hole = self.last

    def _forget(self) -> None:
        entry = self._entries.pop(self.first)
        if entry.key is None or self._newest[entry.key] == self.first:
            self._last_unreplaced = self.first
            if entry.key is not None:
                del self._newest[entry.key]
        self.first += 1
        self.size -= entry.size
        self.floor = entry.id

    def lost_any(self, index: int) -> bool:
        """Whether a message was forgotten, from an index on, that none has replaced."""
        return index <= self._last_unreplaced

    def behind(self, message_id: Id) -> int | None:
        """Return the index of the first message behind an id.

        `None`: messages between the two are gone.
        """
        if message_id < self.floor or message_id <= self.hole:
            return None
        index = self.end
        while index > self.first and self._entries[index - 1].id > message_id:
            index -= 1
        return index
