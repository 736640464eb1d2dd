"""The hub's own task: it tells the members of each topic of new messages.

Ten thousand members cannot be told within one turn of the event loop. So `publish` only
puts the topic into a line; this task tells the members of all topics in the line, for
some milliseconds at a time, and lets the loop turn in between.

The messages of several topics come to a member in the order in which they were
published. So a member takes nothing behind the *horizon*: the latest message of the
hub up to which all members have been told of everything. Where several topics are in
the line, their members are told first, then the horizon moves, then they are woken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from time import perf_counter
from typing import Final

from anyio import Event as Signal
from anyio.lowlevel import checkpoint

from .._session.wakeup import Wakeup
from .topic import Reader, Topic
from .topics import Topics

# Seconds for which members are told before the event loop has its turn, and after how
# many members the clock is read.
_TURN_SECONDS: Final = 0.002
_MEMBERS_PER_LOOK: Final = 4


class Dispatcher:
    """Tells members of new messages."""

    __slots__ = ("_closing", "_ended", "_line", "_topics", "_until", "_wakeup")

    def __init__(self, topics: Topics) -> None:
        self._topics = topics
        self._line: list[Topic] = []
        self._wakeup = Wakeup()
        self._closing = False
        self._ended = Signal()
        self._until = 0.0  # when the event loop has its turn

    def add(self, topic: Topic) -> None:
        """Put a topic into the line, unless it stands there."""
        if not topic.dirty:
            topic.dirty = True
            self._line.append(topic)
            self._wakeup.wake()

    def close(self) -> None:
        """Have `run` end once the line is empty."""
        self._closing = True
        self._wakeup.wake()

    async def ended(self) -> None:
        """Wait for the end of `run`."""
        await self._ended.wait()

    async def run(self) -> None:
        """Tell the members of each topic in the line, until `close` was called."""
        while self._line or not self._closing:
            if not self._line:
                await self._wakeup.wait()
            self._until = perf_counter() + _TURN_SECONDS
            batch, self._line = self._line, []
            ends = [topic.log.end for topic in batch]
            if len(batch) == 1:
                self._topics.horizon.order = self._topics.order
                await self._for_all(batch, _tell_and_wake)
            elif batch:
                order = self._topics.order
                await self._for_all(batch, _tell)
                self._topics.horizon.order = order
                await self._for_all(batch, _wake)
            for topic, end in zip(batch, ends, strict=True):
                topic.dirty = False
                if topic.log.end != end:
                    self.add(topic)  # members have more to read now
                else:
                    topic.settle()
        self._ended.set()

    async def _for_all(
        self, topics: Iterable[Topic], act: Callable[[Reader, Topic], None]
    ) -> None:
        """Act on all members of topics; let the event loop turn in between."""
        number = 0
        for topic in topics:
            for reading in tuple(topic.readings):
                number += 1
                if number % _MEMBERS_PER_LOOK == 0 and perf_counter() > self._until:
                    await checkpoint()
                    self._until = perf_counter() + _TURN_SECONDS
                if reading in topic.readings:
                    act(reading, topic)


def _tell(reading: Reader, topic: Topic) -> None:
    reading.notice(topic)


def _wake(reading: Reader, topic: Topic) -> None:
    reading.wake()


def _tell_and_wake(reading: Reader, topic: Topic) -> None:
    reading.tell(topic)
