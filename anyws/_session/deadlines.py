"""What is due when, on one connection. There is no I/O, and no clock but the caller's.

All deadlines meet in the scope of the reader's pending receive, and it is the reader
who acts on them. So a server's `send` that cannot be cancelled, as Hypercorn's on trio,
does not keep a deadline from being noticed.
"""

from __future__ import annotations

from enum import Enum
from math import inf
from typing import Final

# Seconds of silence that end a flood, and that a deadline is given when it has passed:
# the event loop may have been held up, and what came in time be about to arrive.
LULL: Final = 0.03

# How many times the wait for the peer's answer a flood may last.
_FLOOD_FACTOR: Final = 10


class Verdict(Enum):
    """What the passing of time asks for."""

    NOTHING = "nothing"
    UNHEARD = "unheard"  # a channel that has failed was read on for long enough
    UNANSWERED = "unanswered"  # the closing handshake has taken too long
    STUCK = "stuck"  # the server has taken no message within send_timeout
    SILENT = "silent"  # the peer has sent no message within idle_timeout


class Deadlines:
    """The deadlines of one connection; infinite while there are none.

    Attributes:
        idle_at: For the peer's next message.
        stuck_at: For the server to take what is being sent.
        close_at: For the closing handshake.
        heard_until: For what a channel that has failed may still tell.
        flood_until: For a peer that sends on behind our closing frame.
        quiet_limit: Seconds that the peer may be silent.
        linger: Seconds without an answer to our closing frame.
    """

    __slots__ = (
        "_suspect",
        "close_at",
        "flood_until",
        "heard_until",
        "idle_at",
        "linger",
        "quiet_limit",
        "stuck_at",
    )

    def __init__(self, quiet_limit: float | None, linger: float) -> None:
        self.idle_at = self.stuck_at = self.close_at = inf
        self.heard_until = self.flood_until = inf
        self.quiet_limit = quiet_limit
        self.linger = linger
        self._suspect = False  # one has passed, and is looked at once more

    @property
    def next(self) -> float:
        """The first of those that the reader acts on."""
        return min(self.idle_at, self.stuck_at, self.close_at)

    def await_message(self, now: float) -> None:
        """Count the seconds without a message from now on."""
        if self.quiet_limit is not None:
            self._suspect = False
            self.idle_at = min(now + self.quiet_limit, self.heard_until)

    def await_nothing(self) -> None:
        """Count no seconds: it is we who keep the peer waiting."""
        self.idle_at = self.heard_until = inf

    def await_send(self, at: float) -> None:
        """Count the seconds of a send; infinite: it is over."""
        self._suspect = False
        self.stuck_at = at

    def close_by(self, at: float) -> None:
        """Have the closing handshake end, at the latest."""
        self.close_at = min(at, self.close_at)

    def await_answer(self, now: float) -> None:
        """Have only the answer to our closing frame be awaited."""
        self.close_by(now + self.linger)
        self.flood_until = now + _FLOOD_FACTOR * self.linger

    def flooded(self, now: float) -> None:
        """Do not leave in the midst of a flood, within bounds."""
        self.close_at = min(max(self.close_at, now + LULL), self.flood_until)

    def judge(self, now: float) -> Verdict:
        """Say which has passed; idle and stuck are looked at once more before that."""
        if now >= self.heard_until:
            return Verdict.UNHEARD
        if now >= self.close_at:
            return Verdict.UNANSWERED
        if now < min(self.idle_at, self.stuck_at):
            return Verdict.NOTHING
        if not self._suspect:
            self._suspect = True
            self.idle_at = max(self.idle_at, now + LULL)
            self.stuck_at = max(self.stuck_at, now + LULL)
            return Verdict.NOTHING
        if now >= self.stuck_at:
            self.stuck_at = inf
            return Verdict.STUCK
        self.idle_at = inf
        return Verdict.SILENT
