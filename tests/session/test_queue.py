"""The queue of one direction: its bounds and marks, its rules and its end."""

from __future__ import annotations

import gc
import tracemalloc
import warnings
from collections.abc import Callable
from typing import Any

import pytest
from anyio import ClosedResourceError, EndOfStream
from anyio import Event as Signal
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from anyws._session.queue import (
    AHEAD_BYTES,
    AHEAD_MESSAGES,
    LEAST_MEMORY,
    MESSAGE_BYTES,
    MessageQueue,
)
from anyws._values.events import MORE, Event

from ..support.wakeups import woken_by


def message(name: str, *, more: bool | None = None) -> Event:
    """Return a message, or with `more` a part of one."""
    event: Event = {"type": "websocket.receive", "text": name}
    return event if more is None else {**event, MORE: more}


ACCEPT: Event = {"type": "websocket.accept"}


def names(queue: MessageQueue) -> list[str]:
    """Take all that is in a queue; return texts of messages, types of other events."""
    events = [queue.take_nowait()[0] for _ in range(queue.held)]
    return [event.get("text", event["type"]) for event in events]


def counts(queue: MessageQueue) -> tuple[int, int, int, int]:
    """Return what is held, messages, bytes and dropped messages of a queue."""
    return queue.held, queue.messages, queue.size, queue.dropped


class TestBounds:
    """What has room, and what has not."""

    def test_messages_are_bounded(self) -> None:
        """One more than the bound has no room, and changes nothing."""
        queue = MessageQueue(2, 100)
        assert queue.put_nowait(message("a"), 1)
        assert not queue.full
        assert queue.put_nowait(message("b"), 1)
        assert queue.full
        assert not queue.put_nowait(message("c"), 1)
        assert counts(queue) == (2, 2, 2, 0)
        assert names(queue) == ["a", "b"]
        assert counts(queue) == (0, 0, 0, 0)
        queue.discard()

    @pytest.mark.parametrize(("size", "roomy"), [(4, True), (5, False)])
    def test_bytes_are_bounded(self, size: int, roomy: bool) -> None:
        """What fits to the byte has room; a byte more has none."""
        queue = MessageQueue(10, 10)
        queue.put_nowait(message("a"), 6)
        assert queue.put_nowait(message("b"), size) is roomy
        assert queue.full is roomy
        assert queue.size == 6 + size * roomy
        queue.discard()

    def test_a_large_message_passes_alone(self) -> None:
        """A message over the bound has room in an empty queue, and only there."""
        queue = MessageQueue(10, 10)
        assert queue.put_nowait(message("large"), 11)
        assert queue.full
        assert not queue.put_nowait(message("empty"), 0)
        queue.take_nowait()
        queue.put_nowait(message("small"), 1)
        assert not queue.put_nowait(message("large"), 11)
        queue.discard()

    @pytest.mark.parametrize("text", ["", "a", "x" * 1000, "x" * 999 + "\U0001f600"])
    def test_memory_is_bounded(self, text: str) -> None:
        """However small the messages are, and however wide their characters."""
        queue, bound = MessageQueue(10**6, LEAST_MEMORY), LEAST_MEMORY
        gc.collect()
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            while queue.put_nowait(message(text[:-1] + text[-1:]), len(text.encode())):
                pass
            now, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert queue.full or queue.memory > bound - MESSAGE_BYTES - 5000
        assert bound / 2 < now - before < bound + 4000  # the stream itself takes some
        queue.discard()
        assert queue.memory == 0

    def test_a_low_bound_holds_for_the_payload_alone(self) -> None:
        """A few small messages do not fill a queue by what Python adds to each."""
        queue = MessageQueue(10**6, 100)
        for _ in range(100):
            assert queue.put_nowait(message("a"), 1)
        assert queue.full
        queue.discard()

    def test_what_is_not_written_yet_takes_room(self) -> None:
        """Until it is written, which wakes the task that waits for room."""
        queue = MessageQueue(9, 2 * LEAST_MEMORY)
        queue.put_nowait(message("a"), 1)
        queue.unwritten = LEAST_MEMORY
        assert not queue.put_nowait(message("b"), LEAST_MEMORY)
        queue.written()
        assert queue.put_nowait(message("b"), LEAST_MEMORY)
        queue.discard()

    def test_events_have_no_bounds(self) -> None:
        """An event that is no message has room always, and takes none."""
        queue = MessageQueue(1, 1)
        for _ in range(3):
            queue.put_event(ACCEPT)
        assert queue.put_nowait(message("a"), 1)
        queue.put_event(ACCEPT)
        assert counts(queue) == (5, 1, 1, 0)
        queue.discard()

    def test_new_bounds_hold_for_the_next(self) -> None:
        """What is in the queue stays, over the new bounds too."""
        queue = MessageQueue(3, 100)
        for name in "abc":
            queue.put_nowait(message(name), 1)
        queue.resize(1, 1)
        assert queue.full
        assert not queue.put_nowait(message("d"), 1)
        assert names(queue) == ["a", "b", "c"]
        queue.discard()


