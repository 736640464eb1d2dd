"""The direct channel: what is read ahead, what is written at once, and its bounds."""

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
from anyws._frames.codec import Codec, Side
from anyws._frames.frame_channel import (
    ANSWERS_BYTES,
    EARLY_BYTES,
    READ_AHEAD_BYTES,
    READ_AHEAD_MESSAGES,
    SLICE_BYTES,
)
from anyws._session.session import Session
from anyws._values.options import Options

from ..support.wired import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    TEXT,
    EagerChannel,
    WiredChannel,
    close_payload,
    closing,
    frame,
    framed,
    frames_of,
)

MESSAGES = [f"m{number}" for number in range(1000)]
KEEPALIVE = b"anyws"


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
        assert channel.unread == 300 - 2 - READ_AHEAD_MESSAGES
        assert [await ws.receive_text() for _ in range(300)] == MESSAGES[:300]
        assert channel.resumes > 0
        assert not channel.wire.paused


async def test_reading_stops_at_so_many_bytes(channel: WiredChannel) -> None:
    """A few large messages fill the read-ahead as well."""
    size = READ_AHEAD_BYTES // 4
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
            channel.arrive(*MESSAGES[:60])
            channel.leave()
            await anyio.sleep_forever()

        assert [await ws.receive_text() for _ in range(8)] == MESSAGES[:8]
        assert ws.statistics().receive_dropped == 52


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
            sizes.append(len(data))
            return super().receive(data)

    channel.server = Watched
    payload = bytes(50_000)
    read = compressed(payload) * 900
    assert len(read) > 60_000
    channel.extensions = [PerMessageDeflate(False, False, 12, 12)]
    async with channel.websocket(receive_buffer=1) as ws:
        await ws.accept()
        channel.read(read)

        assert channel.wire.paused
        grown = len(payload) * SLICE_BYTES // len(compressed(payload))
        most = (READ_AHEAD_BYTES + grown) // len(payload) + 2
        assert sum(sizes) <= most * len(compressed(payload)) + SLICE_BYTES
        for _ in range(900):
            assert await ws.receive_bytes() == payload
        assert max(sizes) == SLICE_BYTES
        assert sum(sizes) == len(read)
        assert not channel.wire.paused


# What is written


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
        assert channel.wire.session.statistics().send_queued == 0
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
    channel.wire.open(Codec(Side.SERVER, max_message_bytes=1), compressed=False)
    assert channel.frames == []
    channel.wire.close(1011)
    await channel.wire.flush()
    channel.wire.close(1012)
    await channel.wire.flush()

    assert channel.frames == [(CLOSE, close_payload(1011))]
    session.connection.inbound.discard()
    session.connection.outbound.discard()


# The end


async def test_a_message_that_the_wire_refused(channel: WiredChannel) -> None:
    """Receives and sends say that it was too big, and so does the closing frame."""
    channel.limit = 10
    async with channel.websocket() as ws:
        await ws.accept()
        channel.arrive("good", "x" * 11)
        assert await ws.receive_text() == "good"
        with pytest.raises(anyws.MessageTooBig):
            await ws.receive_text()
        with pytest.raises(anyws.MessageTooBig):
            await ws.send_text("late")
        assert channel.wire.violated
        assert ws.close_info is not None
        assert ws.close_info.clean is False
        await anyio.wait_all_tasks_blocked()
    [(opcode, payload)] = channel.frames
    assert (opcode, payload[:2]) == (CLOSE, close_payload(1009))


async def test_a_peer_that_finds_our_message_too_big(channel: WiredChannel) -> None:
    """1009 from the peer is the peer's own limit, and not ours."""
    async with channel.websocket() as ws:
        await ws.accept()
        channel.leave(1009, "too big for me")
        with pytest.raises(anyws.ConnectionClosed, match="1009") as caught:
            await ws.receive_text()
        assert not isinstance(caught.value, anyws.MessageTooBig)
        assert caught.value.info.initiator == "peer"


@pytest.mark.parametrize(
    ("ending", "clean"),
    [(closing(1000), True), (closing(None), True), (frame(3), False), (b"", False)],
    ids=["an answer", "an empty answer", "a violation", "nothing"],
)
async def test_our_close_knows_whether_it_was_clean(
    channel: WiredChannel, ending: bytes, clean: bool
) -> None:
    """`clean` is known once the closing handshake is over, and nothing else changes."""
    channel.answers = False
    async with channel.websocket() as ws:
        await ws.accept()
        await ws.close(4000, "bye")
        assert ws.close_info == anyws.CloseInfo(4000, "bye", "local", None)
        channel.read(ending)

        info = await ws.wait_closed()
        assert info == anyws.CloseInfo(4000, "bye", "local", clean)


