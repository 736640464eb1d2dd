"""The deadlines of a connection: which one counts, in every combination."""

from __future__ import annotations

from itertools import product
from math import inf

import pytest

from anyws._session.deadlines import LULL, Deadlines, Verdict

NOTHING, UNHEARD, UNANSWERED, STUCK, SILENT = Verdict

NOW = 1000.0
PAST, FUTURE = NOW - 1, NOW + 1


def chosen(*, heard: bool, close: bool, stuck: str, idle: str) -> Verdict:
    """Choose the verdict by the table in the module's docstring."""
    if heard:
        return UNHEARD
    if close:
        return UNANSWERED
    if stuck == "again":
        return STUCK
    if idle == "again":
        return SILENT
    return NOTHING


def passed(*, heard: bool, close: bool, stuck: str, idle: str) -> Deadlines:
    """Return deadlines of which these have passed, some of them for the second time."""
    deadlines = Deadlines(10, 5)
    if "again" in (stuck, idle):
        earlier = PAST - LULL
        deadlines.stuck_at = earlier if stuck == "again" else inf
        deadlines.idle_at = earlier if idle == "again" else inf
        assert deadlines.judge(earlier) is NOTHING
    for name, state in (("stuck_at", stuck), ("idle_at", idle)):
        if state != "again":
            setattr(deadlines, name, {"no": FUTURE, "once": PAST, "never": inf}[state])
    deadlines.close_at = PAST if close else FUTURE
    deadlines.heard_until = PAST if heard else inf
    return deadlines


STATES = ("never", "no", "once", "again")
COMBINATIONS = list(product([False, True], [False, True], STATES, STATES))


@pytest.mark.parametrize(
    ("heard", "close", "stuck", "idle"),
    COMBINATIONS,
    ids=["-".join(map(str, combination)) for combination in COMBINATIONS],
)
def test_every_combination(heard: bool, close: bool, stuck: str, idle: str) -> None:
    """The first one in the table that has passed is the verdict."""
    deadlines = passed(heard=heard, close=close, stuck=stuck, idle=idle)
    verdict = deadlines.judge(NOW)
    assert verdict is chosen(heard=heard, close=close, stuck=stuck, idle=idle)
    if verdict in (UNHEARD, UNANSWERED):
        return  # nothing is read any more
    if verdict is STUCK:  # one verdict at a time: the next one is there at once
        assert deadlines.stuck_at == inf
        rest = chosen(heard=heard, close=close, stuck="never", idle=idle)
        assert deadlines.judge(NOW) is rest
    else:
        assert deadlines.stuck_at == at_of(stuck)
    assert deadlines.idle_at == at_of(idle)


def at_of(state: str) -> float:
    """Return where a deadline of this state is moved to once it has been looked at."""
    return {"never": inf, "no": FUTURE, "once": NOW + LULL, "again": inf}[state]


@pytest.mark.parametrize(
    ("name", "verdict"),
    [
        ("heard_until", UNHEARD),
        ("close_at", UNANSWERED),
        ("stuck_at", NOTHING),
        ("idle_at", NOTHING),
    ],
)
def test_a_deadline_passes_in_its_own_moment(name: str, verdict: Verdict) -> None:
    """At the very time it has passed, and the least bit earlier it has not."""
    deadlines = Deadlines(None, 5)
    setattr(deadlines, name, NOW)
    assert deadlines.judge(NOW - 1e-9) is NOTHING
    assert getattr(deadlines, name) == NOW
    assert deadlines.judge(NOW) is verdict
    if verdict is NOTHING:
        assert getattr(deadlines, name) == NOW + LULL


def test_a_new_connection_has_no_deadlines() -> None:
    """It is never asked about them, and there is nothing to say."""
    deadlines = Deadlines(10, 5)
    assert deadlines.next == inf
    assert deadlines.judge(1e300) is NOTHING


@pytest.mark.parametrize("name", ["idle_at", "stuck_at", "close_at"])
def test_next_is_the_first_of_them(name: str) -> None:
    """Whoever drives the connection sleeps no longer than that."""
    deadlines = Deadlines(10, 5)
    deadlines.idle_at, deadlines.stuck_at, deadlines.close_at = 7, 8, 9
    setattr(deadlines, name, 6)
    assert deadlines.next == 6


# The second chance.


def test_silence_is_told_after_a_second_chance() -> None:
    """A peer is silent when nothing has come within a lull of the deadline."""
    deadlines = Deadlines(10, 5)
    deadlines.await_message(NOW)
    assert deadlines.next == NOW + 10
    assert deadlines.judge(NOW + 10) is NOTHING
    assert deadlines.next == NOW + 10 + LULL
    assert deadlines.judge(NOW + 10 + LULL) is SILENT
    assert deadlines.next == inf


def test_a_message_in_the_second_chance_gives_a_first_one() -> None:
    """What had come in time was only read late."""
    deadlines = Deadlines(10, 5)
    deadlines.await_message(NOW)
    deadlines.judge(NOW + 10)
    deadlines.await_message(NOW + 10.01)
    assert deadlines.judge(NOW + 20.01) is NOTHING
    assert deadlines.judge(NOW + 20.01 + LULL) is SILENT


