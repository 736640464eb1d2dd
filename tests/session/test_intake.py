"""Where received messages enter: by the bounds, the rules, and who watches."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from math import inf
from typing import Any, TypeAlias, cast

import pytest

from anyws._session.channel import DirectChannel
from anyws._session.connection import Connection
from anyws._session.ending import Phase
from anyws._session.intake import Intake
from anyws._session.keepalive import KEEPALIVE
from anyws._session.queue import AHEAD_MESSAGES
from anyws._session.upkeep import Upkeep
from anyws._values.closing import CloseInfo
from anyws._values.errors import MessageTooBig
from anyws._values.events import MORE, Event
from anyws._values.options import Options
from anyws._values.states import CONNECTED, RESPONSE

from ..support.wakeups import woken_by


class Driver:
    """Counts what a connection asks of its driver."""

    def __init__(self) -> None:
        self.rearmed = 0

    def rearm(self) -> None:
        """Count it."""
        self.rearmed += 1

    def stop_reading(self) -> None:
        """Nothing here stops the reading."""
        raise AssertionError

    def stop_writing(self) -> None:
        """Nothing here stops the writing."""
        raise AssertionError

    def flush(self) -> None:
        """Nothing here writes."""
        raise AssertionError

    async def answer(self, event: Event) -> None:
        """Nothing here answers."""
        raise AssertionError


class Frames:
    """As much of a channel of our own as an ending asks."""

    def interrupt(self) -> None:
        """Do nothing."""

    def read_on(self) -> None:
        """Do nothing."""


class Watcher:
    """What an alarm cancels."""

    cancelled = False

    def cancel(self) -> None:
        """Take note of it."""
        self.cancelled = True


async def unused(*_: object) -> Any:
    """Be a channel's `receive` and `send`: nothing here calls them."""
    raise AssertionError


class Case:
    """An intake, over a connection that nothing drives."""

    def __init__(self, *, ours: bool, **options: Any) -> None:
        frames = cast("DirectChannel", Frames()) if ours else None
        self.connection = Connection(
            *(unused, unused, Options(**options), CONNECTED, CONNECTED),
            *(frames, Upkeep()),
        )
        self.driver = self.connection.driver = Driver()
        self.intake = Intake(self.connection)

    def offer(self, *texts: str) -> bool:
        """Offer text messages; return whether the last one was taken."""
        taken = False
        for text in texts:
            taken = self.intake.offer(message(text), len(text))
        return taken

    def fill(self, count: int) -> None:
        """Do as a channel of our own does with so many messages."""
        for _ in range(count):
            if not self.offer("m"):
                self.intake.keep(message("m"), 1)

    @property
    def queued(self) -> list[str]:
        """Take what is in the queue."""
        inbound = self.connection.inbound
        return [inbound.take_nowait()[0]["text"] for _ in range(inbound.held)]

    @property
    def info(self) -> CloseInfo | None:
        """How the connection ended."""
        return self.connection.ending.info

    def counted(self) -> tuple[int, int, int]:
        """Return messages and bytes received, and messages dropped."""
        counters = self.connection.counters
        dropped = self.connection.inbound.dropped
        return counters.messages_received, counters.bytes_received, dropped


def message(text: str) -> Event:
    """Return a text message."""
    return {"type": "websocket.receive", "text": text}


@pytest.fixture(params=[False, True], ids=["foreign", "ours"])
def ours(request: pytest.FixtureRequest) -> bool:
    """Whether the frames are ours."""
    return cast("bool", request.param)


@pytest.fixture
async def case(ours: bool) -> AsyncIterator[Callable[..., Case]]:
    """Make intakes; leave no stream behind."""
    made: list[Case] = []

    def make(**options: Any) -> Case:
        made.append(Case(ours=ours, **options))
        return made[-1]

    yield make
    for one in made:
        one.connection.inbound.discard()
        one.connection.outbound.discard()


