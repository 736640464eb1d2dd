"""Messages that wait elsewhere: when the connection takes them, and from whom."""

from __future__ import annotations

from collections import deque

import anyio
import pytest
from anyio.lowlevel import checkpoint

import anyws
from anyws._session.feed import Feed
from anyws._values.shared import SHARED, SharedMessage

from ..support.channels import Channel
from ..support.wired import EagerChannel, WiredChannel

CHANNELS = [Channel, WiredChannel, EagerChannel]
every_channel = pytest.mark.parametrize("kind", CHANNELS)


class Texts:
    """A source of texts."""

    def __init__(self, *texts: str) -> None:
        self.left = deque(map(SharedMessage, texts))

    def peek(self) -> SharedMessage | None:
        """Return the next message."""
        return self.left[0] if self.left else None

    def advance(self) -> None:
        """Take it."""
        self.left.popleft()


def feed_of(ws: anyws.WebSocket) -> Feed:
    """Return the feed of a connection."""
    session = ws._session
    assert session is not None
    return Feed.of(session.connection, session.sender)


def numbered(count: int, prefix: str = "") -> list[str]:
    """Return distinct texts."""
    return [f"{prefix}{number}" for number in range(count)]


@every_channel
async def test_all_is_sent_in_order(kind: type[Channel]) -> None:
    """However many messages there are, and however small the buffer is."""
    channel, texts = kind(), numbered(50)
    async with channel.websocket(send_buffer=2) as ws:
        await ws.accept()
        source = Texts(*texts)
        feed = feed_of(ws)
        feed.add(source)
        feed.pump()
        await anyio.wait_all_tasks_blocked()
        assert channel.messages == texts
        assert ws.statistics().messages_sent == 50
        assert ws.statistics().bytes_sent == len("".join(texts))


async def test_a_server_sees_no_key_of_ours() -> None:
    """It gets plain events, and each its own."""
    one, other = Channel(), Channel()
    source_message = SharedMessage("hello")
    for channel in (one, other):
        async with channel.websocket() as ws:
            await ws.accept()
            source = Texts()
            source.left.append(source_message)
            feed_of(ws).add(source)
            feed_of(ws).pump()
            await anyio.wait_all_tasks_blocked()
    events = [e for c in (one, other) for e in c.sent if e["type"] == "websocket.send"]
    assert events == [{"type": "websocket.send", "text": "hello"}] * 2
    assert events[0] is not events[1]
    assert all(SHARED not in event for event in events)


async def test_a_message_that_is_alone_is_written_at_once() -> None:
    """No task has to run for it, where the frames are ours."""
    channel = EagerChannel()
    async with channel.websocket() as ws:
        await ws.accept()
        await anyio.wait_all_tasks_blocked()
        feed_of(ws).add(Texts("now"))
        feed_of(ws).pump()
        assert channel.messages == ["now"]


@every_channel
async def test_a_stalled_peer_costs_half_a_buffer(kind: type[Channel]) -> None:
    """The rest stays in the source, and the user's own messages have room."""
    channel = kind()
    async with channel.websocket(send_buffer=8) as ws:
        await ws.accept()
        await anyio.wait_all_tasks_blocked()
        channel.stall()
        source = Texts(*numbered(100))
        feed_of(ws).add(source)
        for _ in range(5):
            feed_of(ws).pump()
            await anyio.wait_all_tasks_blocked()
        assert len(source.left) >= 100 - 1 - 2 * 4
        assert ws.statistics().send_queued <= 4
        for text in "abcd":
            ws.send_nowait(text)
        channel.resume()
        await anyio.wait_all_tasks_blocked()
        assert [m for m in channel.messages if m not in {*"abcd"}] == numbered(100)


async def test_a_large_message_passes_alone() -> None:
    """One that is larger than the buffer is sent, and loses none."""
    channel = Channel()
    texts = ["a" * 100, "b" * 5000, "c" * 5000, "d"]
    async with channel.websocket(send_buffer_bytes=1000) as ws:
        await ws.accept()
        feed_of(ws).add(Texts(*texts))
        feed_of(ws).pump()
        await anyio.wait_all_tasks_blocked()
        assert channel.messages == texts