@pytest.mark.parametrize("ending", [frame(3), frame(TEXT, b"\xff")], ids=repr)
async def test_a_violation_ends_the_connection(
    channel: WiredChannel, ending: bytes
) -> None:
    """What came before is delivered; then it is the peer's fault and never clean."""
    async with channel.websocket() as ws:
        await ws.accept()
        channel.read(framed("before") + ending + framed("behind"))
        assert await ws.receive_text() == "before"
        with pytest.raises(anyws.ConnectionClosed) as caught:
            await ws.receive_text()

        assert caught.value.info.initiator == "local"
        assert caught.value.info.clean is False
        assert channel.wire.violated
        assert channel.ends == 1


@pytest.mark.parametrize(
    ("ending", "code"), [(closing(4001), 4001), (frame(3), 1002)], ids=repr
)
async def test_leaving_at_once_cuts_no_closing_frame(
    channel: WiredChannel, ending: bytes, code: int
) -> None:
    """The peer is answered, though the block is left in the turn of the end."""
    async with channel.websocket() as ws:
        await ws.accept()
        channel.read(ending)
        with pytest.raises(anyws.ConnectionClosed):
            await ws.receive_text()
    await channel.wire.flush()

    assert channel.torn == []
    [(opcode, payload)] = channel.frames
    assert (opcode, payload[:2]) == (CLOSE, close_payload(code))


async def test_a_peer_that_leaves_in_order_violates_nothing(
    channel: WiredChannel,
) -> None:
    """`violated` is for whoever broke the rules."""
    assert not channel.wire.violated
    async with channel.websocket() as ws:
        await ws.accept()
        assert not channel.wire.violated
        channel.leave(1001)
        assert not channel.wire.violated


async def test_nothing_is_read_behind_the_end(channel: WiredChannel) -> None:
    """What comes behind the peer's close is neither kept nor told."""
    async with channel.websocket() as ws:
        await ws.accept()
        channel.read(closing(1000), framed(*MESSAGES), closing(4000), b"")

        assert channel.unread == 0
        assert channel.ends == 1
        with pytest.raises(anyws.ConnectionClosed, match="1000"):
            await ws.receive_text()


async def test_the_end_ends_the_pause(channel: WiredChannel) -> None:
    """A reader that waits for room is not needed any more once the peer has closed."""
    async with channel.websocket(receive_buffer=1) as ws:
        await ws.accept()
        channel.read(framed(*MESSAGES) + closing(1000))

        assert not channel.wire.paused
        assert (await ws.wait_closed()).code == 1000
        assert [await ws.receive_text() for _ in MESSAGES] == MESSAGES


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


async def test_a_rule_may_close_while_the_read_ahead_is_emptied(
    channel: WiredChannel,
) -> None:
    """A message too big for the session is found where it gets to the buffer."""
    async with channel.websocket(receive_buffer=1, max_message_bytes=10) as ws:
        await ws.accept()
        channel.arrive("a", "b", "x" * 11, *MESSAGES[:300])
        assert channel.wire.paused
        assert [await ws.receive_text() for _ in range(2)] == ["a", "b"]
        with pytest.raises(anyws.MessageTooBig):
            await ws.receive_text()
        assert channel.unread == 0
    assert [code for code, _ in channel.closes] == [1009]
    assert ws.close_info is not None
    assert ws.close_info.clean is True


async def test_watching_takes_in_what_was_read_ahead(channel: WiredChannel) -> None:
    """In `cancel_on_disconnect` the reader goes on, and drops the newest."""
    async with channel.websocket(receive_buffer=2) as ws:
        await ws.accept()
        channel.arrive(*MESSAGES[:300])
        assert channel.wire.paused
        with ws.cancel_on_disconnect():
            assert not channel.wire.paused
            assert channel.unread == 0
        assert [await ws.receive_text() for _ in range(2)] == MESSAGES[:2]
        assert ws.statistics().receive_dropped == 298


# The session over it


