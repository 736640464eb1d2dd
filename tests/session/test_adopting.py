"""The options of a block that joins a session: they override, field by field."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from trio.testing import MockClock
from websockets.extensions.permessage_deflate import PerMessageDeflate

from anyws._session.queue import AHEAD_MESSAGES
from anyws._session.session import Session
from anyws._values.closing import CloseInfo
from anyws._values.options import Options

from ..support.channels import Channel
from ..support.wired import (
    CONT,
    TEXT,
    WiredChannel,
    accept,
    frame,
    framed,
    session_of,
)


@pytest.fixture
async def channel() -> WiredChannel:
    """Return a fresh channel."""
    return WiredChannel()


async def test_adopted_options_hold(channel: WiredChannel) -> None:
    """What is in the queues stays; what comes next is judged by the new bounds."""
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


async def test_what_is_not_named_stays(channel: WiredChannel) -> None:
    """Each block that joins adds what it names; the last word counts."""
    async with session_of(channel, max_message_bytes=4, send_buffer=3) as session:
        await accept(session)
        session.adopt(Options())
        session.adopt(Options(receive_buffer=2, send_buffer=4))
        session.adopt(Options(receive_buffer=16))
        assert session.options == Options(max_message_bytes=4, send_buffer=4)
        channel.arrive("1234", "12345")
        assert (await session.receive())["text"] == "1234"
        assert (await session.receive())["code"] == 1009


@pytest.mark.parametrize(("named", "taken"), [(5, 5), (20, 10), (None, 10)])
async def test_the_operators_limit_can_only_be_lowered(
    channel: WiredChannel, named: int | None, taken: int
) -> None:
    """Whatever a block inside names."""
    async with session_of(channel, cap=10) as session:
        assert session.options.max_message_bytes == 10
        if named is not None:
            session.adopt(Options(max_message_bytes=named))
        await accept(session)
        channel.arrive("x" * taken, "x" * (taken + 1))
        assert (await session.receive())["text"] == "x" * taken
        event = await session.receive()
        assert (event["code"], event["reason"]) == (1009, f"over {taken} bytes")


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize(("before", "after"), [(10, 1000), (1000, 10)])
async def test_the_frame_codec_follows(
    channel: WiredChannel, before: int, after: int, compressed: bool
) -> None:
    """After the accept too, so that no larger message is held; held ones stay."""
    channel.limit = before
    if compressed:
        channel.extensions = [PerMessageDeflate(False, False, 12, 12)]
    async with session_of(channel, max_message_bytes=before) as session:
        await accept(session)
        channel.arrive("x" * before)
        session.adopt(Options(max_message_bytes=after))
        channel.read(frame(TEXT, "y" * (after - 1), fin=False))
        channel.read(frame(CONT, "y"))
        channel.read(frame(TEXT, "z" * after, fin=False))
        channel.read(frame(CONT, "z", fin=False))
        await anyio.wait_all_tasks_blocked()
        assert session.info == CloseInfo(1009, f"over {after} bytes", "local", False)
        assert (await session.receive())["text"] == "x" * before
        assert (await session.receive())["text"] == "y" * after
        assert (await session.receive())["code"] == 1009


async def test_a_held_message_is_not_judged_anew() -> None:
    """One that a foreign channel has handed over and that waits for room."""
    channel = Channel()
    session = Session(channel.receive, channel.send, Options(receive_buffer=1))
    async with session:
        await accept(session)
        channel.arrive("a", "held", "over")
        await anyio.wait_all_tasks_blocked()
        session.adopt(Options(max_message_bytes=2))
        for text in ("a", "held"):
            assert (await session.receive())["text"] == text
        assert (await session.receive())["code"] == 1009


async def test_reading_goes_on_where_there_is_room_now(channel: WiredChannel) -> None:
    """A larger buffer, adopted while reading has stopped."""
    async with session_of(channel, receive_buffer=1) as session:
        await accept(session)
        channel.read(framed(*["m"] * (1 + AHEAD_MESSAGES)))
        channel.read(framed("n"))
        assert channel.unread == 1
        session.adopt(Options(receive_buffer=1000))
        assert channel.unread == 0


async def test_options_for_pings_that_do_not_hold_warn(channel: WiredChannel) -> None:
    """Where the server sends pings of its own; options that name none are quiet."""
    foreign = Channel()
    for options in (None, Options(), Options(ping_interval=None, idle_timeout=1)):
        Session(foreign.receive, foreign.send, options).adopt(options)
    for options in (Options(ping_interval=20), Options(ping_timeout=5)):
        with pytest.warns(RuntimeWarning, match="sends its own pings"):
            Session(foreign.receive, foreign.send, options)
        with pytest.warns(RuntimeWarning, match="sends its own pings"):
            Session(foreign.receive, foreign.send).adopt(options)
        Session(foreign.receive, foreign.send, pings=True).adopt(options)
        session_of(channel).adopt(options)


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

    @pytest.mark.parametrize("limits", [(60, None), (60, 1000), (None, None)])
    async def test_adopted_idle_time_may_be_longer(
        self, channel: WiredChannel, limits: tuple[float | None, float | None]
    ) -> None:
        """Or without an end; the host's holds no more."""
        before, after = limits
        async with session_of(
            channel, ping_interval=None, idle_timeout=before
        ) as session:
            await accept(session)
            session.adopt(Options(idle_timeout=after))
            await anyio.sleep(500)
            assert session.info is None

    @pytest.mark.parametrize("before", [None, 1000])
    async def test_a_peer_that_is_kept_waiting_is_not_silent(
        self, channel: WiredChannel, before: float | None
    ) -> None:
        """A limit that is adopted while the queue is full counts once it is not."""
        async with session_of(
            channel, ping_interval=None, receive_buffer=1, idle_timeout=before
        ) as session:
            await accept(session)
            channel.arrive("1", "2")
            session.adopt(Options(idle_timeout=60))
            await anyio.sleep(500)
            assert session.info is None
            start = anyio.current_time()
            for text in "12":
                assert (await session.receive())["text"] == text
            assert (await session.receive())["code"] == 1001
            assert round(anyio.current_time() - start, 1) == 60

    async def test_adopted_time_to_close_holds(self, channel: WiredChannel) -> None:
        """The wait for the peer's answer is as long as it says."""
        channel.answers = False
        async with session_of(channel, ping_interval=None) as session:
            await accept(session)
            session.adopt(Options(close_timeout=60))
            start = anyio.current_time()
        assert round(anyio.current_time() - start, 1) == 60

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
