"""Between a block that hosts in FastAPI and its end: the exception handlers' turn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Annotated, Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from fastapi import Depends, FastAPI
from fastapi import WebSocket as FastAPIWebSocket

import anyws
from anyws.testing import connect

from ..support.channels import SCOPE, Channel

SERVERS = ("strict", "uvicorn", "hypercorn-asyncio", "hypercorn-trio", "granian")
WebSocket = anyws.WebSocket[Any]
OPTIONS = anyws.Options(close_timeout=0.5, receive_buffer=2)


class TooMany(Exception):
    """An exception of the application."""


async def guarded(websocket: FastAPIWebSocket) -> AsyncIterator[anyws.WebSocket]:
    """Guard the connection in a dependency, and show our object to the handlers."""
    given = (websocket.scope, websocket.receive, websocket.send)
    ws = websocket.scope["state"]["ours"] = WebSocket(*given, options=OPTIONS)
    async with ws:
        yield ws


Guarded = Annotated[anyws.WebSocket, Depends(guarded)]
Fail = Callable[[Any], Awaitable[None]]


async def fail_accepted(ws: anyws.WebSocket) -> None:
    """Accept, and raise."""
    await ws.accept()
    await ws.send_text("last")
    raise TooMany


def failing(handler: Any, fail: Fail = fail_accepted) -> FastAPI:
    """Make an application whose exception handler gets our object."""
    app = FastAPI()

    @app.websocket("/ws")
    async def endpoint(ws: Guarded) -> None:
        await fail(ws)

    @app.exception_handler(TooMany)
    async def handle(ws: FastAPIWebSocket, exc: Exception) -> None:
        await handler(ws.scope["state"]["ours"])

    return app


@pytest.mark.parametrize("server", SERVERS[:-1])  # Granian's cancelled receive loses it
async def test_a_handler_may_talk_before_it_closes(server: str) -> None:
    """What was sent before arrives first; what arrives is received."""

    async def talk(ws: anyws.WebSocket) -> None:
        await ws.send_text("why")
        assert await ws.receive_text() == "because"
        ws.send_nowait("I see")
        assert ws.close_info is None
        await ws.close(4029)
        assert (await ws.wait_closed()).code == 4029
        with pytest.raises(anyws.ConnectionClosed):
            await ws.send_text("late")

    async with connect(failing(talk), server=server) as peer:
        assert await peer.receive_text() == "last"
        assert await peer.receive_text() == "why"
        await peer.send_text("because")
        assert [message async for message in peer] == ["I see"]
        assert (await peer.wait_closed()).code == 4029


@pytest.mark.parametrize("server", SERVERS)
async def test_a_handler_may_accept_so_that_its_code_is_seen(server: str) -> None:
    """The handshake is still open."""

    async def fail(ws: anyws.WebSocket) -> None:
        raise TooMany

    async def accept(ws: anyws.WebSocket) -> None:
        await ws.accept()
        await ws.close(4029)

    async with connect(failing(accept, fail), server=server) as peer:
        assert (await peer.wait_closed()).code == 4029


async def test_before_an_accept_nothing_is_sent_for_a_handler_that_says_nothing() -> (
    None
):
    """The server answers, as after any application that returns without an answer."""

    async def fail(ws: anyws.WebSocket) -> None:
        raise TooMany

    async def nothing(ws: anyws.WebSocket) -> None:
        await checkpoint()

    with pytest.raises(anyws.HandshakeRejected) as caught:
        async with connect(failing(nothing, fail), server="uvicorn"):
            pass
    assert caught.value.status == 500
    assert caught.value.code is None


async def test_several_tasks_of_a_handler_call_at_a_time() -> None:
    """The connection is driven for as long as one of them waits."""

    async def talk(ws: anyws.WebSocket) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ws.send_text, "one")
            tasks.start_soon(ws.receive_text)
            await anyio.wait_all_tasks_blocked()
            await ws.send_text("two")
            with pytest.raises(anyio.BusyResourceError):
                await ws.receive_text()
        await ws.close(4029)

    async with connect(failing(talk)) as peer:
        for text in ("last", "one", "two"):
            assert await peer.receive_text() == text
        await peer.send_text("end")
        assert (await peer.wait_closed()).code == 4029


async def test_a_cancelled_call_loses_nothing() -> None:
    """What arrives later is received by the next call."""

    async def talk(ws: anyws.WebSocket) -> None:
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(ws.receive_text)
                await anyio.wait_all_tasks_blocked()
                scope.cancel()
        await ws.send_text("ready")
        await ws.send_text(await ws.receive_text())

    async with connect(failing(talk)) as peer:
        for text in ("last", "ready"):
            assert await peer.receive_text() == text
        await peer.send_text("a")
        assert await peer.receive_text() == "a"
        assert (await peer.wait_closed()).code == 1000


async def test_what_arrived_before_is_still_received() -> None:
    """The message that had no room in the buffer, too."""

    async def fail(ws: anyws.WebSocket) -> None:
        await ws.accept()
        await ws.send_text("ready")
        while ws.statistics().receive_queued < OPTIONS.receive_buffer:
            await checkpoint()
        await anyio.wait_all_tasks_blocked()
        raise TooMany

    async def talk(ws: anyws.WebSocket) -> None:
        for text in "abcd":
            assert await ws.receive_text() == text
        await ws.close(4029)

    async with connect(failing(talk, fail)) as peer:
        for text in "abcd":
            await peer.send_text(text)
        assert await peer.receive_text() == "ready"
        assert (await peer.wait_closed()).code == 4029


@pytest.mark.parametrize("server", ["strict", "uvicorn"])  # whose send itself raises
async def test_a_peer_that_leaves_meanwhile(server: str) -> None:
    """A send of the handler raises that the connection has ended; no log hears it."""
    left, seen = anyio.Event(), []

    async def talk(ws: anyws.WebSocket) -> None:
        await left.wait()
        with pytest.raises(anyws.ConnectionClosed):
            while True:
                await ws.send_text("late")
        seen.append(ws.close_info)
        await ws.close(4029)
        await ws.send_text("late")

    async with connect(failing(talk), server=server) as peer:
        assert await peer.receive_text() == "last"
        with anyio.move_on_after(0.5):
            await peer.close(4001)
        left.set()
    assert len(seen) == 1


async def test_a_client_that_went_away_is_no_error() -> None:
    """That this connection has ended goes no further than FastAPI's stack."""
    app = FastAPI()

    @app.websocket("/ws")
    async def endpoint(ws: Guarded) -> None:
        await ws.accept()
        while True:
            await ws.receive_text()

    async with connect(app, server="strict") as peer:
        await peer.close(4001)


