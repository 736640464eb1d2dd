"""The deadlines of one connection: what is due, and when.

Three rules hold here:

1. What decides whether a connection has run out of time stands in this file, and
   nothing else does. (The keepalive has a time of its own, `Keepalive.beat_at`.)
2. The file does no I/O, and has no clock: every call is told the time.
3. The file does not know its caller. The driver of the connection sleeps until `next`,
   asks `judge`, and acts on the verdict. So a deadline is noticed also while a `send`
   that cannot be cancelled is stuck, as Hypercorn's on trio is.

A deadline is a time, and infinite while it is not set. `judge` looks at four of them,
in this order; the first one that has passed is the verdict:

    deadline      set while                                      verdict
    heard_until   the channel has failed, and may still say why  UNHEARD
    close_at      the closing handshake is under way             UNANSWERED
    stuck_at      the server is taking a message                 STUCK
    idle_at       the peer is expected to send a message         SILENT

The order is that of what is left to do. After UNHEARD and UNANSWERED nothing is, so
they come first. After STUCK the connection is lost, and the peer's silence does not
matter.

The deadlines of a closing connection, the first two, are kept to the letter. The other
two have a second chance each, as the event loop may have been held up, and what came in
time may be about to be read. When one of them has passed it gets a LULL more, and only
after that the verdict. The chance is given anew when the deadline is set anew. The two
chances are two: a peer that sends without a pause, and reads nothing, does not put off
the verdict on a `send` that is stuck.

Not deadlines of their own:

- `heard_until` is the last time that `idle_at` can be set to, and so `next` need not
  look at it.
- `flood_until` is the last time that a flood can move `close_at` to.
"""

from __future__ import annotations

from enum import Enum
from math import inf
from typing import Final

# Seconds. A flood is over after so long a silence; and so long is the second chance of
# a deadline that has passed.
LULL: Final = 0.03

# How many times the wait for the peer's answer a flood may last.
_FLOOD_FACTOR: Final = 10


class Verdict(Enum):
    """Which deadline has passed."""

    NOTHING = "nothing"
    UNHEARD = "unheard"  # a channel that has failed was read on for long enough
    UNANSWERED = "unanswered"  # the closing handshake has taken too long
    STUCK = "stuck"  # the server has taken no message within send_timeout
    SILENT = "silent"  # the peer has sent no message within idle_timeout


class Deadlines:
    """The deadlines of one connection; infinite while there are none.

    Args:
        quiet_limit: Seconds that the peer may be silent; `None`: for ever.
        linger: Seconds that the peer has to answer our closing frame.

    Attributes:
        idle_at: When the peer's next message is due.
        stuck_at: When the server must have taken what is being sent.
        close_at: When the closing handshake must be over.
        heard_until: When a channel that has failed is read no more.
        flood_until: The limit of `close_at` while the peer floods a closed connection.
        quiet_limit, linger: As above; both may be changed.
    """

    __slots__ = (
        "_idle_again",
        "_stuck_again",
        "close_at",
        "flood_until",
        "heard_until",
        "idle_at",
        "linger",
        "quiet_limit",
        "stuck_at",
    )

    def __init__(self, quiet_limit: float | None, linger: float) -> None:
        self.idle_at: float = inf
        self.stuck_at: float = inf
        self.close_at: float = inf
        self.heard_until: float = inf
        self.flood_until: float = inf
        self.quiet_limit: float | None = quiet_limit
        self.linger: float = linger
        self._idle_again = self._stuck_again = False  # this is the second chance

    @property
    def next(self) -> float:
        """When `judge` is to be asked again."""
        return min(self.idle_at, self.stuck_at, self.close_at)

    def await_message(self, now: float) -> None:
        """Count the seconds without a message, from now on."""
        if self.quiet_limit is not None:
            self._idle_again = False
            self.idle_at = min(now + self.quiet_limit, self.heard_until)

    def await_nothing(self) -> None:
        """Stop counting the seconds without a message: the peer is not being read."""
        self.idle_at = self.heard_until = inf

    def await_send(self, at: float) -> None:
        """Have the server take a message by then; infinite: it has been taken."""
        self._stuck_again = False
        self.stuck_at = at

    def close_by(self, at: float) -> None:
        """Have the closing handshake end then, or earlier if that was asked before."""
        self.close_at = min(at, self.close_at)

    def await_answer(self, now: float) -> None:
        """Wait for nothing but the answer to our closing frame, from now on."""
        self.close_by(now + self.linger)
        self.flood_until = now + _FLOOD_FACTOR * self.linger

    def flooded(self, now: float) -> None:
        """Put the end of the closing handshake off while the peer goes on sending.

        Stock Hypercorn leaks the connection if it is left in the midst of a flood.
        """
        self.close_at = min(max(self.close_at, now + LULL), self.flood_until)

    def judge(self, now: float) -> Verdict:
        """Say which deadline has passed, by the table above; one at a time."""
        if now >= self.heard_until:
            return Verdict.UNHEARD
        if now >= self.close_at:
            return Verdict.UNANSWERED
        if now >= self.stuck_at:
            if self._stuck_again:
                self.stuck_at = inf
                return Verdict.STUCK
            self._stuck_again, self.stuck_at = True, now + LULL
        if now >= self.idle_at:
            if self._idle_again:
                self.idle_at = inf
                return Verdict.SILENT
            self._idle_again = True
            self.idle_at = min(now + LULL, self.heard_until)
        return Verdict.NOTHING