def test_a_send_that_ends_in_the_second_chance_is_not_stuck() -> None:
    """The next one has its own two chances."""
    deadlines = Deadlines(None, 5)
    deadlines.await_send(NOW)
    assert deadlines.judge(NOW) is NOTHING
    deadlines.await_send(inf)
    assert deadlines.judge(NOW + LULL) is NOTHING
    deadlines.await_send(NOW + 1)
    assert deadlines.judge(NOW + 1) is NOTHING
    assert deadlines.judge(NOW + 1 + LULL) is STUCK


def test_a_peer_that_only_sends_does_not_hide_a_stuck_send() -> None:
    """Messages that come all the time put off the peer's deadline alone."""
    deadlines = Deadlines(10, 5)
    deadlines.await_send(NOW)
    assert deadlines.judge(NOW) is NOTHING
    deadlines.await_message(NOW + LULL / 2)
    assert deadlines.judge(NOW + LULL) is STUCK


def test_sends_do_not_hide_a_silent_peer() -> None:
    """A send that begins puts off its own deadline alone."""
    deadlines = Deadlines(10, 5)
    deadlines.await_message(NOW - 10)
    assert deadlines.judge(NOW) is NOTHING
    deadlines.await_send(NOW + 100)
    assert deadlines.judge(NOW + LULL) is SILENT


def test_a_peer_that_is_kept_waiting_is_not_silent() -> None:
    """The seconds begin anew when it is waited for again."""
    deadlines = Deadlines(10, 5)
    deadlines.await_message(NOW)
    assert deadlines.judge(NOW + 10) is NOTHING
    deadlines.await_nothing()
    assert deadlines.next == inf
    assert deadlines.judge(NOW + 1000) is NOTHING
    deadlines.await_message(NOW + 1000)
    assert deadlines.judge(NOW + 1010) is NOTHING
    assert deadlines.judge(NOW + 1010 + LULL) is SILENT


def test_without_a_limit_no_silence_is_too_long() -> None:
    """`idle_timeout=None` sets no deadline."""
    deadlines = Deadlines(None, 5)
    deadlines.await_message(NOW)
    assert deadlines.next == inf


# A channel that has failed.


def test_a_channel_that_has_failed_is_heard_for_a_limited_time() -> None:
    """However often it says something, that ends."""
    deadlines = Deadlines(10, 5)
    deadlines.heard_until = NOW + 1
    for step in range(10):
        now = NOW + step / 10
        assert deadlines.judge(now) is NOTHING
        deadlines.await_message(now)
        assert deadlines.next == NOW + 1
    assert deadlines.judge(NOW + 1) is UNHEARD


def test_a_failed_channel_that_is_kept_waiting_is_not_given_up() -> None:
    """It is heard for as long again once there is room."""
    deadlines = Deadlines(10, 5)
    deadlines.heard_until = NOW
    deadlines.await_nothing()
    assert deadlines.judge(NOW) is NOTHING


def test_the_second_chance_ends_with_the_hearing() -> None:
    """`next` is never later than `heard_until`, while a message is awaited."""
    deadlines = Deadlines(1, 5)
    deadlines.heard_until = NOW + 1 + LULL / 2
    deadlines.await_message(NOW)
    assert deadlines.judge(NOW + 1) is NOTHING
    assert deadlines.next == deadlines.heard_until


# The closing handshake.


def test_the_closing_handshake_has_the_earliest_end_that_was_set() -> None:
    """A later one does not count."""
    deadlines = Deadlines(None, 5)
    for at, end in ((9, 9), (7, 7), (8, 7)):
        deadlines.close_by(at)
        assert deadlines.close_at == end


def test_the_answer_is_awaited_for_the_linger() -> None:
    """Unless the closing handshake ends earlier."""
    deadlines = Deadlines(None, 5)
    deadlines.close_by(NOW + 100)
    deadlines.await_answer(NOW)
    assert deadlines.close_at == NOW + 5
    deadlines.close_by(NOW + 1)
    deadlines.await_answer(NOW)
    assert deadlines.close_at == NOW + 1


def test_a_flood_puts_the_end_off_within_bounds() -> None:
    """It is over after a lull, or after ten times the linger."""
    deadlines = Deadlines(None, 1)
    deadlines.close_by(NOW + 1)
    deadlines.await_answer(NOW)
    now = NOW
    while deadlines.judge(now) is NOTHING:
        deadlines.flooded(now)
        assert deadlines.close_at == min(max(NOW + 1, now + LULL), NOW + 10)
        now += LULL / 2
    assert now == pytest.approx(NOW + 10, abs=LULL)


def test_a_flood_that_pauses_is_left() -> None:
    """A lull after its last message the connection is left."""
    deadlines = Deadlines(None, 1)
    deadlines.await_answer(NOW)
    deadlines.flooded(NOW + 0.5)
    assert deadlines.close_at == NOW + 1
    deadlines.flooded(NOW + 0.99)
    assert deadlines.judge(NOW + 1) is NOTHING
    assert deadlines.judge(NOW + 0.99 + LULL) is UNANSWERED
