"""`cancel_on`: a message of the peer ends a block."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from trio.testing import MockClock

import anyws
from anyws._session.queue import AHEAD_MESSAGES, MessageQueue
from anyws._values.events import MORE

from ..support.channels import SCOPE, Channel
from ..support.ends import raw
from ..support.wired import CHANNELS, CONT, TEXT, asgi_only, frame, server_only


@pytest.fixture(params=CHANNELS)
async def channel(request: pytest.FixtureRequest) -> Channel:
    """Return a fresh channel."""
    make: type[Channel] = request.param
    return make()


def stops(message: str | bytes) -> bool:
    """Take the message "stop"."""
    return message == "stop"


def starts_with(letter: str) -> Callable[[str | bytes], bool]:
    """Take messages that start with a letter."""
    return lambda message: str(message).startswith(letter)


async def test_a_message_ends_the_block(channel: Channel) -> None:
    """It reaches no receiver; those before and behind it do, in order."""
    async with channel.websocket() as ws:
        await ws.accept()
        with ws.cancel_on(stops) as scope:
            channel.arrive("a", "stop", "stop", b"b")
            await anyio.sleep_forever()
        assert (scope.interrupted, scope.message) == (True, "stop")
        assert [await ws.receive_message() for _ in range(3)] == ["a", "stop", b"b"]
        assert ws.statistics().messages_received == 4
        assert ws.statistics().bytes_received == 10


async def test_a_message_that_waits_already_ends_the_block_too(
    channel: Channel,
) -> None:
    """It is taken from among the others when the block is entered."""
    async with channel.websocket() as ws:
        await ws.accept()
        channel.arrive("a", "stop", "b", "stop")
        await anyio.wait_all_tasks_blocked()
        reached = False
        with ws.cancel_on(stops) as scope:
            reached = True
            await checkpoint()
            pytest.fail("not cancelled")
        assert reached
        assert scope.message == "stop"
        assert [await ws.receive_text() for _ in range(3)] == ["a", "b", "stop"]


async def test_a_block_that_nothing_interrupts(channel: Channel) -> None:
    """It runs to its end, its messages are received, and the predicate is forgotten."""
    asked = []

    def never(message: str | bytes) -> bool:
        asked.append(message)
        return False

    async with channel.websocket() as ws:
        await ws.accept()
        channel.arrive("a", b"b")
        with ws.cancel_on(never) as scope:
            assert [await ws.receive_message() for _ in range(2)] == ["a", b"b"]
        assert (scope.interrupted, scope.message) == (False, None)
        channel.arrive("c")
        assert await ws.receive_text() == "c"
        assert asked == ["a", b"b"]


async def test_a_receiving_task_inside_sees_the_others(channel: Channel) -> None:
    """It is no second receiver."""
    async with channel.websocket() as ws:
        await ws.accept()
        seen = []
        channel.arrive("a", "b", "stop", "c")
        with ws.cancel_on(stops) as scope:
            while True:
                seen.append(await ws.receive_text())
        assert scope.message == "stop"
        assert [*seen, *[await ws.receive_text() for _ in range(3 - len(seen))]] == [
            *("a", "b", "c")
        ]


async def test_the_innermost_is_asked_first(channel: Channel) -> None:
    """What it takes no other sees; what it leaves goes to the next one out."""
    async with channel.websocket() as ws:
        await ws.accept()
        with ws.cancel_on(starts_with("s")) as outer:
            with ws.cancel_on(stops) as inner:
                channel.arrive("stop")
                await anyio.sleep_forever()
            assert (inner.message, outer.message) == ("stop", None)
            with ws.cancel_on(stops) as inner:
                channel.arrive("sigh")
                await anyio.sleep_forever()
            pytest.fail("the outer block was not cancelled")
        assert (inner.message, outer.message) == (None, "sigh")


async def test_the_block_may_have_run_to_its_end(channel: Channel) -> None:
    """Then the message was taken all the same, and nothing else is cancelled."""
    async with channel.websocket() as ws:
        await ws.accept()
        channel.arrive("stop")
        await anyio.wait_all_tasks_blocked()
        with ws.cancel_on(stops) as scope:
            pass
        await checkpoint()
        assert scope.message == "stop"


async def test_an_exception_of_the_predicate_leaves_the_block(
    channel: Channel,
) -> None:
    """As itself; the message it was asked about stays, and so does the connection."""

    def fails(message: str | bytes) -> bool:
        raise LookupError(message)

    async with channel.websocket() as ws:
        await ws.accept()
        with pytest.raises(LookupError, match="a") as caught:
            with ws.cancel_on(fails):
                channel.arrive("a", "b")
                await anyio.sleep_forever()
        assert caught.value.args == ("a",)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(LookupError):
            with ws.cancel_on(fails):
                pytest.fail("the body ran")
        session = ws._session
        assert session is not None
        assert session.connection.interrupts == ()
        assert [await ws.receive_text() for _ in range(2)] == ["a", "b"]
        assert ws.close_info is None


async def test_an_exception_of_the_block_does_not_hide_that_of_the_predicate(
    channel: Channel,
) -> None:
    """It becomes its context; from a task group, too."""

    async def fail() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise KeyError

    async with channel.websocket() as ws:
        await ws.accept()
        with pytest.raises(ZeroDivisionError) as caught:
            with ws.cancel_on(lambda _: bool(1 / 0)):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(fail)
                    channel.arrive("a")
                    await anyio.sleep_forever()
        assert isinstance(caught.value.__context__, BaseExceptionGroup)


async def test_an_exception_of_the_block_leaves_it(channel: Channel) -> None:
    """Interrupted or not."""
    async with channel.websocket() as ws:
        await ws.accept()
        with pytest.raises(KeyError):
            with ws.cancel_on(stops) as scope:
                channel.arrive("stop")
                try:
                    await anyio.sleep_forever()
                finally:
                    raise KeyError
        assert scope.message == "stop"


async def test_a_cancellation_from_further_out_passes(channel: Channel) -> None:
    """It is neither swallowed nor replaced by what the predicate has raised."""
    async with channel.websocket() as ws:
        await ws.accept()
        with anyio.CancelScope() as outer:
            with ws.cancel_on(lambda _: bool(1 / 0)):
                outer.cancel()
                channel.arrive("a")
                with anyio.CancelScope(shield=True):
                    await anyio.wait_all_tasks_blocked()
                await checkpoint()
            pytest.fail("swallowed")
        assert outer.cancelled_caught


async def test_a_native_cancellation_passes(anyio_backend_name: str) -> None:
    """`asyncio.timeout` round the block is heard as such."""
    if anyio_backend_name != "asyncio":
        pytest.skip("native asyncio cancellation")
    channel = Channel()
    async with channel.websocket() as ws:
        await ws.accept()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                with ws.cancel_on(stops):
                    await anyio.sleep_forever()
        channel.arrive("stop")
        assert await ws.receive_text() == "stop"


async def test_a_message_with_no_room_is_seen(channel: Channel) -> None:
    """It is taken before bounds and overflow rule are looked at; the others are not."""
    async with channel.websocket(
        receive_buffer=2, receive_overflow="drop_oldest"
    ) as ws:
        await ws.accept()
        with ws.cancel_on(stops) as scope:
            channel.arrive(*"abcd", "stop")
            await anyio.sleep_forever()
        assert scope.message == "stop"
        assert [await ws.receive_text() for _ in range(2)] == ["c", "d"]
        assert ws.statistics().receive_dropped == 2


async def test_too_large_a_message_is_not_seen(channel: Channel) -> None:
    """It closes the connection, as ever."""
    async with channel.websocket(max_message_bytes=4) as ws:
        await ws.accept()
        with ws.cancel_on(lambda _: True) as scope:
            channel.arrive("large")
            await ws.wait_closed()
        assert not scope.interrupted
        assert ws.close_info is not None
        assert ws.close_info.code == 1009


async def test_behind_a_full_queue_nothing_is_seen_until_there_is_room(
    channel: Channel,
) -> None:
    """By the rule to wait nothing more is read; a receive inside the block helps."""
    ahead = AHEAD_MESSAGES if channel.reads_ahead else 0
    async with channel.websocket(receive_buffer=2) as ws:
        await ws.accept()
        messages = [str(number) for number in range(3 + ahead)]
        with ws.cancel_on(stops) as scope:
            channel.arrive(*messages, "stop")
            if not channel.reads_ahead:
                await anyio.wait_all_tasks_blocked()
                assert not scope.interrupted
            seen = []
            while True:
                seen.append(await ws.receive_text())
        assert scope.message == "stop"
        rest = [await ws.receive_text() for _ in range(len(messages) - len(seen))]
        assert seen + rest == messages


@asgi_only("a channel of our own reads ahead, and has no message held")
async def test_the_message_that_the_reader_task_holds_is_asked_about(
    channel: Channel,
) -> None:
    """On entry, though it has no room; then reading goes on."""
    async with channel.websocket(receive_buffer=2, idle_timeout=1000) as ws:
        await ws.accept()
        channel.arrive("a", "b", "stop", "c")
        await anyio.wait_all_tasks_blocked()
        with ws.cancel_on(stops) as scope:
            await anyio.sleep_forever()
        assert scope.message == "stop"
        assert [await ws.receive_text() for _ in range(3)] == ["a", "b", "c"]
        assert ws.statistics().messages_received == 4
        channel.arrive("d")
        assert await ws.receive_text() == "d"


@asgi_only("a channel of our own reads ahead, and has no message held")
async def test_a_message_that_is_held_is_asked_about_once(channel: Channel) -> None:
    """However often the reader task offers it to the queue."""
    asked = []

    def never(message: str | bytes) -> bool:
        asked.append(message)
        return False

    async with channel.websocket(receive_buffer=1) as ws:
        await ws.accept()
        with ws.cancel_on(never):
            channel.arrive(*"abc")
            for letter in "abc":
                await anyio.wait_all_tasks_blocked()
                assert await ws.receive_text() == letter
    assert asked == list("abc")


@asgi_only("a channel of our own reads ahead, and has no message held")
async def test_a_held_message_is_taken_after_the_channel_has_failed(
    channel: Channel,
) -> None:
    """What was received is asked about although the connection has ended."""
    async with channel.websocket(receive_buffer=1) as ws:
        await ws.accept()
        channel.arrive("a", "stop")
        await anyio.wait_all_tasks_blocked()
        channel.error = OSError()
        with pytest.raises(anyws.ConnectionClosed):
            while True:
                await ws.send_text("")
        with ws.cancel_on(stops) as scope:
            await anyio.sleep_forever()
        assert scope.message == "stop"
        assert await ws.receive_text() == "a"


@asgi_only("a channel of our own reads ahead, and has no message held")
async def test_reading_goes_on_when_the_held_message_is_taken(channel: Channel) -> None:
    """At once, though nobody receives: the next message may be small enough."""
    async with channel.websocket(max_message_bytes=4) as ws:
        await ws.accept()
        channel.arrive("abc", "stop", "d")
        await anyio.wait_all_tasks_blocked()
        with ws.cancel_on(stops):
            await anyio.sleep_forever()
        await anyio.wait_all_tasks_blocked()
        assert ws.statistics().receive_queued == 2


@server_only("a stream in memory does not tell where its messages are")
async def test_reading_goes_on_when_a_message_that_waits_is_taken(
    channel: Channel,
) -> None:
    """As if it had been received."""
    async with channel.websocket(receive_buffer=1) as ws:
        await ws.accept()
        full = 1 + (AHEAD_MESSAGES if channel.reads_ahead else 0)
        for number in range(full):
            channel.arrive(str(number))
            await anyio.wait_all_tasks_blocked()
        channel.arrive("last")
        await anyio.wait_all_tasks_blocked()
        with ws.cancel_on(lambda message: message == "0"):
            await anyio.sleep_forever()
        await anyio.wait_all_tasks_blocked()
        assert ws.statistics().receive_queued == full
        assert ws.statistics().messages_received == full + 1


class TestInTime:
    """By the clock of trio's tests."""

    @pytest.fixture
    def anyio_backend(self) -> tuple[str, dict[str, object]]:
        """Let time pass at once."""
        return "trio", {"clock": MockClock(autojump_threshold=0)}

    async def test_a_peer_whose_held_message_is_taken_may_be_idle(self) -> None:
        """The full queue keeps it waiting no more."""
        channel = Channel()
        async with channel.websocket(receive_buffer=1, idle_timeout=5) as ws:
            await ws.accept()
            channel.arrive("a", "stop")
            await anyio.sleep(60)
            assert ws.close_info is None
            with ws.cancel_on(stops):
                await anyio.sleep_forever()
            await anyio.sleep(6)
            assert ws.close_info is not None
            assert ws.close_info.code == 1001

    async def test_a_channel_that_failed_is_heard_out_from_then_on(self) -> None:
        """The time in which its message was held does not count."""
        channel = Channel()
        async with channel.websocket(receive_buffer=1) as ws:
            await ws.accept()
            channel.arrive("a", "stop")
            await anyio.sleep(1)
            channel.error = OSError()
            with pytest.raises(anyws.ConnectionClosed):
                while True:
                    await ws.send_text("")
            await anyio.sleep(60)
            with ws.cancel_on(stops):
                await anyio.sleep_forever()
            start = anyio.current_time()
            await ws.wait_closed()
            assert 0 < anyio.current_time() - start < 6


