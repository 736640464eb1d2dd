"""When a client tries again, and how long it waits before that: the rule alone."""

from __future__ import annotations

import random
import ssl
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from math import inf, nan
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from starlette.datastructures import Headers

from anyws import (
    CloseInfo,
    HandshakeError,
    HandshakeRejected,
    ProtocolError,
    Retry,
)
from anyws._client.retry import Backoff, may_get_better

GONE = CloseInfo(1006, "", "network", False)
BUSY = CloseInfo(1013, "", "peer", True)
ANY = HandshakeError("refused")


@pytest.fixture
def longest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw the longest delay each time."""
    monkeypatch.setattr(random, "uniform", lambda _, most: most)


def rejected(status: int = 503, retry_after: str | None = None) -> HandshakeRejected:
    """Return a rejection."""
    headers = {} if retry_after is None else {"Retry-After": retry_after}
    return HandshakeRejected(status, Headers(headers))


@given(
    seed=st.integers(),
    initial=st.floats(0, 1e6),
    most=st.floats(0, 1e6),
    factor=st.floats(1, 1e6),
    lengths=st.lists(st.floats(0, 100), max_size=30),
)
@example(seed=0, initial=1.0, most=60.0, factor=1e6, lengths=[0.0] * 100)
def test_delays_are_within_their_bounds(
    seed: int, initial: float, most: float, factor: float, lengths: list[float]
) -> None:
    """Whatever happened before: between none and what has grown, up to the most."""
    random.seed(seed)
    retry = Retry(
        initial_delay=initial, max_delay=most, factor=factor, healthy_after=50
    )
    backoff, failures = Backoff(retry, 0.0), 0
    for length in lengths:
        if length >= 50:
            failures = 0
        else:
            failures += 1
        grown = initial * factor**failures if failures < 40 else inf
        if initial == 0:
            grown = 0.0
        delay = backoff.lost(GONE, length, 0.0)
        assert delay is not None
        assert 0 <= delay <= min(grown, most)


def test_delays_are_spread_over_their_whole_range() -> None:
    """Full jitter: the clients of a server that was away do not come back at once."""
    random.seed(20)
    delays = [Backoff(Retry(), 0.0).failed(ANY, 0.0) for _ in range(2000)]
    assert min(delays) < 0.01
    assert max(delays) > 0.99
    assert 0.45 < sum(delays) / len(delays) < 0.55


def test_a_seed_decides_the_delays() -> None:
    """They are those of the module `random`."""
    draws = []
    for _ in range(2):
        random.seed(5)
        backoff = Backoff(Retry(), 0.0)
        draws.append([backoff.failed(ANY, 0.0) for _ in range(5)])
    assert draws[0] == draws[1]


@pytest.mark.usefixtures("longest")
def test_how_delays_grow() -> None:
    """By the factor, up to the most, and never again beyond that."""
    backoff = Backoff(Retry(), 0.0)
    delays = [backoff.failed(ANY, 0.0) for _ in range(9)]
    assert delays == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    for _ in range(5000):
        assert backoff.failed(ANY, 0.0) == 60


@pytest.mark.usefixtures("longest")
def test_a_healthy_connection_begins_anew() -> None:
    """One that is lost too soon counts as a try that came to nothing."""
    backoff = Backoff(Retry(initial_delay=1, healthy_after=10), 0.0)
    assert backoff.lost(GONE, 9.9, 0.0) == 2
    assert backoff.lost(None, 0.0, 0.0) == 4
    assert backoff.lost(GONE, 10, 0.0) == 1
    assert backoff.lost(GONE, 1000, 0.0) == 1
    assert backoff.failed(ANY, 0.0) == 2


@pytest.mark.usefixtures("longest")
def test_a_server_that_wants_to_be_left_alone() -> None:
    """1013 is no reason to begin anew; our own is none of the server's."""
    backoff = Backoff(Retry(initial_delay=1), 0.0)
    assert backoff.lost(BUSY, 1000, 0.0) == 2
    assert backoff.lost(BUSY, 1000, 0.0) == 4
    assert backoff.lost(CloseInfo(1013, "", "local", True), 1000, 0.0) == 1


@pytest.mark.usefixtures("longest")
@pytest.mark.parametrize(
    ("wish", "delay"),
    [
        ("120", 120),
        (" 120 ", 120),
        ("0", 1),
        ("99999999", 3600),
        ("9" * 400, 3600),
        ("-5", 1),
        ("1.5", 1),
        ("soon", 1),
        ("", 1),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 1),
        ("Wed, 99 Oct 2099 07:28:00 GMT", 1),
        ("Wed, 21 Oct 9999 07:28:00 GMT", 3600),
        ("²", 1),
    ],
)
def test_what_a_server_may_wish_for(wish: str, delay: float) -> None:
    """Seconds or a date, up to an hour; what cannot be read is no wish."""
    assert Backoff(Retry(), 0.0).failed(rejected(503, wish), 0.0) == delay