class TestMarks:
    """A message that is put in behind the first mark, and where that ends."""

    def test_the_second_mark_in_messages(self) -> None:
        """It stands so many messages behind the first."""
        queue = MessageQueue(2, 100)
        for _ in range(2):
            queue.put_nowait(message("a"), 0)
        for _ in range(AHEAD_MESSAGES - 1):
            queue.put_ahead(message("b"), 0)
        assert queue.full
        assert not queue.crowded
        queue.put_ahead(message("c"), 0)
        assert queue.crowded
        queue.take_nowait()
        assert not queue.crowded
        queue.discard()

    def test_the_second_mark_in_bytes(self) -> None:
        """It stands so many bytes behind what was held when the first was passed."""
        queue = MessageQueue(2, 100)
        queue.put_nowait(message("large"), 5000)
        queue.put_ahead(message("b"), AHEAD_BYTES - 2 * MESSAGE_BYTES - 1)
        assert not queue.crowded
        queue.put_ahead(message("c"), 1)
        assert queue.crowded
        assert queue.memory == 5000 + AHEAD_BYTES + MESSAGE_BYTES
        queue.discard()

    def test_a_message_that_has_room_takes_the_mark_away(self) -> None:
        """From then on the bytes count anew."""
        queue = MessageQueue(1, 10)
        queue.put_nowait(message("a"), 10)
        queue.put_ahead(message("b"), 10)
        assert names(queue) == ["a", "b"]
        queue.put_nowait(message("c"), AHEAD_BYTES + 10)
        assert not queue.crowded
        queue.put_ahead(message("d"), 10)
        assert not queue.crowded
        queue.discard()

    def test_a_full_queue_is_not_crowded(self) -> None:
        """However much a single message holds."""
        queue = MessageQueue(1, 10)
        queue.put_nowait(message("large"), 2 * AHEAD_BYTES)
        assert queue.full
        assert not queue.crowded
        queue.discard()


class TestRules:
    """Each overflow rule, with a message that has no room."""

    @pytest.mark.parametrize("which", ["wait", "close"])
    def test_it_is_not_for_the_queue_to_do(self, which: Any) -> None:
        """To wait, or to close, changes nothing here."""
        queue = MessageQueue(1, 10)
        queue.put_nowait(message("a"), 1)
        assert not queue.put_by_rule(message("b"), 1, which)
        assert counts(queue) == (1, 1, 1, 0)
        queue.discard()

    def test_the_newest_is_dropped(self) -> None:
        """The message that found no room is counted, and nothing else."""
        queue = MessageQueue(1, 10)
        queue.put_nowait(message("a"), 1)
        assert queue.put_by_rule(message("b"), 1, "drop_newest")
        assert counts(queue) == (1, 1, 1, 1)
        assert names(queue) == ["a"]
        queue.discard()

    def test_the_oldest_are_dropped(self) -> None:
        """As many as the new one needs the room of."""
        queue = MessageQueue(9, 10)
        for name, size in (("a", 3), ("b", 3), ("c", 4)):
            queue.put_nowait(message(name), size)
        assert queue.put_by_rule(message("d"), 5, "drop_oldest")
        assert counts(queue) == (2, 2, 9, 2)
        assert names(queue) == ["c", "d"]
        queue.discard()

    def test_a_large_message_drops_all(self) -> None:
        """It has room only where it is alone."""
        queue = MessageQueue(9, 10)
        for name in "abc":
            queue.put_nowait(message(name), 1)
        assert queue.put_by_rule(message("large"), 11, "drop_oldest")
        assert counts(queue) == (1, 1, 11, 3)
        queue.discard()

    def test_events_are_never_dropped(self) -> None:
        """They keep their places, and their receipts are not set."""
        queue = MessageQueue(2, 10)
        receipts = [queue.put_event({"type": "1"})]
        queue.put_nowait(message("a"), 1)
        receipts.append(queue.put_event({"type": "2"}))
        queue.put_nowait(message("b"), 1)
        receipts.append(queue.put_event({"type": "3"}))
        for name in "cd":
            assert queue.put_by_rule(message(name), 1, "drop_oldest")
        assert [receipt.is_set() for receipt in receipts] == [False] * 3
        assert names(queue) == ["1", "2", "3", "c", "d"]
        assert queue.dropped == 2
        queue.discard()

    def test_a_closed_queue_drops_nothing(self) -> None:
        """What was put in before can be taken still, for all of it."""
        queue = MessageQueue(1, 10)
        queue.put_nowait(message("a"), 1)
        queue.close()
        with pytest.raises(ClosedResourceError):
            queue.put_by_rule(message("b"), 1, "drop_oldest")
        assert counts(queue) == (1, 1, 1, 0)
        assert names(queue) == ["a"]
        queue.discard()


