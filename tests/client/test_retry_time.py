"""The seconds of coming back to a server, in virtual time, over memory."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import anyio
import pytest
from anyio.abc import ByteStream, TaskGroup
from anyio.lowlevel import checkpoint
from trio.testing import MockClock

import anyws

from ..support.peers import Visit, in_memory
from ..support.wired import CLOSE, close_payload, frame
from .test_retry import SOON, answering, closing


class Net:
    """A network in memory, and what happens on it.

    Attributes:
        times: When each try was made, in seconds since the start.
        ends: Our ends of the connections.
        happenings: A script for each try, or an error; then the last one again.
    """

    def __init__(self, tg: TaskGroup, happenings: list[Any]) -> None:
        self.times: list[float] = []
        self.ends: list[ByteStream] = []
        self.happenings = happenings
        self._tg = tg
        self._start = anyio.current_time()

    @property
    def now(self) -> float:
        """The seconds since the start."""
        return round(anyio.current_time() - self._start, 6)

    async def connect_tcp(self, host: str, port: int) -> ByteStream:
        """Stand in for AnyIO's."""
        self.times.append(self.now)
        happening = self.happenings[0]
        if len(self.happenings) > 1:
            del self.happenings[0]
        await checkpoint()
        if isinstance(happening, Exception):
            raise happening
        ours, theirs = in_memory()

        async def serve() -> None:
            async with theirs:
                try:
                    await happening(Visit(theirs))
                except (anyio.EndOfStream, anyio.BrokenResourceError):
                    pass

        self._tg.start_soon(serve)
        self.ends.append(ours)
        return ours


REFUSED = ConnectionRefusedError(111, "refused")


@pytest.fixture(scope="module")
def anyio_backend() -> Any:
    """Pass the time when nothing else is to be done."""
    return "trio", {"clock": MockClock(autojump_threshold=0)}


@pytest.fixture(autouse=True)
def longest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw the longest delay each time."""
    monkeypatch.setattr(random, "uniform", lambda _, most: most)


@pytest.fixture
def net(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Give a network whose happenings are named."""

    @asynccontextmanager
    async def network(*happenings: Any) -> AsyncIterator[Net]:
        async with anyio.create_task_group() as tg:
            net = Net(tg, list(happenings))
            monkeypatch.setattr("anyws._client.dial.connect_tcp", net.connect_tcp)
            yield net
        for end in net.ends:
            with pytest.raises((anyio.ClosedResourceError, anyio.EndOfStream)):
                await end.receive()

    return network


async def test_it_backs_off(net: Any) -> None:
    """From try to try, until one comes to something."""
    async with net(*[REFUSED] * 5, Visit.echo) as network:
        async for ws in anyws.connect("ws://a"):
            async with ws:
                break
    assert network.times == [0, 1, 3, 7, 15, 31]


async def test_a_healthy_connection_begins_anew(net: Any) -> None:
    """One that is lost too soon does not."""

    def lasting(seconds: float) -> Callable[[Visit], Awaitable[None]]:
        async def script(visit: Visit) -> None:
            await visit.accept()
            await anyio.sleep(seconds)

        return script

    async with net(
        REFUSED, lasting(5), REFUSED, lasting(10), REFUSED, Visit.echo
    ) as network:
        turns = 0
        async for ws in anyws.connect("ws://a"):
            async with ws:
                turns += 1
                if turns == 3:
                    break
                await ws.wait_closed()
    # 1; 5 open, 2; 4; 10 open, 0.5; 1
    assert network.times == [0, 1, 8, 12, 22.5, 23.5]


@pytest.mark.parametrize("how", ["seconds", "date"])
async def test_a_server_says_when(net: Any, how: str) -> None:
    """By `Retry-After`, seconds or a date."""
    date = datetime.now(UTC) + timedelta(seconds=100)
    value = "100" if how == "seconds" else format_datetime(date, usegmt=True)
    head = f"HTTP/1.1 503 x\r\nRetry-After: {value}\r\nContent-Length: 0\r\n\r\n"
    async with net(answering(head), Visit.echo) as network:
        async with anyws.connect("ws://a", retry=anyws.Retry()):
            pass
    assert 95 < network.times[1] <= 100


async def test_a_server_that_is_too_busy(net: Any) -> None:
    """It is left alone for longer each time, however long it bore with us."""

    async def busy(visit: Visit) -> None:
        await visit.accept()
        await anyio.sleep(100)
        await visit.send(frame(CLOSE, close_payload(1013), mask=None))
        await visit.gone()

    retry = anyws.Retry(give_up_after=60)
    options = anyws.Options(ping_interval=None)
    async with net(busy, busy, busy, Visit.echo) as network:
        async for ws in anyws.connect("ws://a", retry=retry, options=options):
            async with ws:
                if len(network.times) == 4:
                    break
                await ws.wait_closed()
    assert [round(time) for time in network.times] == [0, 101, 203, 307]


