"""Receives in guarded mode: nothing is lost, one receiver, bounded, and the truth."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import Random

import anyio
import pytest
from anyio.lowlevel import checkpoint

import anyws

from ..support.channels import Channel
from ..support.wired import CHANNELS, asgi_only

MESSAGES = [f"m{number}" for number in range(3000)]


@pytest.fixture(params=CHANNELS)
async def channel(request: pytest.FixtureRequest) -> Channel:
    """Return a fresh channel."""
    make: type[Channel] = request.param
    return make()


async def feed(channel: Channel, random: Random) -> None:
    """Let the messages arrive in small bursts, at every phase of the receiver."""
    waiting = list(reversed(MESSAGES))
    while waiting:
        for _ in range(random.randrange(1, 3)):
            if waiting:
                channel.arrive(waiting.pop())
        for _ in range(random.randrange(3, 12)):
            await checkpoint()


async def within_move_on_after(ws: anyws.WebSocket, turns: float) -> str | None:
    """Receive, or give up by an AnyIO deadline."""
    with anyio.move_on_after(turns):
        return await ws.receive_text()
    return None


async def within_a_cancelled_scope(ws: anyws.WebSocket, turns: float) -> str | None:
    """Receive, or give up when another task cancels the scope."""
    result = None

    async def cancel_soon() -> None:
        for _ in range(int(turns * 4e4)):
            await checkpoint()
        scope.cancel()

    async with anyio.create_task_group() as tasks:
        with anyio.CancelScope() as scope:
            tasks.start_soon(cancel_soon)
            result = await ws.receive_text()
        tasks.cancel_scope.cancel()
    return result


async def within_timeout(ws: anyws.WebSocket, turns: float) -> str | None:
    """Receive, or give up by asyncio's timeout."""
    try:
        async with asyncio.timeout(turns):
            return await ws.receive_text()
    except TimeoutError:
        return None


async def within_wait_for(ws: anyws.WebSocket, turns: float) -> str | None:
    """Receive, or give up by asyncio's wait_for."""
    try:
        return await asyncio.wait_for(ws.receive_text(), turns)
    except TimeoutError:
        return None


async def within_a_cancelled_task(ws: anyws.WebSocket, turns: float) -> str | None:
    """Receive in a task, or give up by cancelling it."""
    task = asyncio.ensure_future(ws.receive_text())
    for _ in range(int(turns * 4e4)):
        await asyncio.sleep(0)
    task.cancel()
    try:
        return await task
    except asyncio.CancelledError:
        return None


GIVING_UP = [
    within_move_on_after,
    within_a_cancelled_scope,
    within_timeout,
    within_wait_for,
    within_a_cancelled_task,
]


@pytest.mark.fail_after(60)  # works for seconds, and for many more on a busy machine
@pytest.mark.parametrize("attempt", GIVING_UP)
async def test_no_deadline_loses_a_message(
    channel: Channel,
    anyio_backend_name: str,
    attempt: Callable[[anyws.WebSocket, float], Awaitable[str | None]],
) -> None:
    """Thousands of receives that race delivery lose, double and reorder nothing."""
    native = attempt in GIVING_UP[2:]
    if native and anyio_backend_name != "asyncio":
        pytest.skip("native asyncio cancellation")
    random, received, gave_up = Random(1), list[str](), 0
    async with anyio.create_task_group() as tasks, channel.websocket() as ws:
        await ws.accept()
        tasks.start_soon(feed, channel, random)
        while len(received) < len(MESSAGES):
            text = await attempt(ws, random.choice((0, 2e-5, 5e-5, 1e-4)))
            if text is None:
                gave_up += 1
            else:
                received.append(text)

    assert received == MESSAGES
    assert gave_up > 200


@pytest.mark.parametrize("cancel_first", [True, False])
async def test_cancel_and_delivery_in_one_turn(
    channel: Channel, anyio_backend_name: str, cancel_first: bool
) -> None:
    """A native cancel in the turn of a delivery does not take the message along."""
    if anyio_backend_name != "asyncio":
        pytest.skip("native asyncio cancellation")
    async with channel.websocket() as ws:
        await ws.accept()
        for number in range(100):
            task = asyncio.ensure_future(ws.receive_text())
            await anyio.wait_all_tasks_blocked()
            channel.arrive(str(number))
            for _ in range(2 + cancel_first):  # the reader takes it and delivers it
                await asyncio.sleep(0)
            task.cancel()
            try:
                text = await task
            except asyncio.CancelledError:
                text = await ws.receive_text()

            assert text == str(number)