class TestTaking:
    """One at a time, or all that come first."""

    def test_an_item_is_taken_as_it_was_put_in(self) -> None:
        """With its size, and the receipt of an event."""
        queue = MessageQueue(9, 10)
        queue.put_nowait(message("a"), 7)
        receipt = queue.put_event(ACCEPT)
        assert queue.take_nowait() == (message("a"), 7, None)
        assert queue.take_nowait() == (ACCEPT, 0, receipt)
        assert not receipt.is_set()
        queue.discard()

    def test_messages_are_taken_up_to_an_event(self) -> None:
        """The event stays, and what is behind it."""
        queue = MessageQueue(9, 10)
        assert queue.take_messages() == []
        queue.put_nowait(message("a"), 1)
        queue.put_nowait(message("b"), 2)
        queue.put_event(ACCEPT)
        queue.put_nowait(message("c"), 3)
        assert [item[:2] for item in queue.take_messages()] == [
            (message("a"), 1),
            (message("b"), 2),
        ]
        assert queue.event_first
        assert queue.take_messages() == []
        assert counts(queue) == (2, 1, 3, 0)
        assert queue.take_nowait()[0] is ACCEPT
        assert not queue.event_first
        assert [item[0] for item in queue.take_messages()] == [message("c")]
        assert counts(queue) == (0, 0, 0, 0)
        queue.discard()

    def test_no_more_is_taken_than_a_write_should_hold(self) -> None:
        """The message that passes the bound is the last; one is taken in any case."""
        queue = MessageQueue(9, 10_000)
        for name in "abc":
            queue.put_nowait(message(name), 100)
        bound = MESSAGE_BYTES + 101
        assert [item[0]["text"] for item in queue.take_messages(bound)] == ["a", "b"]
        assert [item[0]["text"] for item in queue.take_messages(1)] == ["c"]
        assert queue.take_messages(1) == []
        queue.discard()

    def test_to_look_takes_nothing(self) -> None:
        """Whether a part comes first is seen, and the order stays."""
        queue = MessageQueue(9, 10)
        assert not queue.has_parts
        queue.put_nowait(message("a", more=True), 1)
        queue.put_nowait(message("b", more=False), 1)
        queue.put_nowait(message("c"), 1)
        assert queue.has_parts
        assert counts(queue) == (3, 3, 3, 0)
        assert [item[0]["text"] for item in queue.take_messages()] == ["a", "b", "c"]
        queue.put_nowait(message("d"), 1)
        assert not queue.has_parts
        assert names(queue) == ["d"]
        queue.discard()

    def test_whether_a_taker_has_to_wait(self) -> None:
        """It has not once there is something, or never will be."""
        queue = MessageQueue(9, 10)
        assert queue.blocked
        queue.put_event(ACCEPT)
        assert not queue.blocked
        queue.take_nowait()
        assert queue.blocked
        queue.close()
        assert not queue.blocked
        queue.discard()