foreign_only = pytest.mark.parametrize("ours", [False], ids=["foreign"], indirect=True)
ours_only = pytest.mark.parametrize("ours", [True], ids=["ours"], indirect=True)
MakeCase: TypeAlias = Callable[..., Case]


async def test_what_has_room_is_queued_and_counted(case: MakeCase) -> None:
    """In order; empty messages too."""
    one = case()
    assert one.offer("a", "", "bcd")
    assert one.queued == ["a", "", "bcd"]
    assert one.counted() == (3, 4, 0)


async def test_what_has_no_room_is_not_counted(case: MakeCase) -> None:
    """It is offered again, once there is room."""
    one = case(receive_buffer=2)
    assert not one.offer("a", "b", "c")
    assert one.counted() == (2, 2, 0)
    one.connection.inbound.take_nowait()
    assert one.offer("c")
    assert one.queued == ["b", "c"]


async def test_a_message_at_the_limit_passes(case: MakeCase) -> None:
    """The limit is the largest size that is accepted."""
    one = case(max_message_bytes=4)
    assert one.offer("1234")
    assert one.info is None


async def test_a_message_over_the_limit_ends_the_connection(case: MakeCase) -> None:
    """What was taken before stays readable; what comes later is dropped."""
    one = case(max_message_bytes=4)
    assert one.offer("1234", "12345", "1")
    assert one.info == CloseInfo(1009, "over 4 bytes", "local")
    assert isinstance(one.connection.ending.error(), MessageTooBig)
    assert one.connection.outbound.closed
    assert one.queued == ["1234"]
    assert one.counted() == (1, 4, 0)


async def test_a_message_after_the_end_is_dropped(case: MakeCase) -> None:
    """Nothing will read it, so it is not counted either."""
    one = case()
    one.connection.inbound.close()
    assert one.offer("a")
    assert one.counted() == (0, 0, 0)
    assert not one.intake.full


async def test_a_message_under_a_denial_response_is_dropped(case: MakeCase) -> None:
    """There is no WebSocket that it could belong to."""
    one = case()
    one.connection.application_state = RESPONSE
    assert one.offer("a")
    assert one.queued == []


async def test_a_flood_puts_off_the_end_on_a_foreign_channel_only(
    case: MakeCase, ours: bool
) -> None:
    """To leave amid one leaks connections on Hypercorn."""
    one = case(close_timeout=0.001)
    one.connection.close(1000, "")
    close_at = one.connection.deadlines.close_at
    one.connection.deadlines.flood_until = inf
    assert one.offer("a")
    later = one.connection.deadlines.close_at
    assert (later == close_at) is ours
    assert later >= close_at


async def test_the_oldest_is_dropped(case: MakeCase) -> None:
    """By "drop_oldest", and all are counted as received."""
    one = case(receive_buffer=2, receive_overflow="drop_oldest")
    assert one.offer("a", "b", "c")
    assert one.queued == ["b", "c"]
    assert one.counted() == (3, 3, 1)


async def test_the_connection_is_closed(case: MakeCase) -> None:
    """By "close", with 1008."""
    one = case(receive_buffer=2, receive_overflow="close")
    assert one.offer("a", "b", "c")
    assert one.info == CloseInfo(1008, "too many unread messages", "local")
    assert one.queued == ["a", "b"]


@pytest.mark.parametrize("rule", ["drop_oldest", "close"])
async def test_no_rule_is_applied_to_parts(case: MakeCase, rule: str) -> None:
    """A message that lacks a part would be another message."""
    one = case(receive_buffer=1, receive_overflow=rule)
    part = {**message("a"), MORE: True}
    assert one.intake.offer(part, 1)
    assert not one.intake.offer(part, 1)
    assert not one.offer("b")  # behind parts
    assert one.counted() == (1, 1, 0)
    assert one.info is None