async def test_a_receive_right_after_a_cancelled_one(
    channel: Channel, anyio_backend_name: str
) -> None:
    """`task.cancel(); await ws.receive_text()` works: the task lets go in time."""
    if anyio_backend_name != "asyncio":
        pytest.skip("native asyncio cancellation")
    async with channel.websocket() as ws:
        await ws.accept()
        task = asyncio.ensure_future(ws.receive_text())
        await anyio.wait_all_tasks_blocked()
        channel.arrive("hello")
        task.cancel()

        assert await ws.receive_text() == "hello"
        assert task.cancelled()


async def test_a_second_receiver_is_refused(channel: Channel) -> None:
    """A second concurrent receive raises BusyResourceError; the first goes on."""
    async with channel.websocket() as ws, anyio.create_task_group() as tasks:
        await ws.accept()
        received = []

        async def receive() -> None:
            received.append(await ws.receive_text())

        tasks.start_soon(receive)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(anyio.BusyResourceError):
            await ws.receive_text()
        channel.arrive("hello")
        await anyio.wait_all_tasks_blocked()

        assert received == ["hello"]


async def test_what_came_before_the_end_stays_readable(channel: Channel) -> None:
    """Sends raise from the end on; receives, once all messages are delivered."""
    async with channel.websocket() as ws:
        await ws.accept()
        channel.arrive("one", b"two")
        channel.leave(4001, "bye")
        await anyio.wait_all_tasks_blocked()

        assert ws.close_info == anyws.CloseInfo(4001, "bye", "peer", True)
        with pytest.raises(anyws.ConnectionClosed) as caught:
            await ws.send_text("too late")
        assert (caught.value.code, caught.value.reason) == (4001, "bye")
        assert (ws.client_state.name, ws.application_state.name) == ("CONNECTED",) * 2
        assert await ws.receive_text() == "one"
        assert await ws.receive_bytes() == b"two"
        for _ in range(2):
            with pytest.raises(anyws.ConnectionClosed) as caught:
                await ws.receive_text()
            assert caught.value.code == 4001
            assert ws.client_state.name == "DISCONNECTED"
    assert channel.closes == []


async def test_the_raw_disconnect_is_delivered_once(channel: Channel) -> None:
    """Raw `receive` returns the disconnect, with code and reason, and then raises."""
    async with channel.websocket() as ws:
        await ws.accept()
        channel.leave(None)

        assert await ws.receive() == {
            "type": "websocket.disconnect",
            "code": 1005,
            "reason": "",
        }
        with pytest.raises(anyws.ConnectionClosed):
            await ws.receive()


async def test_a_waiting_receiver_wakes_at_the_end(channel: Channel) -> None:
    """A receive that waits when the peer leaves raises ConnectionClosed."""
    async with channel.websocket() as ws, anyio.create_task_group() as tasks:
        await ws.accept()

        async def receive() -> None:
            with pytest.raises(anyws.ConnectionClosed):
                await ws.receive_text()

        tasks.start_soon(receive)
        await anyio.wait_all_tasks_blocked()
        channel.leave()


@asgi_only("a frame always has a payload")
async def test_an_event_without_payload_is_an_error(channel: Channel) -> None:
    """A server's message event that carries nothing is refused; the next is read."""
    async with channel.websocket() as ws:
        await ws.accept()
        channel.arrive({"type": "websocket.receive"}, "next")
        with pytest.raises(RuntimeError, match="no payload"):
            await ws.receive_text()

        assert await ws.receive_text() == "next"


async def test_a_waiting_receiver_wakes_at_our_close(channel: Channel) -> None:
    """A receive that waits when we close raises at once, before the peer's answer."""
    channel.answers = False
    async with channel.websocket(close_timeout=0.05) as ws:
        await ws.accept()
        raised = []

        async def receive() -> None:
            with pytest.raises(anyws.ConnectionClosed, match="4000"):
                await ws.receive_text()
            raised.append(True)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(receive)
            await anyio.wait_all_tasks_blocked()
            await ws.close(4000)
            await checkpoint()
            await checkpoint()
            assert raised == [True]


async def test_after_the_block_nothing_is_left_to_receive(channel: Channel) -> None:
    """What was not read inside the block is let go with it."""
    async with channel.websocket() as ws:
        await ws.accept()
        channel.arrive("unread")
        channel.leave(1001)
        await anyio.wait_all_tasks_blocked()
    with pytest.raises(anyws.ConnectionClosed, match="1001"):
        await ws.receive_text()

    assert ws.statistics().receive_queued == 0


@asgi_only("no closing frame comes before the accept")
async def test_a_client_gone_before_accept(channel: Channel) -> None:
    """`accept()` raises the ordinary ConnectionClosed when the client has gone."""
    channel.leave(1001)
    async with channel.websocket() as ws:
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(anyws.ConnectionClosed) as caught:
            await ws.accept()
    assert caught.value.code == 1001
    assert channel.sent == []


