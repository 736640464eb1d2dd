"""The times for which a passage holds up the end, in virtual time."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from trio.testing import MockClock

import anyws

from ..support.channels import Channel
from ..support.wrappings import Boom, Gate, closure
from .test_passage import app_of, run


@pytest.fixture(scope="module")
def anyio_backend() -> Any:
    """Run on trio, where time passes at once."""
    return "trio", {"clock": MockClock(autojump_threshold=0)}


@pytest.mark.parametrize("how", ["return", "close", "raise"])
async def test_a_wrapper_that_is_stuck_holds_the_end_up_for_a_while(
    how: str,
) -> None:
    """Leaving waits for `close_timeout`; then the call is cancelled."""
    channel, gate = Channel(), Gate()

    async def handler(ws: anyws.WebSocket) -> None:
        await ws.accept()
        ws.send_nowait("a")
        ws.send_nowait("b")
        if how == "close":
            await ws.close(4000)
        if how == "raise":
            raise Boom

    begin = anyio.current_time()
    try:
        await run(app_of(handler, gate.wrap, close_timeout=3), channel)
    except Boom:
        assert how == "raise"
    took = anyio.current_time() - begin
    assert took == pytest.approx(3)
    assert gate.begun == ["a"]
    assert channel.messages == []


async def test_a_close_goes_on_where_a_sender_waits_for_ever() -> None:
    """The sender waits for a peer that does not read; the close, 5 s for it."""
    channel, raised = Channel(), []

    async def handler(ws: anyws.WebSocket) -> None:
        await ws.accept()
        channel.stall()

        async def send() -> None:
            with pytest.raises(anyws.ConnectionClosed) as caught:
                while True:
                    await ws.send_text("x")
            raised.append(caught.value.code)

        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(send)
            await anyio.wait_all_tasks_blocked()
            begin = anyio.current_time()
            await ws.close(4000)
            assert anyio.current_time() - begin == pytest.approx(10)

    await run(app_of(handler, closure, send_buffer=1), channel)
    assert raised == [4000] * 3
