"""The ends of topics that hold nothing any more.

A topic without members and messages is forgotten. A member that resumes there later has
missed nothing if its position is that of the topic's last message. So the ids of these
last messages are remembered, one for each topic, of the topics that ended latest; for
all others there is one id, the highest of theirs.
"""

from __future__ import annotations

from typing import Final

from .position import Id

# How many topics are remembered, each in some 200 bytes.
_TOPICS: Final = 10_000


class Forgotten:
    """The ids of the last messages of topics that are not there."""

    __slots__ = ("_ends", "_others")

    def __init__(self) -> None:
        self._ends: dict[str, Id] = {}  # the topic that ended latest is the last one
        self._others: Id = (0,)

    def note(self, topic: str, last: Id) -> None:
        """Note the id of the last message of a topic."""
        self._ends.pop(topic, None)
        if last <= self._others:
            return  # it cannot be told from the others
        self._ends[topic] = last
        if len(self._ends) > _TOPICS:
            oldest = next(iter(self._ends))
            self._others = max(self._others, self._ends.pop(oldest))

    def take(self, topic: str) -> Id:
        """Return the highest id that the last message may have; the topic is back."""
        return self._ends.pop(topic, self._others)