async def test_a_disconnect_in_the_place_of_the_connect() -> None:
    """A client that a server reports as gone at once is ConnectionClosed, no event."""
    channel = Channel()
    await channel.receive()
    channel.leave()
    async with channel.websocket() as ws:
        with pytest.raises(anyws.ConnectionClosed):
            await ws.accept()


@asgi_only("the direct channel reads ahead")
async def test_waiting_slows_the_peer_down(channel: Channel) -> None:
    """With "wait", no more is read than the buffer holds and the one in hand."""
    async with channel.websocket(receive_buffer=3) as ws:
        await ws.accept()
        channel.arrive(*MESSAGES[:10])
        await anyio.wait_all_tasks_blocked()

        assert channel.unread == 6
        assert ws.statistics().receive_queued == 3
        assert [await ws.receive_text() for _ in range(10)] == MESSAGES[:10]


async def test_the_receive_buffer_is_bounded_in_bytes(channel: Channel) -> None:
    """Unread messages hold no more bytes together than one message may have."""
    async with channel.websocket(max_message_bytes=10) as ws:
        await ws.accept()
        channel.arrive(b"123456", b"1234", b"1")
        await anyio.wait_all_tasks_blocked()

        queued = ws.statistics().receive_queued_bytes
        assert queued == (11 if channel.reads_ahead else 10)
        assert [await ws.receive_bytes() for _ in range(3)] == [
            b"123456",
            b"1234",
            b"1",
        ]


async def test_room_for_a_small_one_is_not_room_for_a_large_one(
    channel: Channel,
) -> None:
    """A message that needs the room of several waits for all of it."""
    async with channel.websocket(max_message_bytes=10) as ws:
        await ws.accept()
        channel.arrive(b"1234", b"1234", b"1234567890")
        await anyio.wait_all_tasks_blocked()
        assert await ws.receive_bytes() == b"1234"
        await anyio.wait_all_tasks_blocked()

        queued = ws.statistics().receive_queued_bytes
        assert queued == (14 if channel.reads_ahead else 4)
        assert await ws.receive_bytes() == b"1234"
        assert await ws.receive_bytes() == b"1234567890"


async def test_drop_oldest_drops_and_counts(channel: Channel) -> None:
    """With "drop_oldest", the newest stay, and the connect event with them."""
    async with channel.websocket(
        receive_buffer=3, receive_overflow="drop_oldest"
    ) as ws:
        channel.arrive(*MESSAGES[:10])
        await anyio.wait_all_tasks_blocked()
        await ws.accept()

        assert [await ws.receive_text() for _ in range(3)] == MESSAGES[7:10]
        statistics = ws.statistics()
        assert (statistics.receive_dropped, statistics.messages_received) == (7, 10)


async def test_overflow_closes_with_1008(channel: Channel) -> None:
    """With "close", too many unread messages are a violation; the read ones stay."""
    async with channel.websocket(receive_buffer=2, receive_overflow="close") as ws:
        await ws.accept()
        channel.arrive(*MESSAGES[:3])
        await anyio.wait_all_tasks_blocked()

        assert [await ws.receive_text() for _ in range(2)] == MESSAGES[:2]
        with pytest.raises(anyws.ConnectionClosed, match="1008"):
            await ws.receive_text()
    assert channel.closes == [(1008, "too many unread messages")]


@pytest.mark.parametrize("payload", [b"12345", "12345", "ééé"], ids=repr)
async def test_an_oversize_message_closes_with_1009(
    channel: Channel, payload: str | bytes
) -> None:
    """A message over the limit: 1009 to the peer, MessageTooBig to the user."""
    async with channel.websocket(max_message_bytes=4) as ws:
        await ws.accept()
        channel.arrive("1234", payload)

        assert await ws.receive_text() == "1234"
        with pytest.raises(anyws.MessageTooBig) as caught:
            await ws.receive_text()
        assert isinstance(caught.value, anyws.ConnectionClosed)
    assert [code for code, _ in channel.closes] == [1009]


@asgi_only("no end is unknown there")
async def test_iteration_ends_where_the_end_is_clean_or_unknown(
    channel: Channel,
) -> None:
    """`async for` yields both kinds and ends when the peer has left."""
    async with channel.websocket() as ws:
        await ws.accept()
        channel.arrive("one", b"two")
        channel.leave(1006)

        assert [item async for item in ws] == ["one", b"two"]


async def test_iteration_raises_where_the_end_is_known_to_be_broken(
    channel: Channel,
) -> None:
    """`async for` raises ConnectionClosed once the connection is known to be broken."""
    channel.answers = False
    async with channel.websocket(close_timeout=0.01) as ws:
        await ws.accept()
        await ws.close()
        assert (await ws.wait_closed()).clean is False
        with pytest.raises(anyws.ConnectionClosed):
            async for _ in ws:
                pass