@pytest.mark.usefixtures("longest")
def test_a_proxy_may_wish_too() -> None:
    """What it answered is the cause of the error."""
    error = caused(HandshakeError("proxy"), rejected(503, "30"))
    assert Backoff(Retry(), 0.0).failed(error, 0.0) == 30


@pytest.mark.parametrize("zone", [UTC, None])
def test_a_date_to_come(zone: Any) -> None:
    """It is the time until then; without a zone it is UTC."""
    date = format_datetime(
        (datetime.now(UTC) + timedelta(seconds=90)).replace(tzinfo=zone)
    )
    delay = Backoff(Retry(), 0.0).failed(rejected(429, date), 0.0)
    assert 85 < delay <= 90


@given(st.text(max_size=40))
def test_no_wish_is_too_strange(wish: str) -> None:
    """Whatever the header says, there is a delay."""
    raw = [(b"retry-after", wish.encode("latin-1", "replace"))]
    error = HandshakeRejected(503, Headers(raw=raw))
    assert 0 <= Backoff(Retry(), 0.0).failed(error, 0.0) <= 3600


@pytest.mark.usefixtures("longest")
def test_when_it_is_time_to_give_up() -> None:
    """After the try that begins when the time is over, and not before that."""
    backoff = Backoff(Retry(initial_delay=1, give_up_after=10), 100.0)
    assert backoff.failed(ANY, 100.0) == 2
    assert backoff.failed(ANY, 106.0) == 4
    assert backoff.failed(ANY, 106.0) == 4  # in place of 8
    with pytest.raises(HandshakeError) as caught:
        backoff.failed(ANY, 110.0)
    assert caught.value is ANY
    assert backoff.lost(GONE, 9.9, 110.0) is None
    for info in (GONE, BUSY):
        assert backoff.lost(info, 1000, 2000.0) is not None
    assert backoff.lost(GONE, 9.9, 2009.0) == 1  # in place of 4


def test_a_wish_that_leads_beyond_the_end() -> None:
    """The server is not asked earlier than it wants: there is no other try."""
    backoff = Backoff(Retry(give_up_after=10), 0.0)
    assert backoff.failed(rejected(503, "10"), 0.0) == 10
    with pytest.raises(HandshakeRejected):
        backoff.failed(rejected(503, "11"), 0.0)


@pytest.mark.usefixtures("longest")
def test_it_need_not_give_up() -> None:
    """By default there is always another try."""
    forever = Backoff(Retry(), 0.0)
    assert forever.failed(ANY, 1e9) == 1


def caused(error: HandshakeError, cause: BaseException) -> HandshakeError:
    """Return an error with a cause."""
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "better"),
    [
        *((rejected(status), False) for status in (200, 301, 400, 401, 403, 404)),
        *((rejected(status), False) for status in (405, 407, 410, 426, 501, 505)),
        *((rejected(status), True) for status in (408, 425, 429, 500, 502, 503, 504)),
        *((rejected(status), False) for status in (519, 530)),
        *((rejected(status), True) for status in (520, 524, 529)),
        (ProtocolError("garbage"), False),
        (ANY, True),
        (caused(HandshakeError("tls"), ssl.SSLCertVerificationError()), False),
        (caused(HandshakeError("host"), ValueError()), False),
        (caused(HandshakeError("tls"), ssl.SSLError()), True),
        (caused(HandshakeError("dns"), OSError()), True),
        (caused(HandshakeError("late"), TimeoutError()), True),
        (caused(HandshakeError("proxy"), rejected(407)), False),
        (caused(HandshakeError("proxy"), rejected(502)), True),
    ],
)
def test_what_may_get_better(error: HandshakeError, better: bool) -> None:
    """Only that is tried again; the rest is raised at once."""
    assert may_get_better(error) is better
    backoff = Backoff(Retry(), 0.0)
    if better:
        backoff.failed(error, 0.0)
    else:
        with pytest.raises(type(error)) as caught:
            backoff.failed(error, 0.0)
        assert caught.value is error


SECONDS = ("initial_delay", "max_delay", "healthy_after", "give_up_after")
NO_SECONDS: list[Any] = [-1, inf, nan, True, "1", []]
NO_FACTORS: list[Any] = [0.9, 0, inf, nan, True, None]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, value) for name in SECONDS for value in NO_SECONDS),
        *(("factor", value) for value in NO_FACTORS),
        ("initial_delay", None),
    ],
)
def test_values_without_a_meaning_are_refused(name: str, value: Any) -> None:
    """The message names the field."""
    with pytest.raises(ValueError, match=name):
        Retry(**{name: value})
