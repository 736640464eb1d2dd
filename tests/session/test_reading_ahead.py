"""What is read of our frames before it is received, and the bounds of that."""

from __future__ import annotations

import zlib
from random import Random
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from trio.testing import MockClock
from websockets.extensions.permessage_deflate import PerMessageDeflate

import anyws
from anyws._frames.codec import CORE_STEP_BYTES, Codec
from anyws._frames.frame_channel import EARLY_BYTES
from anyws._session.queue import AHEAD_BYTES, AHEAD_MESSAGES

from ..support.wired import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    WiredChannel,
    close_payload,
    closing,
    frame,
    framed,
)

MESSAGES = [f"m{number}" for number in range(1000)]


@pytest.fixture
async def channel() -> WiredChannel:
    """Return a fresh channel."""
    return WiredChannel()


# What is read


async def test_a_message_goes_straight_into_the_buffer(channel: WiredChannel) -> None:
    """No task has to run between the read and the receiver."""
    async with channel.websocket() as ws:
        await ws.accept()
        channel.arrive("one", b"two")

        assert ws.statistics().receive_queued == 2
        assert [await ws.receive_message() for _ in range(2)] == ["one", b"two"]


async def test_a_waiting_receiver_wakes(channel: WiredChannel) -> None:
    """A receive that waits gets the message that comes."""
    async with channel.websocket() as ws, anyio.create_task_group() as tasks:
        await ws.accept()
        received = []

        async def receive() -> None:
            received.append(await ws.receive_text())

        for text in "ab":
            tasks.start_soon(receive)
            await anyio.wait_all_tasks_blocked()
            channel.arrive(text)
            await anyio.wait_all_tasks_blocked()
        assert received == ["a", "b"]


async def test_reading_stops_at_so_many_messages(channel: WiredChannel) -> None:
    """Behind the session's own buffer there is room for a number of messages."""
    async with channel.websocket(receive_buffer=2) as ws:
        await ws.accept()
        channel.arrive(*MESSAGES[:300])

        assert channel.wire.paused
        assert channel.unread == 300 - 2 - AHEAD_MESSAGES
        assert [await ws.receive_text() for _ in range(300)] == MESSAGES[:300]
        assert channel.resumes > 0
        assert not channel.wire.paused


async def test_reading_stops_at_so_many_bytes(channel: WiredChannel) -> None:
    """A few large messages fill the read-ahead as well."""
    size = AHEAD_BYTES // 4
    messages = [bytes([number]) * size for number in range(8)]
    async with channel.websocket(receive_buffer=1) as ws:
        await ws.accept()
        channel.arrive(*messages[:4])
        assert not channel.wire.paused
        channel.arrive(*messages[4:])

        assert channel.wire.paused
        assert channel.unread == 8 - 1 - 4
        assert [await ws.receive_bytes() for _ in range(8)] == messages
        assert not channel.wire.paused


async def test_one_read_is_kept_whole(channel: WiredChannel) -> None:
    """What one read brings is looked at, beyond the bounds of the read-ahead."""
    async with channel.websocket(receive_buffer=2) as ws:
        await ws.accept()
        channel.read(framed(*MESSAGES))

        assert channel.wire.paused
        assert [await ws.receive_text() for _ in MESSAGES] == MESSAGES
        assert channel.resumes == 1


async def test_what_is_handed_in_while_paused_is_kept(channel: WiredChannel) -> None:
    """A transport that cannot stop at once loses nothing, and is not listened to."""
    async with channel.websocket(receive_buffer=1) as ws:
        await ws.accept()
        channel.read(framed(*MESSAGES[:300]))
        for n in range(300, 900, 3):
            channel.wire.receive_data(framed(*MESSAGES[n : n + 3]) + frame(PING))
        await anyio.wait_all_tasks_blocked()
        assert channel.frames == []

        assert [await ws.receive_text() for _ in range(900)] == MESSAGES[:900]
        assert not channel.wire.paused
        await anyio.wait_all_tasks_blocked()
        assert channel.frames == [(PONG, b"")] * 200