@foreign_only
async def test_a_watched_foreign_channel_is_read_on(case: MakeCase) -> None:
    """The disconnect is behind what has no room, so that is dropped."""
    one = case(receive_buffer=1)
    one.connection.ending.watchers.append(Watcher())
    assert one.offer("a", "b", "c")
    assert one.queued == ["a"]
    assert one.counted() == (3, 3, 2)


@ours_only
async def test_a_watched_channel_of_ours_reads_ahead_without_end(
    case: MakeCase,
) -> None:
    """Behind the second mark, what comes is dropped and counted."""
    one = case(receive_buffer=1)
    one.connection.ending.watchers.append(Watcher())
    one.fill(1 + AHEAD_MESSAGES)
    assert one.counted() == (257, 257, 0)
    assert one.connection.inbound.crowded
    assert not one.intake.full
    one.fill(2)
    assert one.counted() == (259, 259, 2)
    assert len(one.queued) == 257


@ours_only
async def test_an_unwatched_channel_of_ours_reads_ahead_to_the_mark(
    case: MakeCase,
) -> None:
    """Then reading stops, until the application reads."""
    one = case(receive_buffer=1)
    one.fill(AHEAD_MESSAGES)
    assert not one.intake.full
    one.fill(1)
    assert one.intake.full
    assert one.counted() == (257, 257, 0)
    one.connection.inbound.take_nowait()
    assert not one.intake.full


async def test_a_rule_sounds_the_alarm(case: MakeCase) -> None:
    """Blocks of `cancel_on_disconnect()` end with the connection."""
    one = case(max_message_bytes=1)
    watcher = Watcher()
    one.connection.ending.watchers.append(watcher)
    one.offer("12")
    assert one.connection.ending.phase is Phase.FORCED
    assert watcher.cancelled


async def test_a_message_makes_the_idle_time_begin_anew(case: MakeCase) -> None:
    """The driver is told; without an idle time there is nothing to tell."""
    one, other = case(idle_timeout=60), case()
    for each in (one, other):
        each.offer("a")
    assert (one.driver.rearmed, other.driver.rearmed) == (1, 0)
    assert one.connection.deadlines.idle_at < inf
    assert other.connection.deadlines.idle_at == inf


@ours_only
async def test_a_message_that_is_kept_stops_the_idle_time(case: MakeCase) -> None:
    """The full queue keeps the peer waiting."""
    one = case(receive_buffer=1, idle_timeout=60)
    one.fill(1)
    assert one.connection.deadlines.idle_at < inf
    one.fill(1)
    assert one.connection.deadlines.idle_at == inf


async def test_a_read_begins_a_turn(case: MakeCase) -> None:
    """The answer to what was read may be written at once."""
    one = case()
    turn = one.connection.upkeep.turn
    one.intake.progressed(of_message=True)
    assert one.connection.upkeep.turn == turn + 1


async def test_whether_a_task_waits_for_a_message(case: MakeCase) -> None:
    """It does if it receives and there is nothing to take."""
    one = case()
    assert not one.intake.waiting
    one.connection.receiving = True
    assert one.intake.waiting
    one.offer("a")
    assert not one.intake.waiting


@ours_only
async def test_a_pong_lets_the_next_interval_begin(case: MakeCase) -> None:
    """If it answers the keepalive; any other says nothing."""
    one = case(ping_interval=20)
    keepalive = one.connection.keepalive
    keepalive.sent(None)
    one.intake.pong(b"other")
    assert (keepalive.awaited, keepalive.beat_at) == (True, inf)
    one.intake.pong(KEEPALIVE)
    assert not keepalive.awaited
    assert keepalive.beat_at < inf


async def test_the_two_tasks_are_woken(case: MakeCase) -> None:
    """The writer task for frames, the receiving task for a part."""
    one = case()
    inbound, outbound = one.connection.inbound, one.connection.outbound
    assert await woken_by(outbound.filled, one.intake.wake_writer)
    assert await woken_by(inbound.filled, one.intake.wake_receiver)
