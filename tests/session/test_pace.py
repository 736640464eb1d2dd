"""A rate that allows bursts: numbers in, numbers out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anyws._session.pace import Pace


def test_a_burst_may_come_at_once_and_the_rest_evenly() -> None:
    """Four in two seconds: four now, and one more each half second."""
    pace, now = Pace(4, 2.0), 100.0
    for _ in range(4):
        assert pace.delay(now) == 0
        pace.count(now)
    assert pace.delay(now) == pytest.approx(0.5)
    assert pace.delay(now + 0.25) == pytest.approx(0.25)
    assert pace.delay(now + 0.5) == pytest.approx(0)
    pace.count(now + 0.5)
    assert pace.delay(now + 0.5) == pytest.approx(0.5)
    assert pace.delay(now + 60) == 0


@given(st.integers(1, 50), st.floats(0.1, 1e6), st.floats(0, 1e7))
def test_a_burst_is_as_large_as_was_said(
    messages: int, seconds: float, now: float
) -> None:
    """At whatever time, and however the numbers are rounded."""
    pace, count = Pace(messages, seconds), 0
    while not pace.delay(now) and count <= messages:
        pace.count(now)
        count += 1
    assert count == messages


@given(
    st.integers(1, 20),
    st.floats(0.1, 100),
    st.lists(st.floats(0, 10), min_size=1, max_size=200),
)
def test_no_period_sees_more_than_two_bursts(
    messages: int, seconds: float, gaps: list[float]
) -> None:
    """However the messages come; and a slow peer is never held up."""
    pace, now, taken = Pace(messages, seconds), 0.0, list[float]()
    for gap in gaps:
        now += gap
        if not pace.delay(now):
            pace.count(now)
            taken.append(now)
    for start in taken:
        within = [at for at in taken if start <= at < start + seconds * 0.999]
        assert len(within) <= 2 * messages
    assert Pace(messages, seconds).delay(0.0) == 0
