"""What holds for an open connection, at either end of it, over every kind of stream."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from starlette.exceptions import WebSocketException

import anyws
from anyws._messages.verbs import Messaging

from ..support.ends import HOST, KINDS, Ends, Listener, listening
from ..support.servers import ENGINE, Servers, quiet

IN_PROCESS = [f"{role}-{kind}" for role in ("client", "server") for kind in KINDS]
PROCESSES = ["hypercorn-trio", "engine-asyncio"]


@pytest.fixture(scope="module")
def fleets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Servers]]:
    """Give Hypercorn without our engine, and with it."""
    folder = tmp_path_factory.mktemp("hypercorn")
    stock = Servers(folder, app="obedient:app")
    engine = Servers(folder, module=ENGINE, app="obedient:app")
    with contextlib.closing(stock), contextlib.closing(engine):
        yield {"hypercorn": stock, "engine": engine}


@pytest.fixture(params=[*IN_PROCESS, *PROCESSES])
async def ends(
    request: pytest.FixtureRequest, fleets: dict[str, Servers], tmp_path: Path
) -> AsyncIterator[Ends]:
    """Give both ends, the near one in each role over each kind of stream."""
    first, _, second = str(request.param).partition("-")
    if first in fleets:
        with quiet(fleets[first].get(second)) as server:
            listener = Listener("tcp", f"ws://{HOST}:{server.port}/obey", {})
            yield Ends("client", listener, tells=False)
    else:
        async with listening(second, tmp_path) as listener:
            yield Ends(first, listener, tells=True)


async def eventually(check: Callable[[], bool]) -> None:
    """Wait until something is true that nothing tells of."""
    while not check():  # noqa: ASYNC110 - it may be in another process
        await anyio.sleep(0.001)


async def test_messages_arrive_whole_and_in_order(ends: Ends) -> None:
    """Messages of both kinds and every size come back as they were sent."""
    messages: list[str | bytes] = ["", b"", "é€😀" * 1000, bytes(range(256)) * 4000]
    messages += map(str, range(100))
    async with ends.near() as ws, anyio.create_task_group() as tasks:

        async def send() -> None:
            for message in messages:
                await ws.send_message(message)

        tasks.start_soon(send)
        assert [await ws.receive_message() for _ in messages] == messages


async def within_a_scope(ws: Messaging, seconds: float) -> str | None:
    """Receive, or give up by an AnyIO deadline."""
    with anyio.move_on_after(seconds):
        return await ws.receive_text()
    return None


async def within_wait_for(ws: Messaging, seconds: float) -> str | None:
    """Receive, or give up by asyncio's wait_for."""
    try:
        return await asyncio.wait_for(ws.receive_text(), seconds)
    except TimeoutError:
        return None


@pytest.mark.parametrize("attempt", [within_a_scope, within_wait_for])
async def test_a_cancelled_receive_loses_nothing(
    ends: Ends,
    anyio_backend_name: str,
    attempt: Callable[[Messaging, float], Awaitable[str | None]],
) -> None:
    """Receives that race delivery lose, double and reorder nothing."""
    if attempt is within_wait_for and anyio_backend_name != "asyncio":
        pytest.skip("native asyncio cancellation")
    random, received, gave_up = Random(1), list[str](), 0
    async with ends.near() as ws, anyio.create_task_group() as tasks:

        async def ask() -> None:
            for number in range(300):
                await ws.send_text(str(number))
                for _ in range(random.randrange(3)):
                    await checkpoint()

        tasks.start_soon(ask)
        while len(received) < 300:
            text = await attempt(ws, random.choice((0, 0, 5e-5, 1e-3)))
            if text is None:
                gave_up += 1
            else:
                received.append(text)

    assert received == [str(number) for number in range(300)]
    assert gave_up > 15


async def test_a_cancelled_send_is_all_or_nothing(ends: Ends) -> None:
    """What has been sent arrives whole, and what was cancelled not at all."""
    random, sent, cut = Random(2), list[str](), 0
    async with ends.near(send_buffer=2) as ws, anyio.create_task_group() as tasks:
        returned = list[str]()

        async def collect() -> None:
            async for message in ws:
                returned.append(str(message)[:10])

        tasks.start_soon(collect)
        for number in range(300):
            text = f"{number:10}" + "x" * random.choice((1, 1000, 30_000))
            with anyio.CancelScope() as scope:
                if random.random() < 0.3:
                    scope.cancel()
                elif random.random() < 0.5:
                    scope.deadline = anyio.current_time() + 1e-4
                await ws.send_text(text)
                sent.append(text[:10])
            cut += scope.cancelled_caught
        await eventually(lambda: len(returned) >= len(sent))
        assert returned == sent
        tasks.cancel_scope.cancel()
    assert cut > 50