@pytest.mark.parametrize("code", [4001, 1006])
async def test_the_end_behind_what_is_kept_comes_last(
    channel: WiredChannel, code: int
) -> None:
    """What was handed in while paused is delivered, though the transport has ended."""
    async with channel.websocket(receive_buffer=1) as ws:
        await ws.accept()
        channel.read(framed(*MESSAGES[:300]))
        rest = framed(*MESSAGES[300:310])
        channel.wire.receive_data(rest + (closing(code) if code == 4001 else b""))
        channel.wire.receive_eof()

        assert [await ws.receive_text() for _ in range(310)] == MESSAGES[:310]
        assert (await ws.wait_closed()).code == code


async def test_cancelled_receives_lose_nothing_that_was_read_ahead(
    channel: WiredChannel,
) -> None:
    """Receives that are cancelled at any turn lose, double and reorder nothing."""
    random, received, gave_up = Random(1), list[str](), 0
    waiting = list(MESSAGES)

    async def feed() -> None:
        while waiting:
            burst = [waiting.pop(0) for _ in range(min(50, len(waiting)))]
            channel.read(framed(*burst))
            for _ in range(random.randrange(200)):
                await checkpoint()

    async def cancel_soon(scope: anyio.CancelScope) -> None:
        for _ in range(random.randrange(4)):
            await checkpoint()
        scope.cancel()

    async with anyio.create_task_group() as tasks:
        async with channel.websocket(receive_buffer=3) as ws:
            await ws.accept()
            tasks.start_soon(feed)
            while len(received) < len(MESSAGES):
                with anyio.CancelScope() as scope:
                    tasks.start_soon(cancel_soon, scope)
                    received.append(await ws.receive_text())
                gave_up += scope.cancelled_caught

    assert received == MESSAGES
    assert gave_up > 50


async def test_a_ping_is_answered_though_nothing_is_received(
    channel: WiredChannel,
) -> None:
    """Messages that nobody reads keep no ping from being seen."""
    async with channel.websocket(receive_buffer=1) as ws:
        await ws.accept()
        channel.arrive(*MESSAGES[:50])
        channel.read(frame(PING, b"x"))
        await anyio.wait_all_tasks_blocked()

        assert channel.frames == [(PONG, b"x")]


async def test_the_peers_close_is_told_at_once(channel: WiredChannel) -> None:
    """All but receiving knows of it, and what is unread stays readable, in order."""
    async with channel.websocket(receive_buffer=8) as ws:
        await ws.accept()
        channel.arrive(*MESSAGES[:60])
        channel.leave(4001, "bye")
        info = await ws.wait_closed()

        assert info == anyws.CloseInfo(4001, "bye", "peer", True)
        assert ws.close_info is info
        with pytest.raises(anyws.ConnectionClosed, match="4001 'bye'"):
            await ws.send_text("late")
        assert [await ws.receive_text() for _ in range(60)] == MESSAGES[:60]
        for _ in range(2):
            with pytest.raises(anyws.ConnectionClosed, match="4001 'bye'"):
                await ws.receive_text()
        assert channel.ends == 1
        await anyio.wait_all_tasks_blocked()
    assert channel.frames == [(CLOSE, close_payload(4001, "bye"))]


async def test_the_peers_close_cancels_a_block_in_spite_of_unread_messages(
    channel: WiredChannel,
) -> None:
    """`cancel_on_disconnect` does not wait for the messages before the close."""
    async with channel.websocket(receive_buffer=8) as ws:
        await ws.accept()
        with pytest.raises(anyws.ConnectionClosed), ws.cancel_on_disconnect():
            channel.arrive(*MESSAGES[:300])
            channel.leave()
            await anyio.sleep_forever()

        kept = 8 + AHEAD_MESSAGES
        assert [await ws.receive_text() for _ in range(kept)] == MESSAGES[:kept]
        assert ws.statistics().receive_dropped == 300 - kept


