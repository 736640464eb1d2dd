"""What is kept, and what a member that comes again gets of it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from anyws import Event, Hub, Position
from anyws._hub.subscription import Subscription

GAP = None


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    """Run a hub that keeps five messages of each topic."""
    async with Hub(history=5) as running:
        yield running


async def until(subscription: Subscription, last: str) -> list[Event]:
    """Return the events up to a message."""
    events: list[Event] = []
    while not events or events[-1].message != last:
        events.append(await anext(subscription))
    return events


def told(events: list[Event]) -> list[str | bytes | None]:
    """Return the messages; a gap is `GAP`."""
    return [event.message for event in events]


async def positions(hub: Hub, topic: str, count: int) -> list[Position]:
    """Publish numbers, and return the position of each."""
    with hub.subscribe(topic) as events:
        for number in range(count):
            hub.publish(topic, str(number))
        return [(await anext(events)).position for _ in range(count)]


@pytest.mark.parametrize("seen", range(3, 8))
async def test_a_member_goes_on_where_it_was(hub: Hub, seen: int) -> None:
    """It gets each message once and in order, and then what is new."""
    places = await positions(hub, "a", 8)
    with hub.subscribe("a", since=places[seen]) as events:
        hub.publish("a", "new")
        got = told(await until(events, "new"))
    assert got == [*map(str, range(seen + 1, 8)), "new"]


@pytest.mark.parametrize("seen", range(2))
async def test_what_is_no_longer_kept_is_a_gap(hub: Hub, seen: int) -> None:
    """Behind the gap comes all that is kept."""
    places = await positions(hub, "a", 8)
    with hub.subscribe("a", since=places[seen]) as events:
        hub.publish("a", "new")
        got = await until(events, "new")
    assert told(got) == [GAP, "3", "4", "5", "6", "7", "new"]
    with hub.subscribe("a", since=got[1].position) as events:
        assert told(await until(events, "new")) == ["4", "5", "6", "7", "new"]


async def test_the_position_of_the_last_forgotten_message_is_no_gap(hub: Hub) -> None:
    """All that came behind it is there."""
    places = await positions(hub, "a", 8)
    with hub.subscribe("a", since=places[2]) as events:
        assert told(await until(events, "7")) == list("34567")


async def test_the_history_on_entry(hub: Hub) -> None:
    """`Position.OLDEST` replays what is kept, of each topic, and tells no gap."""
    for number in range(8):
        hub.publish("a", str(number))
        hub.publish("b.1", f"b{number}")
    with hub.subscribe("a", "b.*", since=Position.OLDEST) as events:
        got = told(await until(events, "b7"))
    assert got == [x for n in range(3, 8) for x in (str(n), f"b{n}")]


async def test_each_topic_has_its_own_position(hub: Hub) -> None:
    """Several are given as a mapping; a topic without one begins now."""
    one, other = await positions(hub, "a", 3), await positions(hub, "b", 3)
    hub.publish("c", "old")
    with hub.subscribe("a", "b", "c", since={"a": one[1], "b": other[0]}) as events:
        hub.publish("c", "new")
        got = await until(events, "new")
    assert [(e.topic, e.message) for e in got] == [
        ("a", "2"),
        ("b", "1"),
        ("b", "2"),
        ("c", "new"),
    ]


async def test_a_pattern_goes_on_for_topics_that_are_new(hub: Hub) -> None:
    """A position of one topic stands for all that the pattern matches."""
    [place] = await positions(hub, "room.1", 1)
    hub.publish("room.2", "born meanwhile")
    hub.publish("room.1", "more")
    for since in ({"room.*": place}, {"room.*": place, "room.1": place}):
        with hub.subscribe("room.*", since=since) as events:
            assert told(await until(events, "more")) == ["born meanwhile", "more"]
    with hub.subscribe("room.*", since={"room.1": place}) as events:
        assert told(await until(events, "more")) == ["more"]


async def test_a_position_of_another_life_is_a_gap() -> None:
    """A hub that was started again knows nothing of what was before."""
    async with Hub(history=5) as hub:
        places = await positions(hub, "a", 3)
    async with Hub(history=5) as hub:
        for since in (places[2], Position.of("a", hub._life.topics.epoch, (99,))):
            hub.publish("a", "kept")
            with hub.subscribe("a", since=since) as events:
                assert (await anext(events)).gap
                assert told(await until(events, "kept"))[-1] == "kept"


@pytest.mark.parametrize("history", [0, 5])
async def test_without_missing_anything_there_is_no_gap(history: int) -> None:
    """Also where no history is kept, and the topic was forgotten meanwhile."""
    async with Hub(history=history) as hub:
        places = await positions(hub, "a", 3)
        await anyio.wait_all_tasks_blocked()
        assert history or hub.topics() == frozenset()
        with hub.subscribe("a", since=places[2]) as events:
            hub.publish("a", "new")
            assert told(await until(events, "new")) == ["new"]


async def test_without_history_what_was_missed_is_a_gap() -> None:
    """Told at once, although nothing comes behind it."""
    async with Hub() as hub:
        places = await positions(hub, "a", 3)
        hub.publish("a", "missed")
        with hub.subscribe("a", since=places[2]) as events:
            assert (await anext(events)).gap
            hub.publish("a", "new")
            assert (await anext(events)).message == "new"


async def test_a_topic_joined_later_resumes_too(hub: Hub) -> None:
    """By the position that `join` is given."""
    places = await positions(hub, "a", 3)
    with hub.subscribe("b") as events:
        with pytest.raises(ValueError, match="not a position in 'a'"):
            events.join("a", since=places[0].replace(".a", ".b"))
        events.join("a", since=places[0])
        assert told(await until(events, "2")) == ["1", "2"]


async def test_a_replay_is_not_cut_by_the_buffer(hub: Hub) -> None:
    """What the history holds behind the position is no overflow."""
    places = await positions(hub, "a", 5)
    with hub.subscribe("a", since=places[0], buffer=5) as events:
        assert told(await until(events, "4")) == list("1234")


async def test_a_replay_passes_the_filter_and_the_exclusion(hub: Hub) -> None:
    """From its first message on."""
    with hub.subscribe("a") as mine:
        for number in range(4):
            hub.publish("a", str(number), exclude=mine if number == 2 else None)
    for rule in ("drop_oldest", "coalesce"):
        wanted = hub.subscribe(
            "a",
            since=Position.OLDEST,
            filter=lambda event: event.message != "0",
            overflow=rule,
        )
        with wanted as events:
            assert told(await until(events, "3")) == ["1", "2", "3"]


async def test_the_history_is_bounded_in_bytes() -> None:
    """The oldest messages go first."""
    async with Hub(history=100, history_bytes=10) as hub:
        for number in range(20):
            hub.publish("a", f"{number:03}")
        await anyio.wait_all_tasks_blocked()
        with hub.subscribe("a", since=Position.OLDEST) as events:
            assert told(await until(events, "019")) == ["017", "018", "019"]


class TestTime:
    """Histories that grow old."""

    @pytest.fixture
    def anyio_backend(self) -> tuple[str, dict[str, object]]:
        """Let time pass at once."""
        return "trio", {"clock": MockClock(autojump_threshold=0)}

    async def test_old_messages_leave(self) -> None:
        """Also of topics that nobody looks at, which then are no more."""
        async with Hub(history=5, history_seconds=60) as hub:
            places = await positions(hub, "a", 2)
            await anyio.sleep(50)
            hub.publish("a", "young")
            await anyio.sleep(20)
            with hub.subscribe("a", since=Position.OLDEST) as events:
                assert told(await until(events, "young")) == ["young"]
            with hub.subscribe("a", since=places[0]) as events:
                assert told(await until(events, "young")) == [GAP, "young"]
            await anyio.sleep(60)
            assert hub.topics() == frozenset()

    async def test_topics_that_only_a_pattern_keeps_end(self) -> None:
        """A member of a pattern holds no topic for ever."""
        async with Hub() as hub:
            with hub.subscribe("room.*") as events:
                for number in range(10):
                    hub.publish(f"room.{number}", "x")
                    assert (await anext(events)).message == "x"
                await anyio.sleep(30)
                assert hub.topics() == frozenset()
                hub.publish("room.1", "again")
                assert (await anext(events)).message == "again"


async def test_other_topics_that_are_forgotten_make_no_gap() -> None:
    """A member resumes without one in the topic in which it has missed nothing."""
    async with Hub() as hub:
        [place] = await positions(hub, "a", 1)
        await positions(hub, "b", 3)
        hub.publish("c", "to nobody")
        await anyio.wait_all_tasks_blocked()
        assert hub.topics() == frozenset()
        for name in ("a", "*"):
            with hub.subscribe(name, since={"a": place}) as events:
                hub.publish("a", "new")
                event = await anext(events)
                assert event.message == "new"
            place = event.position
        hub.publish("a", "missed")
        with hub.subscribe("a", since=place) as events:
            assert (await anext(events)).gap


async def test_the_ends_of_so_many_topics_are_remembered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of those that ended before, a member is told a gap: it may have missed some."""
    monkeypatch.setattr("anyws._hub.forgotten._TOPICS", 3)
    async with Hub() as hub:
        places = [(await positions(hub, topic, 1))[0] for topic in "abcde"]
        await anyio.wait_all_tasks_blocked()
        for topic, place in zip("edcba", reversed(places), strict=True):
            with hub.subscribe(topic, since=place) as events:
                hub.publish(topic, "new")
                assert (await anext(events)).gap is (topic in "a")
            await anyio.wait_all_tasks_blocked()


