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

# The statuses that another try may not meet (RFC 9110 section 15; 425: RFC 8470; 429:
# RFC 6585). Cloudflare answers with 520-529 where the server behind it is not well.
_TRANSIENT: Final = frozenset({408, 425, 429, 500, 502, 503, 504, *range(520, 530)})

# The most seconds that a `Retry-After` is heeded for.
_MAX_RETRY_AFTER: Final = 3600.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Retry:
    """How a client connects again: exponential backoff with full jitter.

    After n tries in a row that have failed, the client waits a random time between 0
    and `min(max_delay, initial_delay * factor ** n)`. So the clients of a server that
    was away do not all come back at once.

    The client does not try again if another try could not succeed: after a certificate
    that is not trusted; after an invalid answer to the opening handshake; after a
    status, from the server or a proxy, other than 408, 425, 429, 500, 502-504 and
    520-529; and after an exception from a function given as `headers`.

    Attributes:
        initial_delay: Seconds, the longest delay after a healthy connection (default
            0.5).
        max_delay: Seconds, the longest delay of all (default 60). A `Retry-After`
            header, of the server or a proxy, may ask for more, up to an hour.
        factor: The factor by which the delay grows (default 2).
        healthy_after: Seconds that a connection has to last to be healthy (default 10).
            After a healthy connection the delays begin anew, unless the server closed
            it with 1013. A shorter connection counts as a failed try.
        give_up_after: Seconds without a healthy connection after which the client gives
            up (default `None`: never). They count from the beginning of the first try,
            and then from the end of the last healthy connection. The last try begins
            when they are over, or earlier if a `Retry-After` asks for more time than is
            left. Giving up raises the error of the last try, a `HandshakeError`; or
            `ConnectionClosed`, if the last try opened a connection that did not last.
    """

    initial_delay: float = 0.5
    max_delay: float = 60.0
    factor: float = 2.0
    healthy_after: float = 10.0
    give_up_after: float | None = None

    def __post_init__(self) -> None:
        """Refuse invalid values."""
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
    """The history of a client's tries, and the delays that follow from it.

    Args:
        retry: The rule of the delays.
        now: The time in seconds, by the same clock as in all the methods.
    """

    def __init__(self, retry: Retry, now: float) -> None:
        self._retry = retry
        self._failures = 0
        self._healthy_at = now

    def lost(self, info: CloseInfo | None, lasted: float, now: float) -> float | None:
        """Return the seconds to wait after a connection that has ended.

        Args:
            info: How the connection ended.
            lasted: How long it lasted, in seconds.
            now: The time in seconds.

        Returns:
            The seconds; `None` where it is time to give up.
        """
        try_later = (
            info is not None
            and info.code == CloseCode.TRY_AGAIN_LATER
            and info.initiator != "local"
        )
        healthy = lasted >= self._retry.healthy_after
        if healthy:
            self._healthy_at = now
        self._failures = 0 if healthy and not try_later else self._failures + 1
        return self._seconds_to_wait(now)

    def failed(self, error: HandshakeError, now: float) -> float:
        """Return the seconds to wait after a try that has failed.

        Args:
            error: The error of the try.
            now: The time in seconds.

        Raises:
            HandshakeError: The error itself: another try could not succeed, or would
                come after `Retry.give_up_after`.
        """
        if not may_get_better(error):
            raise error
        self._failures += 1
        seconds = self._seconds_to_wait(now, at_least=_retry_after(error))
        if seconds is None:
            raise error
        return seconds

    def _seconds_to_wait(self, now: float, at_least: float = 0.0) -> float | None:
        """Return the seconds until the next try; `None`: it is time to give up.

        The delay is cut so that the last try begins when the time is over, not before.
        A delay that the server asks for is not cut.
        """
        limit = self._retry.give_up_after
        rest = inf if limit is None else self._healthy_at + limit - now
        if rest <= 0 or at_least > rest:
            return None
        return max(at_least, min(self._delay(), rest))

    def _delay(self) -> float:
        retry = self._retry
        try:
            most = retry.initial_delay * retry.factor**self._failures
        except OverflowError:
            most = retry.max_delay
        return random.uniform(0, min(most, retry.max_delay))


def may_get_better(error: HandshakeError) -> bool:
    """Whether another try may succeed."""
    rejection = _rejection_of(error)
    if rejection is not None:
        return rejection.status in _TRANSIENT
    if isinstance(error, ProtocolError):
        return False
    # A ValueError is about the name of a host or a proxy, or about a certificate (ssl's
    # SSLCertVerificationError is one): it would be the same next time.
    return not isinstance(error.__cause__, ValueError)


def _rejection_of(error: HandshakeError) -> HandshakeRejected | None:
    """Return the rejection that an error tells of: the server's, or a proxy's."""
    for rejection in (error, error.__cause__):
        if isinstance(rejection, HandshakeRejected):
            return rejection
    return None


def _retry_after(error: HandshakeError) -> float:
    """Return the seconds of a rejection's `Retry-After` (RFC 9110 section 10.2.3)."""
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
    return min(max(seconds, 0.0), _MAX_RETRY_AFTER)