def session_of(
    channel: WiredChannel, *, adopts: bool = True, **options: Any
) -> Session:
    """Return a session, as a server hosts it."""
    wire = channel.wire
    session = Session(
        wire.receive, wire.send, Options(**options), direct=wire, adopts=adopts
    )
    wire.session = session
    return session


async def accept(session: Session) -> None:
    """Complete the opening handshake."""
    assert (await session.receive())["type"] == "websocket.connect"
    await session.send({"type": "websocket.accept"})


async def test_adopted_options_hold(channel: WiredChannel) -> None:
    """Who joins a host that has only defaults brings its own options, once."""
    async with session_of(channel, receive_buffer=1, send_buffer=1) as session:
        await accept(session)
        channel.arrive("1", "2")
        session.adopt(None)
        assert session.statistics().receive_queued == 1
        session.adopt(
            Options(
                receive_buffer=3,
                send_buffer=2,
                send_buffer_bytes=3,
                max_message_bytes=4,
                receive_overflow="drop_oldest",
            )
        )
        session.adopt(Options(receive_buffer=1))
        channel.arrive("3", "4")
        session.send_nowait({"type": "websocket.send", "text": "a"})
        session.send_nowait({"type": "websocket.send", "text": "bc"})
        with pytest.raises(anyio.WouldBlock):
            session.send_nowait({"type": "websocket.send", "text": ""})
        await anyio.wait_all_tasks_blocked()

        for text in "123":
            assert (await session.receive())["text"] == text
        channel.arrive("12345")
        while (event := await session.receive())["type"] == "websocket.receive":
            pass
        assert event["code"] == 1009


async def test_a_host_with_options_of_its_own_adopts_none(
    channel: WiredChannel,
) -> None:
    """What the server's owner has set holds for every application."""
    async with session_of(channel, adopts=False, max_message_bytes=4) as session:
        await accept(session)
        session.adopt(Options())
        channel.arrive("12345")
        assert (await session.receive())["code"] == 1009


@pytest.mark.parametrize("state", ["accepted", "accepting", "denied", "closed"])
async def test_closing_by_a_rule(channel: WiredChannel, state: str) -> None:
    """Whoever makes the channel may close it, where a closing frame may be sent."""
    async with session_of(channel) as session:
        if state in ("accepted", "closed"):
            await accept(session)
        if state == "denied":
            await session.send(
                {"type": "websocket.http.response.start", "status": 401, "headers": []}
            )
        if state == "closed":
            await session.send({"type": "websocket.close", "code": 4000})
        by = anyio.current_time() + 100
        session.close_by_rule(1012, "restart", by=by)
        session.close_by_rule(1013, "again", by=by)
        expected = {"denied": None, "closed": 4000}.get(state, 1012)
        assert (session.info and session.info.code) == expected
        if state == "accepted":
            with pytest.raises(anyws.ConnectionClosed, match="1012 'restart'"):
                await session.send({"type": "websocket.send", "text": "late"})
            assert session.broken
            assert not session.closed_by_user
    assert [code for code, _ in channel.closes] == ([expected] if expected else [])


async def test_a_pong_that_nobody_asked_for_says_nothing(channel: WiredChannel) -> None:
    """Without a ping of ours there is no latency."""
    async with channel.websocket() as ws:
        await ws.accept()
        channel.read(frame(PONG, KEEPALIVE) + frame(PONG))

        assert ws.statistics().latency is None


