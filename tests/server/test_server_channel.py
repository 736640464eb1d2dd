"""How a server of ours reads: by the event loop, or in the session's reader task."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

import anyws
from anyws._frames.transport import StreamTransport
from anyws._server.server_channel import StreamChannel
from anyws._session.session import Session

from ..serve.test_server import request
from ..support.ends import Pipe
from ..support.wired import PING, TEXT, frame


class Defect(Exception):
    """What a defect of ours would raise."""


async def nothing(event: Any) -> None:
    """Answer nothing."""


async def test_a_defect_in_a_callback_ends_the_connection() -> None:
    """The session is told, and the user's code raises it."""
    channel = StreamChannel(StreamTransport(Pipe.pair()[0]), nothing, lambda: None)
    session = Session(channel.receive, channel.send, direct=channel)
    with pytest.raises(Defect):
        async with session:
            channel.take_end(Defect())
    assert session.info is not None


async def test_a_flood_leaves_others_their_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is read in one go is not parsed in one go, where a task reads."""
    monkeypatch.setattr("anyws._frames.transport.TURN_SECONDS", 0.0)  # a step is a turn
    near, far = Pipe.pair()
    near.capacity = far.capacity = 2**20
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await checkpoint()
            turns += 1

    await near.send(request())
    async with anyws.accept_stream(far, compression=None) as ws:
        await ws.accept()
        await near.receive()
        await near.send(frame(PING) * 10_000 + frame(TEXT, "behind"))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(count)
            assert await ws.receive_text() == "behind"
            tasks.cancel_scope.cancel()
        await near.aclose()
    assert turns > 3


async def test_an_application_that_does_not_read_is_given_no_more() -> None:
    """Reading stops at the second mark, and goes on when there is room."""
    near, far = Pipe.pair()
    await near.send(request())
    options = anyws.Options(max_message_bytes=100_000)
    sent = 0
    async with anyws.accept_stream(far, compression=None, options=options) as ws:
        await ws.accept()
        await near.receive()

        async def send() -> None:
            nonlocal sent
            for _ in range(100):
                await near.send(frame(TEXT, "a" * 60_000))
                sent += 1

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send)
            await anyio.wait_all_tasks_blocked()
            assert sent < 60
            for _ in range(100):
                assert len(await ws.receive_text()) == 60_000
        await near.aclose()