class TestEnd:
    """Closed, nothing more goes in; discarded, nothing is left."""

    @pytest.mark.parametrize("used", [False, True])
    def test_nothing_goes_into_a_closed_queue(self, used: bool) -> None:
        """Not even ahead; an event's receipt is set at once, as it will not be sent."""
        queue = MessageQueue(2, 10)
        if used:
            queue.put_nowait(message("a"), 1)
        queue.close()
        with pytest.raises(ClosedResourceError):
            queue.put_nowait(message("b"), 1)
        with pytest.raises(ClosedResourceError):
            queue.put_ahead(message("b"), 1)
        assert queue.put_event(ACCEPT).is_set()
        assert counts(queue) == (used, used, used, 0)
        queue.discard()

    def test_what_is_inside_is_readable_and_then_comes_the_end(self) -> None:
        """`EndOfStream` comes behind the last item, and again."""
        queue = MessageQueue(2, 10)
        queue.put_nowait(message("a"), 1)
        queue.put_event(ACCEPT)
        queue.close()
        assert names(queue) == ["a", "websocket.accept"]
        for _ in range(2):
            with pytest.raises(EndOfStream):
                queue.take_nowait()
        queue.discard()

    def test_the_end_of_a_queue_that_was_never_used(self) -> None:
        """It needs no stream to say so."""
        queue = MessageQueue(2, 10)
        queue.close()
        with pytest.raises(EndOfStream):
            queue.take_nowait()

    def test_what_is_discarded_is_gone(self) -> None:
        """The receipts are set; a task that takes later meets the end."""
        queue = MessageQueue(2, 10)
        queue.put_nowait(message("a"), 1)
        receipt = queue.put_event(ACCEPT)
        assert not queue.has_parts  # an item that was looked at, too
        queue.discard()
        assert receipt.is_set()
        assert queue.closed
        assert counts(queue) == (0, 0, 0, 0)
        with pytest.raises(ClosedResourceError):
            queue.take_nowait()
        with pytest.raises(ClosedResourceError):
            queue.put_nowait(message("b"), 1)
        queue.discard()


@pytest.mark.parametrize(
    "use",
    [
        lambda queue: None,
        lambda queue: queue.close(),
        lambda queue: queue.put_nowait(message("a"), 1),
        lambda queue: queue.put_event(ACCEPT),
        lambda queue: (queue.put_nowait(message("a"), 1), queue.close()),
        lambda queue: (queue.put_nowait(message("a"), 1), queue.take_messages()),
        lambda queue: (queue.put_nowait(message("a"), 1), queue.has_parts),
    ],
    ids=["unused", "closed", "message", "event", "held", "taken", "looked at"],
)
def test_no_stream_is_reported_as_leaked(use: Callable[[MessageQueue], Any]) -> None:
    """A queue that was discarded leaks none, whatever was done before and after."""
    queue = MessageQueue(2, 10)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        use(queue)
        queue.discard()
        for _ in range(2):
            with pytest.raises(ClosedResourceError):
                queue.put_nowait(message("late"), 1)
        del queue
        gc.collect()
    assert caught == []


def test_a_stream_is_made_for_the_first_item_only() -> None:
    """A queue that nothing goes through costs no stream."""
    queue = MessageQueue(2, 10)
    assert queue.take_messages() == []
    assert not any((queue.event_first, queue.has_parts, queue.full, queue.crowded))
    queue.resize(1, 1)
    queue.close()
    queue.discard()
    assert (queue._send, queue._receive) == (None, None)


FILLS: dict[str, Callable[[MessageQueue], Any]] = {
    "put": lambda queue: queue.put_nowait(message("a"), 1),
    "put ahead": lambda queue: queue.put_ahead(message("a"), 1),
    "event": lambda queue: queue.put_event(ACCEPT),
    "close": lambda queue: queue.close(),
    "discard": lambda queue: queue.discard(),
}
FREES: dict[str, Callable[[MessageQueue], Any]] = {
    "take": lambda queue: queue.take_nowait(),
    "take all": lambda queue: queue.take_messages(),
    "written": lambda queue: queue.written(),
    "drop": lambda queue: queue.put_by_rule(message("b"), 1, "drop_oldest"),
    "resize": lambda queue: queue.resize(2, 20),
    "close": lambda queue: queue.close(),
    "discard": lambda queue: queue.discard(),
}


@pytest.mark.parametrize("fill", FILLS)
async def test_a_task_that_takes_is_woken(fill: str) -> None:
    """By whatever there may be to take, and by the end."""
    queue = MessageQueue(1, 10)
    assert await woken_by(queue.filled, lambda: FILLS[fill](queue))
    queue.discard()


@pytest.mark.parametrize("free", FREES)
async def test_a_task_that_puts_in_is_woken(free: str) -> None:
    """By whatever may make room, and by the end."""
    queue = MessageQueue(1, 10)
    queue.put_nowait(message("a"), 1)
    assert await woken_by(queue.room, lambda: FREES[free](queue))
    queue.discard()


