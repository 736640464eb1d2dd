"""Messages by which the hubs of several processes share their presences.

Whenever the metadata that a hub's own connections have under a key of a topic change,
the hub sends all of them. So a message that comes twice does no harm, and a hub that
has missed a message asks for everything. These messages have a topic of their own:

    {"hub": name, "number": n, "set": [[topic, key, [meta, ...]], ...]}

`set` has the changes; `"first"` and `"last"` mark the parts of a full report, and
`"beat"` a message without a change. `{"hub": name, "ask": other}` asks another hub, or
all (`null`); `{"hub": name, "bye": true}` is the end.

A hub that was killed is noticed without a clock: each hub counts, for every other one,
its own heartbeats that have come back since the other one was heard. While the backend
is away none comes back, and nobody counts as gone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, Final, Protocol

from anyio import current_time, move_on_after, sleep

from .._session.wakeup import Wakeup
from .topic_names import OWN

# The topic of the messages between hubs.
GOSSIP: Final = f"{OWN}hubs"

# How many heartbeats of a hub come back before another one, which was not heard
# meanwhile, counts as gone.
BEATS: Final = 4

# How many keys one message tells of, and seconds until a full queue is tried again.
_AT_ONCE: Final = 100
_PAUSE: Final = 0.1


class Ledger(Protocol):
    """The presences of this hub and of others."""

    def own(self) -> Iterator[tuple[str, str]]:
        """Yield the topics and keys of this hub's connections."""

    def own_metas(self, topic: str, key: str) -> list[Any]:
        """Return the metadata that this hub's connections have under a key."""

    def set_other(self, hub: str, topic: str, key: str, metas: list[Any]) -> None:
        """Note the metadata that another hub's connections have under a key."""


class Other:
    """Another hub.

    Attributes:
        number: That of its latest message.
        whole: Whether all that it has said is known.
        telling: Whether it is just telling everything.
        unheard: Our heartbeats that have come back since it was heard.
        keys: Its topics and keys; the value: whether it has told them again.
    """

    __slots__ = ("keys", "number", "telling", "unheard", "whole")

    def __init__(self) -> None:
        self.number: int = 0
        self.whole: bool = False
        self.telling: bool = False
        self.unheard: int = 0
        self.keys: dict[tuple[str, str], bool] = {}


class Gossip:
    """One hub's part in the exchange of presences.

    Args:
        name: The name of this life of the hub.
        ledger: The presences.
        send: Publishes a message in the topic `GOSSIP`; returns false if there is no
            room for it.
        idle: Tells whether nothing waits to be published.
        seconds: Seconds after which the presences of a killed hub are removed.
    """

    def __init__(
        self,
        name: str,
        ledger: Ledger,
        send: Callable[[str], bool],
        idle: Callable[[], bool],
        seconds: float,
    ) -> None:
        self._name = name
        self._ledger = ledger
        self._send = send
        self._idle = idle
        self._interval = seconds / BEATS
        self._others: dict[str, Other] = {}
        self._changed: dict[tuple[str, str], None] = {}
        self._telling: dict[tuple[str, str], None] | None = None
        self._telling_begins = False
        self._questions: dict[str | None, None] = {None: None}
        self._number = 0
        self._wakeup = Wakeup()

    def change(self, topic: str, key: str) -> None:
        """Tell the other hubs the presences under a key."""
        self._changed[topic, key] = None
        self._wakeup.wake()

    def lost(self) -> None:
        """Ask all others again: messages may be missing."""
        self._questions[None] = None
        self._wakeup.wake()

    def end(self) -> None:
        """Say that this hub has ended, and forget the others."""
        self._send(json.dumps({"hub": self._name, "bye": True}))
        for hub in list(self._others):
            self._forget(hub)

    async def run(self) -> None:
        """Tell the others what changes, and that this hub is there."""
        due = current_time()
        while True:
            if not self._say():
                await sleep(_PAUSE)
            if current_time() >= due:
                due = current_time() + self._interval
                if self._idle():  # otherwise the backend is slow, or away
                    self._tell([], beat=True)
            with move_on_after(due - current_time()):
                if not (self._questions or self._changed or self._telling):
                    await self._wakeup.wait()

    # Saying

    def _say(self) -> bool:
        """Send the pending changes; return whether there was room for them."""
        for hub in list(self._questions):
            if not self._send(json.dumps({"hub": self._name, "ask": hub})):
                return False
            del self._questions[hub]
        while self._telling is not None:
            keys = list(islice(self._telling, _AT_ONCE))
            last = len(keys) == len(self._telling)
            first = self._telling_begins
            if not self._tell(keys, first=first, last=last):
                return False
            self._telling_begins = False
            for key in keys:
                del self._telling[key]
            if last:
                self._telling = None
        while self._changed:
            keys = list(islice(self._changed, _AT_ONCE))
            if not self._tell(keys):
                return False
            for key in keys:
                self._changed.pop(key, None)
        return True

    def _tell(self, keys: list[tuple[str, str]], **flags: bool) -> bool:
        said = [[topic, key, self._ledger.own_metas(topic, key)] for topic, key in keys]
        message = {"hub": self._name, "number": self._number + 1, "set": said}
        if not self._send(json.dumps({**message, **flags})):
            return False
        self._number += 1
        return True

    # Hearing

    def hear(self, text: str) -> None:
        """Take a message.

        Raises:
            ValueError, TypeError, KeyError: It is not such a message.
        """
        said = json.loads(text)
        hub = said["hub"]
        if hub == self._name:
            if said.get("beat"):
                self._count()
        elif "ask" in said:
            if said["ask"] in (None, self._name):
                self._telling = dict.fromkeys(self._ledger.own())
                self._telling_begins = True
                self._wakeup.wake()
        elif said.get("bye"):
            self._forget(hub)
        else:
            self._learn(hub, said)

    def _learn(self, hub: str, said: dict[str, Any]) -> None:
        other = self._others.setdefault(hub, Other())
        missed = said["number"] != other.number + 1
        other.number, other.unheard = said["number"], 0
        if said.get("first"):
            other.telling = True
            other.keys = dict.fromkeys(other.keys, False)
        elif missed:
            other.telling = other.whole = False
        for topic, key, metas in said["set"]:
            other.keys.pop((topic, key), None)
            if metas:
                other.keys[topic, key] = True
            self._ledger.set_other(hub, topic, key, metas)
        if other.telling and said.get("last"):
            other.telling, other.whole = False, True
            for (topic, key), told in list(other.keys.items()):
                if not told:
                    self._ledger.set_other(hub, topic, key, [])
                    del other.keys[topic, key]
        if not (other.whole or other.telling):
            self._questions[hub] = None
            self._wakeup.wake()

    def _count(self) -> None:
        """Count a heartbeat of ours that has come back."""
        for hub, other in list(self._others.items()):
            other.unheard += 1
            if other.unheard >= BEATS:
                self._forget(hub)

    def _forget(self, hub: str) -> None:
        """Remove all presences of another hub."""
        other = self._others.pop(hub, None)
        if other is not None:
            for topic, key in other.keys:
                self._ledger.set_other(hub, topic, key, [])
