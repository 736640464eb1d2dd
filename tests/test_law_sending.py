"""Sends in guarded mode: all or nothing, bounded, truthful, and never starving."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

import anyws

from .channels import Channel


@pytest.fixture
async def channel() -> Channel:
    """Return a fresh channel."""
    return Channel()


async def test_sends_arrive_in_order(channel: Channel) -> None:
    """What one task sends arrives whole and in order, before the close."""
    async with channel.websocket() as ws:
        await ws.accept()
        for number in range(100):
            await ws.send_text(str(number))
        await ws.send_message(b"last")

    assert channel.messages == [*map(str, range(100)), b"last"]
    assert channel.sent[-1]["type"] == "websocket.close"


async def test_cancelled_sends_are_all_or_nothing(channel: Channel) -> None:
    """64 senders, cancelled at every await point: each message is whole or absent."""
    random, sent, cut = Random(2), set[str](), set[str]()

    async def send(ws: anyws.WebSocket, sender: int) -> None:
        for number in range(30):
            text = f"{sender}:{number}"
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(cancel_after, scope, random.randrange(0, 8))
                    await ws.send_text(text)
                    sent.add(text)
            if text not in sent:
                cut.add(text)

    async with channel.websocket(send_buffer=4) as ws:
        await ws.accept()
        async with anyio.create_task_group() as tasks:
            for sender in range(64):
                tasks.start_soon(send, ws, sender)

    assert channel.torn == []
    assert len(cut) > 100
    assert set(channel.messages) == sent
    for sender in range(64):
        own = [m for m in channel.messages if str(m).startswith(f"{sender}:")]
        assert own == sorted(own, key=lambda text: int(str(text).partition(":")[2]))


async def cancel_after(scope: anyio.CancelScope, turns: int) -> None:
    """Cancel a scope after some turns of the scheduler."""
    for _ in range(turns):
        await checkpoint()
    scope.cancel()


async def test_natively_cancelled_sends_are_all_or_nothing(
    channel: Channel, anyio_backend_name: str
) -> None:
    """The same holds for tasks that asyncio cancels."""
    if anyio_backend_name != "asyncio":
        pytest.skip("native asyncio cancellation")
    random, sent = Random(3), set[str]()
    async with channel.websocket(send_buffer=2) as ws:
        await ws.accept()

        async def send(text: str) -> None:
            await ws.send_text(text)
            sent.add(text)

        tasks = [asyncio.ensure_future(send(f"{n}")) for n in range(300)]
        for task in random.sample(tasks, 150):
            await asyncio.sleep(0)
            task.cancel()
        await asyncio.wait(tasks)

    assert channel.torn == []
    assert set(channel.messages) == sent
    assert 100 < len(sent) < 300


async def test_a_send_to_a_stalled_peer_can_be_timed_out(channel: Channel) -> None:
    """A deadline frees the sender, though the server's send cannot be cancelled."""
    async with channel.websocket(send_buffer=3, close_timeout=0.1) as ws:
        await ws.accept()
        channel.stall(shielded=True)
        sent = 0
        with anyio.move_on_after(0.05) as scope:
            while True:
                await ws.send_text("x")
                sent += 1

        assert scope.cancelled_caught
        assert sent == 4
        assert ws.application_state is anyws.WebSocketState.CONNECTED
        channel.resume()
        await ws.send_text("y")
    assert channel.messages == ["x"] * 4 + ["y"]


async def test_waiting_senders_get_their_turn_in_order(channel: Channel) -> None:
    """Senders that wait for room are served first come first served."""
    async with channel.websocket(send_buffer=1) as ws:
        await ws.accept()
        channel.stall()
        async with anyio.create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(ws.send_text, str(number))
                await anyio.wait_all_tasks_blocked()
            channel.resume()

    assert channel.messages == [str(number) for number in range(20)]