async def test_the_end_of_another_connection_is_an_error() -> None:
    """As any other exception of the application."""
    other = anyws.ConnectionClosed(anyws.CloseInfo(4001))
    app = FastAPI()

    @app.websocket("/ws")
    async def endpoint(ws: Guarded) -> None:
        await ws.accept()
        raise other

    with pytest.raises(anyws.ConnectionClosed) as caught:
        async with connect(app) as peer:
            assert (await peer.wait_closed()).code == 1011
    assert caught.value is other


SEEN: list[str] = []


async def transaction() -> AsyncIterator[None]:
    """Be a dependency that rolls back, with scopes round the block."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(checkpoint)
        with anyio.CancelScope():
            try:
                yield
            except TooMany:
                SEEN.append("rolled back")
                raise


async def inside(ws: Guarded) -> AsyncIterator[anyws.WebSocket]:
    """Be a dependency with a scope in the block."""
    with anyio.CancelScope():
        yield ws


async def test_dependencies_outside_see_the_exception_and_keep_their_scopes() -> None:
    """They would commit else; and a task group round the block is left in order."""
    SEEN.clear()
    app = FastAPI()

    @app.websocket("/ws", dependencies=[Depends(transaction)])
    async def endpoint(ws: Annotated[Any, Depends(inside)]) -> None:
        await fail_accepted(ws)

    @app.exception_handler(ExceptionGroup)
    async def handle(ws: FastAPIWebSocket, exc: Exception) -> None:
        SEEN.append("handled")
        await ws.close(4029)

    async with connect(app) as peer:
        assert [message async for message in peer] == ["last"]
        assert (await peer.wait_closed()).code == 4029
    assert SEEN == ["rolled back", "handled"]


async def test_a_handler_that_is_cancelled() -> None:
    """It ends the connection as a cancelled block does."""
    channel = Channel()
    scope = {**SCOPE, "path": "/ws", "state": {}}

    async def wait(ws: anyws.WebSocket) -> None:
        cancelling.cancel()
        await anyio.sleep_forever()

    with anyio.CancelScope() as cancelling:
        await failing(wait)(scope, channel.receive, channel.send)
    assert channel.messages == ["last"]
    assert channel.closes == [(1012, "")]


async def test_a_queue_that_is_not_written_in_time() -> None:
    """The handlers wait for it no longer than `close_timeout`."""
    channel = Channel()
    scope = {**SCOPE, "path": "/ws", "state": {}}
    seen = []

    async def fail(ws: anyws.WebSocket) -> None:
        await ws.accept()
        channel.stall()
        await fail_stalled(ws)

    async def note(ws: anyws.WebSocket) -> None:
        seen.append(ws.close_info)
        channel.resume()
        await ws.close(4029)

    await failing(note, fail)(scope, channel.receive, channel.send)
    assert seen == [None]
    assert channel.closes == []


async def fail_stalled(ws: anyws.WebSocket) -> None:
    """Raise behind a message that the server does not take."""
    await ws.send_text("stuck")
    raise TooMany


async def test_a_block_that_is_left_in_another_way_ends_at_once() -> None:
    """A return, a cancellation and what is no `Exception` decide there and then."""
    for leaving, code in ((None, 1000), (SystemExit(), 1001), (KeyError(), None)):
        channel = Channel()
        async with AsyncExitStack() as stack:
            scope = {**SCOPE, "fastapi_middleware_astack": stack}
            try:
                async with WebSocket(scope, channel.receive, channel.send) as ws:
                    await ws.accept()
                    if leaving is not None:
                        raise leaving
            except (SystemExit, KeyError):
                pass
            assert channel.closes == ([] if code is None else [(code, "")])
        assert channel.closes == [(code or 1000, "")]


async def test_a_stack_of_another_kind_is_left_alone() -> None:
    """The key is FastAPI's, and so is what it means."""
    channel = Channel()
    scope = {**SCOPE, "fastapi_middleware_astack": object()}
    with pytest.raises(TooMany):
        async with WebSocket(scope, channel.receive, channel.send) as ws:
            await fail_accepted(ws)
    assert channel.closes == [(1011, "")]


