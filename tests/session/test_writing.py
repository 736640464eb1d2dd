"""What is written of our frames at once, what waits for a write, and for how long."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from trio.testing import MockClock

import anyws
from anyws._frames.codec import Codec, Side
from anyws._frames.frame_channel import ANSWERS_BYTES

from ..support.wired import (
    CLOSE,
    PING,
    PONG,
    TEXT,
    EagerChannel,
    WiredChannel,
    close_payload,
    frame,
    frames_of,
    session_of,
)

MESSAGES = [f"m{number}" for number in range(1000)]


@pytest.fixture
async def channel() -> WiredChannel:
    """Return a fresh channel."""
    return WiredChannel()


async def test_messages_without_a_turn_between_are_one_write(
    channel: WiredChannel,
) -> None:
    """All that is queued when the writer has its turn leaves together, in order."""
    async with channel.websocket(send_buffer=20) as ws:
        await ws.accept()
        for number in range(10):
            await ws.send_text(str(number))
        for number in range(10):
            ws.send_nowait(bytes([number]))
        await anyio.wait_all_tasks_blocked()

        assert len(channel.writes) == 1
        assert channel.messages == [
            *map(str, range(10)),
            *[bytes([number]) for number in range(10)],
        ]
        assert ws.statistics().messages_sent == 20
        assert ws.statistics().bytes_sent == 20
        assert ws.statistics().send_queued == 0


async def test_a_burst_of_some_turns_is_one_write(
    channel: WiredChannel, anyio_backend_name: str
) -> None:
    """What a hot loop queues while the writer has its turns leaves together."""
    texts = list(map(str, range(60)))
    async with channel.websocket() as ws:
        await ws.accept()
        for text in texts:
            await ws.send_text(text)
        await anyio.wait_all_tasks_blocked()

        assert channel.messages == texts
        if anyio_backend_name != "trio":  # whose turns have no order
            assert len(channel.writes) == 1


@pytest.mark.parametrize(
    ("text", "most"),
    [
        pytest.param("x", 64 + 16, id="messages"),
        pytest.param("x" * 2000, 8 + 16, id="bytes"),
    ],
)
async def test_what_a_burst_gathers_is_bounded(
    channel: WiredChannel, text: str, most: int
) -> None:
    """No write is much larger than pays: the first of a burst do not wait for all."""
    async with channel.websocket() as ws:
        await ws.accept()
        for _ in range(500):
            await ws.send_text(text)
        await anyio.wait_all_tasks_blocked()

        assert len(channel.messages) == 500
        assert max(len(frames_of(data)) for data in channel.writes) <= most


@pytest.mark.parametrize("turns", range(4))
async def test_nothing_overtakes_a_burst_that_gathers(turns: int) -> None:
    """A message that looks alone, while the writer holds others, goes behind them."""
    channel = EagerChannel()
    texts = list(map(str, range(10)))
    async with channel.websocket() as ws:
        await ws.accept()
        for text in texts[:-1]:
            ws.send_nowait(text)
        for _ in range(turns):
            await checkpoint()
        ws.send_nowait(texts[-1])
        await anyio.wait_all_tasks_blocked()
        assert channel.messages == texts


async def test_what_is_queued_during_a_write_is_the_next(channel: WiredChannel) -> None:
    """While one write is under way, messages and answers wait for the next one."""
    async with channel.websocket() as ws:
        await ws.accept()
        channel.stall()
        await ws.send_text("a")
        await anyio.wait_all_tasks_blocked()
        await ws.send_text("b")
        channel.read(frame(PING, b"x"))
        await ws.send_text("c")
        await anyio.wait_all_tasks_blocked()
        channel.resume()
        await anyio.wait_all_tasks_blocked()

    texts = [payload for opcode, payload in channel.frames if opcode == TEXT]
    assert texts == [b"a", b"b", b"c"]
    assert (PONG, b"x") in channel.frames
    assert channel.frames[-1] == (CLOSE, close_payload(1000))


async def test_a_message_that_is_alone_is_written_at_once() -> None:
    """Where the transport can, a lone message needs no turn; those of a burst do."""
    channel = EagerChannel()
    async with channel.websocket() as ws:
        await ws.accept()
        for number in range(4):
            await ws.send_text(str(number))
            assert channel.messages == ["0"]
            assert len(channel.writes) == 1
        await anyio.wait_all_tasks_blocked()

        assert channel.messages == ["0", "1", "2", "3"]
        assert len(channel.writes) == 2
        ws.send_nowait(b"4")
        assert channel.messages[4:] == [b"4"]
        channel.arrive("x")
        assert await ws.receive_text() == "x"
        await ws.send_text("5")
        assert channel.messages[5:] == ["5"]
        statistics = ws.statistics()
        assert (statistics.messages_sent, statistics.bytes_sent) == (6, 6)
    assert len(channel.writes) == 5


async def test_a_hot_loop_of_lone_messages() -> None:
    """A loop that only sends is one burst after the other, in order."""
    channel = EagerChannel()
    async with channel.websocket() as ws:
        await ws.accept()
        for text in MESSAGES:
            await ws.send_text(text)
    assert channel.messages == MESSAGES
    assert len(channel.writes) < len(MESSAGES) / 4


@pytest.mark.parametrize("unread", [1, 50])
async def test_messages_that_are_not_alone_are_queued(unread: int) -> None:
    """While messages wait to be received, answers to them gather."""
    channel = EagerChannel()
    async with channel.websocket(receive_buffer=8) as ws:
        await ws.accept()
        channel.arrive(*MESSAGES[:unread])
        await ws.send_text("a")
        assert channel.messages == []
        await anyio.wait_all_tasks_blocked()
        assert channel.messages == ["a"]


@pytest.mark.parametrize("most", [0, 1, 3, 100])
async def test_what_could_not_be_written_at_once_comes_first(most: int) -> None:
    """The rest of a message is written before whatever comes behind it."""
    channel = EagerChannel()
    channel.most = most
    async with channel.websocket() as ws:
        await ws.accept()
        await ws.send_text("first")
        assert b"".join(channel.writes) == b"\x81\x05first"[:most]
        channel.stall()
        await anyio.wait_all_tasks_blocked()
        await ws.send_text("second")
        channel.read(frame(PING, b"x"))
        await ws.send_text("third")
        await anyio.wait_all_tasks_blocked()
        channel.resume()
    texts = [(opcode, data) for opcode, data in channel.frames if opcode == TEXT]
    assert texts == [(TEXT, b"first"), (TEXT, b"second"), (TEXT, b"third")]
    assert (PONG, b"x") in channel.frames
    assert channel.closes == [(1000, "")]


async def test_nothing_is_written_at_once_beside_a_write() -> None:
    """While the writer writes, a message waits for its turn, though it is alone."""
    channel = EagerChannel()
    async with channel.websocket() as ws:
        await ws.accept()
        channel.stall()
        await ws.send_text("a")
        await anyio.wait_all_tasks_blocked()
        assert not channel.wire.send_nowait({"type": "websocket.send", "text": "b"})
        assert ws.statistics().send_queued == 0
        channel.resume()
    assert channel.messages == ["a"]


async def test_nothing_is_written_at_once_behind_a_close() -> None:
    """A message that is too late is refused, and not framed."""
    channel = EagerChannel()
    event = {"type": "websocket.send", "text": "late"}
    async with channel.websocket() as ws:
        assert not channel.wire.send_nowait(event)
        await ws.accept()
        await ws.close()
        assert not channel.wire.send_nowait(event)
    assert channel.messages == []


async def test_two_flushes_do_not_meet(channel: WiredChannel) -> None:
    """What is framed while another task writes is written by that; a flush waits."""
    async with channel.websocket() as ws:
        await ws.accept()
        channel.stall()
        await ws.send_text("a")
        await anyio.wait_all_tasks_blocked()
        channel.wire.ping(b"x")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(channel.wire.flush)
            await anyio.wait_all_tasks_blocked()
            assert channel.writes == []
            channel.resume()

        assert channel.frames == [(TEXT, b"a"), (PING, b"x")]


async def test_answers_that_the_peer_does_not_read_are_bounded(
    channel: WiredChannel,
) -> None:
    """A flood of pings by a peer that reads nothing is not read for long."""
    async with channel.websocket() as ws:
        await ws.accept()
        channel.stall()
        pings = [str(number).encode().ljust(100) for number in range(3000)]
        channel.read(*[frame(PING, ping) for ping in pings])
        await anyio.wait_all_tasks_blocked()

        assert channel.wire.paused
        answered = 3000 - channel.unread
        assert answered * 102 <= 2 * (ANSWERS_BYTES + 102)
        channel.resume()
        await anyio.wait_all_tasks_blocked()
        assert channel.unread == 0
        assert not channel.wire.paused
        assert channel.frames == [(PONG, ping) for ping in pings]


async def test_reading_goes_on_behind_answers_and_a_message_in_one_turn() -> None:
    """A message that could be written at once leaves many answers to the writer."""
    channel = EagerChannel()
    async with channel.websocket() as ws:
        await ws.accept()
        await anyio.wait_all_tasks_blocked()
        channel.read(frame(PING, bytes(100)) * (ANSWERS_BYTES // 100))
        assert channel.wire.paused
        ws.send_nowait("a")
        await anyio.wait_all_tasks_blocked()

        assert not channel.wire.paused
        assert channel.messages == ["a"]


async def test_a_failed_write_ends_the_connection(channel: WiredChannel) -> None:
    """A transport that is broken is a peer that is gone, for sends and receives."""
    async with channel.websocket() as ws:
        await ws.accept()
        channel.arrive("before")
        channel.error = OSError("broken")
        await ws.send_text("lost")
        await anyio.wait_all_tasks_blocked()

        assert ws.close_info == anyws.CloseInfo(1006, "", "network", None)
        with pytest.raises(anyws.ConnectionClosed) as caught:
            await ws.send_text("late")
        assert caught.value.__cause__ is channel.error
        channel.read(b"")
        assert await ws.receive_text() == "before"
        with pytest.raises(anyws.ConnectionClosed, match="1006"):
            await ws.receive_text()
    assert channel.messages == []


async def test_an_answer_that_cannot_be_written_ends_the_connection(
    channel: WiredChannel,
) -> None:
    """A pong is a write like any other."""
    async with channel.websocket() as ws:
        await ws.accept()
        channel.error = OSError("broken")
        channel.read(frame(PING))
        await anyio.wait_all_tasks_blocked()

        assert ws.close_info is not None
        assert ws.close_info.code == 1006


async def test_the_maker_may_close_in_the_sessions_place(channel: WiredChannel) -> None:
    """`close` and `flush` write a closing frame, once there can be one."""
    session = session_of(channel)
    channel.wire.close(1011)
    channel.wire.ping(b"x")
    await channel.wire.flush()
    channel.wire.open(Codec(Side.SERVER, max_message_bytes=1))
    assert channel.frames == []
    channel.wire.close(1011)
    await channel.wire.flush()
    channel.wire.close(1012)
    await channel.wire.flush()

    assert channel.frames == [(CLOSE, close_payload(1011))]
    session.connection.inbound.discard()
    session.connection.outbound.discard()


class TestTime:
    """Deadlines, on trio, where time passes at once."""

    @pytest.fixture(scope="class")
    @classmethod
    def anyio_backend(cls) -> Any:
        """Run in virtual time."""
        return "trio", {"clock": MockClock(autojump_threshold=0)}

    async def test_a_stuck_write_is_given_up(self, channel: WiredChannel) -> None:
        """`send_timeout` cuts the write short: 1006, and nothing more is written."""
        async with channel.websocket(send_timeout=10, ping_interval=None) as ws:
            await ws.accept()
            channel.stall()
            start = anyio.current_time()
            await ws.send_text("a")
            await ws.send_text("b")
            with pytest.raises(anyws.ConnectionClosed) as caught:
                await ws.receive_text()
            assert caught.value.info == anyws.CloseInfo(1006, "", "network", False)
            assert isinstance(caught.value.__cause__, TimeoutError)
            assert round(anyio.current_time() - start) in (10, 11)
            [torn] = channel.torn
            assert torn["bytes"] == b"\x81\x01a\x81\x01b"
        assert channel.writes == []

    async def test_a_message_behind_a_stuck_answer_is_given_up(
        self, channel: WiredChannel
    ) -> None:
        """`send_timeout` holds for a message that has to wait for a pong's write."""
        async with channel.websocket(send_timeout=10, ping_interval=None) as ws:
            await ws.accept()
            channel.stall()
            channel.read(frame(PING))
            await anyio.wait_all_tasks_blocked()
            await ws.send_text("x")
            await anyio.sleep(20)
            assert ws.close_info == anyws.CloseInfo(1006, "", "network", False)

    @pytest.mark.parametrize("what", ["a message", "a pong"])
    async def test_a_write_is_given_up_at_the_close(
        self, channel: WiredChannel, what: str
    ) -> None:
        """A close waits for a stuck write, but not beyond `close_timeout`."""
        async with channel.websocket(close_timeout=7, ping_interval=None) as ws:
            await ws.accept()
            channel.stall()
            if what == "a message":
                await ws.send_text("x")
            else:
                channel.read(frame(PING))
            await anyio.wait_all_tasks_blocked()
            start = anyio.current_time()
            await ws.close(4000)
            assert round(anyio.current_time() - start, 1) == 7
        assert ws.close_info == anyws.CloseInfo(4000, "", "local", False)
        assert round(anyio.current_time() - start, 1) == 7
        assert len(channel.torn) == 1
        assert channel.writes == []
