"""A member with a filter: what does not pass it costs the member nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
import pytest

from anyws import Event, Hub, HubError
from anyws._hub.reading import RULES, Overflow


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    """Run a hub."""
    async with Hub() as running:
        yield running


def passes(event: Event) -> bool:
    """Let pass what is marked."""
    return str(event.message).startswith("!")


@pytest.mark.parametrize("overflow", RULES)
async def test_what_does_not_pass_is_not_counted(hub: Hub, overflow: Overflow) -> None:
    """Two messages wait among hundreds that are not the member's."""
    with hub.subscribe("a", filter=passes, buffer=2, overflow=overflow) as events:
        for number in range(100):
            hub.publish("a", f"!{number}" if number in (3, 50) else str(number))
            if number % 10 == 0:
                await anyio.wait_all_tasks_blocked()
        assert [(await anext(events)).message for _ in range(2)] == ["!3", "!50"]
        hub.publish("a", "!later")
        assert (await anext(events)).message == "!later"
        assert hub.statistics("a").dropped == 0


@pytest.mark.parametrize("apart", [True, False])
@pytest.mark.parametrize(
    ("overflow", "expected"),
    [
        ("drop_oldest", [None, "!2", "!3", "!4"]),
        ("drop_newest", ["!0", "!1", None, "!4"]),
        ("coalesce", [None, "!2", "!3", "!4"]),
        ("close", []),
    ],
)
async def test_what_passes_is_counted(
    hub: Hub, overflow: Overflow, expected: list[str | None], apart: bool
) -> None:
    """The rule decides by it, and a gap is told in its place."""
    with hub.subscribe("a", filter=passes, buffer=2, overflow=overflow) as events:
        for number in range(4):
            for text in (f"!{number}", *map(str, range(5))):
                hub.publish("a", text)
            if apart:
                await anyio.wait_all_tasks_blocked()
        if overflow == "close":
            with pytest.raises(HubError):
                await anext(events)
            return
        got = [(await anext(events)).message for _ in expected[:-1]]
        hub.publish("a", "!4")
        assert [*got, (await anext(events)).message] == expected
        assert hub.statistics("a").dropped == 2
