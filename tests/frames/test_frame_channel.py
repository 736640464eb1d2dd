"""The frames of a connection as a channel: what a session hears of what was read."""

from __future__ import annotations

import anyio
import pytest
from websockets.extensions.permessage_deflate import PerMessageDeflate

import anyws
from anyws._frames.transport import PIECE_BYTES

from ..support.channels import Event
from ..support.wired import BINARY, CLOSE, TEXT, WiredChannel, close_payload, frame
from ..support.wired import closing as closing_frame


@pytest.fixture
async def channel() -> WiredChannel:
    """Return a fresh channel."""
    return WiredChannel()


@pytest.mark.parametrize("together", [True, False])
async def test_a_peer_that_closes_inside_a_message_tells_why(
    channel: WiredChannel, together: bool
) -> None:
    """The application sees the peer's code and reason, and nothing of the message."""
    async with channel.websocket() as ws:
        await ws.accept()
        reads = [
            frame(TEXT, "whole") + frame(TEXT, "part", fin=False),
            closing_frame(4001, "changed my mind"),
        ]
        channel.read(*([b"".join(reads)] if together else reads))
        assert await ws.receive_text() == "whole"
        with pytest.raises(anyws.ConnectionClosed) as caught:
            await ws.receive_text()

        assert caught.value.info == anyws.CloseInfo(
            4001, "changed my mind", "peer", True
        )
        assert not channel.wire.violated
        assert ws.statistics().messages_received == 1
    await channel.wire.flush()
    assert channel.frames == [(CLOSE, close_payload(4001, "changed my mind"))]


@pytest.mark.parametrize("size", [1, 200])
@pytest.mark.parametrize("together", [True, False])
async def test_a_close_does_not_hide_a_violation(
    channel: WiredChannel, size: int, together: bool
) -> None:
    """Text that is none is 1007, although a close follows it in the same read."""
    async with channel.websocket() as ws:
        await ws.accept()
        reads = [frame(TEXT, b"\xff" * size), closing_frame(1000)]
        channel.read(*([b"".join(reads)] if together else reads))
        with pytest.raises(anyws.ConnectionClosed, match="1007"):
            await ws.receive_text()
        assert channel.wire.violated
        await anyio.wait_all_tasks_blocked()
    [(opcode, payload)] = channel.frames
    assert (opcode, payload[:2]) == (CLOSE, close_payload(1007))


async def test_a_close_does_not_hide_a_message_that_is_too_large(
    channel: WiredChannel,
) -> None:
    """It is 1009, although a close follows it in the same read."""
    channel.limit = 200
    channel.extensions = [PerMessageDeflate(False, False, 12, 12, {"memLevel": 5})]
    async with channel.websocket() as ws:
        await ws.accept()
        large = frame(BINARY, bytes(150), fin=False) + frame(0, bytes(51))
        channel.read(large + closing_frame(1000))
        with pytest.raises(anyws.MessageTooBig):
            await ws.receive_bytes()


# Steps


async def test_bytes_are_parsed_in_steps(channel: WiredChannel) -> None:
    """A read of many small messages leaves some for the next turn of its reader."""
    async with channel.websocket(receive_overflow="drop_oldest") as ws:
        await ws.accept()
        channel.wire.receive_data(frame(TEXT) * 10_000)
        received = ws.statistics().messages_received
        assert 0 < received < 3000
        assert channel.wire.unfinished
        steps = 1
        while channel.wire.unfinished:
            channel.wire.receive_data(b"")
            steps += 1

        assert steps > 3
        assert ws.statistics().messages_received == 10_000


async def test_what_waits_for_room_is_not_unfinished(channel: WiredChannel) -> None:
    """The reader waits; each message that is taken makes room for one step."""
    count = 5_000
    async with channel.websocket(receive_buffer=1) as ws:
        await ws.accept()
        channel.read(frame(TEXT, "x") * count)
        assert channel.wire.paused
        assert not channel.wire.unfinished
        assert [await ws.receive_text() for _ in range(count)] == ["x"] * count
        assert not channel.wire.paused


@pytest.mark.parametrize("taken", [False, True])
async def test_early_bytes_need_no_reader(channel: WiredChannel, taken: bool) -> None:
    """The reader may wait for the socket, and never come back, when they are parsed."""
    count = 2_000
    early = frame(TEXT, "x") * count
    async with channel.websocket(receive_buffer=count if taken else 1) as ws:
        channel.wire.receive_data(early)
        await ws.accept()
        if taken:
            assert not channel.wire.paused
            assert ws.statistics().receive_queued == count
        assert [await ws.receive_text() for _ in range(count)] == ["x"] * count


class KeepingChannel(WiredChannel):
    """One whose transport writes by itself what it was given, as asyncio's does."""

    async def write(self, data: bytes) -> bool:
        """Write; then wait, as if for room."""
        self._written(data)
        await self._open_gate.wait()
        return True


async def test_a_write_that_is_cancelled_between_two_pieces_tears_nothing() -> None:
    """The rest of the message is written before the next one."""
    channel = KeepingChannel()
    large = bytes(5 * PIECE_BYTES)
    async with channel.websocket() as ws:
        await ws.accept()
        channel.stall()
        async with anyio.create_task_group() as tasks:
            event: Event = {"type": "websocket.send", "bytes": large}
            channel.wire.write([event])
            tasks.start_soon(channel.wire.flush)
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
        assert [len(data) for data in channel.writes] == [PIECE_BYTES]
        channel.resume()
        await ws.send_text("next")
        await anyio.wait_all_tasks_blocked()
        assert channel.messages == [large, "next"]
        assert max(map(len, channel.writes)) == PIECE_BYTES
