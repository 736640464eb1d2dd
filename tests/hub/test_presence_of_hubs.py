"""Presence in several processes: who is there by any hub is there for all."""

from __future__ import annotations

import anyio
import pytest
from trio.testing import MockClock

from anyws import Hub
from anyws._hub.gossip import GOSSIP

from ..support.buses import Bus, BusBackend


class TestTwoHubs:
    """Hubs on a bus, while time passes at once."""

    @pytest.fixture
    def anyio_backend(self) -> tuple[str, dict[str, object]]:
        """Let time pass at once."""
        return "trio", {"clock": MockClock(autojump_threshold=0)}

    async def test_those_of_other_processes_are_there_too(self) -> None:
        """With their metadata; each change is told to watchers once."""
        bus = Bus()
        async with Hub(backend=BusBackend(bus)) as one:
            with one.presence.track("a", "ann", {"on": "desk"}):
                async with Hub(backend=BusBackend(bus)) as other:
                    with other.presence.watch("a") as watch:
                        change = await anext(watch)
                        assert (change.kind, change.key) == ("join", "ann")
                        assert other.presence.list("a") == {"ann": ({"on": "desk"},)}
                        with one.presence.track("a", "bob") as bob:
                            assert (await anext(watch)).kind == "join"
                            bob.update("typing")
                            change = await anext(watch)
                            assert (change.kind, change.metas) == (
                                "update",
                                ("typing",),
                            )
                        assert (await anext(watch)).kind == "leave"
                        with other.presence.track("a", "ann", "phone"):
                            assert (await anext(watch)).kind == "update"
                            await anyio.sleep(1)
                            assert set(one.presence.list("a")) == {"ann"}
                            assert len(one.presence.list("a")["ann"]) == 2
                        assert (await anext(watch)).kind == "update"
                        with anyio.move_on_after(200):
                            await anext(watch)
                            pytest.fail("nothing changes")

    async def test_a_hub_that_ends_takes_its_people_with_it(self) -> None:
        """At once."""
        bus = Bus()
        async with Hub(backend=BusBackend(bus)) as one:
            other = Hub(backend=BusBackend(bus))
            async with other:
                ann = other.presence.track("a", "ann")
                ann.__enter__()
                await anyio.sleep(1)
                assert set(one.presence.list("a")) == {"ann"}
            await anyio.sleep(0.1)
            assert one.presence.list("a") == {}
            ann.__exit__(None, None, None)

    async def test_the_people_of_a_hub_that_is_silent_leave(self) -> None:
        """In the time that is stated; they are back when it is heard again."""
        bus = Bus()
        async with Hub(backend=BusBackend(bus), presence_seconds=8) as one:
            async with Hub(backend=BusBackend(bus), presence_seconds=8) as other:
                with (
                    one.presence.track("a", "bob"),
                    other.presence.track("a", "ann"),
                ):
                    await anyio.sleep(100)
                    assert set(one.presence.list("a")) == {"ann", "bob"}
                    bus.backends[1].silent = True
                    await anyio.sleep(3)
                    assert set(one.presence.list("a")) == {"ann", "bob"}
                    await anyio.sleep(6)
                    assert set(one.presence.list("a")) == {"bob"}
                    assert set(other.presence.list("a")) == {"ann", "bob"}
                    bus.backends[1].silent = False
                    await anyio.sleep(8)
                    assert set(one.presence.list("a")) == {"ann", "bob"}

    async def test_nobody_leaves_because_the_backend_is_away(self) -> None:
        """What has changed meanwhile is told after it."""
        for keeps in (False, True):
            bus = Bus(keeps=keeps)
            async with (
                Hub(backend=BusBackend(bus), presence_seconds=8) as one,
                Hub(backend=BusBackend(bus), presence_seconds=8) as other,
            ):
                with other.presence.track("a", "ann"):
                    leaving = other.presence.track("a", "eve")
                    leaving.__enter__()
                    await anyio.sleep(10)
                    bus.cut()
                    await anyio.sleep(100)
                    assert set(one.presence.list("a")) == {"ann", "eve"}
                    leaving.__exit__(None, None, None)
                    with other.presence.track("a", "bob"):
                        await anyio.sleep(100)
                        bus.down = False
                        await anyio.sleep(20)
                        assert set(one.presence.list("a")) == {"ann", "bob"}

    async def test_many_people_are_told_in_parts(self) -> None:
        """And those who have left are not among them."""
        bus = Bus()
        async with Hub(backend=BusBackend(bus)) as one:
            there = [one.presence.track("a", f"guest {n}") for n in range(250)]
            for guest in there:
                guest.__enter__()
            async with Hub(backend=BusBackend(bus)) as other:
                await anyio.sleep(1)
                assert len(other.presence.list("a")) == 250
                for guest in there[:100]:
                    guest.__exit__(None, None, None)
                await anyio.sleep(1)
                assert len(other.presence.list("a")) == 150
                for guest in there[100:]:
                    guest.__exit__(None, None, None)
                await anyio.sleep(1)
                assert other.presence.list("a") == {}

    async def test_a_full_queue_delays_what_is_told(self) -> None:
        """It is told later, and nothing raises."""
        bus = Bus()
        async with (
            Hub(backend=BusBackend(bus), max_queued=2) as one,
            Hub(backend=BusBackend(bus)) as other,
        ):
            await anyio.sleep(1)
            bus.held = anyio.Event()
            one.publish("a", "1")
            await anyio.sleep(1)
            one.publish("a", "2")
            one.publish("a", "3")
            with one.presence.track("a", "ann"):
                await anyio.sleep(1)
                bus.held.set()
                await anyio.sleep(1)
                assert set(other.presence.list("a")) == {"ann"}

    async def test_what_is_no_json_is_refused_first(self) -> None:
        """Metadata goes to other processes."""
        async with Hub(backend=BusBackend(Bus())) as hub:
            with pytest.raises(TypeError), hub.presence.track("a", "ann", object()):
                pass
            assert hub.presence.list("a") == {}
            with hub.presence.track("a", "ann", 1) as ann:
                with pytest.raises(TypeError):
                    ann.update(object())
                assert hub.presence.list("a") == {"ann": (1,)}

    async def test_nonsense_in_the_topic_of_the_hubs_is_passed_over(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The log says so; the hub goes on."""
        bus = Bus()
        async with Hub(backend=BusBackend(bus)) as hub:
            await anyio.sleep(1)
            for text in ("{", "[]", "{}", '{"hub": "x"}'):
                bus.say(GOSSIP, text)
            await anyio.sleep(1)
            assert caplog.text.count("not a message of a hub") == 4
            with hub.subscribe("a") as events:
                hub.publish("a", "1")
                assert (await anext(events)).message == "1"
