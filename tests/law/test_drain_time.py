"""The seconds of a drain, in virtual time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import anyio
import pytest
from starlette.types import ASGIApp
from trio.testing import MockClock

import anyws
from anyws.testing import connect

from .test_drain import echoes


@pytest.fixture(scope="module")
def anyio_backend() -> Any:
    """Run on trio, where time passes at once."""
    return "trio", {"clock": MockClock(autojump_threshold=0)}


async def drained(
    handler: Callable[[anyws.WebSocket], Awaitable[None]],
) -> tuple[float, int]:
    """Return how long the drain of a handler took, and how many were left."""
    drain = anyws.Drain(timeout=3)
    async with connect(anyws.endpoint(drain=drain)(handler), deadline=1e4):
        start = anyio.current_time()
        await drain.aclose()
        return round(anyio.current_time() - start, 1), drain.connections


async def test_handlers_have_the_timeout_to_end() -> None:
    """One that ends in the last moment is not cancelled."""
    ended = []

    async def handler(ws: anyws.WebSocket) -> None:
        await ws.accept()
        await ws.wait_closed()
        await anyio.sleep(2.9)
        ended.append("by itself")

    assert await drained(handler) == (2.9, 0)
    assert ended == ["by itself"]


async def test_a_cancelled_handler_may_clean_up() -> None:
    """After the cancellation a handler is waited for a while."""

    async def handler(ws: anyws.WebSocket) -> None:
        await ws.accept()
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(1.5)

    assert await drained(handler) == (4.5, 0)


async def test_a_handler_that_stays_holds_nobody() -> None:
    """One that shields itself is left behind, and counted."""

    async def handler(ws: anyws.WebSocket) -> None:
        await ws.accept()
        with anyio.CancelScope(shield=True):
            await anyio.sleep(1000)

    assert await drained(handler) == (5, 1)


@pytest.mark.parametrize("inner", [False, True])
@pytest.mark.parametrize("sends", [False, True])
async def test_a_peer_that_is_dead_has_the_timeout(inner: bool, sends: bool) -> None:
    """A peer that does not answer, or read, holds the drain no longer."""
    drain = anyws.Drain(timeout=3)
    app: ASGIApp = echoes(drain, "endpoint")
    if inner:
        app = anyws.WebSocketMiddleware(app)
    async with AsyncExitStack() as stack:
        peers = [await stack.enter_async_context(connect(app)) for _ in range(30)]
        peers[9].stall()
        if sends:
            await peers[9].send_bytes(bytes(2**17))  # more than is on its way at once
            await anyio.wait_all_tasks_blocked()
        start = anyio.current_time()
        await drain.aclose()
        assert round(anyio.current_time() - start, 1) == 3


async def test_a_close_that_is_not_answered_has_the_timeout() -> None:
    """A handler's own close before the drain is not waited for any longer."""
    drain = anyws.Drain(timeout=3)

    @anyws.endpoint(drain=drain)
    async def handler(ws: anyws.WebSocket) -> None:
        await ws.accept()
        await ws.receive_text()

    async with connect(handler) as peer:
        peer.stall()
        await peer.send_text("go")
        await anyio.wait_all_tasks_blocked()
        start = anyio.current_time()
        await drain.aclose()
        assert round(anyio.current_time() - start, 1) == 3


async def test_the_drain_goes_on_without_its_caller() -> None:
    """The time counts from the first call; another one does not prolong it."""
    drain = anyws.Drain(timeout=3)

    @anyws.endpoint(drain=drain)
    async def handler(ws: anyws.WebSocket) -> None:
        await ws.accept()
        await anyio.sleep_forever()

    async with connect(handler):
        start = anyio.current_time()
        with anyio.move_on_after(2):
            await drain.aclose()
        await drain.aclose()
        assert round(anyio.current_time() - start, 1) == 3


async def test_a_soft_drain_tells_one_after_another() -> None:
    """Evenly over the spread; each is closed a turn later, if it is still open."""
    drain = anyws.Drain(soft=True, spread=8, turn=5, timeout=3)
    told, closed, ended = list[float](), list[float](), list[float]()
    start = anyio.current_time()

    def now() -> float:
        return round(anyio.current_time() - start, 1)

    @anyws.endpoint(drain=drain)
    async def handler(ws: anyws.WebSocket) -> None:
        await ws.accept()
        await ws.draining
        told.append(now())
        if len(told) == 2:
            await anyio.sleep(1)
            return
        info = await ws.wait_closed()
        closed.append(now())
        assert info.code == 1012
        try:
            await anyio.sleep_forever()
        finally:
            ended.append(now())

    async with AsyncExitStack() as stack:
        for _ in range(3):
            await stack.enter_async_context(connect(handler, deadline=1e4))
        assert now() == 0
        await drain.aclose()
        assert (now(), drain.connections) == (16, 0)
    assert (told, closed, ended) == ([0, 4, 8], [5, 13], [8, 16])


async def test_a_soft_drain_waits_for_nobody() -> None:
    """It is over when the last connection is, however much time was given."""
    drain = anyws.Drain(soft=True, spread=8, turn=5)

    @anyws.endpoint(drain=drain)
    async def handler(ws: anyws.WebSocket) -> None:
        await ws.accept()
        await ws.draining

    async with connect(handler, deadline=1e4), connect(handler, deadline=1e4):
        start = anyio.current_time()
        await drain.aclose()
        assert anyio.current_time() - start == pytest.approx(8)
    start = anyio.current_time()
    await anyws.Drain(soft=True).aclose()
    assert anyio.current_time() == start
