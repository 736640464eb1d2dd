"""Members that iterate: what they get, what they are told, and how they end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

import anyws
from anyws import Event, Hub, HubError, Position
from anyws._hub.reading import RULES, Overflow
from anyws._hub.subscription import Subscription


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    """Run a hub."""
    async with Hub() as running:
        yield running


async def taken(subscription: Subscription, count: int) -> list[str | bytes | None]:
    """Take so many events; return their messages."""
    return [(await anext(subscription)).message for _ in range(count)]


async def test_a_member_gets_what_is_published_after_its_entry(hub: Hub) -> None:
    """In order, with its topic, text as text and bytes as bytes."""
    hub.publish("a", "before")
    with hub.subscribe("a", "b") as events:
        assert hub.publish("a", "1") == 1
        assert hub.publish("b", b"2") == 1
        assert hub.publish("c", "not mine") == 0
        assert hub.publish("a", bytearray(b"3")) == 1
        got = [await anext(events) for _ in range(3)]
    assert [(e.topic, e.message) for e in got] == [("a", "1"), ("b", b"2"), ("a", b"3")]
    assert not any(event.gap for event in got)
    assert hub.publish("a", "after") == 0


async def test_the_order_holds_across_topics(hub: Hub) -> None:
    """Messages of several topics come as they were published."""
    with hub.subscribe("*") as events:
        for number in range(100):
            hub.publish(f"t{number * 7 % 5}", str(number))
        assert await taken(events, 100) == list(map(str, range(100)))


async def test_a_pattern_does_not_cross_dots(hub: Hub) -> None:
    """`*` is a part of one segment; a topic that comes later is matched too."""
    with hub.subscribe("room.*", "*.x") as events:
        assert hub.publish("room.1", "a") == 1
        assert hub.publish("room.1.typing", "no") == 0
        assert hub.publish("room.", "no") == 0
        assert hub.publish("rooms", "no") == 0
        assert hub.publish("room.x", "both, and once") == 1
        assert await taken(events, 2) == ["a", "both, and once"]
        assert events.topics == {"room.*", "*.x"}
        assert hub.subscribers("room.new") == 1
        assert hub.subscribers("other") == 0


async def test_topics_are_joined_and_left_while_it_runs(hub: Hub) -> None:
    """What was not read of a topic that is left is forgotten."""
    with hub.subscribe() as events:
        events.join("a", "b")
        events.join("a")
        hub.publish("a", "1")
        hub.publish("b", "2")
        events.leave("a", "never joined")
        assert events.topics == {"b"}
        assert await taken(events, 1) == ["2"]
        assert hub.publish("a", "3") == 0
        events.join("a")
        hub.publish("a", "4")
        assert await taken(events, 1) == ["4"]


async def test_a_topic_that_is_named_and_matched_is_left_twice(hub: Hub) -> None:
    """Each of the two keeps it."""
    with hub.subscribe("a.b", "a.*") as events:
        events.leave("a.*")
        assert hub.publish("a.b", "1") == 1
        events.join("a.*")
        events.leave("a.b")
        assert hub.publish("a.b", "2") == 1
        events.leave("a.*")
        assert hub.publish("a.b", "3") == 0


@pytest.mark.parametrize("topic", ["", "x" * 513, "a\0b", "\ud800"], ids=len)
async def test_what_is_no_topic_is_refused(hub: Hub, topic: str) -> None:
    """Before anything has changed."""
    wrong = "1 to 512|surrogates"
    with pytest.raises(ValueError, match=wrong):
        hub.publish(topic, "")
    with pytest.raises(ValueError, match=wrong):
        hub.subscribe("a", topic)
    with hub.subscribe("b") as events:
        with pytest.raises(ValueError, match=wrong):
            events.join("a", topic)
        assert events.topics == {"b"}


async def test_bad_arguments_are_refused(hub: Hub) -> None:
    """Each with an error that names what is wrong."""
    with pytest.raises(TypeError, match="topic"):
        hub.publish(1, "")  # type: ignore[arg-type]  # what is wrong
    with pytest.raises(ValueError, match="pattern"):
        hub.publish("a.*", "")
    with pytest.raises(TypeError, match="message"):
        hub.publish("a", None)  # type: ignore[arg-type]  # what is wrong
    with pytest.raises(UnicodeEncodeError):
        hub.publish("a", "\ud800")
    with pytest.raises(TypeError, match="key"):
        hub.publish("a", "", key=1)  # type: ignore[arg-type]  # what is wrong
    with pytest.raises(TypeError, match="exclude"):
        hub.publish("a", "", exclude="me")  # type: ignore[arg-type]  # what is wrong
    for bad in (0, -1, True, 1.5):
        with pytest.raises(ValueError, match="buffer"):
            hub.subscribe("a", buffer=bad)  # type: ignore[arg-type]  # what is wrong
    with pytest.raises(ValueError, match="overflow"):
        hub.subscribe("a", overflow="wait")  # type: ignore[arg-type]  # what is wrong
    with pytest.raises(TypeError, match="filter"):
        hub.subscribe("a", filter=1)  # type: ignore[arg-type]  # what is wrong
    with pytest.raises(TypeError, match="since"):
        hub.subscribe("a", since=1)  # type: ignore[arg-type]  # what is wrong
    for since in ("", "a", "x.y.a", "e.1.b", "..", "e.1.", "e.٣.a"):
        with pytest.raises(ValueError, match="position"):
            hub.subscribe("a", since=since)
    with pytest.raises(ValueError, match="mapping"):
        hub.subscribe("a", "b", since="e.1.a")
    assert hub.statistics().members == 0


@pytest.mark.parametrize(
    "arguments",
    [
        {"history": -1},
        {"history": 1.5},
        {"history_bytes": 0},
        {"history_seconds": "1"},
        {"history_seconds": float("inf")},
        {"history_seconds": float("nan")},
        {"buffer_bytes": True},
    ],
    ids=str,
)
def test_a_hub_refuses_numbers_without_a_meaning(arguments: dict[str, Any]) -> None:
    """The error names the argument."""
    with pytest.raises(ValueError, match=next(iter(arguments))):
        Hub(**arguments)


async def test_outside_of_its_block_a_hub_does_nothing() -> None:
    """The error says where a hub runs; a hub may be entered again."""
    hub = Hub()
    for _ in range(2):
        with pytest.raises(HubError, match="lifespan"):
            hub.publish("a", "")
        subscription = hub.subscribe("a")
        with pytest.raises(HubError), subscription:
            pass
        async with hub:
            with hub.subscribe("a") as events:
                hub.publish("a", "1")
                assert await taken(events, 1) == ["1"]
            with pytest.raises(RuntimeError, match="entered"):
                async with hub:
                    pass


async def test_the_end_of_the_hub_ends_the_iteration() -> None:
    """What was published before comes first."""
    got: list[str | bytes | None] = []

    async def read(subscription: Subscription) -> None:
        with subscription:
            got.extend([event.message async for event in subscription])

    async with anyio.create_task_group() as tasks:
        async with Hub() as hub:
            tasks.start_soon(read, hub.subscribe("a"))
            tasks.start_soon(read, hub.subscribe("a"))
            await anyio.wait_all_tasks_blocked()
            hub.publish("a", "last")
    assert got == ["last", "last"]


async def test_an_exception_leaves_the_block_of_a_hub_as_itself() -> None:
    """It is not wrapped in a group."""
    with pytest.raises(KeyError):
        async with Hub() as hub:
            hub.publish("a", "1")
            raise KeyError


async def test_a_subscription_is_entered_once(hub: Hub) -> None:
    """And iterated inside its block, by one task at a time."""
    subscription = hub.subscribe("a")
    with pytest.raises(RuntimeError, match="with"):
        await anext(subscription)
    with pytest.raises(RuntimeError, match="block"):
        subscription.join("b")
    with subscription:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anext, subscription)
            await anyio.wait_all_tasks_blocked()
            with pytest.raises(anyio.BusyResourceError):
                await anext(subscription)
            hub.publish("a", "1")
    with pytest.raises(RuntimeError, match="twice"), subscription:
        pass
    with pytest.raises(StopAsyncIteration):
        await anext(subscription)
    subscription.leave("a")


async def test_a_cancelled_step_loses_nothing(hub: Hub) -> None:
    """The next step returns the event."""
    with hub.subscribe("a") as events:
        with anyio.CancelScope() as scope:
            hub.publish("a", "1")
            scope.cancel()
            await anext(events)
        assert scope.cancelled_caught
        assert await taken(events, 1) == ["1"]


async def test_a_step_that_asyncio_cancels_loses_nothing(
    hub: Hub, anyio_backend_name: str
) -> None:
    """Not even one that is woken in the turn in which it is cancelled."""
    if anyio_backend_name != "asyncio":
        pytest.skip("native cancellation is asyncio's")
    with hub.subscribe("a") as events:
        for turns in range(6):
            step = asyncio.ensure_future(anext(events))
            await anyio.wait_all_tasks_blocked()
            hub.publish("a", str(turns))
            for _ in range(turns):
                await asyncio.sleep(0)
            step.cancel()
            try:
                event = await step
            except asyncio.CancelledError:
                event = await anext(events)
            assert event.message == str(turns)


async def test_every_step_is_a_checkpoint(hub: Hub) -> None:
    """A loop over many events that are there lets other tasks run."""
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await checkpoint()

    with hub.subscribe("a", buffer=1000) as events:
        for number in range(500):
            hub.publish("a", str(number))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(count)
            await taken(events, 500)
            tasks.cancel_scope.cancel()
    assert turns > 10


# Rules


def told(events: list[Event]) -> list[str | bytes | None]:
    """Return the messages of events; a gap is `None`."""
    return [event.message for event in events]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("drop_oldest", [None, "7", "8", "9"]),
        ("drop_newest", ["0", "1", "2", None]),
        ("coalesce", [None, "7", "8", "9"]),
    ],
)
@pytest.mark.parametrize("waits", [True, False], ids=["turns", "burst"])
async def test_what_a_rule_drops_is_told_in_its_place(
    hub: Hub, rule: Any, expected: list[str | None], waits: bool
) -> None:
    """Whether or not the loop turns between the messages."""
    with hub.subscribe("a", buffer=3, overflow=rule) as events:
        for number in range(10):
            hub.publish("a", str(number))
            if waits:
                await anyio.wait_all_tasks_blocked()
        got = [await anext(events) for _ in range(4)]
        assert told(got) == expected
        hub.publish("a", "next")
        assert await taken(events, 1) == ["next"]
        statistics = events.statistics()
        assert (statistics.sent, statistics.dropped, statistics.lag) == (4, 7, 0)
        assert hub.statistics().dropped == 7


@pytest.mark.parametrize("waits", [True, False], ids=["turns", "burst"])
async def test_coalescing_keeps_the_newest_of_each_key(hub: Hub, waits: bool) -> None:
    """Each in its own place, so that positions only grow; nothing is missed."""
    with hub.subscribe("a", buffer=3, overflow="coalesce") as events:
        for number in range(30):
            hub.publish(
                "a", str(number), key="slow" if number == 1 else f"k{number % 2}"
            )
            if waits:
                await anyio.wait_all_tasks_blocked()
        got = [await anext(events) for _ in range(3)]
        assert told(got) == ["1", "28", "29"]
        orders = [event.position.parts[1] for event in got]
        assert orders == sorted(orders)
        statistics = events.statistics()
        assert (statistics.sent, statistics.dropped) == (3, 0)
        assert statistics.coalesced == 27


async def test_the_rule_close_ends_the_iteration_by_an_error(hub: Hub) -> None:
    """And the topics are left."""
    with hub.subscribe("a", buffer=2, overflow="close") as events:
        for number in range(3):
            hub.publish("a", str(number))
        with pytest.raises(HubError, match="slow"):
            await anext(events)
        assert hub.publish("a", "") == 0


async def test_one_that_is_slow_costs_the_others_nothing(hub: Hub) -> None:
    """They get everything, in order."""
    with (
        hub.subscribe("a", buffer=2) as slow,
        hub.subscribe("a", buffer=2) as quick,
    ):
        for number in range(100):
            hub.publish("a", str(number))
            assert await taken(quick, 1) == [str(number)]
        assert await taken(slow, 3) == [None, "98", "99"]


async def test_the_log_keeps_no_more_than_members_may_be_behind(hub: Hub) -> None:
    """In messages, and nothing once all have read it."""
    with hub.subscribe("a", buffer=5) as events:
        for number in range(100):
            hub.publish("a", str(number))
        log = hub._life.topics.by_name["a"].log
        assert len(log) == 5
        assert log.size == 10
        await taken(events, 6)
        assert (len(log), log.size) == (0, 0)
    assert hub.topics() == frozenset()


async def test_the_log_is_bounded_in_bytes() -> None:
    """The oldest messages go; one that is larger than the bound passes alone."""
    async with Hub(buffer_bytes=1000) as hub:
        with hub.subscribe("a") as events:
            for size in (400, 400, 400, 5000):
                hub.publish("a", "x" * size)
            got = await taken(events, 2)
            assert [m and len(m) for m in got] == [None, 5000]
            assert events.statistics().dropped == 3


async def test_the_counters_of_the_hub_and_of_a_topic(hub: Hub) -> None:
    """Of all members together."""
    with (
        hub.subscribe("a", buffer=1) as one,
        hub.subscribe("a", "b", buffer=2, overflow="coalesce") as other,
    ):
        for topic in "aaabz":
            hub.publish(topic, topic, key="k")
        await taken(one, 2)
        await taken(other, 2)
        whole, topic_a = hub.statistics(), hub.statistics("a")
    assert (whole.topics, whole.members, whole.published) == (2, 2, 5)
    assert (whole.sent, whole.dropped, whole.coalesced) == (3, 2, 2)
    assert (topic_a.topics, topic_a.members, topic_a.published) == (1, 2, 3)
    assert (topic_a.sent, topic_a.dropped, topic_a.coalesced) == (2, 2, 2)
    assert hub.statistics("nothing").members == 0
    with pytest.raises(ValueError, match="pattern"):
        hub.statistics("*")


# Filters and exclusion


async def test_a_filter_says_what_a_member_gets(hub: Hub) -> None:
    """What it refuses is no gap, and does not count."""

    def odd(event: Event) -> bool:
        assert event.message is not None
        return int(event.message) % 2 == 1

    with hub.subscribe("a", filter=odd, buffer=100) as events:
        for number in range(10):
            hub.publish("a", str(number))
        assert await taken(events, 5) == ["1", "3", "5", "7", "9"]
        assert events.statistics().sent == 5


async def test_what_a_filter_raises_leaves_the_iteration(hub: Hub) -> None:
    """The hub and its other members go on."""

    def broken(event: Event) -> bool:
        raise ZeroDivisionError

    with hub.subscribe("a", filter=broken) as events, hub.subscribe("a") as other:
        hub.publish("a", "1")
        with pytest.raises(ZeroDivisionError):
            await anext(events)
        assert await taken(other, 1) == ["1"]


async def test_an_excluded_member_does_not_get_the_message(hub: Hub) -> None:
    """It is not counted, and is told no gap."""
    with hub.subscribe("a") as one, hub.subscribe("a") as other:
        assert hub.publish("a", "1", exclude=one) == 1
        assert hub.publish("a", "2") == 2
        assert await taken(one, 1) == ["2"]
        assert await taken(other, 2) == ["1", "2"]


@pytest.mark.parametrize("rule", RULES)
async def test_what_excludes_a_member_pushes_nothing_out(
    hub: Hub, rule: Overflow
) -> None:
    """However many such messages come: what the member wants still waits for it."""
    with hub.subscribe("a", buffer=2, overflow=rule) as events:
        for turns in (0, 1):
            for number in range(2):
                for _ in range(5):
                    hub.publish("a", "own", exclude=events)
                    for _ in range(turns):
                        await anyio.wait_all_tasks_blocked()
                hub.publish("a", str(number))
            for _ in range(5):
                hub.publish("a", "own", exclude=events)
            assert events.statistics().lag == 2
            assert await taken(events, 2) == ["0", "1"]
        assert events.statistics().dropped == 0
        # Once the member is up to date, the log need not wait for its look.
        topic = hub._life.topics.by_name["a"]
        assert bool(topic.keepers) == (rule in ("drop_newest", "coalesce"))


@pytest.mark.parametrize("waits", [True, False], ids=["turns", "burst"])
async def test_what_is_not_wanted_does_not_come_behind_a_gap(
    hub: Hub, waits: bool
) -> None:
    """The rule drops the oldest that it wants, and the gap stands in its place."""
    with hub.subscribe("a", buffer=2) as events:
        for number in range(4):
            hub.publish("a", str(number), exclude=events if number == 2 else None)
            if waits:
                await anyio.wait_all_tasks_blocked()
        assert await taken(events, 3) == [None, "1", "3"]


# Threads and drains


async def test_a_thread_publishes(hub: Hub) -> None:
    """It gets the count back, and the errors."""
    with hub.subscribe("a") as events:
        count = await anyio.to_thread.run_sync(hub.publish_from_thread, "a", "1")
        assert count == 1
        assert await taken(events, 1) == ["1"]
        with pytest.raises(TypeError, match="message"):
            await anyio.to_thread.run_sync(hub.publish_from_thread, "a", 1)  # type: ignore[arg-type]  # what is wrong
    with pytest.raises(RuntimeError, match="publish"):
        hub.publish_from_thread("a", "1")


async def test_a_thread_that_comes_too_late_is_told() -> None:
    """The hub has ended."""
    async with Hub() as hub:
        pass
    with pytest.raises(HubError):
        await anyio.to_thread.run_sync(hub.publish_from_thread, "a", "1")


async def test_a_drain_ends_the_subscriptions() -> None:
    """Also those that are entered later; publishing goes on."""
    drain = anyws.Drain()
    async with Hub(drain=drain) as hub:
        with hub.subscribe("a") as events:
            hub.publish("a", "1")
            await drain.aclose()
            hub.publish("a", "2")
            assert [event.message async for event in events] == ["1", "2"]
        with hub.subscribe("a") as late:
            assert [event async for event in late] == []
    with pytest.raises(TypeError, match="drain"):
        Hub(drain=object())  # type: ignore[arg-type]  # what is wrong


# Positions


async def test_a_position_is_text() -> None:
    """It survives a journey, and is the place of its message."""
    async with Hub(history=10) as hub:
        with hub.subscribe("größe.1") as events:
            hub.publish("größe.1", "1")
            hub.publish("größe.1", "2")
            first = await anext(events)
        position = Position(str(first.position).encode().decode())
        assert position == first.position
        assert position.topic == "größe.1"
        assert isinstance(position, str)
        with hub.subscribe("größe.1", since=str(position)) as again:
            assert await taken(again, 1) == ["2"]