async def test_it_gives_up_trying(net: Any) -> None:
    """The last error is raised, as itself."""
    async with net(REFUSED) as network:
        with pytest.raises(anyws.HandshakeError, match="Connection refused"):
            async for _ in anyws.connect("ws://a", retry=anyws.Retry(give_up_after=10)):
                pytest.fail("it was opened")
        assert network.now == 10
    assert network.times == [0, 1, 3, 7, 10]


async def test_the_first_try_counts(net: Any) -> None:
    """The seconds begin with it, not with its end."""

    async def silent(visit: Visit) -> None:
        await visit.gone()

    retry = anyws.Retry(give_up_after=5)
    async with net(silent, REFUSED) as network:
        with pytest.raises(anyws.HandshakeError, match="Connection refused"):
            async with anyws.connect("ws://a", open_timeout=3, retry=retry):
                pytest.fail("it was opened")
    assert network.times == [0, 4, 5]


async def test_it_gives_up_connections_that_do_not_last(net: Any) -> None:
    """The end of the last one is raised."""
    async with net(closing(4000)) as network:
        with pytest.raises(anyws.ConnectionClosed) as caught:
            async for ws in anyws.connect(
                "ws://a", retry=anyws.Retry(give_up_after=10)
            ):
                async with ws:
                    await ws.wait_closed()
    assert caught.value.code == 4000
    assert [round(time) for time in network.times] == [0, 1, 3, 7, 10]


async def test_giving_up_what_was_never_entered(net: Any) -> None:
    """Of its end nothing is known."""
    async with net(Visit.echo):
        with pytest.raises(anyws.ConnectionClosed) as caught:
            async for _ in anyws.connect(
                "ws://a", retry=anyws.Retry(give_up_after=0.1)
            ):
                pass
    assert caught.value.code == 1006


async def test_each_try_has_its_own_time_limit(net: Any) -> None:
    """A server that accepts and says nothing is tried again."""

    async def silent(visit: Visit) -> None:
        await visit.gone()

    async with net(silent, silent, Visit.echo) as network:
        async for ws in anyws.connect("ws://a", open_timeout=3):
            async with ws:
                break
    assert network.times == [0, 4, 9]


async def test_redirects_have_one_time_limit(net: Any) -> None:
    """It is that of the whole try."""

    async def slow(visit: Visit) -> None:
        await visit.read_request()
        await anyio.sleep(2)
        await visit.send("HTTP/1.1 302 x\r\nLocation: /there\r\n\r\n")

    async with net(slow) as network:
        with pytest.raises(anyws.HandshakeError) as caught:
            async with anyws.connect("ws://a", open_timeout=5):
                pass
        assert network.now == 5
    assert network.times == [0, 2, 4]
    words = "ws://a:80/there: the opening handshake timed out after 5 s"
    assert str(caught.value) == words


@pytest.mark.parametrize("length", ["", "Content-Length: 99\r\n"])
async def test_a_rejection_is_told_though_its_body_has_no_end(
    net: Any, length: str
) -> None:
    """It has two seconds behind its head, however little comes at a time."""

    async def script(visit: Visit) -> None:
        await visit.read_request()
        await anyio.sleep(5)
        await visit.send(f"HTTP/1.1 200 x\r\n{length}\r\n")
        while True:
            await visit.stream.send(b"a")
            await anyio.sleep(0.75)

    async with net(script) as network:
        with pytest.raises(anyws.HandshakeRejected) as caught:
            async with anyws.connect("ws://a", open_timeout=None):
                pass
        assert network.now == 7
    assert caught.value.body == b"aaa"
    assert isinstance(caught.value.__cause__, TimeoutError)


@pytest.mark.parametrize("length", ["", "Content-Length: 9\r\n"])
async def test_the_body_of_a_redirect_is_not_waited_for(net: Any, length: str) -> None:
    """It says nothing that is of use."""

    async def script(visit: Visit) -> None:
        await visit.read_request()
        await visit.send(f"HTTP/1.1 307 x\r\nLocation: /a\r\n{length}\r\nab")
        await visit.gone()

    async with net(script, Visit.echo) as network:
        async with anyws.connect("ws://a"):
            pass
    assert network.times == [0, 0]


@pytest.mark.parametrize(
    ("happening", "limit"),
    [
        (REFUSED, 0.5),  # between two tries
        (Visit.gone, 2.5),  # in the midst of the opening handshake
        (Visit.echo, 50.0),  # in the block
        (closing(1000), 0.5),  # between two connections
    ],
    ids=["refused", "opening", "open", "lost"],
)
async def test_a_cancellation_leaves_the_loop(
    net: Any, happening: Any, limit: float
) -> None:
    """At once, wherever it strikes, and nothing is left."""
    async with net(happening) as network:
        with anyio.move_on_after(limit) as scope:
            async for ws in anyws.connect("ws://a", options=SOON):
                async with ws:
                    await ws.wait_closed()
        assert scope.cancelled_caught
        assert limit <= network.now <= limit + 1
