"""A large message that is compressed: in steps, and all or nothing (law 2).

The sending end is a client or a server; both are in this process.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

import anyws
from anyws._frames.deflate import PIECE_BYTES
from anyws._session.channel import LARGE_BYTES

LARGE = "anyws, in steps; " * (4 * LARGE_BYTES // 17)
STEPS = len(LARGE) // PIECE_BYTES
Ends = Callable[..., Any]


@pytest.fixture(params=["client", "server"])
def ends(request: pytest.FixtureRequest) -> Ends:
    """Give what opens a connection, and yields the end that sends, and its peer."""

    @asynccontextmanager
    async def opened(**options: Any) -> AsyncIterator[tuple[Any, Any]]:
        wanted = anyws.Options(**options)
        accepted, over = anyio.Event(), anyio.Event()
        servers = []

        async def handler(ws: anyws.WebSocket) -> None:
            await ws.accept()
            servers.append(ws)
            accepted.set()
            await over.wait()

        app = anyws.endpoint(options=wanted)(handler)
        async with anyws.connect("ws://name/", app=app, options=wanted) as client:
            await accepted.wait()
            [server] = servers
            try:
                if request.param == "client":
                    yield client, server
                else:
                    yield server, client
            finally:
                over.set()

    return opened


async def started(tasks: Any, send: Callable[[], Awaitable[None]]) -> list[str]:
    """Start a send that takes many turns; return what becomes of it."""
    outcome: list[str] = []

    async def run() -> None:
        try:
            await send()
            outcome.append("sent")
        except anyws.ConnectionClosed:
            outcome.append("closed")

    tasks.start_soon(run)
    await checkpoint()
    await checkpoint()
    return outcome


async def test_others_have_their_turn_meanwhile(ends: Ends) -> None:
    """A large message is no one long step; and it arrives as it was."""
    async with ends() as (one, other), anyio.create_task_group() as tasks:
        outcome = await started(tasks, lambda: one.send_text(LARGE))
        turns = 0
        while not outcome:
            await checkpoint()
            turns += 1
        assert turns >= STEPS // 2
        assert await other.receive_text() == LARGE
        for message in (LARGE.encode(), bytearray(LARGE, "ascii")):
            await one.send_bytes(message)
            assert await other.receive_bytes() == message


async def test_a_cancelled_one_is_not_sent(ends: Ends) -> None:
    """Those before and after it arrive as they were, whatever the contexts hold."""
    small = "anyws, " * 300
    async with ends() as (one, other):
        await one.send_text(small)
        async with anyio.create_task_group() as tasks:
            outcome = await started(tasks, lambda: one.send_text(LARGE))
            assert not outcome
            tasks.cancel_scope.cancel()
        for message in (small, LARGE, small):
            await one.send_text(message)
        for message in (small, small, LARGE, small):
            assert await other.receive_text() == message


async def test_later_messages_do_not_overtake_it(ends: Ends) -> None:
    """Nor do those in parts, and `send_nowait` has no room."""
    async with ends() as (one, other), anyio.create_task_group() as tasks:
        first = await started(tasks, lambda: one.send_text(LARGE))
        tasks.start_soon(one.send_text, "behind")
        with pytest.raises(anyio.WouldBlock):
            one.send_nowait("refused")
        assert not first
        assert await other.receive_text() == LARGE
        assert await other.receive_text() == "behind"


async def test_a_close_meanwhile_ends_it(ends: Ends) -> None:
    """The sending task is told, and the peer gets the close alone."""
    async with ends() as (one, other), anyio.create_task_group() as tasks:
        outcome = await started(tasks, lambda: one.send_text(LARGE))
        await one.close(4000)
        with pytest.raises(anyws.ConnectionClosed) as caught:
            await other.receive_text()
        assert caught.value.code == 4000
        while not outcome:
            await checkpoint()
        assert outcome == ["closed"]


async def test_a_rule_that_drops_does_so_only_where_there_is_no_room(
    ends: Ends,
) -> None:
    """A large message that has room is queued as any other."""
    async with ends(send_overflow="drop_newest") as (one, other):
        await one.send_text(LARGE)
        assert await other.receive_text() == LARGE
        assert one.statistics().messages_sent == 1


async def test_one_that_is_not_compressed_is_sent_at_once(ends: Ends) -> None:
    """By its own word, by the threshold, or where nothing was agreed on."""
    never = anyws.Deflate(threshold_bytes=2**30)
    for compression in ("deflate", never, None):
        async with ends(compression=compression) as (one, other):
            await one.send_text(LARGE, compress=compression != "deflate")
            assert await other.receive_text() == LARGE
