"""The times that options set for the whole of a connection. No clock, and no I/O.

They are the end of its lifetime, the next heartbeat, and when the answer to the last
one is due. A heartbeat is a message, for servers and peers that show nobody a ping.
"""

from __future__ import annotations

from math import inf

# Seconds for which a heartbeat is put off that would come amid another message.
_AGAIN = 1.0


class Timers:
    """When a connection is too old, and when its heart is to beat.

    Attributes:
        expires_at: When the lifetime is over.
        beat_at: When the next heartbeat is due; if one is awaited, its answer.
        awaited: Whether a heartbeat has not been answered yet.
        latency: Seconds from the last heartbeat that was answered to its answer.
    """

    __slots__ = ("_received", "_sent_at", "awaited", "beat_at", "expires_at", "latency")

    def __init__(self) -> None:
        self.expires_at: float = inf
        self.beat_at: float = inf
        self.awaited: bool = False
        self.latency: float | None = None
        self._sent_at = 0.0
        self._received = 0  # bytes received when the heartbeat was sent

    @property
    def next(self) -> float:
        """When something is due."""
        return min(self.expires_at, self.beat_at)

    def sent(self, now: float, timeout: float, received: int) -> None:
        """Note that a heartbeat was sent, and await its answer."""
        self.awaited, self._sent_at, self._received = True, now, received
        self.beat_at = now + timeout

    def answered(self, now: float, interval: float) -> None:
        """Note the answer, and rest until the next heartbeat."""
        if self.awaited:
            self.latency = now - self._sent_at
        self.awaited, self.beat_at = False, now + interval

    def postpone(self, now: float) -> None:
        """Send the heartbeat a little later."""
        self.beat_at = now + _AGAIN

    def late(self, now: float, timeout: float, received: int) -> bool:
        """Whether an answer that is due counts as missing: nothing else came either."""
        if received == self._received:
            return True
        self._received, self.beat_at = received, now + timeout
        return False
