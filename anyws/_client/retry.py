"""When to try again, and how long to wait before that. There is no I/O."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from math import inf
from typing import Final

from .._values.closing import CloseCode, CloseInfo
from .._values.errors import HandshakeError, HandshakeRejected, ProtocolError

# What may be answered otherwise a moment later (RFC 9110 section 15, RFC 8470, 6585);
# 520-529 are those of a proxy that does not get on with the server, as Cloudflare's.
_PASSING: Final = frozenset({408, 425, 429, 500, 502, 503, 504, *range(520, 530)})

# Seconds that a server may ask for at most, by `Retry-After`.
_LONGEST_WISH: Final = 3600.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Retry:
    """How a client connects again: exponential backoff with full jitter.

    Before the n-th try in a row that has come to nothing it waits a random time between
    0 and `min(max_delay, initial_delay * factor ** n)`, so that the clients of a server
    that was away do not all come back at once. What cannot get better is not tried
    again: a certificate that is not trusted, an answer that is none of a WebSocket's, a
    status, of the server or a proxy, but for 408, 425, 429, 500, 502-504 and 520-529.
    Nor is it after what a function given as `headers` raises.

    Attributes:
        initial_delay: Seconds, the most that is waited before the first try after a
            connection that was healthy (default 0.5).
        max_delay: Seconds that are waited at most (default 60). `Retry-After`, of the
            server or a proxy, may ask for more, up to an hour.
        factor: What the delay grows by (default 2).
        healthy_after: Seconds that a connection has to last to be healthy (default 10).
            Then the delays begin anew, unless the server closes it with 1013.
        give_up_after: Seconds without a healthy connection after which the last error
            is raised (default `None`: never).
    """

    initial_delay: float = 0.5
    max_delay: float = 60.0
    factor: float = 2.0
    healthy_after: float = 10.0
    give_up_after: float | None = None

    def __post_init__(self) -> None:
        """Refuse values that have no meaning."""
        for name in ("initial_delay", "max_delay", "healthy_after", "give_up_after"):
            value = getattr(self, name)
            if value is None and name == "give_up_after":
                continue
            if type(value) not in (int, float) or not 0 <= value < inf:
                raise ValueError(
                    f"{name} must be a finite number of seconds, not {value!r}"
                )
        if type(self.factor) not in (int, float) or not 1 <= self.factor < inf:
            raise ValueError(
                f"factor must be a number of at least 1, not {self.factor!r}"
            )


class Backoff:
    """What has come of the tries so far, by a `Retry`.

    Args:
        retry: The rule.
        now: Seconds, by the clock that the other methods are told of.
    """

    def __init__(self, retry: Retry, now: float) -> None:
        self._retry = retry
        self._failures = 0
        self._healthy_at = now

    def lost(self, info: CloseInfo | None, lasted: float, now: float) -> float:
        """Return the seconds to wait after a connection that has ended.

        Args:
            info: How it ended.
            lasted: How long, in seconds.
            now: The time.
        """
        turned_away = (
            info is not None
            and info.code == CloseCode.TRY_AGAIN_LATER
            and info.initiator != "local"
        )
        if lasted >= self._retry.healthy_after:
            self._healthy_at = now
            if not turned_away:
                self._failures = 0
                return self._delay()
        return self._failed()

    def failed(self, error: HandshakeError, now: float) -> float:
        """Return the seconds to wait after a try that came to nothing.

        Raises:
            HandshakeError: It is the last one.
        """
        if not may_get_better(error):
            raise error
        delay = max(self._failed(), _wish_of(error))
        if self.exhausted(delay, now):
            raise error
        return delay

    def exhausted(self, delay: float, now: float) -> bool:
        """Whether the time to give up comes before the next try."""
        limit = self._retry.give_up_after
        return limit is not None and now + delay > self._healthy_at + limit

    def _failed(self) -> float:
        self._failures += 1
        return self._delay()

    def _delay(self) -> float:
        retry = self._retry
        try:
            most = retry.initial_delay * retry.factor**self._failures
        except OverflowError:
            most = retry.max_delay
        return random.uniform(0, min(most, retry.max_delay))


def may_get_better(error: HandshakeError) -> bool:
    """Whether another try may have another end."""
    rejection = _rejection_of(error)
    if rejection is not None:
        return rejection.status in _PASSING
    if isinstance(error, ProtocolError):
        return False
    # ValueError: what a host or a proxy is called; a certificate's error is one too.
    return not isinstance(error.__cause__, ValueError)


def _rejection_of(error: HandshakeError) -> HandshakeRejected | None:
    """Return the answer that an error is about: the server's, or a proxy's."""
    for rejection in (error, error.__cause__):
        if isinstance(rejection, HandshakeRejected):
            return rejection
    return None


def _wish_of(error: HandshakeError) -> float:
    """Return the seconds that were asked for (RFC 9110 section 10.2.3)."""
    rejection = _rejection_of(error)
    if rejection is None:
        return 0.0
    value = rejection.headers.get("retry-after", "").strip()
    if value.isascii() and value.isdecimal():
        seconds = float(value)
    else:
        try:
            date = parsedate_to_datetime(value)
            date = date.replace(tzinfo=date.tzinfo or UTC)
            seconds = (date - datetime.now(UTC)).total_seconds()
        except (ValueError, OverflowError):
            return 0.0
    return min(max(seconds, 0.0), _LONGEST_WISH)
