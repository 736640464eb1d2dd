"""Hubs of several processes, connected by a backend in memory."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from trio.testing import MockClock

from anyws import Backend, Hub, HubError
from anyws._hub.subscription import Subscription

from ..support.buses import Bus, BusBackend


@asynccontextmanager
async def two_hubs(bus: Bus, **arguments: Any) -> AsyncIterator[tuple[Hub, Hub]]:
    """Run two hubs on a bus."""
    one = Hub(backend=BusBackend(bus), **arguments)
    other = Hub(backend=BusBackend(bus), **arguments)
    async with one, other:
        yield one, other


async def wanted(bus: Bus, *topics: str) -> None:
    """Wait until all backends know of topics."""
    while not all(set(topics) <= backend.topics for backend in bus.backends):
        await checkpoint()


async def taken(subscription: Subscription, count: int) -> list[str | bytes | None]:
    """Take so many events; return their messages."""
    return [(await anext(subscription)).message for _ in range(count)]


def test_the_protocol_is_what_a_backend_has() -> None:
    """The hub refuses what is none."""
    assert isinstance(BusBackend(Bus()), Backend)
    with pytest.raises(TypeError, match=r"str is not an anyws\.Backend"):
        Hub(backend="redis://")  # type: ignore[arg-type]  # what is wrong


async def test_members_of_all_hubs_get_the_same_in_one_order() -> None:
    """Local members too get it in the order of the backend."""
    bus = Bus()
    async with two_hubs(bus) as (one, other):
        with one.subscribe("a") as here, other.subscribe("a") as there:
            await wanted(bus, "a")
            for number in range(50):
                assert one.publish("a", f"one {number}") == 1
                other.publish("a", f"other {number}".encode())
            seen = await taken(here, 100)
            assert seen == await taken(there, 100)
            assert {len(str(m)) for m in seen} >= {5}
            mine = [m for m in seen if isinstance(m, str)]
            assert mine == [f"one {number}" for number in range(50)]
    assert len(bus.batches) < 30


async def test_patterns_are_matched_by_the_hub() -> None:
    """A backend may deliver more than was wanted."""
    bus = Bus()
    async with two_hubs(bus) as (one, other):
        with other.subscribe("room.*") as events:
            while not bus.backends[1].patterns:
                await checkpoint()
            for topic in ("room.1.typing", "other", "room.1"):
                one.publish(topic, topic)
            assert await taken(events, 1) == ["room.1"]


async def test_an_excluded_member_stays_excluded() -> None:
    """Although its message goes round."""
    bus = Bus()
    async with two_hubs(bus) as (one, other):
        with one.subscribe("a") as here, other.subscribe("a") as there:
            await wanted(bus, "a")
            assert one.publish("a", "1", exclude=here) == 0
            one.publish("a", "2")
            assert await taken(there, 2) == ["1", "2"]
            assert await taken(here, 1) == ["2"]
            assert not one._life._excluded


async def test_whom_a_message_excludes_is_forgotten_in_the_end() -> None:
    """Also if it is never delivered here: nobody reads its topic, or all have left."""
    bus = Bus()
    async with Hub(backend=BusBackend(bus), max_queued=2) as one:
        excluded = one._life._excluded
        with one.subscribe("a") as mine:
            one.publish("elsewhere", "x", exclude=mine)
            assert not excluded
        bus.backends[0].silent = True
        with one.subscribe("a") as mine:
            for number in range(50):
                one.publish("a", str(number), exclude=mine)
                await anyio.wait_all_tasks_blocked()
        assert len(excluded) == 20


async def test_a_full_queue_refuses() -> None:
    """The message is not published; later ones are."""
    bus = Bus()
    async with two_hubs(bus, max_queued=3) as (one, other):
        with other.subscribe("a") as events:
            await wanted(bus)
            while "a" not in bus.backends[1].topics:
                await checkpoint()
            bus.held = anyio.Event()
            with pytest.raises(HubError, match="3 messages wait"):
                for number in range(10):
                    one.publish("a", str(number))
                    await checkpoint()
            bus.held.set()
            first = await taken(events, 3)
            assert first == ["0", "1", "2"]
            while True:
                try:
                    one.publish("a", "later")
                    break
                except HubError:
                    await checkpoint()
            while (await taken(events, 1)) != ["later"]:
                pass


async def test_what_is_queued_at_the_end_is_published() -> None:
    """A hub that ends goes on for a moment."""
    bus = Bus()
    async with Hub(backend=BusBackend(bus)) as other:
        with other.subscribe("a") as events:
            await wanted(bus, "a")
            async with Hub(backend=BusBackend(bus)) as one:
                one.publish("a", "last words")
            assert await taken(events, 1) == ["last words"]


async def test_positions_of_the_backend_hold_in_every_process() -> None:
    """A member resumes at another hub, exactly once; a new epoch is a gap."""
    bus = Bus(numbers=True)
    async with two_hubs(bus, history=10) as (one, other):
        with one.subscribe("a") as here, other.subscribe("a") as there:
            await wanted(bus, "a")
            for number in range(5):
                one.publish("a", str(number))
            places = [(await anext(here)).position for _ in range(5)]
            await taken(there, 5)
            with other.subscribe("a", since=places[2]) as again:
                assert await taken(again, 2) == ["3", "4"]
            bus.epoch = "two"
            one.publish("a", "new life")
            assert await taken(there, 2) == [None, "new life"]
            with other.subscribe("a", since=places[4]) as again:
                assert (await taken(again, 1)) == [None]


class TestOutages:
    """A backend that fails, and comes back."""

    @pytest.fixture
    def anyio_backend(self) -> tuple[str, dict[str, object]]:
        """Let time pass at once."""
        return "trio", {"clock": MockClock(autojump_threshold=0)}

    async def test_an_outage_is_a_gap_and_wants_are_repeated(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Topics that are joined during it are wanted after it."""
        bus = Bus()
        async with two_hubs(bus) as (one, other):
            with one.subscribe("a") as here, other.subscribe("a") as there:
                await wanted(bus, "a")
                bus.cut()
                here.join("b")
                await anyio.sleep(30)
                assert (await taken(there, 1)) == [None]
                bus.down = False
                await anyio.sleep(30)
                other.publish("b", "back")
                while (await taken(here, 1)) != ["back"]:
                    pass
        warnings = [r for r in caplog.records if r.levelno == logging.WARNING]
        assert 1 <= len(warnings) <= 4

    async def test_a_hub_starts_and_ends_without_its_backend(self) -> None:
        """It says so in the log, and hangs nowhere."""
        bus = Bus()
        bus.down = True
        async with two_hubs(bus) as (one, _):
            one.publish("a", "lost")
            await anyio.sleep(10)

    @pytest.mark.parametrize("overflow", ["drop_oldest", "drop_newest", "coalesce"])
    async def test_a_member_that_lags_is_told_in_the_right_place(
        self, overflow: Any
    ) -> None:
        """Behind what came before the outage, although that was not read yet."""
        bus = Bus()
        async with two_hubs(bus) as (one, other):
            with other.subscribe("a", overflow=overflow) as events:
                await anyio.sleep(1)
                for number in range(3):
                    one.publish("a", str(number), key=str(number))
                await anyio.sleep(1)
                bus.cut()
                await anyio.sleep(10)
                bus.down = False
                await anyio.sleep(10)
                one.publish("a", "3")
                assert await taken(events, 4) == ["0", "1", "2", None]
                while (await taken(events, 1)) != ["3"]:
                    pass
