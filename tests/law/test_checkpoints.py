"""Every async method is a checkpoint, and every so often one that lets others run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

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


@pytest.mark.parametrize("ended", [False, True])
async def test_a_hot_send_loop_lets_others_run(channel: Channel, ended: bool) -> None:
    """A loop of sends yields to other tasks, while they work and when they raise."""
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await checkpoint()
            turns += 1

    async with channel.websocket() as ws, anyio.create_task_group() as tasks:
        await ws.accept()
        if ended:
            channel.leave()
            await anyio.wait_all_tasks_blocked()
        tasks.start_soon(count)
        for _ in range(320):
            try:
                await ws.send_text("x")
            except anyws.ConnectionClosed:
                assert ended
        tasks.cancel_scope.cancel()

    assert turns >= 5


async def test_a_deadline_ends_a_hot_send_loop(channel: Channel) -> None:
    """`move_on_after` ends a loop of sends that never have to wait."""
    async with channel.websocket(send_overflow="drop_newest") as ws:
        await ws.accept()
        with anyio.move_on_after(0.01) as scope:
            while True:
                await ws.send_text("x")

        assert scope.cancelled_caught


CALLS: dict[str, Callable[[anyws.WebSocket], Any]] = {
    "receive": lambda ws: ws.receive(),
    "receive_message": lambda ws: ws.receive_message(),
    "receive_text": lambda ws: ws.receive_text(),
    "receive_bytes": lambda ws: ws.receive_bytes(),
    "receive_json": lambda ws: ws.receive_json(),
    "send_message": lambda ws: ws.send_message("x"),
    "send_text": lambda ws: ws.send_text("x"),
    "send_bytes": lambda ws: ws.send_bytes(b"x"),
    "send_json": lambda ws: ws.send_json({}),
    "close": lambda ws: ws.close(),
    "aclose": lambda ws: ws.aclose(),
    "wait_closed": lambda ws: ws.wait_closed(),
    "messages.receive": lambda ws: ws.messages.receive(),
    "messages.send": lambda ws: ws.messages.send("x"),
    "messages.aclose": lambda ws: ws.messages.aclose(),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("ended", [False, True])
async def test_every_call_is_a_checkpoint(
    channel: Channel, call: str, ended: bool
) -> None:
    """Each async method delivers a pending cancellation, and has then done nothing."""
    async with channel.websocket() as ws:
        await ws.accept()
        channel.arrive("null")
        if ended:
            channel.leave()
        await anyio.wait_all_tasks_blocked()
        with anyio.CancelScope() as scope:
            scope.cancel()
            await CALLS[call](ws)

        assert scope.cancelled_caught
        assert channel.messages == []
        assert ws.application_state is anyws.WebSocketState.CONNECTED
        assert (ws.close_info is not None) is ended
        assert await ws.receive_text() == "null"


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("state", ["connecting", "closed", "delivered"])
async def test_every_call_is_a_checkpoint_in_every_state(
    channel: Channel, call: str, state: str
) -> None:
    """A pending cancellation comes before whatever a call has to say."""
    async with channel.websocket() as ws:
        await anyio.wait_all_tasks_blocked()
        if state != "connecting":
            await ws.accept()
        if state == "closed":
            await ws.close()
        if state == "delivered":
            channel.leave()
            with pytest.raises(anyws.ConnectionClosed):
                await ws.receive_text()
        with anyio.CancelScope() as scope:
            scope.cancel()
            await CALLS[call](ws)

        assert scope.cancelled_caught


async def test_a_hot_receive_loop_lets_others_run(channel: Channel) -> None:
    """A deadline ends a loop of receives that never have to wait."""
    messages = [str(number) for number in range(3000)]
    async with channel.websocket(receive_buffer=3000) as ws:
        await ws.accept()
        channel.arrive(*messages)
        await anyio.wait_all_tasks_blocked()
        received = 0
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(cancel, scope)
                for _ in messages:
                    await ws.receive_text()
                    received += 1

        assert received <= 64


async def cancel(scope: anyio.CancelScope) -> None:
    """Cancel a scope at the first turn."""
    scope.cancel()
