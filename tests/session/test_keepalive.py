"""The pings of a connection, by a clock that the test moves."""

from __future__ import annotations

from itertools import product
from math import inf

import pytest

from anyws._session.deadlines import LULL
from anyws._session.keepalive import KEEPALIVE, Beat, Keepalive, Ping

NOTHING, DUE, LOST = Beat


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        """Tell the time."""
        return self.now


class Over:
    """Counts how often it is set."""

    def __init__(self) -> None:
        self.times = 0

    def set(self) -> None:
        """Take note."""
        self.times += 1


class Life:
    """A keepalive and its two clocks, which differ."""

    def __init__(self) -> None:
        self.clock, self.stopwatch = Clock(1000), Clock(5)
        self.keepalive = Keepalive(self.clock, self.stopwatch)

    def move(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.now += seconds
        self.stopwatch.now += seconds

    @property
    def left(self) -> float:
        """Seconds until the keepalive has something to do."""
        return self.keepalive.beat_at - self.clock.now

    def judge(self, timeout: float | None = 5, *, pausing: bool = False) -> Beat:
        """Ask what is to be done."""
        return self.keepalive.judge(self.clock.now, timeout, pausing=pausing)

    def ping(self, payload: bytes) -> tuple[Ping, Over]:
        """Send a ping of the user's."""
        over = Over()
        return self.keepalive.add(payload, over), over


# The keepalive.


def test_a_new_one_is_off() -> None:
    """Nothing is due, and nothing is known."""
    keepalive = Life().keepalive
    assert keepalive.beat_at == inf
    assert not keepalive.awaited
    assert keepalive.latency is None


def test_a_whole_life() -> None:
    """The interval, the ping, the pong; and again, until a pong does not come."""
    life = Life()
    keepalive = life.keepalive
    for latency in (1.0, 3.0):
        keepalive.rest(10)
        assert life.left == 10
        life.move(9)
        assert life.judge() is NOTHING
        life.move(1)
        assert life.judge() is DUE
        assert not keepalive.awaited
        keepalive.sent(5)
        assert keepalive.awaited
        assert life.left == 5
        life.move(latency)
        assert keepalive.answered(KEEPALIVE)
        assert not keepalive.awaited
        assert keepalive.latency == latency
    keepalive.rest(10)
    life.move(10)
    keepalive.sent(5)
    life.move(5)
    assert life.judge() is NOTHING
    assert life.left == pytest.approx(LULL)
    assert keepalive.awaited
    life.move(LULL)
    assert life.judge() is LOST


def test_an_answer_within_the_grace_is_in_time() -> None:
    """The next one has its own grace."""
    life = Life()
    for _ in range(2):
        life.keepalive.sent(5)
        life.move(5)
        assert life.judge() is NOTHING
        life.move(LULL)
        assert life.keepalive.answered(KEEPALIVE)
        assert life.keepalive.latency == pytest.approx(5 + LULL)


def test_the_interval_waits_for_the_answer() -> None:
    """It does not begin while a ping is under way, whatever is asked."""
    life = Life()
    life.keepalive.sent(5)
    for interval in (1, None):
        life.keepalive.rest(interval)
        assert life.left == 5
    life.keepalive.answered(KEEPALIVE)
    life.keepalive.rest(1)
    assert life.left == 1


def test_without_an_interval_there_are_no_pings() -> None:
    """One that was set before does not count any more."""
    life = Life()
    life.keepalive.rest(10)
    life.keepalive.rest(None)
    assert life.left == inf


def test_without_a_timeout_an_answer_may_take_for_ever() -> None:
    """It is measured all the same."""
    life = Life()
    life.keepalive.sent(None)
    assert life.left == inf
    life.move(1e6)
    assert life.keepalive.answered(KEEPALIVE)
    assert life.keepalive.latency == 1e6


STATES = ("off", "resting", "due", "awaited", "expired", "overdue", "lost")


def at(state: str) -> Life:
    """Return a keepalive in a row of the module's table, early or late in it."""
    life = Life()
    if state in ("resting", "due"):
        life.keepalive.rest(10)
        life.move(10 if state == "due" else 9)
    elif state != "off":
        life.keepalive.sent(5)
        life.move(4 if state == "awaited" else 5)
        if state in ("overdue", "lost"):
            assert life.judge() is NOTHING
            life.move(LULL if state == "lost" else LULL / 2)
    return life


@pytest.mark.parametrize("pausing", [False, True], ids=["heard", "pausing"])
@pytest.mark.parametrize("progress", [None, 0, 1, 5], ids="progress-{}".format)
@pytest.mark.parametrize("state", STATES)
def test_every_verdict(state: str, progress: float | None, pausing: bool) -> None:
    """By the row, by how long ago there was progress, and by a pause of ours."""
    life = at(state)
    if progress is not None:
        life.clock.now -= progress
        life.keepalive.progressed()
        life.clock.now += progress
    before = life.left
    verdict = life.judge(pausing=pausing)
    if state in ("off", "resting", "awaited", "overdue"):
        assert (verdict, life.left) == (NOTHING, before)  # it is not time
    elif state == "due":
        assert verdict is DUE
    elif pausing:
        assert (verdict, life.left) == (NOTHING, 5)
    elif progress is not None and progress < 5:
        assert (verdict, life.left) == (NOTHING, 5 - progress)
    elif state == "expired":
        assert verdict is NOTHING
        assert life.left == pytest.approx(LULL)
    else:
        assert verdict is LOST


@pytest.mark.parametrize("state", STATES[3:])
def test_progress_moves_no_deadline(state: str) -> None:
    """Whoever drives the connection need not sleep anew: it is looked at then."""
    life = at(state)
    before = life.left
    life.keepalive.progressed()
    assert life.left == before


def test_the_answer_is_due_exactly_so_long_after_the_last_progress() -> None:
    """And not so long after it was looked at."""
    life = Life()
    life.keepalive.sent(5)
    for _ in range(3):
        life.move(3)
        life.keepalive.progressed()
        life.move(2)
        assert life.judge() is NOTHING
        assert life.left == 3
    life.move(3)
    assert life.judge() is NOTHING  # the grace
    life.move(LULL)
    assert life.judge() is LOST


def test_progress_within_the_grace_gives_the_next_one_its_own() -> None:
    """What is read late may be followed by more that is late."""
    life = at("overdue")
    life.keepalive.progressed()
    life.move(LULL)
    assert life.judge() is NOTHING
    life.move(life.left)
    assert life.judge() is NOTHING
    assert life.left == pytest.approx(LULL)
    life.move(LULL)
    assert life.judge() is LOST


def test_progress_before_the_ping_does_not_count() -> None:
    """The ping is the first there is."""
    life = Life()
    life.keepalive.rest(10)
    life.move(10)
    life.keepalive.progressed()
    life.move(1)
    life.keepalive.sent(5)
    life.move(5)
    assert life.judge() is NOTHING
    assert life.left == pytest.approx(LULL)


@pytest.mark.parametrize("state", ["expired", "overdue", "lost"])
def test_a_timeout_that_is_taken_away_is_waited_for_no_more(state: str) -> None:
    """The options may have changed since the ping was sent."""
    life = at(state)
    life.move(life.left)
    assert life.judge(None) is NOTHING
    assert life.left == inf


@pytest.mark.parametrize("under_way", [False, True])
def test_cancelled_it_has_nothing_to_do(under_way: bool) -> None:
    """No ping is due any more, nor an answer."""
    life = Life()
    life.keepalive.rest(10)
    if under_way:
        life.keepalive.sent(5)
    life.keepalive.cancel()
    assert life.left == inf


# The user's pings.


def test_a_ping_is_answered_by_its_payload() -> None:
    """Its latency is told by the stopwatch, and the user once."""
    life = Life()
    ping, over = life.ping(b"a")
    life.clock.now += 100  # the other clock does not count
    life.stopwatch.now += 2
    assert not life.keepalive.answered(b"a")
    assert (ping.latency, over.times, life.keepalive.latency) == (2, 1, 2)
    life.move(1)
    assert not life.keepalive.answered(b"a")
    assert (ping.latency, over.times, life.keepalive.latency) == (2, 1, 2)


@pytest.mark.parametrize("payload", [b"", b"other", KEEPALIVE])
def test_an_unsolicited_pong_says_nothing(payload: bytes) -> None:
    """It answers no ping, and measures nothing."""
    life = Life()
    ping, over = life.ping(b"a")
    life.keepalive.rest(10)
    assert not life.keepalive.answered(payload)
    assert (ping.latency, over.times, life.keepalive.latency) == (None, 0, None)
    assert life.left == 10


def test_a_payload_is_under_way_once() -> None:
    """The second ping is refused, and the first is none the worse."""
    life = Life()
    ping, over = life.ping(b"a")
    with pytest.raises(RuntimeError, match=r"b'a' is under way"):
        life.ping(b"a")
    life.keepalive.answered(b"a")
    assert (ping.latency, over.times) == (0, 1)
    life.ping(b"a")


def test_a_forgotten_ping_is_not_answered() -> None:
    """Its pong is unsolicited, and its payload free."""
    life = Life()
    ping, over = life.ping(b"a")
    life.keepalive.forget(ping)
    life.keepalive.answered(b"a")
    assert (ping.latency, over.times, life.keepalive.latency) == (None, 0, None)
    life.ping(b"a")


def test_to_forget_a_ping_spares_the_next_with_its_payload() -> None:
    """A user who was answered lets go of the own ping alone."""
    life = Life()
    first, _ = life.ping(b"a")
    life.keepalive.answered(b"a")
    second, over = life.ping(b"a")
    life.keepalive.forget(first)
    life.move(1)
    life.keepalive.answered(b"a")
    assert (second.latency, over.times) == (1, 1)


def test_at_the_end_nobody_waits() -> None:
    """Every user hears of it, without an answer; the keepalive has none to tell."""
    life = Life()
    pings = [life.ping(payload) for payload in (b"a", b"b")]
    life.keepalive.sent(5)
    life.keepalive.end()
    assert [over.times for _, over in pings] == [1, 1]
    assert [ping.latency for ping, _ in pings] == [None, None]


# All in one line.


@pytest.mark.parametrize(
    ("beat", "answer"),
    [*product(range(4), range(4))],
    ids=[
        f"keepalive-{beat}-answer-{answer}" for beat, answer in product("0123", "0123")
    ],
)
def test_a_pong_answers_its_ping_and_all_before_it(beat: int, answer: int) -> None:
    """Of three pings of the user's and one of the keepalive's, at any place."""
    life = Life()
    line = [b"a", b"b", b"c"]
    line.insert(beat, KEEPALIVE)
    users: dict[bytes, tuple[Ping, Over]] = {}
    for payload in line:
        if payload == KEEPALIVE:
            life.keepalive.sent(5)
        else:
            users[payload] = life.ping(payload)
        life.move(1)
    assert life.keepalive.answered(line[answer]) is (beat <= answer)
    assert life.keepalive.awaited is (beat > answer)
    assert life.keepalive.latency == 4 - answer
    for place, payload in enumerate(line):
        if payload != KEEPALIVE:
            ping, over = users[payload]
            assert ping.latency == (4 - place if place <= answer else None)
            assert over.times == (place <= answer)
    # The others are answered later.
    life.keepalive.answered(line[-1])
    assert not life.keepalive.awaited
    assert all(over.times == 1 for _, over in users.values())


@pytest.mark.parametrize("first", ["user", "keepalive"])
def test_a_user_may_take_the_payload_of_the_keepalive(first: str) -> None:
    """One pong answers both: which one it repeats cannot be told."""
    life = Life()
    if first == "keepalive":
        life.keepalive.sent(5)
    ping, over = life.ping(KEEPALIVE)
    if first == "user":
        life.keepalive.sent(5)
    life.move(1)
    assert life.keepalive.answered(KEEPALIVE)
    assert (ping.latency, over.times) == (1, 1)
    assert not life.keepalive.answered(KEEPALIVE)