async def test_our_close_sees_the_answer_behind_a_full_read_ahead(
    channel: WiredChannel,
) -> None:
    """What nobody will read is let go, so that the peer's answer can be read."""
    channel.answers = False
    async with channel.websocket(receive_buffer=1) as ws:
        await ws.accept()
        channel.arrive(*MESSAGES[:400])
        assert channel.unread > 0
        await ws.close(4000)
        assert channel.unread == 0
        channel.arrive(*MESSAGES)
        channel.leave(4000)

        info = await ws.wait_closed()
        assert info == anyws.CloseInfo(4000, "", "local", True)
        with pytest.raises(anyws.ConnectionClosed, match="4000"):
            await ws.receive_text()


# What comes early


async def test_what_comes_before_the_accept_is_delivered_after_it(
    channel: WiredChannel,
) -> None:
    """A client may talk before it is answered, and even be done with it."""
    channel.read(
        *[framed("a")[n : n + 1] for n in range(7)], framed("b") + closing(1000)
    )
    async with channel.websocket() as ws:
        await anyio.wait_all_tasks_blocked()
        assert ws.statistics().receive_queued == 0
        await ws.accept()

        assert [await ws.receive_text() for _ in range(2)] == ["a", "b"]
        assert (await ws.wait_closed()).code == 1000


async def test_what_comes_before_the_accept_is_bounded(channel: WiredChannel) -> None:
    """A client that talks on before it is answered is not read any more."""
    message = "x" * 1000
    async with channel.websocket() as ws:
        channel.arrive(*[message] * 100)
        assert channel.wire.paused
        assert 100 - channel.unread == EARLY_BYTES // len(framed(message)) + 1
        await ws.accept()

        assert not channel.wire.paused
        assert [await ws.receive_text() for _ in range(100)] == [message] * 100


async def test_what_came_early_may_fill_the_read_ahead(channel: WiredChannel) -> None:
    """After the accept, the bounds of the read-ahead hold."""
    channel.read(framed(*MESSAGES))
    async with channel.websocket(receive_buffer=1) as ws:
        await ws.accept()
        assert channel.wire.paused

        assert [await ws.receive_text() for _ in MESSAGES] == MESSAGES
        assert not channel.wire.paused


async def test_a_ping_that_comes_early_is_answered(channel: WiredChannel) -> None:
    """The accept is followed by the answers to what came before it."""
    channel.read(frame(PING, b"early"))
    async with channel.websocket() as ws:
        await ws.accept()
        await anyio.wait_all_tasks_blocked()

        assert channel.frames == [(PONG, b"early")]


async def test_a_client_that_goes_before_the_accept(channel: WiredChannel) -> None:
    """The end of the transport is the end, whatever came before it."""
    channel.read(framed("lost"), b"", b"")
    async with channel.websocket() as ws:
        await anyio.wait_all_tasks_blocked()
        assert ws.close_info == anyws.CloseInfo(1006, "", "network", False)
        with pytest.raises(anyws.ConnectionClosed, match="1006"):
            await ws.accept()
    assert channel.ends == 1
    assert channel.sent == []


# What is compressed


def compressed(payload: bytes) -> bytes:
    """Write a compressed message."""
    deflate = zlib.compressobj(9, wbits=-12)
    data = deflate.compress(payload) + deflate.flush(zlib.Z_SYNC_FLUSH)
    return frame(BINARY, data[:-4], rsv=4)


async def test_compressed_reads_are_looked_at_in_slices(
    channel: WiredChannel,
) -> None:
    """A read that grows a lot is not decompressed beyond the read-ahead."""
    sizes = list[int]()

    class Watched(Codec):
        def receive(self, data: bytes) -> list[Any]:
            events = super().receive(data)
            sizes.append(len(data) - len(self.rest))
            return events

    channel.server = Watched
    payload = bytes(50_000)
    read = compressed(payload) * 900
    assert len(read) > 60_000
    channel.extensions = [PerMessageDeflate(False, False, 12, 12)]
    async with channel.websocket(receive_buffer=1) as ws:
        await ws.accept()
        channel.read(read)

        assert channel.wire.paused
        grown = len(payload) * CORE_STEP_BYTES // len(compressed(payload))
        most = (AHEAD_BYTES + grown) // len(payload) + 2
        assert sum(sizes) <= most * len(compressed(payload)) + CORE_STEP_BYTES
        for _ in range(900):
            assert await ws.receive_bytes() == payload
        assert max(sizes) == CORE_STEP_BYTES
        assert sum(sizes) == len(read)
        assert not channel.wire.paused


