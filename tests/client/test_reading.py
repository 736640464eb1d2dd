"""Who reads a client's stream: what is lent to who receives always comes back.

Where no event loop does, the task that receives reads a socket itself while it keeps
coming. With an hour between two looks of the session's reader task, nothing but an
event brings the stream back to it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import anyio
import pytest
from anyio import wait_all_tasks_blocked
from anyio.abc import TaskGroup
from anyio.lowlevel import checkpoint

import anyws
from anyws._frames.codec import Codec

from ..support.ends import RawServer, raw
from ..support.wired import CLOSE, PING, PONG, TEXT, closing, frame

HOUR = 3600

Receiving: TypeAlias = Callable[
    ..., AbstractAsyncContextManager[tuple[anyws.ClientWebSocket, RawServer, TaskGroup]]
]


@pytest.fixture(autouse=True)
def look_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the reader task look only once an hour whether a receiving task reads."""
    monkeypatch.setattr("anyws._client.client_channel._LOOK_INTERVAL", HOUR)


def text(payload: str) -> bytes:
    """Write a server's text message."""
    return frame(TEXT, payload, mask=None)


@asynccontextmanager
async def connected(
    kind: str, folder: Path, **options: Any
) -> AsyncIterator[tuple[anyws.ClientWebSocket, RawServer, TaskGroup]]:
    """Give both ends of a connection whose client has received, again and again.

    And a task group beside the client's block.
    """
    async with (
        anyio.create_task_group() as tasks,
        raw(kind, folder, **options) as (ws, server),
    ):

        async def answer() -> None:
            for number in range(3):
                await server.receive()
                await server.send(text(str(number)))

        tasks.start_soon(answer)
        for number in range(3):
            await ws.send_text("?")
            assert await ws.receive_text() == str(number)
        yield ws, server, tasks


@pytest.fixture(params=["tcp", "unix"])
def receiving(request: pytest.FixtureRequest, tmp_path: Path) -> Receiving:
    """Give `connected` on a kind of socket; asyncio does not read those of unix."""
    return partial(connected, request.param, tmp_path)


async def test_leaving_reads_the_answer(receiving: Receiving) -> None:
    """Who has received last need not read the answer to the closing frame."""
    async with receiving() as (ws, server, tasks):
        tasks.start_soon(server.answer_close)

    assert ws.close_info == anyws.CloseInfo(1000, "", "local", True)


async def test_another_task_closes(receiving: Receiving) -> None:
    """Who waits for a message learns of it at once, and the answer is read."""
    async with receiving() as (ws, server, tasks):

        async def receive() -> None:
            with pytest.raises(anyws.ConnectionClosed):
                await ws.receive_text()
            ended.set()

        ended = anyio.Event()
        tasks.start_soon(receive)
        await wait_all_tasks_blocked()
        await ws.close(4000)
        await ended.wait()
        assert await server.answer_close() == (4000, "")
        assert (await ws.wait_closed()).clean is True


async def test_the_peer_closes(receiving: Receiving) -> None:
    """Who reads finds the closing frame, and the session's reader deals with it."""
    async with receiving() as (ws, server, tasks):
        tasks.start_soon(server.send, text("last"), closing(1001, mask=None))
        assert await ws.receive_text() == "last"
        with pytest.raises(anyws.ConnectionClosed) as raised:
            await ws.receive_text()
        assert raised.value.code == 1001
        assert await server.receive() == (CLOSE, b"\x03\xe9")
        await server.stream.aclose()


@pytest.mark.parametrize("waits", [False, True], ids=["nobody else", "while receiving"])
async def test_a_ping_finds_its_pong(receiving: Receiving, waits: bool) -> None:
    """Somebody reads, whether or not somebody receives."""
    async with receiving() as (ws, server, tasks):

        async def answer() -> None:
            assert await server.receive() == (PING, b"!")
            await server.send(frame(PONG, b"!", mask=None))

        tasks.start_soon(answer)
        async with anyio.create_task_group() as inner:
            if waits:
                inner.start_soon(ws.receive_text)
            await wait_all_tasks_blocked()
            assert await ws.ping(b"!") >= 0
            await server.send(text("over"))
        tasks.start_soon(server.answer_close)


