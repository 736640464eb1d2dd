"""The deadlines of a guarded connection, in virtual time."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from trio.testing import MockClock

import anyws

from .channels import Channel

FOREVER = 1e6


@pytest.fixture(scope="module")
def anyio_backend() -> Any:
    """Run on trio, where time passes at once."""
    return "trio", {"clock": MockClock(autojump_threshold=0)}


@pytest.fixture
async def channel() -> Channel:
    """Return a fresh channel."""
    return Channel()


class Elapsed:
    """The seconds since it was made."""

    def __init__(self) -> None:
        self._start = anyio.current_time()

    def __call__(self) -> float:
        """Return them, rounded."""
        return round(anyio.current_time() - self._start, 3)


async def test_a_peer_that_says_nothing_is_closed_with_1001(channel: Channel) -> None:
    """`idle_timeout` counts from the accept, and anew from each message."""
    async with channel.websocket(idle_timeout=60) as ws:
        await anyio.sleep(100)
        await ws.accept()
        elapsed = Elapsed()
        for _ in range(3):
            await anyio.sleep(50)
            channel.arrive("still here")
            assert await ws.receive_text() == "still here"
        with pytest.raises(anyws.ConnectionClosed, match="1001 'idle timeout'"):
            await ws.receive_text()
        assert elapsed() == 210
    assert channel.closes == [(1001, "idle timeout")]


async def test_time_in_which_we_hold_the_peer_up_is_not_idle(channel: Channel) -> None:
    """While a full buffer keeps the peer waiting, `idle_timeout` does not count."""
    async with channel.websocket(idle_timeout=60, receive_buffer=1) as ws:
        await ws.accept()
        channel.arrive("1", "2", "3")
        await anyio.sleep(1000)
        assert [await ws.receive_text() for _ in range(3)] == ["1", "2", "3"]
        elapsed = Elapsed()
        with pytest.raises(anyws.ConnectionClosed, match="1001"):
            await ws.receive_text()
        assert elapsed() == 60


@pytest.mark.parametrize("shielded", [True, False])
@pytest.mark.parametrize("unread", [0, 5])
async def test_a_server_that_takes_nothing_is_given_up(
    channel: Channel, shielded: bool, unread: int
) -> None:
    """`send_timeout` ends the connection, whatever the server and the reader do."""
    elapsed = Elapsed()
    with anyio.move_on_after(FOREVER) as limit:
        async with channel.websocket(send_timeout=10, receive_buffer=1) as ws:
            await ws.accept()
            await anyio.sleep(5)
            channel.stall(shielded=shielded)
            channel.arrive(*"abcde"[:unread])
            with pytest.raises(anyws.ConnectionClosed) as caught:
                while True:
                    await ws.send_text("x")
            assert elapsed() == 15
            assert caught.value.info == anyws.CloseInfo(1006, "", "network", None)
            assert isinstance(caught.value.__cause__, TimeoutError)
            channel.resume()
            assert (await ws.wait_closed()).clean is False
            assert elapsed() == 20
    assert not limit.cancelled_caught
    assert channel.closes == []


async def test_sends_that_are_taken_in_time_go_on(channel: Channel) -> None:
    """`send_timeout` is for one send: many slow ones may take longer."""
    async with channel.websocket(send_timeout=10) as ws:
        await ws.accept()
        for _ in range(5):
            channel.stall()
            await ws.send_text("x")
            await anyio.sleep(9)
            channel.resume()
            await anyio.sleep(0.1)
    assert len(channel.messages) == 5
    assert channel.closes == [(1000, "")]


@pytest.mark.parametrize("stalled", [True, False])
async def test_leaving_takes_no_longer_than_close_timeout(
    channel: Channel, stalled: bool
) -> None:
    """What is queued, the closing frame and the answer share one deadline."""
    channel.answers = False
    async with channel.websocket(close_timeout=7) as ws:
        await ws.accept()
        if stalled:
            channel.stall()
        await ws.send_text("x")
        elapsed = Elapsed()
    assert elapsed() == 7
    assert ws.close_info == anyws.CloseInfo(1000, "", "local", False)


async def test_a_cancelled_host_does_not_wait_long_for_an_answer(
    channel: Channel,
) -> None:
    """A server that shuts down has stopped reading: no answer will come."""
    channel.answers = False
    elapsed = Elapsed()
    with anyio.move_on_after(3):
        async with channel.websocket() as ws:
            await ws.accept()
            await anyio.sleep(FOREVER)
    assert elapsed() == 4
    assert channel.closes == [(1012, "")]


@pytest.mark.parametrize(("pause", "left_after"), [(0.01, 20.03), (0.4, 5)])
async def test_a_flood_is_drained_and_a_talker_is_left(
    channel: Channel, pause: float, left_after: float
) -> None:
    """A peer that does not answer is left in time, but not in the midst of a flood."""
    channel.answers = False

    async def talk() -> None:
        for _ in range(int(20 / pause)):
            await anyio.sleep(pause)
            channel.arrive("more")

    async with anyio.create_task_group() as tasks:
        async with channel.websocket(close_timeout=5) as ws:
            await ws.accept()
            tasks.start_soon(talk)
            elapsed = Elapsed()
        assert abs(elapsed() - left_after) < 0.02
        tasks.cancel_scope.cancel()


async def test_a_rejected_client_is_not_waited_for(channel: Channel) -> None:
    """After a rejection there is nothing to wait for."""
    channel.answers = False
    elapsed = Elapsed()
    async with channel.websocket():
        pass
    assert elapsed() == 0


async def test_a_lost_connection_is_not_waited_for_in_leaving(
    channel: Channel,
) -> None:
    """A channel that failed keeps nobody, once the block is left."""
    elapsed = Elapsed()
    async with channel.websocket() as ws:
        await ws.accept()
        channel.error = OSError()
        await ws.send_text("x")
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(anyws.ConnectionClosed):
            await ws.send_text("x")
    assert elapsed() == 0