async def test_a_second_block_after_one_that_has_failed() -> None:
    """It joins: the connection is open, and closes when the block returns."""
    app = FastAPI()

    @app.websocket("/ws")
    async def endpoint(websocket: FastAPIWebSocket) -> None:
        given = (websocket.scope, websocket.receive, websocket.send)
        with pytest.raises(TooMany):
            async with WebSocket(*given) as first:
                await fail_accepted(first)
        async with WebSocket(*given) as second:
            await second.send_text(await second.receive_text())

    async with connect(app) as peer:
        await peer.send_text("again")
        assert [message async for message in peer] == ["last", "again"]
        assert (await peer.wait_closed()).code == 1000


async def test_a_task_that_a_handler_has_left_behind(anyio_backend_name: str) -> None:
    """Its call ends with the connection."""
    if anyio_backend_name == "trio":
        pytest.skip("no task is left behind on trio")
    codes, tasks = [], []

    async def receive(ws: anyws.WebSocket) -> None:
        with pytest.raises(anyws.ConnectionClosed) as caught:
            await ws.receive_text()
        codes.append(caught.value.code)

    async def leave_behind(ws: anyws.WebSocket) -> None:
        tasks.append(asyncio.ensure_future(receive(ws)))
        await anyio.wait_all_tasks_blocked()

    async with connect(failing(leave_behind)) as peer:
        assert (await peer.wait_closed()).code == 1000
    await tasks[0]
    assert codes == [1000]
