"""`cancel_on_disconnect`: the code inside ends with the connection."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
import pytest
from anyio.lowlevel import checkpoint

import anyws

from ..support.channels import Channel
from ..support.wired import CHANNELS


@pytest.fixture(params=CHANNELS)
async def channel(request: pytest.FixtureRequest) -> Channel:
    """Return a fresh channel."""
    make: type[Channel] = request.param
    return make()


async def test_it_cancels_code_that_never_receives(channel: Channel) -> None:
    """The block ends when the peer leaves, and raises how."""
    async with channel.websocket(receive_buffer=2) as ws:
        await ws.accept()
        channel.arrive(*"abcdef")
        channel.leave(4001)
        with pytest.raises(anyws.ConnectionClosed) as caught:
            with ws.cancel_on_disconnect():
                await anyio.sleep_forever()
        assert caught.value.code == 4001
        assert ws.statistics().receive_dropped == (0 if channel.reads_ahead else 4)
        assert [await ws.receive_text() for _ in range(2)] == ["a", "b"]


async def test_it_unblocks_a_reader_that_waits_for_room(channel: Channel) -> None:
    """Entering it lets a reader go on that was waiting for room."""
    async with channel.websocket(receive_buffer=2) as ws:
        await ws.accept()
        channel.arrive(*"abcdef")
        await anyio.wait_all_tasks_blocked()
        channel.leave()
        with pytest.raises(anyws.ConnectionClosed), ws.cancel_on_disconnect():
            await anyio.sleep_forever()


async def test_it_raises_on_entry_if_the_peer_has_gone(channel: Channel) -> None:
    """The body does not run when the connection has ended already."""
    async with channel.websocket() as ws:
        await ws.accept()
        channel.leave()
        await ws.wait_closed()
        with pytest.raises(anyws.ConnectionClosed), ws.cancel_on_disconnect():
            pytest.fail("the body ran")


async def test_our_own_close_does_not_trigger_it(channel: Channel) -> None:
    """After `close()` the block goes on, also when the peer answers."""
    async with channel.websocket() as ws:
        await ws.accept()
        with ws.cancel_on_disconnect():
            await ws.close()
            await ws.wait_closed()
            await checkpoint()


async def test_a_rule_of_the_options_triggers_it(channel: Channel) -> None:
    """An end that the user's code did not ask for is one that it is told of."""
    async with channel.websocket(max_message_bytes=1) as ws:
        await ws.accept()
        channel.arrive("too long")
        with pytest.raises(anyws.MessageTooBig), ws.cancel_on_disconnect():
            await anyio.sleep_forever()


async def test_another_exception_wins(channel: Channel) -> None:
    """An exception of the user's own leaves the block as itself."""
    async with channel.websocket() as ws:
        await ws.accept()
        with pytest.raises(ValueError, match="mine"), ws.cancel_on_disconnect():
            channel.leave()
            try:
                await anyio.sleep_forever()
            finally:
                raise ValueError("mine")


async def test_a_group_of_its_own_errors_collapses(channel: Channel) -> None:
    """Tasks that all fail by this end leave one ConnectionClosed, no group."""

    async def receive(ws: anyws.WebSocket) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await ws.receive_text()

    async with channel.websocket() as ws:
        await ws.accept()
        with pytest.raises(anyws.ConnectionClosed), ws.cancel_on_disconnect():
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(receive, ws)
                await anyio.wait_all_tasks_blocked()
                channel.leave()


async def test_a_block_that_ends_after_the_peer_left_raises(channel: Channel) -> None:
    """Leaving after the end always raises, though nothing had to be cancelled."""
    async with channel.websocket() as ws:
        await ws.accept()
        with pytest.raises(anyws.ConnectionClosed), ws.cancel_on_disconnect():
            channel.leave()
            with anyio.CancelScope(shield=True):
                await ws.wait_closed()


async def test_an_outer_cancellation_stays_one(channel: Channel) -> None:
    """A cancellation from outside is not turned into an error."""
    async with channel.websocket() as ws:
        await ws.accept()
        with anyio.CancelScope() as scope, ws.cancel_on_disconnect():
            scope.cancel()
            await checkpoint()
        assert scope.cancelled_caught