async def test_after_the_end_sends_raise_and_what_came_can_be_read(ends: Ends) -> None:
    """Every send raises with the peer's code and reason; then every receive does."""
    async with ends.near() as ws:
        await ws.send_text("!send 3")
        await ws.send_text("!close 4001 bye")
        info = await ws.wait_closed()

        assert info == anyws.CloseInfo(4001, "bye", "peer", True)
        sends: list[Callable[[], Any]] = [
            lambda: ws.send_text("late"),
            lambda: ws.send_bytes(b"late"),
            lambda: ws.send_json("late"),
            lambda: ws.messages.send("late"),
        ]
        for send in sends[:3]:
            with pytest.raises(anyws.ConnectionClosed, match="4001 'bye'"):
                await send()
        with pytest.raises(anyws.ConnectionClosed, match="4001 'bye'"):
            ws.send_nowait("late")
        with pytest.raises(anyio.BrokenResourceError):
            await sends[3]()
        assert [await ws.receive_text() for _ in range(3)] == ["0", "1", "2"]
        for _ in range(2):
            with pytest.raises(anyws.ConnectionClosed, match="4001 'bye'"):
                await ws.receive_text()
        with pytest.raises(anyio.EndOfStream):
            await ws.messages.receive()


async def test_every_waiter_wakes_at_the_end(ends: Ends) -> None:
    """Whoever waits for the peer hears of its leaving."""
    woken = []

    async def wait(call: Callable[[], Awaitable[Any]], name: str) -> None:
        with contextlib.suppress(anyws.ConnectionClosed):
            await call()
        woken.append(name)

    async with ends.near() as ws:

        async def block() -> None:
            with ws.cancel_on_disconnect():
                await anyio.sleep_forever()

        calls: dict[str, Callable[[], Awaitable[Any]]] = {
            "receive": ws.receive_message,
            "wait": ws.wait_closed,
            "wait too": ws.wait_closed,
            "block": block,
        }
        async with anyio.create_task_group() as tasks:
            for name, call in calls.items():
                tasks.start_soon(wait, call, name)
            await checkpoint()
            await ws.send_text("!close 4001 bye")
        assert sorted(woken) == sorted(calls)


async def test_one_task_receives(ends: Ends) -> None:
    """A second receiver is refused, and the first goes on."""
    async with ends.near() as ws, anyio.create_task_group() as tasks:
        received = []

        async def receive() -> None:
            received.append(await ws.receive_text())

        tasks.start_soon(receive)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(anyio.BusyResourceError):
            await ws.receive_text()
        await ws.send_text("hello")
        await eventually(lambda: received == ["hello"])


class Mine(Exception):
    """An error of the user's."""


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (None, 1000, ""),
        (Mine(), 1011, ""),
        (WebSocketException(4003, "no"), 4003, "no"),
        (ExceptionGroup("mine", [Mine()]), 1011, ""),
        (KeyboardInterrupt(), 1001, ""),
    ],
    ids=["return", "error", "WebSocketException", "group", "KeyboardInterrupt"],
)
async def test_what_leaves_the_block_closes_it(
    ends: Ends, error: BaseException | None, code: int, reason: str
) -> None:
    """The peer is told by a code, and what was raised leaves as itself."""
    caught: BaseException | None = None
    try:
        async with ends.near() as ws:
            await ws.send_text("last")
            if error is not None:
                raise error
    except BaseException as exc:
        caught = exc

    assert caught is error
    if ends.tells:
        assert ends.far.received == ["last"]
        assert ends.far.info == anyws.CloseInfo(code, reason, "peer", True)


async def test_a_cancelled_block_closes_with_1012(ends: Ends) -> None:
    """A scope round the block has caught its cancellation, and the peer is told."""
    with anyio.CancelScope() as scope:
        async with ends.near() as ws:
            await ws.send_text("last")
            scope.cancel()
            await anyio.sleep_forever()

    assert scope.cancelled_caught
    if ends.tells:
        assert ends.far.received == ["last"]
        assert ends.far.info == anyws.CloseInfo(1012, "", "peer", True)


async def test_a_native_cancellation_closes_with_1012(
    ends: Ends, anyio_backend_name: str
) -> None:
    """`asyncio.timeout` round the block works as any scope does."""
    if anyio_backend_name != "asyncio":
        pytest.skip("native asyncio cancellation")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(None) as timeout:
            async with ends.near() as ws:
                await ws.send_text("last")
                timeout.reschedule(asyncio.get_running_loop().time())
                await anyio.sleep_forever()

    if ends.tells:
        assert ends.far.received == ["last"]
        assert ends.far.info == anyws.CloseInfo(1012, "", "peer", True)