@every_channel
async def test_a_sender_that_waits_is_not_overtaken(kind: type[Channel]) -> None:
    """While a task waits for room, nothing is taken from a source."""
    channel = kind()
    async with channel.websocket(send_buffer=1) as ws:
        await ws.accept()
        await anyio.wait_all_tasks_blocked()
        channel.stall()
        for text in ("1", "2"):
            ws.send_nowait(text)
            await anyio.wait_all_tasks_blocked()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ws.send_text, "3")
            await anyio.wait_all_tasks_blocked()
            feed_of(ws).add(Texts("source"))
            feed_of(ws).pump()
            channel.resume()
        await anyio.wait_all_tasks_blocked()
        assert channel.messages == ["1", "2", "3", "source"]


@every_channel
async def test_a_sender_that_is_cancelled_lets_the_source_go_on(
    kind: type[Channel],
) -> None:
    """Nothing is forgotten when the one that came first gives up."""
    channel = kind()
    async with channel.websocket(send_buffer=1) as ws:
        await ws.accept()
        await anyio.wait_all_tasks_blocked()
        channel.stall()
        for text in ("1", "2"):
            ws.send_nowait(text)
            await anyio.wait_all_tasks_blocked()
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(ws.send_text, "3")
                await anyio.wait_all_tasks_blocked()
                feed_of(ws).add(Texts("source"))
                feed_of(ws).pump()
                scope.cancel()
        channel.resume()
        await anyio.wait_all_tasks_blocked()
        assert channel.messages == ["1", "2", "source"]


@every_channel
async def test_the_end_of_a_message_in_parts_lets_the_source_go_on(
    kind: type[Channel],
) -> None:
    """Although the writer task had nothing more to do."""
    channel = kind()
    async with channel.websocket() as ws:
        await ws.accept()
        assert ws._session is not None
        turn = await ws._session.sender.begin()
        feed_of(ws).add(Texts("source"))
        feed_of(ws).pump()
        await anyio.wait_all_tasks_blocked()
        assert channel.messages == []
        ws._session.sender.end(turn)
        await anyio.wait_all_tasks_blocked()
        assert channel.messages == ["source"]


@every_channel
async def test_sources_take_turns(kind: type[Channel]) -> None:
    """A source that never runs dry does not starve another."""
    channel = kind()
    async with channel.websocket() as ws:
        await ws.accept()
        feed = feed_of(ws)
        feed.add(Texts(*numbered(20, "a")))
        feed.add(Texts(*numbered(20, "b")))
        feed.pump()
        await anyio.wait_all_tasks_blocked()
        assert set(channel.messages[:8]) == {*numbered(4, "a"), *numbered(4, "b")}
        assert len(channel.messages) == 40


async def test_nothing_is_taken_before_the_accept_and_after_the_end() -> None:
    """A feed has no sources then."""
    channel = Channel()
    async with channel.websocket() as ws:
        with pytest.raises(RuntimeError):
            feed_of(ws).add(Texts())
        await ws.accept()
        source = Texts(*numbered(100))
        feed_of(ws).add(source)
        await ws.close()
        feed_of(ws).pump()
        with pytest.raises(anyws.ConnectionClosed):
            feed_of(ws).add(Texts())
        await checkpoint()
    assert channel.messages == []
    assert len(source.left) == 100


async def test_a_removed_source_is_asked_no_more() -> None:
    """It keeps what it has."""
    channel = Channel()
    async with channel.websocket() as ws:
        await ws.accept()
        source = Texts("a")
        feed_of(ws).add(source)
        feed_of(ws).remove(source)
        feed_of(ws).remove(source)
        feed_of(ws).pump()
        await anyio.wait_all_tasks_blocked()
    assert channel.messages == []
