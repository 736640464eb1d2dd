"""A limit for actions that cost a peer next to nothing, and the server much more."""

from __future__ import annotations


class Allowance:
    """A bucket of tokens, which fills up again as time passes.

    Args:
        most: Tokens that the bucket holds, and begins with.
        per_second: Tokens that come back in a second.
        now: The time, in seconds of the caller's clock.
    """

    __slots__ = ("_left", "_most", "_per_second", "_since")

    def __init__(self, most: int, per_second: float, now: float) -> None:
        self._most = most
        self._left: float = most
        self._per_second = per_second
        self._since = now

    def spend(self, now: float) -> bool:
        """Take a token; return false if there is none."""
        if self._left < 1:
            self.earn((now - self._since) * self._per_second)
            self._since = now
        self._left -= 1
        return self._left >= 0

    def earn(self, tokens: float) -> None:
        """Put tokens back, up to what the bucket holds."""
        self._left = min(self._most, max(self._left, 0) + tokens)
