"""How fast messages may come: a rate that allows bursts. There is no clock here.

The rule is that of a leaky bucket which is measured by one number (the generic cell
rate algorithm of ATM): the time at which the messages so far would be over if they had
come evenly. A message may come if that time is no more than a whole burst ahead.
"""

from __future__ import annotations

from typing import Final

_ROUNDING: Final = 1e-6  # seconds that are none: sums of floats differ


class Pace:
    """Allows a burst of so many messages, and as many evenly in each of the periods.

    Args:
        messages: How many messages.
        seconds: In how many seconds.
    """

    __slots__ = ("_burst", "_step", "_until")

    def __init__(self, messages: int, seconds: float) -> None:
        self._step = seconds / messages
        self._burst = seconds - self._step
        self._until = 0.0  # when the messages so far are over

    def delay(self, now: float) -> float:
        """Return how many seconds the next message is too early; 0: it may come."""
        early = self._until - self._burst - now
        return early if early > _ROUNDING else 0.0

    def count(self, now: float) -> None:
        """Count a message."""
        self._until = max(self._until, now) + self._step