async def test_a_cancelled_receive_lets_go(receiving: Receiving) -> None:
    """What comes then is read by the session's reader; nothing is lost."""
    async with receiving() as (ws, server, tasks):
        for number in range(20):
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as inner:
                    inner.start_soon(ws.receive_text)
                    await wait_all_tasks_blocked()
                    scope.cancel()
            if number % 2:
                await server.send(text(str(number)))
                assert await ws.receive_text() == str(number)
        tasks.start_soon(server.answer_close)


async def test_a_silent_peer_ends_who_receives(receiving: Receiving) -> None:
    """The keepalive ends a wait for the stream as well, with 1011."""
    times = {"ping_interval": 0.02, "ping_timeout": 0.02, "close_timeout": 0.1}
    async with receiving(**times) as (ws, _, _):
        with pytest.raises(anyws.ConnectionClosed) as raised:
            await ws.receive_text()

    assert (raised.value.code, raised.value.reason) == (1011, "keepalive ping timeout")


async def test_a_close_spares_what_is_being_written(receiving: Receiving) -> None:
    """To end the wait of who receives does not end that of who writes."""
    message = "x" * 2**22
    async with receiving() as (ws, server, tasks):

        async def receive() -> None:
            with pytest.raises(anyws.ConnectionClosed):
                await ws.receive_text()

        tasks.start_soon(receive)
        await ws.send_text(message)
        await wait_all_tasks_blocked()
        tasks.start_soon(ws.close, 4000)
        await wait_all_tasks_blocked()
        frames, code = await server.until_close()
        assert [len(payload) for _, payload in frames] == [len(message)]
        assert code == 4000
        await server.send(closing(4000, mask=None))
        await server.stream.aclose()


async def test_the_stream_is_not_lent_for_long(
    receiving: Receiving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who does not come back in time need not: the end is seen."""
    monkeypatch.setattr("anyws._client.client_channel._LOOK_INTERVAL", 0.01)
    async with receiving() as (ws, server, _):
        await server.send(text("unread"), closing(1001, mask=None))
        assert (await ws.wait_closed()).code == 1001
        assert await ws.receive_text() == "unread"
        await server.stream.aclose()


async def test_answers_have_a_bound(receiving: Receiving) -> None:
    """Who receives reads no pings either whose pongs the peer does not take."""
    sent = anyio.Event()

    async def flood() -> None:
        await server.send(frame(PING, b"x" * 125, mask=None) * 2**16)
        sent.set()

    async with receiving() as (ws, server, tasks):
        tasks.start_soon(flood)
        async with anyio.create_task_group() as inner:
            inner.start_soon(ws.receive_text)
            while not ws._channel.paused:
                await checkpoint()
            assert ws._channel.read_in_receiving_task() is None
            tasks.start_soon(server.drain)
            await sent.wait()
            inner.cancel_scope.cancel()
        await server.stream.aclose()


async def test_a_defect_of_ours_is_not_who_receives(
    receiving: Receiving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends the connection, and leaves the block, whoever was reading."""

    def break_down(wire: Codec, data: bytes) -> list[Any]:
        raise LookupError

    ended = anyio.Event()
    with pytest.RaisesGroup(LookupError):
        async with receiving() as (ws, server, tasks):
            monkeypatch.setattr(Codec, "receive", break_down)
            tasks.start_soon(server.send, text("lost"))
            with pytest.raises(anyws.ConnectionClosed):
                await ws.receive_text()
            ended.set()
    assert ended.is_set()


async def test_nothing_is_received_once_the_block_is_left(receiving: Receiving) -> None:
    """Not what had no room before, either: what was in front of it is gone."""
    async with receiving(receive_buffer=2) as (ws, server, _):
        await server.send(text("1"), text("2"), text("3"), closing(1000, mask=None))
        assert await ws.receive_text() == "1"
        await wait_all_tasks_blocked()
        assert ws.close_info == anyws.CloseInfo(1000, "", "peer", True)

    with pytest.raises(anyws.ConnectionClosed):
        await ws.receive_text()