async def test_closing_again_is_silent(ends: Ends) -> None:
    """The first close is the one that counts, and the peer answers it."""
    async with ends.near() as ws:
        await ws.close(4000, "bye")
        await ws.close(1006)
        await ws.aclose()
        for call in (ws.receive_text, partial(ws.send_text, "late")):
            with pytest.raises(anyws.ConnectionClosed, match="4000 'bye'"):
                await call()
        assert (await ws.wait_closed()).clean is True
    await ws.close()

    if ends.tells:
        assert ends.far.info == anyws.CloseInfo(4000, "bye", "peer", True)


async def test_an_error_at_the_far_end_is_1011(ends: Ends) -> None:
    """A handler that raises closes, and the iteration over its messages ends."""
    async with ends.near() as ws:
        await ws.send_text("!send 2")
        await ws.send_text("!boom")
        assert [message async for message in ws] == ["0", "1"]
        assert (await ws.wait_closed()).code == 1011


async def test_wrong_messages_are_errors_of_one_call(ends: Ends) -> None:
    """After a message of the wrong kind, or bad JSON, the connection is usable."""
    async with ends.near() as ws:
        for message in (b"bytes", "text", "{", b"\xff", '{"a": 1}'):
            await ws.send_message(message)
        with pytest.raises(anyws.MessageTypeError):
            await ws.receive_text()
        with pytest.raises(anyws.MessageTypeError):
            await ws.receive_bytes()
        with pytest.raises(anyws.MessageDecodeError):
            await ws.receive_json()
        with pytest.raises(anyws.MessageDecodeError):
            await ws.receive_json("binary")
        assert await ws.receive_json() == {"a": 1}


async def test_too_big_a_message_is_1009(ends: Ends) -> None:
    """The user hears of MessageTooBig, and the peer of 1009."""
    async with ends.near(max_message_bytes=1000) as ws:
        for size in (1000, 1001):
            await ws.send_bytes(bytes(size))
        assert len(await ws.receive_bytes()) == 1000
        with pytest.raises(anyws.MessageTooBig):
            await ws.receive_bytes()
        with pytest.raises(anyws.MessageTooBig):
            await ws.send_text("late")

    if ends.tells:
        assert ends.far.info is not None
        assert (ends.far.info.code, ends.far.info.initiator) == (1009, "peer")


async def test_an_unread_peer_is_slowed_down_or_dropped(ends: Ends) -> None:
    """By default all is kept for the reader; with "drop_oldest", the newest."""
    async with ends.near(receive_buffer=4, receive_overflow="drop_oldest") as ws:
        await ws.send_text("!send 100")
        await eventually(lambda: ws.statistics().messages_received == 100)
        assert [await ws.receive_text() for _ in range(4)] == ["96", "97", "98", "99"]
        assert ws.statistics().receive_dropped == 96


async def test_unread_messages_wait(ends: Ends) -> None:
    """Thousands of messages wait for a reader who comes late, and none is lost."""
    async with ends.near(receive_buffer=4) as ws:
        await ws.send_text("!send 3000")
        await anyio.wait_all_tasks_blocked()
        assert ws.statistics().receive_queued < 3000
        for number in range(3000):
            assert await ws.receive_text() == str(number)


async def test_too_many_unread_messages_are_1008(ends: Ends) -> None:
    """With "close", a full buffer closes; what is in it can be read."""
    async with ends.near(receive_buffer=4, receive_overflow="close") as ws:
        await ws.send_text("!send 100")
        assert (await ws.wait_closed()).code == 1008
        assert [await ws.receive_text() for _ in range(4)] == ["0", "1", "2", "3"]
        with pytest.raises(anyws.ConnectionClosed, match="1008"):
            await ws.receive_text()


async def test_a_hot_loop_of_sends_can_be_timed_out(ends: Ends) -> None:
    """A deadline ends a loop of sends that never have to wait."""
    async with ends.near(send_overflow="drop_newest") as ws:
        with anyio.move_on_after(0.02) as scope:
            while True:
                await ws.send_text("x")
        assert scope.cancelled_caught
        await ws.send_message(b"still open")


async def test_statistics_count_both_ways(ends: Ends) -> None:
    """Messages and bytes are counted, and what waits."""
    async with ends.near() as ws:
        for message in ("é", b"12345"):
            await ws.send_message(message)
        await eventually(lambda: ws.statistics().messages_received == 2)
        statistics = ws.statistics()

        assert (statistics.messages_sent, statistics.bytes_sent) == (2, 7)
        assert (statistics.bytes_received, statistics.receive_queued) == (7, 2)
        assert (statistics.send_queued, statistics.receive_dropped) == (0, 0)


async def test_the_messages_view_is_a_stream(ends: Ends) -> None:
    """It sends, receives and closes as AnyIO's streams do."""
    async with ends.near() as ws:
        stream = ws.messages
        await stream.send("hello")
        assert await stream.receive() == "hello"
        await stream.send_eof()
        with pytest.raises(anyio.ClosedResourceError):
            await stream.receive()

    if ends.tells:
        assert ends.far.info == anyws.CloseInfo(1000, "", "peer", True)
