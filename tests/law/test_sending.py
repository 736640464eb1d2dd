"""Sends in guarded mode: all or nothing, bounded, truthful, and never starving."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

import anyws

from ..support.channels import Channel, Event
from ..support.wired import CHANNELS, EagerChannel, asgi_only, queueing_only


@pytest.fixture(params=CHANNELS)
async def channel(request: pytest.FixtureRequest) -> Channel:
    """Return a fresh channel."""
    make: type[Channel] = request.param
    return make()


async def test_sends_arrive_in_order(channel: Channel) -> None:
    """What one task sends arrives whole and in order, before the close."""
    async with channel.websocket() as ws:
        await ws.accept()
        for number in range(100):
            await ws.send_text(str(number))
        await ws.send_message(b"last")

    assert channel.messages == [*map(str, range(100)), b"last"]
    assert channel.sent[-1]["type"] == "websocket.close"


@pytest.mark.parametrize("event", ["type", b"x", 1, None, {"text": "x"}], ids=repr)
async def test_a_message_given_to_send_is_a_type_error(
    channel: Channel, event: Any
) -> None:
    """`send()` is ASGI's; the error names the verbs that take a message."""
    async with channel.websocket() as ws:
        with pytest.raises(TypeError, match=r"ASGI event.*send_text\(\).*send_message"):
            await ws.send(event)
        await ws.accept()
        with pytest.raises(TypeError, match="takes an ASGI event"):
            await ws.send(event)
        await ws.send_text("fine")

    assert channel.messages == ["fine"]


MALFORMED: list[tuple[Any, type[Exception], str]] = [
    *[
        (event, TypeError, "takes an ASGI event")
        for event in ({}, {"text": "x"}, None, "type", b"x", 1, ["type"], ())
    ],
    *[
        ({"type": kind}, RuntimeError, "Expected ASGI message")
        for kind in (None, 1, ["a"], "websocket.nonsense", "websocket.receive")
    ],
    ({"type": "websocket.send"}, ValueError, "exactly one of"),
    ({"type": "websocket.send", "text": 1}, TypeError, "str expected"),
    ({"type": "websocket.close", "code": "1000"}, TypeError, "must be an int"),
]


async def test_a_raw_send_refuses_what_is_malformed(channel: Channel) -> None:
    """An application without our class has the session's `send`: the same errors."""
    accept = {"type": "websocket.accept", "headers": 1}
    async with channel.websocket() as ws:
        session = ws._guarded("")
        if channel.has_handshake:
            for event, error, words in MALFORMED[:13]:
                with pytest.raises(error, match=words):
                    await session.send(event)
            with pytest.raises(TypeError, match="pairs of bytes, not 1"):
                await session.send(accept)
        await ws.accept()
        for event, error, words in MALFORMED:
            for send in (session.send, session.sender.send):
                with pytest.raises(error, match=words):
                    await send(event)
        await session.send({"type": "websocket.send", "text": "fine"})

    assert channel.messages == ["fine"]


async def test_cancelled_sends_are_all_or_nothing(channel: Channel) -> None:
    """64 senders, cancelled at every await point: each message is whole or absent."""
    random, sent, cut = Random(2), set[str](), set[str]()
    if isinstance(channel, EagerChannel):
        channel.most = 3  # so that senders have to wait

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
    if isinstance(channel, EagerChannel):
        channel.most = 3  # so that senders have to wait
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


@asgi_only("the direct channel takes all that is queued")
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
    async with channel.websocket(send_buffer=1, close_timeout=0.05) as ws:
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


@pytest.mark.parametrize("who", ["peer", "us"])
async def test_a_send_that_waits_at_the_end_raises(channel: Channel, who: str) -> None:
    """The send itself raises that was waiting for room, and was not sent."""
    async with channel.websocket(send_buffer=1, close_timeout=0.05) as ws:
        await ws.accept()
        channel.stall()
        await ws.send_text("in the server's hands")
        await anyio.wait_all_tasks_blocked()
        await ws.send_text("queued")
        raised = []

        async def send() -> None:
            with pytest.raises(anyws.ConnectionClosed):
                await ws.send_text("x")
            raised.append(True)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send)
            tasks.start_soon(send)
            await anyio.wait_all_tasks_blocked()
            if who == "us":
                tasks.start_soon(ws.close)
            else:
                channel.leave()
            await anyio.wait_all_tasks_blocked()
            assert raised == [True, True]
            channel.resume()
    assert "x" not in channel.messages


class Watched(Channel):
    """A channel that says when a send begins."""

    at_send: Callable[[], None] = staticmethod(lambda: None)

    async def send(self, event: Event) -> None:
        """Take an event."""
        self.at_send()
        await super().send(event)


async def test_nobody_overtakes_a_waiting_sender() -> None:
    """Room that has just been made is for the one who waits, not for the next."""
    channel, refused = Watched(), []
    async with channel.websocket(send_buffer=1) as ws:
        await ws.accept()
        channel.stall()
        for text in "ab":
            await ws.send_text(text)
            await anyio.wait_all_tasks_blocked()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ws.send_text, "c")
            await anyio.wait_all_tasks_blocked()

            def overtake() -> None:
                channel.at_send = lambda: None
                with pytest.raises(anyio.WouldBlock):
                    ws.send_nowait("overtaken")
                refused.append(True)

            channel.at_send = overtake
            channel.resume()

    assert channel.messages == ["a", "b", "c"]
    assert refused == [True]


@pytest.mark.parametrize("cancelled", [False, True])
async def test_after_the_waiting_all_is_as_before(
    channel: Channel, cancelled: bool
) -> None:
    """Once nobody waits for room any more, `send_nowait` has it again."""
    async with channel.websocket(send_buffer=1) as ws:
        await ws.accept()
        channel.stall()
        for text in "ab":
            await ws.send_text(text)
            await anyio.wait_all_tasks_blocked()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ws.send_text, "c")
            await anyio.wait_all_tasks_blocked()
            if cancelled:
                tasks.cancel_scope.cancel()
            else:
                channel.resume()
        channel.resume()
        await anyio.wait_all_tasks_blocked()
        ws.send_nowait("d")

    assert channel.messages == ["a", "b", *([] if cancelled else ["c"]), "d"]


@queueing_only("a message that is alone needs no room")
async def test_send_nowait(channel: Channel) -> None:
    """`send_nowait` queues, and raises WouldBlock when the buffer is full."""
    async with channel.websocket(send_buffer=2) as ws:
        if channel.has_handshake:
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


@queueing_only("a message that is alone needs no room")
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
        await fill(ws, 1, nowait=nowait)
        await anyio.wait_all_tasks_blocked()  # it is in the server's hands
        await fill(ws, 3, nowait=nowait)
        with pytest.raises(anyws.ConnectionClosed, match="1013"):
            await fill(ws, 1, nowait=nowait)
        channel.resume()

    assert len(channel.messages) == 4
    assert channel.closes == [(1013, "the peer reads too slowly")]


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
        await ws.send_bytes(data)
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
