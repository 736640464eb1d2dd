"""Endings in guarded mode: what leaves the block decides, and it leaves as itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from starlette.exceptions import WebSocketException

import anyws

from ..support.channels import Channel, Event
from ..support.wired import CHANNELS, asgi_only, server_only


@pytest.fixture(params=CHANNELS)
async def channel(request: pytest.FixtureRequest) -> Channel:
    """Return a fresh channel."""
    make: type[Channel] = request.param
    return make()


OUTCOMES = {
    "error": (ValueError("mine"), (1011, "")),
    "policy": (WebSocketException(1008, "no"), (1008, "no")),
    "private": (WebSocketException(4000, "é" * 80), (4000, "é" * 61)),
    "unsendable": (WebSocketException(1006, "no"), (1011, "no")),
    "no code": (WebSocketException("1000"), (1011, "")),  # type: ignore[arg-type]  # as users do
    "interrupt": (KeyboardInterrupt(), (1001, "")),
    "exit": (SystemExit(), (1001, "")),
    "undecodable": (anyws.MessageDecodeError("bad", "{", 0), (1007, "")),
    "wrong kind": (anyws.MessageTypeError("text", "bytes"), (1003, "")),
    "own group": (ExceptionGroup("mine", [ValueError()]), (1011, "")),
    "nested groups": (
        ExceptionGroup("", [ExceptionGroup("", [WebSocketException(4001)])]),
        (4001, ""),
    ),
    "interrupt beside an error": (
        BaseExceptionGroup("", [ValueError(), KeyboardInterrupt()]),
        (1001, ""),
    ),
    "group of one": (ExceptionGroup("mine", [WebSocketException(4001)]), (4001, "")),
    "mixed group": (
        ExceptionGroup("mine", [WebSocketException(4001), ValueError()]),
        (1011, ""),
    ),
    "interrupt in a group": (BaseExceptionGroup("", [KeyboardInterrupt()]), (1001, "")),
    "of another connection": (
        anyws.ConnectionClosed(anyws.CloseInfo(1000)),
        (1011, ""),
    ),
}


@pytest.mark.parametrize("name", OUTCOMES)
async def test_an_exception_closes_and_leaves_as_itself(
    channel: Channel, name: str
) -> None:
    """What is raised in the block leaves it unchanged, and the peer gets its code."""
    outcome, close = OUTCOMES[name]
    with pytest.raises(BaseException) as caught:  # noqa: PT011 - identity is asserted
        async with channel.websocket() as ws:
            await ws.accept()
            await ws.send_text("before")
            raise outcome

    assert caught.value is outcome
    assert channel.messages == ["before"]
    assert channel.closes == [close]
    assert ws.close_info == anyws.CloseInfo(*close, "local", channel.clean)


async def test_an_exception_out_of_nested_task_groups(channel: Channel) -> None:
    """The user's own groups stay theirs: as many as they made, no more."""
    error = ValueError("mine")

    async def fail() -> None:
        await checkpoint()
        raise error

    with pytest.raises(ExceptionGroup) as caught:
        async with channel.websocket() as ws:
            await ws.accept()
            async with anyio.create_task_group() as outer:
                async with anyio.create_task_group() as inner:
                    inner.start_soon(fail)
                    outer.start_soon(anyio.sleep_forever)

    [group] = caught.value.exceptions
    assert isinstance(group, ExceptionGroup)
    assert group.exceptions == (error,)
    assert channel.closes == [(1011, "")]


async def test_a_return_closes_with_1000(channel: Channel) -> None:
    """Leaving the block normally closes with 1000."""
    async with channel.websocket() as ws:
        await ws.accept()

    assert channel.closes == [(1000, "")]


@pytest.mark.parametrize("answers", [True, False])
async def test_a_cancelled_block_closes_with_1012(
    channel: Channel, answers: bool
) -> None:
    """A scope round the block: 1012, and the scope has caught its cancellation."""
    channel.answers = answers
    with anyio.CancelScope() as scope:
        async with channel.websocket(close_timeout=0.25) as ws:
            await ws.accept()
            scope.cancel()
            await anyio.sleep_forever()

    assert scope.cancelled_caught
    assert channel.closes == [(1012, "")]