async def test_parts_of_a_message_interrupt_nothing(tmp_path: Path) -> None:
    """The predicate is asked for whole messages."""
    async with raw("memory", tmp_path) as (ws, server):
        await server.send(frame(TEXT, "st", fin=False, mask=None))
        async with ws.receive_stream() as message:
            with ws.cancel_on(lambda _: True) as scope:
                await server.send(frame(CONT, "op", mask=None))
                assert [part async for part in message] == ["st", "op"]
                await anyio.wait_all_tasks_blocked()
            assert not scope.interrupted
        await server.send(frame(TEXT, "stop", mask=None))
        with ws.cancel_on(lambda _: True) as scope:
            await anyio.sleep_forever()
        assert scope.message == "stop"


async def test_what_came_before_the_end_is_asked_about(channel: Channel) -> None:
    """The end itself interrupts nothing, and stays behind what is left."""
    async with channel.websocket() as ws:
        await ws.accept()
        channel.arrive("a", "stop", "b")
        channel.leave(1000)
        await ws.wait_closed()
        with ws.cancel_on(stops) as scope:
            await anyio.sleep_forever()
        assert scope.message == "stop"
        with ws.cancel_on(stops) as scope:
            assert [message async for message in ws] == ["a", "b"]
        assert not scope.interrupted


