"""Hubs whose backend keeps messages: in memory, as `DurableBackend` promises it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from trio.testing import MockClock

from anyws import Delivery, DurableBackend, Hub, Position, Publication
from anyws._hub.relay import Relay
from anyws._hub.subscription import Subscription

from ..support.buses import Bus, BusBackend

GAP = None


@asynccontextmanager
async def hubs(bus: Bus, **arguments: Any) -> AsyncIterator[tuple[Hub, Hub]]:
    """Run two hubs on a bus."""
    one = Hub(backend=BusBackend(bus), **arguments)
    other = Hub(backend=BusBackend(bus), **arguments)
    async with one, other:
        yield one, other


async def taken(subscription: Subscription, count: int) -> list[str | bytes | None]:
    """Take so many events; return their messages."""
    return [(await anext(subscription)).message for _ in range(count)]


async def places(hub: Hub, count: int) -> list[Position]:
    """Publish numbers, and return the position of each."""
    with hub.subscribe("a") as events:
        for number in range(count):
            hub.publish("a", str(number))
        return [(await anext(events)).position for _ in range(count)]


def test_a_backend_that_keeps_messages_says_so() -> None:
    """By its attribute; the protocol is one more method."""
    assert isinstance(BusBackend(Bus(keeps=True)), DurableBackend)
    assert not BusBackend(Bus()).durable


async def test_a_member_gets_what_its_hub_publishes_after_it_has_come() -> None:
    """The backend is told of the topic first."""
    async with hubs(Bus()) as (one, _):
        for topic in map(str, range(20)):
            with one.subscribe(topic) as events:
                one.publish(topic, "first")
                assert await taken(events, 1) == ["first"]


@pytest.mark.parametrize("history", [0, 5])
async def test_a_member_resumes_in_a_process_that_has_seen_nothing(
    history: int,
) -> None:
    """From before it began; what comes meanwhile comes behind it, once."""
    bus = Bus(keeps=True)
    async with hubs(bus, history=history) as (one, other):
        seen = await places(one, 8)
        bus.backends[1].delivered = list(bus.kept or ())
        bus.held = anyio.Event()
        with other.subscribe("a", since=seen[2]) as events:
            while "a" not in bus.backends[1].topics:
                await checkpoint()
            bus.send(Publication("a", "new", token="x-1"))
            await anyio.wait_all_tasks_blocked()
            assert events.statistics().lag == 1
            bus.held.set()
            assert await taken(events, 6) == [*map(str, range(3, 8)), "new"]
            bus.send(Publication("a", "newer", token="x-2"))
            assert await taken(events, 1) == ["newer"]


@pytest.mark.parametrize("rule", ["drop_oldest", "drop_newest", "coalesce"])
@pytest.mark.parametrize("from_start", [True, False])
async def test_what_a_rule_keeps_meanwhile_does_not_come_twice(
    rule: Any, from_start: bool
) -> None:
    """Although the backend has it too, and more of it than the buffer holds."""
    bus = Bus(keeps=True)
    async with hubs(bus) as (one, other):
        seen = await places(one, 3)
        bus.backends[1].delivered = list(bus.kept or ())
        bus.held = anyio.Event()
        only = other.subscribe(
            "a",
            since=Position.OLDEST if from_start else seen[0],
            buffer=2,
            overflow=rule,
            filter=lambda event: True,
        )
        with only as events:
            while "a" not in bus.backends[1].topics:
                await checkpoint()
            for number in range(3, 7):
                bus.send(Publication("a", str(number), token=f"x-{number}"))
                await anyio.wait_all_tasks_blocked()
            bus.held.set()
            await anyio.wait_all_tasks_blocked()
            got = await taken(events, 7 - (not from_start) - (rule == "drop_newest"))
            expected: list[str | None] = [*map(str, range(not from_start, 7))]
            if rule == "drop_newest":
                expected[-2:] = [GAP]
            assert got == expected
            assert events.statistics().lag == 0


async def test_what_is_not_kept_any_more_is_a_gap() -> None:
    """All that is kept follows, and a resumed member goes on behind the gap."""
    bus = Bus(keeps=True)
    async with hubs(bus) as (one, other):
        seen = await places(one, 8)
        bus.forget("a", but=2)
        bus.backends[1].delivered = list(bus.kept or ())
        with other.subscribe("a", since=seen[2]) as events:
            assert await taken(events, 3) == [GAP, "6", "7"]
        bus.forget("a", but=0)
        with other.subscribe("a", since=seen[2]) as events:
            assert await taken(events, 1) == [GAP]


async def test_the_history_is_that_of_the_backend() -> None:
    """Also of messages that this process has not had; filters hold."""
    bus = Bus(keeps=True)
    async with hubs(bus, history=5) as (one, other):
        await places(one, 8)
        bus.backends[1].delivered = list(bus.kept or ())
        only = other.subscribe(
            "a", since=Position.OLDEST, filter=lambda event: event.message != "5"
        )
        with only as events:
            assert await taken(events, 4) == ["3", "4", "6", "7"]
            one.publish("a", "new")
            assert await taken(events, 1) == ["new"]


async def test_a_large_replay_is_bounded_in_bytes() -> None:
    """The newest messages come, behind a gap."""
    bus = Bus(keeps=True)
    async with hubs(bus, buffer_bytes=4000) as (one, other):
        seen = await places(one, 1)
        with one.subscribe("a") as events:
            for number in range(8):
                one.publish("a", str(number) * 1000)
                await taken(events, 1)
        bus.backends[1].delivered = list(bus.kept or ())
        with other.subscribe("a", since=seen[0]) as events:
            got = await taken(events, 5)
            assert [m and str(m)[0] for m in got] == [GAP, "4", "5", "6", "7"]


async def test_a_member_that_has_left_is_not_asked_for() -> None:
    """And costs the next one nothing."""
    bus = Bus(keeps=True)
    async with hubs(bus) as (one, other):
        seen = await places(one, 3)
        bus.backends[1].delivered = list(bus.kept or ())
        with other.subscribe("a", since=seen[0]):
            pass
        with other.subscribe("a", since=seen[1]) as events:
            assert await taken(events, 1) == ["2"]


class TestOutages:
    """A backend that fails, and comes back."""

    @pytest.fixture
    def anyio_backend(self) -> tuple[str, dict[str, object]]:
        """Let time pass at once."""
        return "trio", {"clock": MockClock(autojump_threshold=0)}

    async def test_what_was_published_is_published_again(self) -> None:
        """Once, in order, and without a gap."""
        bus = Bus(keeps=True)
        async with hubs(bus) as (one, other):
            with other.subscribe("a") as events:
                await anyio.sleep(1)
                one.publish("a", "1")
                bus.cut()
                one.publish("a", "2")
                await anyio.sleep(60)
                one.publish("a", "3")
                bus.down = False
                await anyio.sleep(10)
                assert [m for m in await taken(events, 3) if m] == ["1", "2", "3"]
                assert events.statistics().lag == 0

    async def test_without_keeping_a_member_that_resumes_is_told(self) -> None:
        """What was missed in the outage stands in no log."""
        bus = Bus()
        async with hubs(bus, history=5) as (one, other):
            with other.subscribe("a") as events:
                await anyio.sleep(1)
                one.publish("a", "before")
                [seen] = [(await anext(events)).position]
                bus.cut()
                await anyio.sleep(10)
                bus.down = False
                await anyio.sleep(10)
                one.publish("a", "after")
                while (await taken(events, 1)) != ["after"]:
                    pass
                with other.subscribe("a", since=seen) as again:
                    got = [m for m in await taken(again, 3) if m]
                    assert got == ["after"]  # behind two gaps

    async def test_a_topic_with_history_stays_wanted(self) -> None:
        """So that a member that comes again has missed nothing."""
        bus = Bus()
        async with hubs(bus, history=5, history_seconds=60) as (one, other):
            with other.subscribe("a") as events:
                await anyio.sleep(1)
                one.publish("a", "1")
                seen = (await anext(events)).position
            one.publish("a", "2")
            await anyio.sleep(1)
            with other.subscribe("a", since=seen) as events:
                assert await taken(events, 1) == ["2"]
            await anyio.sleep(100)
            assert "a" not in bus.backends[1].topics
            with other.subscribe("a", since=seen) as events:
                assert await taken(events, 1) == [GAP]

    async def test_an_outage_is_told_twice_however_long_it_is(self) -> None:
        """When it begins, and to those who have come meanwhile, when it ends."""
        bus = Bus()
        async with hubs(bus) as (_, other):
            with other.subscribe("a") as events:
                await anyio.sleep(1)
                bus.cut()
                with other.subscribe("a") as late:
                    told = 0
                    with anyio.move_on_after(600):
                        while True:
                            assert (await anext(events)).gap
                            told += 1
                    bus.down = False
                    await anyio.sleep(10)
                    assert await taken(events, 1) == await taken(late, 1) == [GAP]
                    assert told == 1


def test_the_relay_knows_what_keeps_messages() -> None:
    """A backend without the attribute keeps none."""

    class Receiver:
        def wanted(self) -> tuple[frozenset[str], frozenset[str]]:
            return frozenset(), frozenset()

        def deliver(self, delivery: Delivery) -> None:
            """Take nothing."""

    assert Relay(BusBackend(Bus()), Receiver(), 1).durable is None
    assert Relay(BusBackend(Bus(keeps=True)), Receiver(), 1).durable is not None