class QueueMachine(RuleBasedStateMachine):
    """The queue beside a plain list that says what it should hold."""

    def __init__(self) -> None:
        super().__init__()
        self.bounds = (3, 10)
        self.queue = MessageQueue(*self.bounds)
        self.model: list[tuple[Event, int, Signal | None]] = []
        self.dropped = self.serial = 0
        self.closed = self.discarded = False

    @property
    def sizes(self) -> list[int]:
        """Those of the messages."""
        return [size for _, size, receipt in self.model if receipt is None]

    def has_room(self, size: int) -> bool:
        """Whether a message should have room."""
        most, largest = self.bounds
        sizes = self.sizes
        return not sizes or (len(sizes) < most and sum(sizes) + size <= largest)

    def fresh(self, more: bool | None = None) -> Event:
        """Return a message that there is only once."""
        self.serial += 1
        return message(str(self.serial), more=more)

    @rule(size=st.integers(0, 12), more=st.none() | st.booleans())
    def put(self, size: int, more: bool | None) -> None:
        """Put a message in; ahead, where it has no room and is odd."""
        event = self.fresh(more)
        if self.closed:
            with pytest.raises(ClosedResourceError):
                self.queue.put_nowait(event, size)
            return
        roomy = self.has_room(size)
        assert self.queue.put_nowait(event, size) is roomy
        if not roomy and size % 2:
            self.queue.put_ahead(event, size)
            roomy = True
        if roomy:
            self.model.append((event, size, None))

    @precondition(lambda self: not self.closed)
    @rule(size=st.integers(0, 12), newest=st.booleans())
    def put_by_rule(self, size: int, newest: bool) -> None:
        """Have a message dropped, where there is no room."""
        if self.has_room(size):
            return
        event = self.fresh()
        if newest:
            assert self.queue.put_by_rule(event, size, "drop_newest")
            self.dropped += 1
            return
        assert self.queue.put_by_rule(event, size, "drop_oldest")
        while not self.has_room(size):
            receipts = [receipt for _, _, receipt in self.model]
            del self.model[receipts.index(None)]
            self.dropped += 1
        self.model.append((event, size, None))

    @rule()
    def put_event(self) -> None:
        """Put in what is no message."""
        event: Event = {"type": "websocket.accept"}
        receipt = self.queue.put_event(event)
        assert receipt.is_set() is self.closed
        if not self.closed:
            self.model.append((event, 0, receipt))

    @rule()
    def take(self) -> None:
        """Take one, or meet the end."""
        if self.model:
            event, size, receipt = self.queue.take_nowait()
            expected = self.model.pop(0)
            assert event is expected[0]
            assert (size, receipt) == expected[1:]
        elif self.closed:
            with pytest.raises((EndOfStream, ClosedResourceError)):
                self.queue.take_nowait()

    @rule()
    def take_messages(self) -> None:
        """Take those that come first."""
        count = 0
        while count < len(self.model) and self.model[count][2] is None:
            count += 1
        taken, self.model = self.model[:count], self.model[count:]
        assert self.queue.take_messages() == taken

    @rule(most=st.integers(1, 4), largest=st.integers(1, 12))
    def resize(self, most: int, largest: int) -> None:
        """Change the bounds."""
        self.bounds = (most, largest)
        self.queue.resize(most, largest)

    @precondition(lambda self: len(self.model) > 2)
    @rule()
    def close(self) -> None:
        """Let nothing more in."""
        self.queue.close()
        self.closed = True

    @precondition(lambda self: len(self.model) > 3)
    @rule()
    def discard(self) -> None:
        """Let go of all."""
        receipts = [receipt for _, _, receipt in self.model if receipt is not None]
        self.queue.discard()
        assert all(receipt.is_set() for receipt in receipts)
        self.closed, self.model = True, []

    @invariant()
    def it_agrees(self) -> None:
        """Every count and every look is the list's."""
        queue, sizes = self.queue, self.sizes
        assert counts(queue) == (
            len(self.model),
            len(sizes),
            sum(sizes),
            self.dropped,
        )
        assert queue.closed is self.closed
        assert queue.blocked is not (bool(self.model) or self.closed)
        assert queue.full is (
            len(sizes) >= self.bounds[0] or sum(sizes) >= self.bounds[1]
        )
        assert not queue.crowded
        first = self.model[0] if self.model else None
        assert queue.event_first is (first is not None and first[2] is not None)
        assert queue.has_parts is (first is not None and MORE in first[0])

    def teardown(self) -> None:
        """Leave no stream behind."""
        self.queue.discard()


TestAgainstAList = QueueMachine.TestCase
TestAgainstAList.settings = settings(max_examples=60, stateful_step_count=30)
