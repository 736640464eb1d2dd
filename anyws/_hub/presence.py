"""Presence in topics: the people there, and its changes.

One person may be there several times, by several connections: each `track` adds an
entry of metadata under the person's key. The first entry is a join, the last one that
goes is a leave, and all between are updates. (Phoenix has the same notion.)

Each topic that is watched has a topic of the hub's own, whose messages name the key
that has changed. A watcher compares the key's entries with those it has told last, and
a newer change of a key replaces an older one that was not read. So a watcher that is
slow misses states in between, but never the last one.

With a backend, entries of other processes stand beside those of this one, as `gossip`
learns of them.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Self, TypeAlias

from anyio.lowlevel import checkpoint

from .roster import Roster
from .subscription import Subscription
from .topic_names import OWN, checked_topic

Metas: TypeAlias = tuple[Any, ...]
Values: TypeAlias = list[Any]
Kind: TypeAlias = Literal["join", "leave", "update"]


@dataclass(frozen=True, slots=True)
class PresenceChange:
    """A change of the keys that are present in a topic.

    Attributes:
        topic: The topic.
        kind: `"join"`: the key is now present, and was not before. `"leave"`: it is no
            longer present. `"update"`: its metadata have changed.
        key: The key, which names a person for instance.
        metas: The metadata under the key now, oldest first; empty after a leave.
    """

    topic: str
    kind: Kind
    key: str
    metas: Metas


class Presence:
    """The keys that are present in each topic of a hub: `hub.presence`.

    Args:
        roster: Knows whether the hub is running.
        announce: Publishes that a key of a topic has changed.
        subscribe: Makes a subscription to these announcements.

    Attributes:
        told: Called with a topic and a key after a change in this process; `None` if
            there are no other processes.
    """

    def __init__(
        self,
        roster: Roster,
        announce: Callable[[str, str], None],
        subscribe: Callable[[str], Subscription],
    ) -> None:
        self._roster = roster
        self._announce = announce
        self._subscribe = subscribe
        # topic -> key -> entry -> metadata
        self._there: dict[str, dict[str, dict[object, Any]]] = {}
        self.told: Callable[[str, str], None] | None = None

    @contextmanager
    def track(self, topic: str, key: str, meta: Any = None) -> Iterator[Tracked]:
        """Make a key present while the block runs; it never waits.

        Args:
            topic: The topic.
            key: The key of the presence, such as a user's name. The same key in several
                blocks is one presence.
            meta: Any object with information about this presence. Do not change it;
                replace it with the handle's `update`. With a backend, it is sent to
                other processes as JSON.
        Returns:
            A context manager that gives a handle, by which `meta` can be replaced.
        Raises:
            TypeError, ValueError: The topic is not a valid topic, the key is not a
                `str`, or `meta` cannot be sent to other processes.
            HubError: The hub is not running.
        """
        topic = checked_topic(topic)
        if not isinstance(key, str):
            raise TypeError(f"key must be a str, not {type(key).__name__}")
        self._roster.check_open()
        self._check(meta)
        tracked = Tracked(self, topic, key)
        self._set(tracked, meta)
        try:
            yield tracked
        finally:
            self._remove(tracked)

    def list(self, topic: str) -> dict[str, Metas]:
        """Return the keys that are present, with all their metadata, oldest first."""
        there = self._there.get(checked_topic(topic), {})
        return {key: tuple(metas.values()) for key, metas in there.items()}

    def metas(self, topic: str, key: str) -> Metas:
        """Return the metadata under one key, oldest first; empty if there is none."""
        return tuple(self._there.get(topic, {}).get(key, {}).values())

    def watch(self, topic: str) -> PresenceWatch:
        """Return the changes of a topic as an async iterator, to be used in `with`.

        To miss no change between `list` and the first step, call `list` inside the
        block, and await nothing between the two.

        Raises:
            TypeError, ValueError: The topic is not a valid topic.
        """
        topic = checked_topic(topic)
        return PresenceWatch(self, topic, self._subscribe(_own_topic(topic)))

    def _check(self, meta: Any) -> None:
        """Check that other processes can be told of metadata, if there are any."""
        if self.told is not None:
            json.dumps(meta)

    def _set(self, tracked: Tracked, meta: Any) -> None:
        keys = self._there.setdefault(tracked.topic, {})
        keys.setdefault(tracked.key, {})[tracked] = meta
        self._tell(tracked.topic, tracked.key)

    def _remove(self, tracked: Tracked) -> None:
        del self._there[tracked.topic][tracked.key][tracked]
        self._tidy(tracked.topic, tracked.key)
        self._tell(tracked.topic, tracked.key)

    def _tidy(self, topic: str, key: str) -> None:
        """Forget a key without metadata, and a topic without keys."""
        keys = self._there[topic]
        if not keys[key]:
            del keys[key]
        if not keys:
            del self._there[topic]

    def _tell(self, topic: str, key: str) -> None:
        self._announce(_own_topic(topic), key)
        if self.told is not None:
            self.told(topic, key)

    # For what hubs tell each other

    def own(self) -> Iterator[tuple[str, str]]:
        """Yield the topics and keys of this process."""
        for topic, keys in self._there.items():
            for key in keys:
                if self.own_metas(topic, key):
                    yield topic, key

    def own_metas(self, topic: str, key: str) -> Values:
        """Return the metadata of this process under a key, oldest first."""
        metas = self._there.get(topic, {}).get(key, {})
        return [meta for entry, meta in metas.items() if isinstance(entry, Tracked)]

    def set_other(self, hub: str, topic: str, key: str, metas: Values) -> None:
        """Note what another process has under a key."""
        entries = self._there.setdefault(topic, {}).setdefault(key, {})
        before = [entry for entry in entries if _is_of(entry, hub)]
        if metas != [entries[entry] for entry in before]:
            for entry in before:
                del entries[entry]
            for number, meta in enumerate(metas):
                entries[hub, number] = meta
            self._announce(_own_topic(topic), key)
        self._tidy(topic, key)


class Tracked:
    """One entry of metadata; `Presence.track` makes it.

    Attributes:
        topic, key: The topic, and the key that is present there.
    """

    __slots__ = ("_presence", "key", "topic")

    def __init__(self, presence: Presence, topic: str, key: str) -> None:
        self._presence = presence
        self.topic = topic
        self.key = key

    def update(self, meta: Any) -> None:
        """Replace the metadata, while the block of `track` runs.

        Raises:
            RuntimeError: The block is over.
            TypeError, ValueError: `meta` cannot be sent to other processes.
        """
        there = self._presence._there.get(self.topic, {}).get(self.key, {})
        if self not in there:
            raise RuntimeError("metadata is replaced inside the block of track() only")
        self._presence._check(meta)
        self._presence._set(self, meta)


class PresenceWatch:
    """The changes of one topic; `Presence.watch` makes it.

    Use it in a `with` block, which never waits. One task iterates at a time.
    """

    __slots__ = ("_known", "_presence", "_subscription", "_topic", "_unread")

    def __init__(
        self, presence: Presence, topic: str, subscription: Subscription
    ) -> None:
        self._presence = presence
        self._topic = topic
        self._subscription = subscription
        self._known: dict[str, Metas] = {}
        self._unread = deque[PresenceChange]()

    def __enter__(self) -> Self:
        """Begin to watch.

        Raises:
            HubError: The hub is not running.
        """
        self._subscription.__enter__()
        self._known = self._presence.list(self._topic)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the watch."""
        self._subscription.__exit__(exc_type, exc, traceback)

    def __aiter__(self) -> Self:
        """Iterate over the changes."""
        return self

    async def __anext__(self) -> PresenceChange:
        """Wait for the next change.

        Raises:
            StopAsyncIteration: The hub has ended, or drains.
            RuntimeError: The call is outside of the `with` block.
            BusyResourceError: Another task is iterating.
        Cancellation:
            Safe: a cancelled call loses no change; the next call returns it.
        """
        if self._unread:
            await checkpoint()
        while not self._unread:
            event = await anext(self._subscription)
            if isinstance(event.message, str):
                self._look_at(event.message)
                continue
            for key in {**self._known, **self._presence.list(self._topic)}:
                self._look_at(key)
        return self._unread.popleft()

    def _look_at(self, key: str) -> None:
        """Note the change under a key, if there is one."""
        before = self._known.get(key, ())
        metas = self._presence.metas(self._topic, key)
        if metas == before:
            return
        kind: Kind = "leave" if not metas else "update" if before else "join"
        self._unread.append(PresenceChange(self._topic, kind, key, metas))
        if metas:
            self._known[key] = metas
        else:
            del self._known[key]


def _is_of(entry: object, hub: str) -> bool:
    """Whether an entry is that of another hub."""
    return isinstance(entry, tuple) and entry[0] == hub


def _own_topic(topic: str) -> str:
    return f"{OWN}presence{OWN}{topic}"