@given(
    st.lists(st.sampled_from("ab"), max_size=30),
    st.integers(0, 30),
    st.integers(0, 6),
    st.sampled_from(["names", "pattern"]),
)
@pytest.mark.fail_after(5)
async def test_resuming_is_exact_or_a_gap(
    published: list[str], seen: int, history: int, how: str
) -> None:
    """For any history and place: exactly once and in order, or a gap."""
    async with Hub(history=history) as hub:
        everything: list[tuple[str, str]] = []
        places: dict[str, Position] = {}
        with hub.subscribe("*", buffer=100) as events:
            for number, topic in enumerate(published):
                everything.append((topic, str(number)))
                hub.publish(topic, str(number))
                if number < seen:
                    event = await anext(events)
                    places[event.topic] = event.position
        names = tuple(places) if how == "names" else ("*",)
        if not places:
            return
        with hub.subscribe(*names, since=places) as events:
            for topic in places:
                hub.publish(topic, "end")
            got: dict[str, list[str | bytes | None]] = {name: [] for name in places}
            while any(not m or m[-1] != "end" for m in got.values()):
                event = await anext(events)
                if event.topic in got:
                    got[event.topic].append(event.message)
        for topic, messages in got.items():
            missed = [m for t, m in everything[seen:] if t == topic]
            complete = messages == [*missed, "end"]
            kept = messages[1:-1]
            honest = messages[0] is None and (not kept or missed[-len(kept) :] == kept)
            assert complete or honest
            if history >= len(missed):
                assert complete
