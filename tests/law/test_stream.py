"""The `messages` view of a guarded connection, as AnyIO's stream of objects."""

from __future__ import annotations

from functools import partial

import anyio
import pytest

from ..support.channels import Channel
from ..support.wired import CHANNELS


@pytest.fixture(params=CHANNELS)
async def channel(request: pytest.FixtureRequest) -> Channel:
    """Return a fresh channel."""
    make: type[Channel] = request.param
    return make()


async def test_the_messages_view_is_a_stream(channel: Channel) -> None:
    """`messages` sends and receives, and ends as AnyIO's streams do."""
    async with channel.websocket() as ws:
        await ws.accept()
        stream = ws.messages
        channel.arrive("one", b"two")
        await stream.send("three")

        assert [await stream.receive() for _ in range(2)] == ["one", b"two"]
        channel.leave(1000)
        with pytest.raises(anyio.EndOfStream):
            await stream.receive()
        with pytest.raises(anyio.BrokenResourceError):
            await stream.send("late")


@pytest.mark.parametrize("close", ["aclose", "send_eof"])
async def test_the_messages_view_closes(channel: Channel, close: str) -> None:
    """Closing the view closes with 1000; then it is a closed resource."""
    async with channel.websocket() as ws:
        await ws.accept()
        await getattr(ws.messages, close)()
        for call in (ws.messages.receive, partial(ws.messages.send, "late")):
            with pytest.raises(anyio.ClosedResourceError):
                await call()

    assert channel.closes == [(1000, "")]


async def test_the_messages_view_breaks(channel: Channel) -> None:
    """A connection that is known to have broken is a broken resource."""
    channel.answers = False
    async with channel.websocket(send_timeout=0.01, close_timeout=0.01) as ws:
        await ws.accept()
        channel.stall()
        await ws.send_text("x")
        await ws.wait_closed()
        with pytest.raises(anyio.BrokenResourceError):
            await ws.messages.receive()
