"""The pings of a connection whose frames are ours: its keepalive, and the user's."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from time import monotonic, perf_counter
from typing import Final

from anyio import Event as Signal
from anyio import current_time

# The payload of the keepalive. One is under way at a time, so it need not differ.
KEEPALIVE: Final = b"anyws"


# Seconds that asyncio's clock may be off the system's, where it is that of uvloop: in
# whole milliseconds, and as it was when the loop's turn began.
_LAG: Final = 1.0


def _stopwatch() -> Callable[[], float]:
    """Return the clock for round trips: that of the event loop, which may be virtual.

    Where it only tells the system's time, a finer one does so. Trio's is as fine.
    """
    return perf_counter if abs(current_time() - monotonic()) < _LAG else current_time


class Ping:
    """A ping of the user's.

    Args:
        at: When it was sent, by the clock that tells when it is answered.

    Attributes:
        at: When it was sent.
        over: Set once it is answered, or never will be.
        latency: Seconds to its answer.
    """

    __slots__ = ("at", "latency", "over")

    def __init__(self, at: float) -> None:
        self.at: float = at
        self.over: Signal = Signal()
        self.latency: float | None = None


class Keepalive:
    """What was sent and is not answered yet, and when the keepalive is to do something.

    Attributes:
        beat_at: When the next ping of the keepalive is due, or its answer.
        latency: Seconds from the last answered ping to its pong; `None` before that.
    """

    __slots__ = ("_clock", "_overdue", "_pinged_at", "_users", "beat_at", "latency")

    def __init__(self) -> None:
        self.beat_at: float = inf
        self.latency: float | None = None
        self._clock: Callable[[], float] = _stopwatch()
        self._pinged_at: float | None = None  # the keepalive's, not answered yet
        self._overdue = False  # its answer, and it is waited for once more
        self._users: dict[bytes, Ping] | None = None  # in order, by their payloads

    # The keepalive

    def rest(self, interval: float | None) -> None:
        """Let so many seconds pass to the next ping, unless one is under way."""
        if self._pinged_at is None:
            self.beat_at = inf if interval is None else current_time() + interval

    def cancel(self) -> None:
        """Send no more pings."""
        self.beat_at = inf

    def postpone(self, timeout: float | None) -> None:
        """Wait as long again for the answer: it is we who do not read."""
        self.beat_at = current_time() + (timeout or 0)

    @property
    def awaited(self) -> bool:
        """Whether the keepalive waits for an answer."""
        return self._pinged_at is not None

    def sent(self, timeout: float | None) -> None:
        """Take note that the keepalive's ping is sent; its answer may take so long."""
        self._pinged_at, self._overdue = self._clock(), False
        self.beat_at = inf if timeout is None else current_time() + timeout

    def late(self, grace: float) -> bool:
        """Whether the answer is lost; it is waited for once more before that."""
        if self._overdue:
            return True
        self._overdue, self.beat_at = True, current_time() + grace
        return False

    # The user's

    def add(self, payload: bytes) -> Ping:
        """Take note that a ping of the user's is sent.

        Raises:
            RuntimeError: One with this payload is under way.
        """
        self._users = {} if self._users is None else self._users
        if payload in self._users:
            raise RuntimeError(f"a ping with the payload {payload!r} is under way")
        ping = self._users[payload] = Ping(self._clock())
        return ping

    def forget(self, payload: bytes) -> None:
        """Let go of a ping of the user's."""
        if self._users is not None:
            self._users.pop(payload, None)

    def end(self) -> None:
        """Let nobody wait for an answer any more."""
        for ping in (self._users or {}).values():
            ping.over.set()

    # Either

    def answered(self, payload: bytes) -> bool:
        """Take note of a pong; return whether it answers the keepalive.

        One that nothing has asked for says nothing. It answers the pings before it too:
        a peer may answer the last one alone.

        Source: RFC 6455 section 5.5.3.
        """
        users = self._users or {}
        if payload in users:
            for sent in list(users):
                ping = users.pop(sent)
                ping.latency = self.latency = self._clock() - ping.at
                ping.over.set()
                if sent == payload:
                    break
        if self._pinged_at is None or payload != KEEPALIVE:
            return False
        self.latency = self._clock() - self._pinged_at
        self._pinged_at = None
        return True