async def test_an_exception_while_cancelled_closes_with_1011(channel: Channel) -> None:
    """An exception raised while cancelled wins, on the wire and in the code."""
    with pytest.raises(ValueError, match="mine"), anyio.CancelScope() as scope:
        async with channel.websocket() as ws:
            await ws.accept()
            scope.cancel()
            try:
                await anyio.sleep_forever()
            finally:
                raise ValueError("mine")

    assert channel.closes == [(1011, "")]


async def leave_stalled(channel: Channel) -> None:
    """Leave a block whose last message the server does not take yet."""
    async with channel.websocket() as ws:
        await ws.accept()
        channel.stall()
        await ws.send_text("last")


async def by_wait_for(channel: Channel) -> None:
    """Run into the deadline of wait_for."""
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(leave_stalled(channel), 0.2)


async def by_timeout(channel: Channel) -> None:
    """Run into the deadline of timeout."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await leave_stalled(channel)


async def by_repeated_cancel(channel: Channel) -> None:
    """Cancel the host in every turn of its exit."""
    task = asyncio.ensure_future(leave_stalled(channel))
    while not task.done():
        await asyncio.sleep(0)
        if channel.unread == 0 and channel.sent:  # it has accepted
            task.cancel()
    assert task.cancelled()


@pytest.mark.parametrize("way", [by_wait_for, by_timeout, by_repeated_cancel])
async def test_native_cancellation_leaves_the_closing_frame_whole(
    channel: Channel,
    anyio_backend_name: str,
    way: Callable[[Channel], Awaitable[None]],
) -> None:
    """Native cancellation that hits the exit of the block tears nothing."""
    if anyio_backend_name != "asyncio":
        pytest.skip("native asyncio cancellation")
    asyncio.get_running_loop().call_later(0.4, channel.resume)
    await way(channel)

    assert channel.torn == []
    if channel.messages:  # else it was cancelled before it was sent
        assert channel.messages == ["last"]
    if channel.sent:  # else on a busy machine it was cancelled before it had begun
        assert channel.closes in ([(1000, "")], [(1012, "")])


async def test_a_scope_that_hits_the_exit_leaves_the_closing_frame_whole(
    channel: Channel,
) -> None:
    """An AnyIO scope that is cancelled during the exit tears nothing."""

    async def resume(scope: anyio.CancelScope) -> None:
        await anyio.wait_all_tasks_blocked()
        scope.cancel()
        with anyio.CancelScope(shield=True):
            await anyio.wait_all_tasks_blocked()
        channel.resume()

    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks:
            async with channel.websocket() as ws:
                await ws.accept()
                channel.stall()
                await ws.send_text("last")
                tasks.start_soon(resume, scope)
            await anyio.sleep_forever()

    assert scope.cancelled_caught
    assert channel.torn == []
    assert channel.messages == ["last"]
    assert channel.closes == [(1000, "")]


class Reluctant(Channel):
    """A channel whose receive takes its time to be cancelled."""

    def __init__(self) -> None:
        super().__init__()
        self.let_go = anyio.Event()

    async def receive(self) -> Event:
        """Return the next event."""
        try:
            return await super().receive()
        finally:
            with anyio.CancelScope(shield=True):
                await self.let_go.wait()


async def test_closing_while_the_block_is_left_is_silent() -> None:
    """A task that closes when there is nothing to write with any more goes on."""
    channel, closed = Reluctant(), list[bool]()

    async def close() -> None:
        await anyio.wait_all_tasks_blocked()
        await ws.close()
        closed.append(True)
        channel.let_go.set()

    async with anyio.create_task_group() as tasks:
        with pytest.raises(ValueError, match="mine"):
            async with channel.websocket() as ws:
                tasks.start_soon(close)
                raise ValueError("mine")

    assert closed == [True]
    assert channel.sent == []


@pytest.mark.parametrize("who", ["peer", "us", "both"])
async def test_closing_again_is_silent(channel: Channel, who: str) -> None:
    """`close()` after an end does nothing, whatever code it is given."""
    async with channel.websocket() as ws:
        await ws.accept()
        if who != "us":
            channel.leave(1001)
            await anyio.wait_all_tasks_blocked()
        if who != "peer":
            await ws.close(4000, "bye")
        await ws.close(1006)
        await ws.aclose()
    await ws.close()

    assert channel.closes == ([(4000, "bye")] if who == "us" else [])
    assert ws.close_info is not None
    assert ws.close_info.code == (4000 if who == "us" else 1001)


async def test_close_returns_when_the_closing_frame_is_sent(channel: Channel) -> None:
    """`close()` waits for what is queued and the closing frame, not for the answer."""
    channel.answers = False
    async with channel.websocket(close_timeout=0.05) as ws:
        await ws.accept()
        await ws.send_text("before")
        await ws.close(4000)

        assert channel.messages == ["before"]
        assert channel.closes == [(4000, "")]
        assert ws.close_info == anyws.CloseInfo(4000, "", "local", None)


async def test_any_number_of_tasks_wait_for_the_end(channel: Channel) -> None:
    """`wait_closed` tells each task that waits, and tells it the same."""
    infos = []

    async def wait(ws: anyws.WebSocket) -> None:
        infos.append(await ws.wait_closed())

    async with channel.websocket() as ws, anyio.create_task_group() as tasks:
        await ws.accept()
        for _ in range(3):
            tasks.start_soon(wait, ws)
            await anyio.wait_all_tasks_blocked()
        channel.leave(4001, "bye")

    assert infos == [anyws.CloseInfo(4001, "bye", "peer", True)] * 3


async def test_after_our_own_close_everything_raises(channel: Channel) -> None:
    """After our close, sends and receives raise ConnectionClosed with our code."""
    async with channel.websocket() as ws:
        await ws.accept()
        await ws.close(4000, "bye")
        calls: list[Callable[[], Any]] = [
            lambda: ws.send_text("x"),
            ws.receive_text,
            ws.receive_message,
        ]
        for call in calls:
            with pytest.raises(anyws.ConnectionClosed, match="4000 'bye'"):
                await call()
        assert (await ws.wait_closed()).code == 4000


async def test_a_cancelled_close_is_a_close(channel: Channel) -> None:
    """`close()` that is cancelled while it waits leaves a state that is true."""
    async with channel.websocket() as ws:
        await ws.accept()
        channel.stall()
        await ws.send_text("before")
        await anyio.wait_all_tasks_blocked()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ws.close, 4000)
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()

        assert ws.application_state is anyws.WebSocketState.DISCONNECTED
        channel.resume()
    assert channel.messages == ["before"]
    assert channel.closes == [(4000, "")]


async def test_the_block_drains_a_peer_that_goes_on_sending(channel: Channel) -> None:
    """Leaving reads and discards until the disconnect, far beyond the buffer."""
    channel.answers = False
    async with anyio.create_task_group() as tasks:
        async with channel.websocket(receive_buffer=2) as ws:
            await ws.accept()
            channel.arrive(*"x" * 1000)
            tasks.start_soon(leave_later, channel)

    assert channel.unread == 0
    assert ws.close_info == anyws.CloseInfo(1000, "", "local", channel.clean)


async def leave_later(channel: Channel) -> None:
    """Answer the close once all has been read."""
    await anyio.wait_all_tasks_blocked()
    channel.arrive(*"y" * 1000)
    channel.leave(1000)


async def test_a_block_cannot_be_entered_twice(channel: Channel) -> None:
    """Entering again is a RuntimeError, inside and after."""
    ws = channel.websocket()
    async with ws:
        with pytest.raises(RuntimeError, match="entered"):
            async with ws:
                pass
    with pytest.raises(RuntimeError, match="entered twice"):
        async with ws:
            pass


@server_only("a client is not used plain")
async def test_entering_after_a_plain_accept(channel: Channel) -> None:
    """A connection that was accepted plain can be guarded from then on."""
    ws = channel.websocket()
    await ws.accept("chat")
    async with ws:
        channel.arrive("hello")
        assert await ws.receive_text() == "hello"
        await ws.send_text("hello")
        await ws.close()
        assert ws.subprotocol == "chat"

    assert channel.messages == ["hello"]
    assert channel.closes == [(1000, "")]


@server_only("a client is not used plain")
async def test_entering_after_a_plain_end(channel: Channel) -> None:
    """A connection that has ended cannot be guarded any more."""
    ws = channel.websocket()
    await ws.close()
    with pytest.raises(anyws.ConnectionClosed):
        async with ws:
            pass


@asgi_only("it is Granian's close")
async def test_no_receive_is_pending_when_the_close_is_sent(
    channel: Channel, anyio_backend_name: str
) -> None:
    """The closing frame goes out on a server that holds it behind a receive."""
    if anyio_backend_name == "trio":
        pytest.skip("no such server runs on trio, where turns have no order")
    channel.holds_close = True
    async with channel.websocket(close_timeout=0.1) as ws:
        await ws.accept()

    assert channel.closes == [(1000, "")]
