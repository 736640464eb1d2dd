"""The pings over our frames, and what counts as an answer to one."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from trio.testing import MockClock

import anyws

from ..support.wired import PONG, WiredChannel, frame, framed

MESSAGES = [f"m{number}" for number in range(1000)]
KEEPALIVE = b"anyws"


@pytest.fixture
async def channel() -> WiredChannel:
    """Return a fresh channel."""
    return WiredChannel()


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
