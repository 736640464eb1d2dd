"""What a hub has to do, in the simplest words: lists of what each member gets next."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import count

from anyws._hub.reading import Overflow
from anyws._hub.topic_names import compiled, is_pattern


@dataclass(frozen=True)
class Item:
    """A message that a member has not read, or a gap."""

    order: int
    message: str | None  # `None`: a gap
    key: str | None = None


@dataclass(eq=False)
class ModelTopic:
    """What one member has still to read of one topic.

    Attributes:
        items: Messages, and gaps behind those that were kept.
        gap: Whether a gap comes first.
        keeping: Whether the member keeps messages by its rule.
        last: The order of the latest message.
    """

    items: list[Item] = field(default_factory=list)
    gap: bool = False
    keeping: bool = False
    last: int = 0

    def head(self) -> Item | None:
        """Return what comes next."""
        if not self.items:
            self.keeping = False
            return Item(self.last, None) if self.gap else None
        if self.gap:
            return replace(self.items[0], message=None)
        return self.items[0]

    def take(self) -> None:
        """Take what comes next."""
        if self.gap:
            self.gap = False
        else:
            del self.items[0]
            self.head()


@dataclass(eq=False)
class ModelMember:
    """One member.

    Attributes:
        names: The topics and patterns that it wants.
        topics: What it has still to read.
        closed: Whether its rule has closed it.
    """

    buffer: int
    overflow: Overflow
    names: set[str] = field(default_factory=set)
    topics: dict[str, ModelTopic] = field(default_factory=dict)
    closed: bool = False
    sent: int = 0
    dropped: int = 0
    coalesced: int = 0

    def wants(self, topic: str) -> bool:
        """Whether a topic is among what it wants."""
        return any(
            compiled(name).fullmatch(topic) if is_pattern(name) else name == topic
            for name in self.names
        )

    def leave(self, name: str) -> None:
        """Forget a topic or a pattern, and what was not read of it alone."""
        self.names.discard(name)
        for topic in list(self.topics):
            if not self.wants(topic):
                del self.topics[topic]

    def put(self, topic: str, item: Item, *, wanted: bool) -> None:
        """Apply the rule to one more message, which the member may not want."""
        state = self.topics.setdefault(topic, ModelTopic())
        state.head()
        state.last = item.order
        if not wanted:  # it counts nowhere; but what is waiting is kept from now on
            if state.items and not state.keeping:
                self._begin_keeping(state)
        elif state.keeping:
            self._keep(state, item)
        elif len(state.items) < self.buffer:
            state.items.append(item)
        elif self.overflow == "close":
            self.closed = True
        elif self.overflow == "drop_oldest":
            state.items.append(item)
            state.items.pop(0)
            self.dropped += 1
            state.gap = True
        else:
            self._begin_keeping(state)
            self._keep(state, item)

    def _begin_keeping(self, state: ModelTopic) -> None:
        state.keeping = True
        items, state.items = state.items, []
        for item in items:
            self._keep(state, item)

    def _keep(self, state: ModelTopic, item: Item) -> None:
        merges = self.overflow == "coalesce"
        same = [i for i in state.items if merges and item.key and i.key == item.key]
        for older in same:
            state.items.remove(older)
            self.coalesced += 1
        messages = [i for i in state.items if i.message is not None]
        if len(messages) < self.buffer:
            state.items.append(item)
            return
        if self.overflow == "close":
            self.closed = True
            return
        self.dropped += 1
        if self.overflow != "drop_newest":
            state.items.pop(0)
            state.items.append(item)
            state.gap = True
        else:
            if state.items[-1].message is None:
                state.items.pop()
            state.items.append(Item(item.order, None))

    def next(self) -> tuple[str, str | None] | None:
        """Take what comes next, as topic and message; `None`: all is read."""
        heads = {
            topic: item
            for topic, state in self.topics.items()
            if (item := state.head()) is not None
        }
        if not heads:
            return None
        topic = min(heads, key=lambda name: heads[name].order)
        self.topics[topic].take()
        message = heads[topic].message
        self.sent += message is not None
        return topic, message


class Model:
    """All members, and the messages that are published."""

    def __init__(self) -> None:
        self.members: list[ModelMember] = []
        self._orders = count(1)

    def publish(
        self, topic: str, message: str, key: str | None, exclude: ModelMember | None
    ) -> int:
        """Give a message to all that want it; return how many do."""
        order = next(self._orders)
        for member in self.members:
            if member.wants(topic):
                wanted = member is not exclude
                member.put(topic, Item(order, message, key), wanted=wanted)
        return sum(m.wants(topic) and m is not exclude for m in self.members)
