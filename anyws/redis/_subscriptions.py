"""The channels that one connection is subscribed to, and what Redis has acknowledged.

Redis answers a command for some channels by one push for each of them, and the commands
in their order. So the pushes are counted: with the last one a command is done.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from itertools import islice
from typing import Final

from ._wire import Names

# How many channels one command names.
_AT_ONCE: Final = 100


class Subscriptions:
    """The channels of one connection.

    Args:
        send: Sends a command.
        names: The names of channels.

    Attributes:
        asked, done: How many commands were sent, and how many are acknowledged and
            seen to.
    """

    def __init__(self, send: Callable[..., None], names: Names) -> None:
        self._send = send
        self._names = names
        self._topics: frozenset[str] = frozenset()
        self._patterns: frozenset[str] = frozenset()
        self._unanswered = deque[tuple[Sequence[str], bool]]()
        self._answers = 0  # those that the command has had which is answered now
        self._turn = 0  # which topic is repeated next
        self.asked: int = 0
        self.done: int = 0

    def want(self, topics: frozenset[str], patterns: frozenset[str]) -> None:
        """Subscribe to what is wanted and not subscribed to; end all others."""
        channel, pattern = self._names.channel, self._names.pattern
        self._ask(b"SUBSCRIBE", topics - self._topics, channel)
        self._ask(b"PSUBSCRIBE", patterns - self._patterns, pattern)
        self._ask(b"UNSUBSCRIBE", self._topics - topics, channel)
        self._ask(b"PUNSUBSCRIBE", self._patterns - patterns, pattern)
        self._topics, self._patterns = topics, patterns

    def repeat(self, count: int, busy: Set[str]) -> None:
        """Subscribe once more to so many silent topics, in turn; Redis only answers."""
        topics = sorted(self._topics - busy)
        if topics:
            start = self._turn % len(topics)
            chosen = (topics[start:] + topics[:start])[:count]
            self._turn = start + len(chosen)
            self._ask(b"SUBSCRIBE", chosen, self._names.channel)

    def _ask(
        self, command: bytes, names: Iterable[str], channel: Callable[[str], str]
    ) -> None:
        for chosen in _batched(names, _AT_ONCE):
            self._send(command, *map(channel, chosen))
            if command in (b"SUBSCRIBE", b"PSUBSCRIBE"):
                self._unanswered.append((chosen, command == b"PSUBSCRIBE"))
                self.asked += 1

    def answered(self) -> tuple[Sequence[str], bool] | None:
        """Count the answer to a subscription.

        Returns:
            With the last answer to a command: its names, and whether they are patterns.
        """
        self._answers += 1
        names, are_patterns = self._unanswered[0]
        if self._answers < len(names):
            return None
        self._answers = 0
        self._unanswered.popleft()
        return names, are_patterns


def _batched(names: Iterable[str], count: int) -> Iterator[Sequence[str]]:
    """Yield so many names at a time. (Python 3.12 has `itertools.batched`.)"""
    left = iter(names)
    while chosen := list(islice(left, count)):
        yield chosen
