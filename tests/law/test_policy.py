"""Rate, lifetime and heartbeats of a connection, as its options set them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest
from trio.testing import MockClock

import anyws

from ..support.channels import SCOPE, Channel
from ..support.ends import raw
from ..support.wired import (
    CHANNELS,
    CONT,
    TEXT,
    EagerChannel,
    WiredChannel,
    asgi_only,
    frame,
    server_only,
)

BEAT = anyws.Heartbeat(interval=10, timeout=5, message="beat", answer="yes")


@pytest.fixture(params=CHANNELS)
async def channel(request: pytest.FixtureRequest) -> Channel:
    """Return a fresh channel."""
    make: type[Channel] = request.param
    return make()


# The rate


async def test_messages_beyond_the_rate_are_dropped(channel: Channel) -> None:
    """And counted; those within it are received."""
    async with channel.websocket(rate_limit=(2, 1e6), rate_overflow="drop") as ws:
        await ws.accept()
        channel.arrive(*"abcd")
        channel.leave(1000)
        assert [message async for message in ws] == ["a", "b"]
        assert ws.statistics().receive_dropped == 2
        assert ws.statistics().messages_received == 4


async def test_a_message_beyond_the_rate_closes_the_connection(
    channel: Channel,
) -> None:
    """With 1008; what came before stays readable."""
    async with channel.websocket(rate_limit=(2, 1e6), rate_overflow="close") as ws:
        await ws.accept()
        channel.arrive(*"abc")
        assert await ws.receive_text() == "a"
        await ws.wait_closed()
        assert await ws.receive_text() == "b"
        with pytest.raises(anyws.ConnectionClosed) as caught:
            await ws.receive_text()
        assert (caught.value.code, caught.value.info.initiator) == (1008, "local")
    assert channel.closes == [(1008, "messages come too fast")]


async def test_a_receive_waits_for_the_rate_and_loses_nothing(
    channel: Channel,
) -> None:
    """Cancelled or not; one receiver at a time; the end of the connection wakes it."""
    async with channel.websocket(rate_limit=(2, 1e6)) as ws:
        await ws.accept()
        channel.arrive(*"abcd")
        assert [await ws.receive_text() for _ in range(2)] == ["a", "b"]
        for _ in range(3):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(ws.receive_text)
                await anyio.wait_all_tasks_blocked()
                with pytest.raises(anyio.BusyResourceError):
                    await ws.receive_text()
                tasks.cancel_scope.cancel()
        received = list[str]()

        async def receive() -> None:
            received.append(await ws.receive_text())

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(receive)
            await anyio.wait_all_tasks_blocked()
            channel.leave(1000)
        assert received == ["c"]
        assert await ws.receive_text() == "d"
        assert ws.statistics().receive_dropped == 0


@asgi_only("a channel of our own reads ahead, and has no message held")
async def test_a_message_that_is_held_counts_once(channel: Channel) -> None:
    """However often the reader task offers it to the queue."""
    async with channel.websocket(
        rate_limit=(4, 1e6), rate_overflow="drop", receive_buffer=1
    ) as ws:
        await ws.accept()
        channel.arrive(*"abcde")
        for letter in "abcd":
            await anyio.wait_all_tasks_blocked()
            assert await ws.receive_text() == letter
        assert ws.statistics().receive_dropped == 1


async def test_what_interrupts_is_not_subject_to_the_rate(channel: Channel) -> None:
    """Stop is stop."""
    async with channel.websocket(rate_limit=(1, 1e6), rate_overflow="drop") as ws:
        await ws.accept()
        with ws.cancel_on(lambda message: message == "stop") as scope:
            channel.arrive("a", "b", "stop")
            await anyio.sleep_forever()
        assert scope.message == "stop"
        assert await ws.receive_text() == "a"


async def test_an_inner_rate_begins_anew() -> None:
    """Options of a block that joins change it; other options leave it alone."""
    channel = Channel()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        options = anyws.Options(rate_limit=(1, 1e6))
        async with anyws.WebSocket(scope, receive, send, options=options) as ws:
            await ws.accept()
            channel.arrive(*"abc")
            channel.leave(1000)
            assert [message async for message in ws] == ["a"]

    guard = anyws.WebSocketMiddleware(app, anyws.Options(rate_overflow="drop"))
    await guard(dict(SCOPE), channel.receive, channel.send)


@pytest.mark.parametrize("rule", ["wait", "drop", "close"])
async def test_a_message_in_parts_counts_as_one(tmp_path: Path, rule: Any) -> None:
    """None of its parts is dropped."""
    options: dict[str, Any] = {"rate_limit": (2, 1e6), "rate_overflow": rule}
    async with raw("memory", tmp_path, **options) as (ws, server):
        for _ in range(2):
            await server.send(frame(TEXT, "a", fin=False, mask=None))
            async with ws.receive_stream() as message:
                await server.send(
                    frame(CONT, "b", fin=False, mask=None), frame(CONT, "c", mask=None)
                )
                assert "".join([str(part) async for part in message]) == "abc"
        assert ws.close_info is None
        if rule == "wait":
            await server.send(frame(TEXT, "d", mask=None))
            async with anyio.create_task_group() as tasks:

                async def receive() -> None:
                    async with ws.receive_stream():
                        pytest.fail("too early")

                tasks.start_soon(receive)
                await anyio.wait_all_tasks_blocked()
                tasks.cancel_scope.cancel()
            await server.stream.aclose()
            assert await ws.receive_text() == "d"


# Heartbeats


async def test_a_heartbeat_of_the_peer_is_answered(channel: Channel) -> None:
    """It reaches no receiver, nor does what answers ours."""
    async with channel.websocket(heartbeat=BEAT, send_buffer=1) as ws:
        await ws.accept()
        channel.arrive("beat", "a", "yes", b"beat")
        channel.leave(1000)
        assert [message async for message in ws] == ["a", b"beat"]
    if channel.has_handshake:
        assert channel.messages in (["yes"], [])  # the peer leaves in the same breath


async def test_the_answer_goes_out(channel: Channel) -> None:
    """While the handler does something else."""
    async with channel.websocket(heartbeat=BEAT) as ws:
        await ws.accept()
        channel.arrive("beat")
        await anyio.wait_all_tasks_blocked()
        assert channel.messages == ["yes"]


@server_only("a client that is in a stream of memory has no stalled writes")
async def test_a_flood_of_heartbeats_costs_no_memory(channel: Channel) -> None:
    """Of a peer that does not read: what has no room is left out."""
    async with channel.websocket(heartbeat=BEAT, send_buffer=2) as ws:
        await ws.accept()
        channel.stall()
        channel.arrive(*["beat"] * 50)
        await anyio.wait_all_tasks_blocked()
        assert ws.statistics().send_queued <= 2
        channel.resume()


class TestInTime:
    """By the clock of trio's tests."""

    @pytest.fixture
    def anyio_backend(self) -> tuple[str, dict[str, object]]:
        """Let time pass at once."""
        return "trio", {"clock": MockClock(autojump_threshold=0)}

    @pytest.fixture(params=[Channel, WiredChannel, EagerChannel])
    async def channel(self, request: pytest.FixtureRequest) -> Channel:
        """Return a fresh channel."""
        made: Channel = request.param()
        return made

    async def test_messages_are_received_at_the_rate(self, channel: Channel) -> None:
        """Four in two seconds: a burst of four, and then one each half second."""
        async with channel.websocket(rate_limit=(4, 2.0)) as ws:
            await ws.accept()
            channel.arrive(*"abcdefg")
            start = anyio.current_time()
            times = []
            for letter in "abcdefg":
                assert await ws.receive_text() == letter
                times.append(round(anyio.current_time() - start, 3))
            assert times == [0, 0, 0, 0, 0.5, 1.0, 1.5]
            await anyio.sleep(60)
            channel.arrive(*"hijk")
            start = anyio.current_time()
            for letter in "hijk":
                assert await ws.receive_text() == letter
            assert anyio.current_time() == start

    async def test_a_connection_that_is_too_old_is_closed(
        self, channel: Channel
    ) -> None:
        """With 1001, within the last tenth of its time, busy or not."""
        async with channel.websocket(max_lifetime=100, ping_interval=None) as ws:
            start = anyio.current_time()
            await anyio.sleep(50)
            await ws.accept()
            async with anyio.create_task_group() as tasks:

                async def talk() -> None:
                    while True:
                        channel.arrive("x")
                        await anyio.sleep(1)

                tasks.start_soon(talk)
                with pytest.raises(anyws.ConnectionClosed) as caught:
                    while True:
                        await ws.receive_text()
                tasks.cancel_scope.cancel()
            assert caught.value.info.reason == "maximum lifetime"
            assert caught.value.code == 1001
            assert 140 <= anyio.current_time() - start <= 150

    async def test_a_heartbeat_that_is_answered(self, channel: Channel) -> None:
        """The next one comes an interval later; the latency is known."""
        async with channel.websocket(heartbeat=BEAT, ping_interval=None) as ws:
            await ws.accept()
            await anyio.sleep(9)
            assert channel.messages == []
            await anyio.sleep(2)
            assert channel.messages == ["beat"]
            assert ws.statistics().latency is None
            await anyio.sleep(2)
            channel.arrive("yes")
            await anyio.sleep(9.5)
            assert ws.statistics().latency == pytest.approx(3)
            assert channel.messages == ["beat"]
            await anyio.sleep(1)
            assert channel.messages == ["beat"] * 2
            assert ws.close_info is None

    async def test_a_heartbeat_that_nobody_answers(self, channel: Channel) -> None:
        """The connection is closed with 1011 when the time-out is over."""
        async with channel.websocket(heartbeat=BEAT, ping_interval=None) as ws:
            await ws.accept()
            start = anyio.current_time()
            info = await ws.wait_closed()
            assert (info.code, info.reason) == (1011, "heartbeat timeout")
            assert anyio.current_time() - start == pytest.approx(15, abs=0.1)

    async def test_a_peer_that_sends_is_alive(self, channel: Channel) -> None:
        """Its answer may be late: it stands behind what else it sends."""
        async with channel.websocket(heartbeat=BEAT, ping_interval=None) as ws:
            await ws.accept()
            await anyio.sleep(12)
            channel.arrive("a long message")
            await anyio.sleep(7)
            assert ws.close_info is None
            info = await ws.wait_closed()
            assert info.code == 1011

    async def test_nothing_beats_before_the_accept(self) -> None:
        """Nor does a connection age."""
        channel = Channel()
        async with channel.websocket(heartbeat=BEAT, max_lifetime=30) as ws:
            await anyio.sleep(100)
            assert channel.sent == []
            await ws.accept()
            await anyio.sleep(1)
            assert ws.close_info is None

    async def test_a_lifetime_goes_on_when_other_rules_change(self) -> None:
        """Options that come later name no other; nor do they begin one too early."""
        channel, lasted = Channel(), list[float]()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            options = anyws.Options(rate_limit=(1, 1.0))
            before = anyws.WebSocket(scope, receive, send, options=options)
            async with before as ws:
                await anyio.sleep(200)
                await ws.accept()
                start = anyio.current_time()
                await anyio.sleep(50)
                changed = anyws.Options(heartbeat=BEAT._replace(timeout=1e6))
                inner = anyws.WebSocket(scope, receive, send, options=changed)
                async with inner:
                    await inner.wait_closed()
                lasted.append(anyio.current_time() - start)

        guard = anyws.WebSocketMiddleware(app, anyws.Options(max_lifetime=100))
        await guard(dict(SCOPE), channel.receive, channel.send)
        assert [code for code, _ in channel.closes] == [1001]
        assert channel.messages == ["beat"]
        assert len(lasted) == 1
        assert 90 <= lasted[0] <= 100

    async def test_the_next_heartbeat_does_not_wait_for_the_time_out(
        self, channel: Channel
    ) -> None:
        """Which may be much longer than the interval."""
        beat = BEAT._replace(interval=2, timeout=100)
        async with channel.websocket(heartbeat=beat, ping_interval=None) as ws:
            await ws.accept()
            await anyio.sleep(3)
            channel.arrive("yes")
            await anyio.sleep(3)
            assert channel.messages == ["beat"] * 2

    async def test_a_heartbeat_waits_for_the_end_of_a_message(
        self, tmp_path: Path
    ) -> None:
        """One that is sent in parts: between fragments stands no other message."""
        async with raw("memory", tmp_path, heartbeat=BEAT, ping_interval=None) as (
            ws,
            server,
        ):
            async with ws.send_stream("text") as out:
                await out.send("a")
                await server.send(frame(TEXT, "beat", mask=None))
                await anyio.sleep(30)
                await out.send("b")
            frames = []
            async with anyio.create_task_group() as tasks:

                async def collect() -> None:
                    while (found := await server.receive()) is not None:
                        frames.append(found)

                tasks.start_soon(collect)
                await anyio.sleep(2)
                tasks.cancel_scope.cancel()
            assert frames == [(TEXT, b"a"), (CONT, b"b"), (CONT, b""), (TEXT, b"beat")]