async def test_every_block_is_cancelled(channel: Channel) -> None:
    """Nested blocks and those of several tasks end alike."""
    ended = []

    async def work(ws: anyws.WebSocket) -> None:
        with pytest.raises(anyws.ConnectionClosed, match="4001"):
            with ws.cancel_on_disconnect():
                with ws.cancel_on_disconnect():
                    await anyio.sleep_forever()
        ended.append(True)

    async with channel.websocket() as ws, anyio.create_task_group() as tasks:
        await ws.accept()
        tasks.start_soon(work, ws)
        tasks.start_soon(work, ws)
        await anyio.wait_all_tasks_blocked()
        channel.leave(4001)
    assert ended == [True, True]


CALLS: dict[str, Callable[[anyws.WebSocket], Awaitable[object]]] = {
    "receive": lambda ws: ws.receive_text(),
    "send": lambda ws: ws.send_text("x"),
    "wait_closed": lambda ws: ws.wait_closed(),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("lost", [False, True])
async def test_the_cancellation_comes_first(
    channel: Channel, call: str, lost: bool
) -> None:
    """A call that waits inside is cancelled; it does not raise how the end came."""
    async with channel.websocket(send_buffer=1) as ws:
        await ws.accept()
        channel.stall()
        ws.send_nowait("in the server's hands")
        await anyio.wait_all_tasks_blocked()
        ws.send_nowait("queued")
        raised = []
        async with anyio.create_task_group() as tasks:

            async def end() -> None:
                await anyio.wait_all_tasks_blocked()
                if lost:
                    channel.error = OSError()
                    channel.resume()
                else:
                    channel.leave()

            tasks.start_soon(end)
            with pytest.raises(anyws.ConnectionClosed), ws.cancel_on_disconnect():
                try:
                    await CALLS[call](ws)
                except BaseException as exc:
                    raised.append(type(exc))
                    raise
        assert raised == [anyio.get_cancelled_exc_class()]


async def test_a_failed_send_triggers_it(channel: Channel) -> None:
    """A peer that only a failed send gives away has left, too."""
    async with channel.websocket() as ws:
        await ws.accept()
        with pytest.raises(anyws.ConnectionClosed, match="1006"):
            with ws.cancel_on_disconnect():
                channel.error = OSError()
                await ws.send_text("x")
                await anyio.sleep_forever()


async def test_it_keeps_the_oldest_messages(channel: Channel) -> None:
    """What overflows inside is the newest, and is counted."""
    async with channel.websocket(receive_buffer=2) as ws:
        await ws.accept()
        with ws.cancel_on_disconnect():
            channel.arrive(*"abcdef")
            await anyio.wait_all_tasks_blocked()

            assert channel.unread == 0
            assert [await ws.receive_text() for _ in range(2)] == ["a", "b"]
            dropped = 0 if channel.reads_ahead else 4
            assert ws.statistics().receive_dropped == dropped


async def test_the_reader_waits_again_after_the_block(channel: Channel) -> None:
    """Outside, a full buffer slows the peer down as before."""
    async with channel.websocket(receive_buffer=2) as ws:
        await ws.accept()
        with ws.cancel_on_disconnect():
            await checkpoint()
        channel.arrive(*"abcdef")
        await anyio.wait_all_tasks_blocked()

        assert [await ws.receive_text() for _ in range(6)] == list("abcdef")
        assert ws.statistics().receive_dropped == 0


async def test_a_group_of_the_users_own_stays_one(channel: Channel) -> None:
    """A group that holds another error leaves whole, before and after the end."""
    async with channel.websocket() as ws:
        await ws.accept()
        mine = ExceptionGroup[Exception]("mine", [ValueError()])
        with pytest.raises(ExceptionGroup) as early, ws.cancel_on_disconnect():
            raise mine
        assert early.value is mine
        with pytest.raises(ExceptionGroup) as late, ws.cancel_on_disconnect():
            channel.leave()
            with anyio.CancelScope(shield=True):
                await ws.wait_closed()
                try:
                    await ws.send_text("late")
                except anyws.ConnectionClosed as closed:
                    mine = ExceptionGroup("mine", [closed, ValueError()])
            raise mine
        assert late.value.exceptions == mine.exceptions  # trio rebuilds the group


async def test_our_own_close_collapses_no_group(channel: Channel) -> None:
    """After our own close, a group of its errors stays as it was raised."""
    async with channel.websocket() as ws:
        await ws.accept()
        with pytest.raises(ExceptionGroup) as caught, ws.cancel_on_disconnect():
            async with anyio.create_task_group() as tasks:
                await ws.close(4000)
                tasks.start_soon(ws.send_text, "late")
        [closed] = caught.value.exceptions
        assert isinstance(closed, anyws.ConnectionClosed)