async def test_typed_messages_interrupt_as_what_they_are(channel: Channel) -> None:
    """The predicate sees values; what is invalid is left to a receive."""
    async with channel.websocket() as ws:
        await ws.accept()
        messages = ws.typed(int | None)
        with messages.cancel_on(lambda number: number is None) as scope:
            channel.arrive("1", "}", "null")
            await anyio.sleep_forever()
        assert (scope.interrupted, scope.message) == (True, None)
        assert await messages.receive() == 1
        with pytest.raises(anyws.MessageDecodeError):
            await messages.receive()


async def test_what_is_no_predicate_is_refused() -> None:
    """Before anything is asked; so is plain mode."""

    async def stops_later(_: str | bytes) -> bool:
        return True

    channel = Channel()
    ws: Any = channel.websocket()
    with pytest.raises(RuntimeError, match="async with"):
        ws.cancel_on(stops)
    plain = anyws.WebSocket(dict(SCOPE), channel.receive, channel.send)
    with pytest.raises(RuntimeError, match="async with"):
        plain.typed(int).cancel_on(bool)
    async with ws:
        await ws.accept()
        for wrong in (stops_later, "stop"):
            with pytest.raises(TypeError, match="cancel_on"):
                ws.cancel_on(wrong)


def test_the_queue_gives_what_is_wanted_and_keeps_the_order() -> None:
    """Events that are no messages, parts and the end keep their places."""
    queue = MessageQueue(10, 100)
    receipt = queue.put_event({"type": "accept"})
    for event in ({"n": 1}, {"n": 2, MORE: False}, {"n": 3}, {"n": 2}):
        queue.put_nowait(event, 5)
    queue.close()
    assert queue.take_first(lambda event: event["n"] == 9) is None
    item = queue.take_first(lambda event: event["n"] == 2)
    assert item == ({"n": 2}, 5, None)
    assert (queue.messages, queue.size, queue.held) == (3, 15, 4)
    events = [queue.take_nowait()[0] for _ in range(4)]
    assert events == [{"type": "accept"}, {"n": 1}, {"n": 2, MORE: False}, {"n": 3}]
    with pytest.raises(anyio.EndOfStream):
        queue.take_nowait()
    assert queue.take_first(lambda event: True) is None
    assert not receipt.is_set()
    queue.discard()
