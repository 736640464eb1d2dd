"""The pings that this package sends on one connection: the keepalive's and the user's.

Three rules hold here:

1. What decides whether the peer is alive stands in this file, and nothing else does.
2. The file does no I/O, and has no clocks but the two that it is given.
3. The file does not know its caller. The driver of the connection sleeps until
   `beat_at`, asks `judge`, and sends the ping or gives the peer up.

The keepalive is at rest, or has one ping under way:

    state      beat_at                 judge then          a pong to it   progress
    off        infinite                NOTHING             -              -
    resting    the interval is over    DUE: send a ping    -              -
    awaited    the answer was due      NOTHING: awaited,   resting        the answer is
               when last judged        if there was                       due later
                                       progress; else
                                       overdue
    overdue    the grace is over       NOTHING: awaited,   resting        the answer is
                                       if there was                       due later
                                       progress; else LOST

The answer is due `ping_timeout` after the last *progress*, and the sending of the ping
is the first. Progress is what shows that the peer is alive, though its pong may stand
behind a long message, or our ping behind one of ours: bytes were read, or bytes were
taken that the kernel had refused at first. What the kernel takes at once shows nothing:
it takes megabytes for a peer that is gone. A peer that is kept waiting is not late. So
while reading has stopped and no write waits (the channel is `pausing`), the answer is
not due; and once that is over, this counts as progress.

Progress moves no deadline. Its time is noted, and only while a ping is under way, which
is a round trip in each interval: at other times a read of the connection costs no look
at the clock. `judge` compares the times. A mere counter would do without any clock; but
`judge` could not tell when it was raised, and would find the peer gone as much as one
more `ping_timeout` later.

An answer that is late has a grace, LULL, as the event loop may have been held up, and
the pong be about to be read.

All pings stand in one line, in the order in which they were sent. A pong answers the
ping that it repeats and every ping before it, the keepalive's or the user's: a peer may
answer the last of several alone (RFC 6455 section 5.5.3). Rust's tungstenite does so:
it holds one pong that is not written yet, and replaces it by the next.
A pong that repeats no ping is unsolicited, and says nothing.

Not tabular: a ping of the user's that the user has given up is forgotten, so a pong to
it is unsolicited. Remembering it would cost memory that a silent peer decides on.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from math import inf
from typing import Final, Protocol

from .deadlines import LULL

# The payload of the keepalive. One ping of it is under way at a time, so it can stay.
KEEPALIVE: Final = b"anyws"


class Beat(Enum):
    """The next step of the keepalive."""

    NOTHING = "nothing"
    DUE = "due"  # the next ping
    LOST = "lost"  # the answer to the last one


class Settable(Protocol):
    """An event that tells a task that its ping is over."""

    def set(self) -> None:
        """Wake the task."""


class Ping:
    """A ping that is under way.

    Args:
        payload: The payload.
        at: When the ping was sent, by the clock that tells when it is answered.
        over: Set once the ping is answered, or never will be. The keepalive's has none.

    Attributes:
        payload: The payload.
        at: When the ping was sent.
        over: Set once the ping is answered, or never will be; `None`: the keepalive's.
        latency: Seconds to its answer; `None` without one.
    """

    __slots__ = ("at", "latency", "over", "payload")

    def __init__(self, payload: bytes, at: float, over: Settable | None) -> None:
        self.payload: bytes = payload
        self.at: float = at
        self.over: Settable | None = over
        self.latency: float | None = None


class Keepalive:
    """The pings under way, and when the keepalive is to do something.

    Args:
        clock: The clock of the deadlines.
        stopwatch: The clock of the round trips, which may be a finer one.

    Attributes:
        pings: The pings under way, in the order in which they were sent.
        awaited: Whether a ping of the keepalive is under way.
        beat_at: When `judge` is to be asked; infinite: not at all.
        latency: Seconds from the last answered ping to its pong; `None` before that.
    """

    __slots__ = (
        "_clock",
        "_overdue",
        "_progress_at",
        "_stopwatch",
        "awaited",
        "beat_at",
        "latency",
        "pings",
    )

    def __init__(
        self, clock: Callable[[], float], stopwatch: Callable[[], float]
    ) -> None:
        self.beat_at: float = inf
        self.latency: float | None = None
        self._clock = clock
        self._stopwatch = stopwatch
        self.pings: tuple[Ping, ...] = ()
        self.awaited: bool = False
        self._overdue = False
        self._progress_at = -inf  # when there was the last progress

    # The keepalive

    def rest(self, interval: float | None) -> None:
        """Let so many seconds pass to the next ping, unless one is under way.

        Args:
            interval: The seconds; `None`: send no more pings.
        """
        if not self.awaited:
            self.beat_at = self._after(interval)

    def cancel(self) -> None:
        """Send no more pings."""
        self.beat_at = inf

    def sent(self, timeout: float | None) -> None:
        """Note that the keepalive's ping is sent.

        Args:
            timeout: Seconds that the answer may take; `None`: for ever.
        """
        self.awaited, self._overdue = True, False
        self.pings += (Ping(KEEPALIVE, self._stopwatch(), None),)
        self.progressed()
        self.beat_at = self._after(timeout)

    def progressed(self) -> None:
        """Note progress: the answer has its whole time again, from now on."""
        self._progress_at = self._clock()

    def judge(self, now: float, timeout: float | None, *, pausing: bool) -> Beat:
        """Say what is to be done, by the table above.

        Args:
            now: The time, by the clock of the deadlines.
            timeout: Seconds that an answer may take; `None`: for ever.
            pausing: Whether it is our doing alone that nothing is heard from the peer.
        """
        if now < self.beat_at:
            return Beat.NOTHING
        if not self.awaited:
            return Beat.DUE
        if pausing:
            self._progress_at = now
        due = inf if timeout is None else self._progress_at + timeout
        if now < due:
            self._overdue, self.beat_at = False, due
        elif self._overdue:
            return Beat.LOST
        else:
            self._overdue, self.beat_at = True, now + LULL
        return Beat.NOTHING

    def _after(self, seconds: float | None) -> float:
        return inf if seconds is None else self._clock() + seconds

    # The user's

    def add(self, payload: bytes, over: Settable) -> Ping:
        """Note that a ping of the user's is sent.

        Args:
            payload: The payload.
            over: Set once the ping is answered, or never will be.

        Raises:
            RuntimeError: One with this payload is under way.
        """
        for ping in self.pings:
            if ping.payload == payload and ping.over is not None:
                raise RuntimeError(f"a ping with the payload {payload!r} is under way")
        ping = Ping(payload, self._stopwatch(), over)
        self.pings += (ping,)
        return ping

    def forget(self, ping: Ping) -> None:
        """Let go of a ping of the user's, which may have been answered.

        The ping is told by its identity, as another one may have its payload by now.
        """
        self.pings = tuple([other for other in self.pings if other is not ping])

    def end(self) -> None:
        """Wake the tasks that wait for a pong: none will be seen any more."""
        for ping in self.pings:
            if ping.over is not None:
                ping.over.set()

    # Either

    def answered(self, payload: bytes) -> bool:
        """Note a pong; return whether it answers the keepalive.

        Source: RFC 6455 section 5.5.3.
        """
        count = 0  # of the pings that are answered
        for position, ping in enumerate(self.pings, 1):
            if ping.payload == payload:
                count = position
        if not count:
            return False
        pings, self.pings = self.pings[:count], self.pings[count:]
        now, beat = self._stopwatch(), False
        for ping in pings:
            ping.latency = self.latency = now - ping.at
            if ping.over is None:
                beat = True
            else:
                ping.over.set()
        if beat:
            self.awaited = False
        return beat