async def test_a_waiting_sender_wakes_at_the_end(channel: Channel) -> None:
    """Every send that waits for room raises once the peer has left."""
    async with channel.websocket(send_buffer=1) as ws:
        await ws.accept()
        channel.stall()
        raised = []

        async def send() -> None:
            with pytest.raises(anyws.ConnectionClosed) as caught:
                while True:
                    await ws.send_text("x")
            raised.append(caught.value.code)

        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(send)
            await anyio.wait_all_tasks_blocked()
            channel.leave(1001)
        assert raised == [1001] * 5


@pytest.mark.parametrize("ended", [False, True])
async def test_a_hot_send_loop_lets_others_run(channel: Channel, ended: bool) -> None:
    """A loop of sends yields to other tasks, while they work and when they raise."""
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await checkpoint()
            turns += 1

    async with channel.websocket() as ws, anyio.create_task_group() as tasks:
        await ws.accept()
        if ended:
            channel.leave()
            await anyio.wait_all_tasks_blocked()
        tasks.start_soon(count)
        for _ in range(320):
            try:
                await ws.send_text("x")
            except anyws.ConnectionClosed:
                assert ended
        tasks.cancel_scope.cancel()

    assert turns >= 5


async def test_a_deadline_ends_a_hot_send_loop(channel: Channel) -> None:
    """`move_on_after` ends a loop of sends that never have to wait."""
    async with channel.websocket(send_overflow="drop_newest") as ws:
        await ws.accept()
        with anyio.move_on_after(0.01) as scope:
            while True:
                await ws.send_text("x")

        assert scope.cancelled_caught