class TestTime:
    """Deadlines, on trio, where time passes at once."""

    @pytest.fixture(scope="class")
    @classmethod
    def anyio_backend(cls) -> Any:
        """Run in virtual time."""
        return "trio", {"clock": MockClock(autojump_threshold=0)}

    # The keepalive

    async def test_pings_measure_the_latency(self, channel: WiredChannel) -> None:
        """A ping follows each pong in an interval; the pong's delay is told."""
        channel.answers_pings = False
        async with channel.websocket(ping_interval=10, ping_timeout=5) as ws:
            await anyio.sleep(100)
            assert channel.pings == []
            await ws.accept()
            start = anyio.current_time()
            for number, delay in enumerate((3, 0, 4)):
                await channel.pinged()
                await anyio.sleep(delay)
                channel.read(frame(PONG, KEEPALIVE))
                assert ws.statistics().latency == delay
                assert len(channel.pings) == number + 1
            assert [at - start for at in channel.pings] == [10, 23, 33]
            await anyio.sleep(9)
            assert len(channel.pings) == 3

    async def test_a_silent_peer_is_closed_with_1011(
        self, channel: WiredChannel
    ) -> None:
        """A ping that is not answered in time ends the connection."""
        channel.answers_pings = False
        async with channel.websocket(ping_interval=10, ping_timeout=5) as ws:
            await ws.accept()
            start = anyio.current_time()
            with pytest.raises(
                anyws.ConnectionClosed, match="1011 'keepalive ping timeout'"
            ):
                await ws.receive_text()
            assert round(anyio.current_time() - start, 1) == 15
            await ws.wait_closed()
        assert len(channel.pings) == 1
        assert channel.closes == [(1011, "keepalive ping timeout")]

    async def test_messages_are_no_pong(self, channel: WiredChannel) -> None:
        """Only the ping's own payload answers it, and answers one ping."""
        channel.answers_pings = False
        async with channel.websocket(ping_interval=10, ping_timeout=5) as ws:
            await ws.accept()
            await channel.pinged()
            channel.read(frame(PONG, b"other") + frame(PONG) + framed("hello"))
            assert ws.statistics().latency is None
            await anyio.sleep(1)
            channel.read(frame(PONG, KEEPALIVE))
            assert ws.statistics().latency == 1
            await channel.pinged()
            channel.read(framed("hello"))
            assert (await ws.wait_closed()).code == 1011
            assert ws.statistics().latency == 1

    async def test_a_pong_in_the_last_moment_is_in_time(
        self, channel: WiredChannel
    ) -> None:
        """A pong that is about to be read when the deadline is noticed counts."""
        channel.answers_pings = False
        async with channel.websocket(ping_interval=10, ping_timeout=5) as ws:
            await ws.accept()
            await channel.pinged()
            await anyio.sleep(5.01)
            channel.read(frame(PONG, KEEPALIVE))
            await anyio.sleep(9)
            assert ws.close_info is None

    async def test_a_peer_that_we_do_not_read_is_not_silent(
        self, channel: WiredChannel
    ) -> None:
        """While reading is paused no pong can be seen; then it is waited for again."""
        channel.answers_pings = False
        async with channel.websocket(
            ping_interval=10, ping_timeout=5, receive_buffer=1
        ) as ws:
            await ws.accept()
            channel.arrive(*MESSAGES[:400])
            await anyio.sleep(1000)
            assert ws.close_info is None
            assert len(channel.pings) == 1
            channel.read(frame(PONG, KEEPALIVE))
            for text in MESSAGES[:400]:
                assert await ws.receive_text() == text
            assert ws.statistics().latency == 990
            await anyio.sleep(14)
            assert len(channel.pings) == 2

    @pytest.mark.parametrize("unread", [0, 400])
    async def test_without_an_interval_there_are_no_pings(
        self, channel: WiredChannel, unread: int
    ) -> None:
        """`ping_interval=None` leaves keeping alive to others."""
        channel.answers_pings = False
        async with channel.websocket(ping_interval=None) as ws:
            await ws.accept()
            channel.arrive(*MESSAGES[:unread])
            await anyio.sleep(5e4)
            assert channel.pings == []
            assert ws.close_info is None

    async def test_without_a_timeout_a_pong_is_waited_for(
        self, channel: WiredChannel
    ) -> None:
        """`ping_timeout=None` measures the latency, and ends nothing."""
        channel.answers_pings = False
        async with channel.websocket(ping_interval=10, ping_timeout=None) as ws:
            await ws.accept()
            await anyio.sleep(1010)
            assert len(channel.pings) == 1
            channel.read(frame(PONG, KEEPALIVE))
            assert ws.statistics().latency == 1000
            await anyio.sleep(11)
            assert len(channel.pings) == 2

    async def test_a_connection_that_is_closing_is_not_kept_alive(
        self, channel: WiredChannel
    ) -> None:
        """After an end no ping is sent, and none overdue."""
        channel.answers = False
        channel.answers_pings = False
        async with channel.websocket(
            ping_interval=10, ping_timeout=5, close_timeout=100
        ) as ws:
            await ws.accept()
            await anyio.sleep(9)
            await ws.close(4000)
            await anyio.sleep(50)
            assert channel.pings == []
            assert (await ws.wait_closed()).code == 4000

    async def test_adopting_starts_the_keepalive(self, channel: WiredChannel) -> None:
        """The pings are those of who joined, also after the accept."""
        channel.answers_pings = False
        async with session_of(channel) as session:
            await accept(session)
            start = anyio.current_time()
            session.adopt(Options(ping_interval=3, ping_timeout=2))
            assert await session.receive() == {
                "type": "websocket.disconnect",
                "code": 1011,
                "reason": "keepalive ping timeout",
            }
            assert [at - start for at in channel.pings] == [3]

    async def test_adopting_stops_the_keepalive(self, channel: WiredChannel) -> None:
        """Who joins may want no pings, also after the accept."""
        channel.answers_pings = False
        async with session_of(channel) as session:
            await accept(session)
            session.adopt(Options(ping_interval=None))
            await anyio.sleep(1000)
            assert channel.pings == []
            assert session.info is None

    async def test_adopting_leaves_a_ping_its_time(self, channel: WiredChannel) -> None:
        """A ping that is under way is not overdue because another interval holds."""
        channel.answers_pings = False
        async with session_of(channel) as session:
            await accept(session)
            await channel.pinged()
            session.adopt(Options(ping_interval=1, ping_timeout=20))
            await anyio.sleep(15)
            assert session.info is None

    # Idle time

    async def test_adopted_idle_time_counts_from_the_joining(
        self, channel: WiredChannel
    ) -> None:
        """`idle_timeout` of who joins starts when they do."""
        async with session_of(channel, ping_interval=None) as session:
            await accept(session)
            await anyio.sleep(100)
            start = anyio.current_time()
            session.adopt(Options(idle_timeout=60, ping_interval=None))
            assert (await session.receive())["code"] == 1001
            assert round(anyio.current_time() - start, 1) == 60

    async def test_options_that_are_adopted_early_hold_from_the_accept(
        self, channel: WiredChannel
    ) -> None:
        """Before the accept nothing is idle, and nothing pinged."""
        channel.answers_pings = False
        async with session_of(channel) as session:
            session.adopt(Options(idle_timeout=60, ping_interval=50))
            await anyio.sleep(1000)
            assert channel.pings == []
            await accept(session)
            start = anyio.current_time()
            assert (await session.receive())["code"] == 1001
            assert round(anyio.current_time() - start, 1) == 60
            assert [at - start for at in channel.pings] == [50]

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

    # Writes

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

    async def test_a_loss_is_told_though_messages_are_unread(
        self, channel: WiredChannel
    ) -> None:
        """After a failed write, unread messages delay `wait_closed` but little."""
        async with channel.websocket(receive_buffer=1) as ws:
            await ws.accept()
            channel.error = OSError()
            await ws.send_text("lost")
            await anyio.wait_all_tasks_blocked()
            channel.arrive(*"abc")
            with anyio.fail_after(5):
                assert (await ws.wait_closed()).code == 1006
            assert [await ws.receive_text() for _ in range(3)] == [*"abc"]

    @pytest.mark.parametrize(("given", "waited"), [(3, 3), (100, 5)])
    async def test_closing_by_a_rule_has_a_time_of_its_own(
        self, channel: WiredChannel, given: float, waited: float
    ) -> None:
        """The answer is waited for until then, and never beyond `close_timeout`."""
        channel.answers = False
        async with session_of(channel, close_timeout=5) as session:
            await accept(session)
            start = anyio.current_time()
            session.close_by_rule(1012, "restart", by=start + given)
            assert (await session.receive())["code"] == 1012
            info = await session.wait_closed()
            assert info == anyws.CloseInfo(1012, "restart", "local", False)
            assert round(anyio.current_time() - start, 1) == waited

    async def test_leaving_waits_for_the_answer_within_close_timeout(
        self, channel: WiredChannel
    ) -> None:
        """A peer that floods instead of answering is not waited for any longer."""
        channel.answers = False

        async def flood() -> None:
            while True:
                await anyio.sleep(0.01)
                channel.arrive("more")

        async with anyio.create_task_group() as tasks:
            async with channel.websocket(close_timeout=5) as ws:
                await ws.accept()
                tasks.start_soon(flood)
                start = anyio.current_time()
            assert round(anyio.current_time() - start, 1) == 5
            tasks.cancel_scope.cancel()
        assert ws.close_info == anyws.CloseInfo(1000, "", "local", False)
