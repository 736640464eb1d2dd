"""Channels that fail: what the user hears of it, and what stays out of the way."""

from __future__ import annotations

import gc
from functools import partial
from weakref import ref

import anyio
import pytest
from starlette.websockets import WebSocketDisconnect

import anyws

from ..support.channels import Channel, Event
from ..support.wired import CHANNELS, server_only


@pytest.fixture(params=CHANNELS)
async def channel(request: pytest.FixtureRequest) -> Channel:
    """Return a fresh channel."""
    make: type[Channel] = request.param
    return make()


@pytest.mark.parametrize(
    "error",
    [
        OSError("gone"),
        RuntimeError("after close"),
        TimeoutError(),
        WebSocketDisconnect(1001),
        anyio.BrokenResourceError(),
        anyio.ClosedResourceError(),
        anyio.EndOfStream(),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_a_failed_send_ends_the_connection(
    channel: Channel, error: Exception
) -> None:
    """A server that raises has lost the peer: 1006, and the cause is kept."""
    async with channel.websocket() as ws:
        await ws.accept()
        channel.error = error
        await ws.send_text("x")
        await anyio.wait_all_tasks_blocked()

        assert ws.close_info is not None
        assert (ws.close_info.code, ws.close_info.initiator) == (1006, "network")
        with pytest.raises(anyws.ConnectionClosed) as caught:
            await ws.send_text("y")
        cause = caught.value.__cause__
        assert cause is not None
        assert error in (cause, cause.__cause__)


async def test_the_reader_may_know_better_why_a_send_failed(channel: Channel) -> None:
    """The code that the disconnect brings replaces the 1006 of a failed send."""
    async with channel.websocket() as ws:
        await ws.accept()
        channel.error = OSError()
        await ws.send_text("x")
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(anyws.ConnectionClosed) as first:
            await ws.send_text("y")
        channel.arrive("unread")
        channel.leave(1001)

        assert first.value.code == 1006
        assert await ws.receive_text() == "unread"
        with pytest.raises(anyws.ConnectionClosed, match="1001"):
            await ws.receive_text()


async def test_a_defect_of_the_server_is_not_hidden(channel: Channel) -> None:
    """An exception that no departed peer explains leaves the block as itself."""
    with pytest.raises(LookupError, match="defect"):
        async with channel.websocket(close_timeout=0.05) as ws:
            await ws.accept()
            channel.error = LookupError("defect")
            await ws.send_text("x")
            await ws.wait_closed()


@server_only("a client does not accept")
async def test_a_failed_accept_raises_the_servers_error(channel: Channel) -> None:
    """What the server makes of the accept is raised by `accept()`, once."""
    channel.error = LookupError("bad handshake")
    async with channel.websocket() as ws:
        with pytest.raises(LookupError, match="bad handshake"):
            await ws.accept()


@server_only("a client does not accept")
async def test_an_accept_that_is_lost_raises(channel: Channel) -> None:
    """`accept()` raises ConnectionClosed when the client turns out to be gone."""
    channel.error = OSError()
    async with channel.websocket() as ws:
        with pytest.raises(anyws.ConnectionClosed, match="1006"):
            await ws.accept()


async def test_a_failed_closing_frame_changes_nothing(channel: Channel) -> None:
    """A close that cannot be sent is silent, and stays our own close."""
    async with channel.websocket() as ws:
        await ws.accept()
        channel.error = OSError()
        await ws.close(4000, "bye")

        assert ws.close_info == anyws.CloseInfo(4000, "bye", "local", None)
        with pytest.raises(anyws.ConnectionClosed, match="4000 'bye'"):
            await ws.receive_text()


@pytest.mark.parametrize("late", [False, True])
async def test_a_peer_that_left_explains_a_defect(channel: Channel, late: bool) -> None:
    """What a server makes of a send to a peer that has left is no defect."""
    async with channel.websocket() as ws:
        await ws.accept()
        channel.stall()
        await ws.send_text("x")
        channel.error = LookupError("defect")
        leave = partial(channel.leave, 4001)
        for happen in (leave, channel.resume)[:: -1 if late else 1]:
            await anyio.wait_all_tasks_blocked()
            happen()
        await ws.wait_closed()

    assert ws.close_info == anyws.CloseInfo(4001, "", "peer", True)


async def test_an_answer_explains_a_failed_closing_frame(channel: Channel) -> None:
    """A closing frame that failed is no defect if the peer turns out to have left."""

    async def leave() -> None:
        await anyio.wait_all_tasks_blocked()
        channel.leave()

    async with anyio.create_task_group() as tasks:
        async with channel.websocket() as ws:
            await ws.accept()
            channel.error = LookupError("defect")
            tasks.start_soon(leave)


async def test_a_defect_comes_before_its_consequence(channel: Channel) -> None:
    """ConnectionClosed, which a defect has caused, leaves the block as the defect."""
    with pytest.raises(LookupError, match="defect"):
        async with channel.websocket(close_timeout=0.05) as ws:
            await ws.accept()
            channel.error = LookupError("defect")
            while True:
                await ws.send_text("x")


async def test_an_exception_of_the_users_comes_before_a_defect(
    channel: Channel,
) -> None:
    """What the user's code raises leaves as itself, beside a defect, too."""
    with pytest.raises(ValueError, match="mine"):
        async with channel.websocket(close_timeout=0.05) as ws:
            await ws.accept()
            channel.error = LookupError("defect")
            await ws.send_text("x")
            await anyio.wait_all_tasks_blocked()
            raise ValueError("mine")


class Broken(Channel):
    """A channel whose receive fails once what has arrived is read."""

    def __init__(self, failure: Exception) -> None:
        super().__init__()
        self._failure = failure

    async def receive(self) -> Event:
        """Return the next event, or fail."""
        event = await super().receive()
        if event["type"] == "websocket.disconnect":
            raise self._failure
        return event


@pytest.mark.parametrize(
    "failure",
    [OSError(), anyio.EndOfStream(), RuntimeError()],
    ids=lambda error: type(error).__name__,
)
async def test_a_failed_receive_ends_the_connection(failure: Exception) -> None:
    """A channel that has no more to give is a peer that left; what came is kept."""
    channel = Broken(failure)
    async with channel.websocket() as ws:
        await ws.accept()
        channel.arrive("before")
        channel.leave()
        await anyio.wait_all_tasks_blocked()

        assert ws.close_info is not None
        assert (ws.close_info.code, ws.close_info.initiator) == (1006, "network")
        assert await ws.receive_text() == "before"
        with pytest.raises(anyws.ConnectionClosed) as caught:
            await ws.receive_text()
        assert caught.value.__cause__ is failure


async def test_a_defect_in_receiving_is_not_hidden() -> None:
    """An exception of the server's own `receive` leaves the block as itself."""
    channel = Broken(LookupError("defect"))
    with pytest.raises(LookupError, match="defect"):
        async with channel.websocket(close_timeout=0.05) as ws:
            await ws.accept()
            channel.leave()
            await ws.receive_text()


@server_only("a server sends no events")
async def test_an_unknown_event_is_a_protocol_error_of_the_server(
    channel: Channel,
) -> None:
    """An event that is not allowed in its state ends the connection, and says so."""
    async with channel.websocket() as ws:
        await ws.accept()
        channel.arrive({"type": "websocket.connect"})
        with pytest.raises(anyws.ConnectionClosed) as caught:
            await ws.receive_text()

    assert "websocket.connect" in str(caught.value.__cause__)


@server_only("there the frames have the limit")
async def test_no_rule_replaces_the_reason_of_an_end(channel: Channel) -> None:
    """A message over the limit that comes after the end does not make it 1009."""
    async with channel.websocket(max_message_bytes=4) as ws:
        await ws.accept()
        channel.error = OSError()
        await ws.send_text("x")
        await anyio.wait_all_tasks_blocked()
        channel.arrive("too long")
        await anyio.wait_all_tasks_blocked()

        assert ws.close_info is not None
        assert (ws.close_info.code, ws.close_info.initiator) == (1006, "network")


class Payload(str):
    """A message that can be watched."""

    __slots__ = ("__weakref__",)


async def test_idle_tasks_keep_no_message_alive(channel: Channel) -> None:
    """A message is let go of as soon as it was delivered, either way."""
    async with channel.websocket() as ws:
        await ws.accept()
        outgoing, incoming = Payload("out"), Payload("in")
        watched = [ref(outgoing), ref(incoming)]
        await ws.send_text(outgoing)
        channel.arrive(incoming)
        assert await ws.receive_text() == "in"
        await anyio.wait_all_tasks_blocked()
        assert channel.messages == ["out"]
        channel.sent.clear()
        del outgoing, incoming
        gc.collect()

        assert [watch() for watch in watched] == [None, None]


class Mine(Exception):
    """An error that can be watched."""


async def test_what_leaves_the_block_is_kept_by_nobody(channel: Channel) -> None:
    """An exception is freed when its handler is done; no cycle waits for collection."""

    async def fail() -> ref[Mine]:
        error = Mine()
        watch = ref(error)
        try:
            async with channel.websocket() as ws:
                await ws.accept()
                raise error
        except Mine:
            del error
        return watch

    gc.disable()
    try:
        watch = await fail()
        assert watch() is None
    finally:
        gc.enable()