CALLS: dict[str, Callable[[anyws.WebSocket], Any]] = {
    "receive": lambda ws: ws.receive(),
    "receive_message": lambda ws: ws.receive_message(),
    "receive_text": lambda ws: ws.receive_text(),
    "receive_bytes": lambda ws: ws.receive_bytes(),
    "receive_json": lambda ws: ws.receive_json(),
    "send_message": lambda ws: ws.send_message("x"),
    "send_text": lambda ws: ws.send_text("x"),
    "send_bytes": lambda ws: ws.send_bytes(b"x"),
    "send_json": lambda ws: ws.send_json({}),
    "close": lambda ws: ws.close(),
    "aclose": lambda ws: ws.aclose(),
    "wait_closed": lambda ws: ws.wait_closed(),
    "messages.receive": lambda ws: ws.messages.receive(),
    "messages.send": lambda ws: ws.messages.send("x"),
    "messages.aclose": lambda ws: ws.messages.aclose(),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("ended", [False, True])
async def test_every_call_is_a_checkpoint(
    channel: Channel, call: str, ended: bool
) -> None:
    """Each async method delivers a pending cancellation, and has then done nothing."""
    async with channel.websocket() as ws:
        await ws.accept()
        channel.arrive("null")
        if ended:
            channel.leave()
        await anyio.wait_all_tasks_blocked()
        with anyio.CancelScope() as scope:
            scope.cancel()
            await CALLS[call](ws)

        assert scope.cancelled_caught
        assert channel.messages == []
        assert ws.application_state is anyws.WebSocketState.CONNECTED
        assert (ws.close_info is not None) is ended
        assert await ws.receive_text() == "null"


async def test_send_nowait(channel: Channel) -> None:
    """`send_nowait` queues, and raises WouldBlock when the buffer is full."""
    async with channel.websocket(send_buffer=2) as ws:
        with pytest.raises(RuntimeError, match="accept"):
            ws.send_nowait("too early")
        await ws.accept()
        ws.send_nowait("one")
        ws.send_nowait(b"two")
        with pytest.raises(anyio.WouldBlock):
            ws.send_nowait("three")
        await anyio.wait_all_tasks_blocked()
        ws.send_nowait("four")
    with pytest.raises(anyws.ConnectionClosed):
        ws.send_nowait("too late")

    assert channel.messages == ["one", b"two", "four"]


async def test_the_send_buffer_is_bounded_in_bytes(channel: Channel) -> None:
    """The bytes queued are bounded; a single larger message passes alone."""
    async with channel.websocket(send_buffer_bytes=10) as ws:
        await ws.accept()
        channel.stall()
        ws.send_nowait("é" * 20)
        with pytest.raises(anyio.WouldBlock):
            ws.send_nowait("")
        await anyio.wait_all_tasks_blocked()
        ws.send_nowait("é" * 5)
        with pytest.raises(anyio.WouldBlock):
            ws.send_nowait("x")
        assert ws.statistics().send_queued_bytes == 10
        channel.resume()


async def fill(ws: anyws.WebSocket, count: int, *, nowait: bool) -> None:
    """Send numbered messages."""
    for number in range(count):
        if nowait:
            ws.send_nowait(str(number))
        else:
            await ws.send_text(str(number))


@pytest.mark.parametrize("nowait", [False, True])
@pytest.mark.parametrize(
    ("rule", "kept"),
    [("drop_oldest", ["0", "7", "8", "9"]), ("drop_newest", ["0", "1", "2", "3"])],
)
async def test_dropping_drops_and_counts(
    channel: Channel, rule: str, kept: list[str], nowait: bool
) -> None:
    """The drop rules keep the ends they name; "0" is in the server's hands already."""
    async with channel.websocket(send_buffer=3, send_overflow=rule) as ws:
        await ws.accept()
        channel.stall()
        await ws.send_text("0")
        await anyio.wait_all_tasks_blocked()
        for number in range(1, 10):
            if nowait:
                ws.send_nowait(str(number))
            else:
                await ws.send_text(str(number))
        assert ws.statistics().send_dropped == 6
        channel.resume()

    assert channel.messages == kept


@pytest.mark.parametrize("nowait", [False, True])
async def test_overflow_closes_with_1013(channel: Channel, nowait: bool) -> None:
    """With "close", a peer that reads too slowly is closed with 1013."""
    async with channel.websocket(send_buffer=3, send_overflow="close") as ws:
        await ws.accept()
        channel.stall()
        with pytest.raises(anyws.ConnectionClosed, match="1013"):
            await fill(ws, 10, nowait=nowait)
        channel.resume()

    assert [code for code, _ in channel.closes] == [1013]


@pytest.mark.parametrize(
    "error", [OSError("gone"), RuntimeError("after close"), TimeoutError()]
)
async def test_a_failed_send_ends_the_connection(
    channel: Channel, error: Exception
) -> None:
    """A server that raises has lost the peer: 1006, and the cause is kept."""
    async with channel.websocket() as ws:
        await ws.accept()
        channel.error = error
        await ws.send_text("x")
        await anyio.wait_all_tasks_blocked()

        assert ws.close_info == anyws.CloseInfo(1006, "", "network", None)
        with pytest.raises(anyws.ConnectionClosed) as caught:
            await ws.send_text("y")
        assert caught.value.__cause__ is error


async def test_the_reader_may_know_better_why_a_send_failed(channel: Channel) -> None:
    """The code that the disconnect brings replaces the 1006 of a failed send."""
    async with channel.websocket() as ws:
        await ws.accept()
        channel.error = OSError()
        await ws.send_text("x")
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(anyws.ConnectionClosed) as first:
            await ws.send_text("y")
        channel.arrive("unread")
        channel.leave(1001)

        assert first.value.code == 1006
        assert await ws.receive_text() == "unread"
        with pytest.raises(anyws.ConnectionClosed, match="1001"):
            await ws.receive_text()


async def test_a_defect_of_the_server_is_not_hidden(channel: Channel) -> None:
    """An exception that no departed peer explains leaves the block as itself."""
    with pytest.raises(LookupError, match="defect"):
        async with channel.websocket(close_timeout=0.05) as ws:
            await ws.accept()
            channel.error = LookupError("defect")
            await ws.send_text("x")
            await ws.wait_closed()


async def test_a_failed_accept_raises_the_servers_error(channel: Channel) -> None:
    """What the server makes of the accept is raised by `accept()`, once."""
    channel.error = LookupError("bad handshake")
    async with channel.websocket() as ws:
        with pytest.raises(LookupError, match="bad handshake"):
            await ws.accept()


@pytest.mark.parametrize(
    ("event", "error"),
    [
        ({"type": "websocket.send"}, ValueError),
        ({"type": "websocket.send", "text": None, "bytes": None}, ValueError),
        ({"type": "websocket.send", "text": "x", "bytes": b"x"}, ValueError),
        ({"type": "websocket.send", "text": b"x"}, TypeError),
        ({"type": "websocket.send", "bytes": "x"}, TypeError),
        ({"type": "websocket.send", "text": "\ud800"}, UnicodeEncodeError),
        ({"type": "websocket.close", "code": 1006}, ValueError),
        ({"type": "websocket.close", "code": "1000"}, TypeError),
        ({"type": "websocket.accept"}, RuntimeError),
    ],
    ids=repr,
)
async def test_nothing_invalid_reaches_the_server(
    channel: Channel, event: dict[str, Any], error: type[Exception]
) -> None:
    """What must not be sent is refused with an error; the connection goes on."""
    async with channel.websocket() as ws:
        await ws.accept()
        with pytest.raises(error):
            await ws.send(event)
        await ws.send_text("fine")

    assert channel.messages == ["fine"]
    assert channel.closes == [(1000, "")]


async def test_a_buffer_is_copied_when_it_is_sent(channel: Channel) -> None:
    """A buffer may be changed as soon as the send has returned."""
    async with channel.websocket() as ws:
        await ws.accept()
        data = bytearray(b"before")
        await ws.send_bytes(data)  # type: ignore[arg-type]  # as Starlette's signature
        data[:] = b"after!"

    assert channel.messages == [b"before"]


async def test_statistics(channel: Channel) -> None:
    """The counters count messages and bytes of payload, both ways."""
    async with channel.websocket() as ws:
        await ws.accept()
        channel.arrive("é", b"12345")
        await ws.send_text("é")
        await ws.send_bytes(b"1")
        await anyio.wait_all_tasks_blocked()
        statistics = ws.statistics()

        assert (statistics.messages_received, statistics.bytes_received) == (2, 7)
        assert (statistics.messages_sent, statistics.bytes_sent) == (2, 3)
        assert (statistics.receive_queued, statistics.receive_queued_bytes) == (2, 7)
        assert (statistics.send_queued, statistics.send_queued_bytes) == (0, 0)
        assert statistics.latency is None


async def test_the_messages_view_is_a_stream(channel: Channel) -> None:
    """`messages` sends and receives, and ends as AnyIO's streams do."""
    async with channel.websocket() as ws:
        await ws.accept()
        stream = ws.messages
        channel.arrive("one", b"two")
        await stream.send("three")

        assert [await stream.receive() for _ in range(2)] == ["one", b"two"]
        channel.leave(1000)
        with pytest.raises(anyio.EndOfStream):
            await stream.receive()
        with pytest.raises(anyio.BrokenResourceError):
            await stream.send("late")


@pytest.mark.parametrize("close", ["aclose", "send_eof"])
async def test_the_messages_view_closes(channel: Channel, close: str) -> None:
    """Closing the view closes with 1000; then it is a closed resource."""
    async with channel.websocket() as ws:
        await ws.accept()
        await getattr(ws.messages, close)()
        for call in (ws.messages.receive, partial(ws.messages.send, "late")):
            with pytest.raises(anyio.ClosedResourceError):
                await call()

    assert channel.closes == [(1000, "")]


async def test_the_messages_view_breaks(channel: Channel) -> None:
    """A connection that is known to have broken is a broken resource."""
    channel.answers = False
    async with channel.websocket(send_timeout=0.01, close_timeout=0.01) as ws:
        await ws.accept()
        channel.stall()
        await ws.send_text("x")
        await ws.wait_closed()
        with pytest.raises(anyio.BrokenResourceError):
            await ws.messages.receive()