# The rules of the options


async def test_drop_oldest_leaves_nothing_to_read_ahead(channel: WiredChannel) -> None:
    """The rule holds for what one read brings: the newest stay, the rest is counted."""
    async with channel.websocket(
        receive_buffer=3, receive_overflow="drop_oldest"
    ) as ws:
        await ws.accept()
        channel.read(framed(*MESSAGES))

        assert not channel.wire.paused
        assert [await ws.receive_text() for _ in range(3)] == MESSAGES[-3:]
        assert ws.statistics().receive_dropped == len(MESSAGES) - 3


async def test_close_takes_what_the_buffer_holds(channel: WiredChannel) -> None:
    """With "close", what came in time is readable, and the peer is told 1008."""
    async with channel.websocket(receive_buffer=3, receive_overflow="close") as ws:
        await ws.accept()
        channel.read(framed(*MESSAGES[:10]) + frame(PING, b"x"))

        assert [await ws.receive_text() for _ in range(3)] == MESSAGES[:3]
        with pytest.raises(anyws.ConnectionClosed, match="1008"):
            await ws.receive_text()
    assert channel.closes == [(1008, "too many unread messages")]


async def test_a_rule_may_close_while_messages_are_read_ahead(
    channel: WiredChannel,
) -> None:
    """A message too big for the session is found when it comes, behind others."""
    async with channel.websocket(receive_buffer=1, max_message_bytes=10) as ws:
        await ws.accept()
        channel.arrive("a", "b", "x" * 11, *MESSAGES[:300])
        assert not channel.wire.paused
        assert channel.unread == 0
        assert [await ws.receive_text() for _ in range(2)] == ["a", "b"]
        with pytest.raises(anyws.MessageTooBig):
            await ws.receive_text()
    assert [code for code, _ in channel.closes] == [1009]
    assert ws.close_info is not None
    assert ws.close_info.clean is True


async def test_watching_reads_on(channel: WiredChannel) -> None:
    """In `cancel_on_disconnect` reading goes on, and the newest message is dropped."""
    async with channel.websocket(receive_buffer=2) as ws:
        await ws.accept()
        channel.arrive(*MESSAGES[:300])
        assert channel.wire.paused
        with ws.cancel_on_disconnect():
            assert not channel.wire.paused
            assert channel.unread == 0
        kept = 2 + AHEAD_MESSAGES
        assert [await ws.receive_text() for _ in range(kept)] == MESSAGES[:kept]
        assert ws.statistics().receive_dropped == 300 - kept


class TestTime:
    """Deadlines, on trio, where time passes at once."""

    @pytest.fixture(scope="class")
    @classmethod
    def anyio_backend(cls) -> Any:
        """Run in virtual time."""
        return "trio", {"clock": MockClock(autojump_threshold=0)}

    async def test_unread_messages_are_not_idleness(
        self, channel: WiredChannel
    ) -> None:
        """`idle_timeout` counts again once all that was read ahead is delivered."""
        async with channel.websocket(
            idle_timeout=60, receive_buffer=2, ping_interval=None
        ) as ws:
            await ws.accept()
            channel.arrive(*MESSAGES[:20])
            await anyio.sleep(1000)
            for text in MESSAGES[:17]:
                assert await ws.receive_text() == text
            await anyio.sleep(1000)
            for text in MESSAGES[17:20]:
                assert await ws.receive_text() == text
            start = anyio.current_time()
            assert (await ws.wait_closed()).code == 1001
            assert 55 < anyio.current_time() - start < 61
