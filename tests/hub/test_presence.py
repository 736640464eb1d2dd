"""Who is there: several sockets of one person are one presence."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
import pytest

from anyws import Hub, HubError
from anyws._hub.presence import PresenceWatch


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    """Run a hub."""
    async with Hub() as running:
        yield running


async def changes(watch: PresenceWatch, count: int) -> list[tuple[str, str, object]]:
    """Return the next changes, as kind, key and metadata."""
    got = [await anext(watch) for _ in range(count)]
    assert {change.topic for change in got} == {"a"}
    return [(change.kind, change.key, change.metas) for change in got]


async def test_the_list_has_all_metadata_of_each_key(hub: Hub) -> None:
    """Oldest first; other topics are apart, and a topic without anybody is empty."""
    presence = hub.presence
    assert presence.list("a") == {}
    with presence.track("a", "ann", {"on": "phone"}), presence.track("b", "eve"):
        with presence.track("a", "ann", {"on": "desk"}), presence.track("a", "bob"):
            assert presence.list("a") == {
                "ann": ({"on": "phone"}, {"on": "desk"}),
                "bob": (None,),
            }
        assert presence.list("a") == {"ann": ({"on": "phone"},)}
        assert presence.list("b") == {"eve": (None,)}
    assert presence.list("a") == presence.list("b") == {}
    assert hub.topics() == frozenset()


async def test_the_first_socket_is_a_join_and_the_last_a_leave(hub: Hub) -> None:
    """What is between are updates."""
    with hub.presence.watch("a") as watch:
        with hub.presence.track("a", "ann", 1):
            assert await changes(watch, 1) == [("join", "ann", (1,))]
            with hub.presence.track("a", "ann", 2):
                assert await changes(watch, 1) == [("update", "ann", (1, 2))]
            assert await changes(watch, 1) == [("update", "ann", (1,))]
        assert await changes(watch, 1) == [("leave", "ann", ())]


async def test_a_watch_begins_with_those_who_are_there(hub: Hub) -> None:
    """They are in the list, and no joins."""
    with hub.presence.track("a", "ann"), hub.presence.watch("a") as watch:
        assert hub.presence.list("a") == {"ann": (None,)}
        with hub.presence.track("a", "bob"):
            assert await changes(watch, 1) == [("join", "bob", (None,))]


async def test_metadata_is_replaced(hub: Hub) -> None:
    """In its place, as long as the block runs."""
    with hub.presence.watch("a") as watch:
        with hub.presence.track("a", "ann", "here") as ann:
            await changes(watch, 1)
            ann.update("typing")
            assert await changes(watch, 1) == [("update", "ann", ("typing",))]
        with pytest.raises(RuntimeError, match="block"):
            ann.update("late")
        assert await changes(watch, 1) == [("leave", "ann", ())]


async def test_a_slow_watcher_learns_the_last_state(hub: Hub) -> None:
    """Not what was between, however many the changes."""
    with hub.presence.watch("a") as watch:
        for number in range(2000):
            with hub.presence.track("a", f"guest{number % 400}"):
                pass
        with hub.presence.track("a", "ann"):
            seen: dict[str, object] = {}
            while "ann" not in seen:
                [(kind, key, metas)] = await changes(watch, 1)
                seen[key] = metas
                if kind == "leave":
                    del seen[key]
            assert seen == {"ann": (None,)} == hub.presence.list("a")


async def test_joining_and_leaving_unseen_is_no_change(hub: Hub) -> None:
    """The watcher is told what is different since it looked last."""
    with hub.presence.watch("a") as watch:
        with hub.presence.track("a", "ann"):
            pass
        with hub.presence.track("a", "bob"):
            assert await changes(watch, 1) == [("join", "bob", (None,))]


async def test_the_end_of_the_hub_ends_the_watch() -> None:
    """And those who are there may leave after it."""
    hub = Hub()
    with pytest.raises(HubError), hub.presence.track("a", "ann"):
        pass
    with pytest.raises(HubError), hub.presence.watch("a"):
        pass
    async with hub:
        watch = hub.presence.watch("a")
        watch.__enter__()
        ann = hub.presence.track("a", "ann")
        ann.__enter__()
    assert [change.key async for change in watch] == ["ann"]
    ann.__exit__(None, None, None)
    watch.__exit__(None, None, None)
    assert hub.presence.list("a") == {}


async def test_a_cancelled_step_loses_no_change(hub: Hub) -> None:
    """The next one returns it."""
    with hub.presence.watch("a") as watch, hub.presence.track("a", "ann"):
        with anyio.move_on_after(0):
            await anext(watch)
        assert await changes(watch, 1) == [("join", "ann", (None,))]


async def test_bad_arguments_are_refused(hub: Hub) -> None:
    """Before anybody is there."""
    with pytest.raises(ValueError, match="pattern"):
        hub.presence.watch("a.*")
    with pytest.raises(TypeError, match="key"), hub.presence.track("a", 1):  # type: ignore[arg-type]  # what is wrong
        pass
    with pytest.raises(ValueError, match="pattern"), hub.presence.track("*", "ann"):
        pass
    with pytest.raises(ValueError, match="characters"):
        hub.presence.list("")
