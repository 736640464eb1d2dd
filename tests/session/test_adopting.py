"""The options that whoever joins a hosted session brings along."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from trio.testing import MockClock

from anyws._values.options import Options

from ..support.wired import WiredChannel, accept, session_of


@pytest.fixture
async def channel() -> WiredChannel:
    """Return a fresh channel."""
    return WiredChannel()


async def test_adopted_options_hold(channel: WiredChannel) -> None:
    """Who joins a host that has only defaults brings its own options, once."""
    async with session_of(channel, receive_buffer=1, send_buffer=1) as session:
        await accept(session)
        channel.arrive("1", "2")
        session.adopt(None)
        assert session.statistics().receive_queued == 2
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

        # The bound was passed by then, so the new rule has dropped the oldest message.
        for text in "234":
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


class TestTime:
    """Deadlines, on trio, where time passes at once."""

    @pytest.fixture(scope="class")
    @classmethod
    def anyio_backend(cls) -> Any:
        """Run in virtual time."""
        return "trio", {"clock": MockClock(autojump_threshold=0)}

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
