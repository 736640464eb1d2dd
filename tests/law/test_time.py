"""The deadlines of a guarded connection, in virtual time."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from trio.lowlevel import current_clock
from trio.testing import MockClock

import anyws

from ..support.channels import Channel
from ..support.wired import CHANNELS, asgi_only, server_only

FOREVER = 1e6


@pytest.fixture(scope="module")
def anyio_backend() -> Any:
    """Run on trio, where time passes at once."""
    return "trio", {"clock": MockClock(autojump_threshold=0)}


@pytest.fixture(params=CHANNELS)
async def channel(request: pytest.FixtureRequest) -> Channel:
    """Return a fresh channel."""
    make: type[Channel] = request.param
    return make()


class Elapsed:
    """The seconds since it was made."""

    def __init__(self) -> None:
        self._start = anyio.current_time()

    def __call__(self) -> float:
        """Return them, to a tenth: a deadline that passes is looked at once more."""
        return round(anyio.current_time() - self._start, 1)


async def test_a_peer_that_says_nothing_is_closed_with_1001(channel: Channel) -> None:
    """`idle_timeout` counts from the accept, and anew from each message."""
    async with channel.websocket(idle_timeout=60) as ws:
        if channel.has_handshake:
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


@asgi_only("of a receive that can be cut")
async def test_a_receive_is_not_cut_short_while_messages_come(channel: Channel) -> None:
    """Each puts the deadline off, and leaves the receive alone."""
    async with channel.websocket(idle_timeout=60) as ws:
        await ws.accept()
        for _ in range(20):
            await anyio.sleep(50)
            channel.arrive("x")
            await ws.receive_text()

        assert channel.receives_cut == 1  # the one that is pending


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


@pytest.mark.parametrize("inside", [True, False])
async def test_a_silent_peer_ends_a_block_that_only_sends(
    channel: Channel, inside: bool
) -> None:
    """What overflows in `cancel_on_disconnect()` keeps nobody waiting: it is read."""
    async with channel.websocket(idle_timeout=60, receive_buffer=1) as ws:
        await ws.accept()
        if not inside:
            channel.arrive("1", "2", "3")
            await anyio.sleep(1000)
        elapsed = Elapsed()
        with (
            pytest.raises(anyws.ConnectionClosed, match="1001"),
            anyio.fail_after(FOREVER),
            ws.cancel_on_disconnect(),
        ):
            if inside:
                channel.arrive("1", "2", "3")
            await anyio.sleep_forever()
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
            channel.resume()
            assert elapsed() == 15
            assert caught.value.info == anyws.CloseInfo(1006, "", "network", False)
            assert isinstance(caught.value.__cause__, TimeoutError)
            await ws.wait_closed()
            assert elapsed() - 15 <= 0.6
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


@asgi_only("it is Hypercorn's leak")
@pytest.mark.parametrize(
    ("pause", "lasts", "left_after"),
    [(0.01, 20, 20), (0.01, 90, 50), (0.4, 20, 5)],
    ids=["a flood", "an endless flood", "a talker"],
)
async def test_a_flood_is_drained_and_a_talker_is_left(
    channel: Channel, pause: float, lasts: float, left_after: float
) -> None:
    """A peer that does not answer is left in time, a flood ten times later."""
    channel.answers = False

    async def talk() -> None:
        for _ in range(int(lasts / pause)):
            await anyio.sleep(pause)
            channel.arrive("more")

    async with anyio.create_task_group() as tasks:
        async with channel.websocket(close_timeout=5) as ws:
            await ws.accept()
            tasks.start_soon(talk)
            elapsed = Elapsed()
        assert elapsed() == left_after
        tasks.cancel_scope.cancel()


@server_only("a client does not accept")
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


async def test_a_plain_accept_is_idle_from_the_block_on(channel: Channel) -> None:
    """A connection that was accepted plain is idle from the start of the block."""
    ws = channel.websocket(idle_timeout=60)
    await ws.accept()
    await anyio.sleep(100)
    elapsed = Elapsed()
    async with ws:
        assert (await ws.wait_closed()).code == 1001
        assert elapsed() == 60


async def test_no_deadline_puts_off_another(channel: Channel) -> None:
    """The idle time ends when it is over, though a send would be given longer.

    Where the frames are ours, a peer that takes a message that had to wait is not idle.
    """
    async with channel.websocket(idle_timeout=5, send_timeout=10) as ws:
        await ws.accept()
        elapsed = Elapsed()
        await anyio.sleep(4)
        channel.stall()
        await ws.send_text("x")
        await anyio.sleep(0.5)
        channel.resume()
        assert (await ws.wait_closed()).code == 1001
        assert elapsed() == (9.5 if channel.reads_ahead else 5)


async def test_the_idle_time_changes_no_other_end(channel: Channel) -> None:
    """The idle time may run out while the answer to our close is awaited."""
    channel.answers = False
    async with channel.websocket(idle_timeout=1) as ws:
        await ws.accept()
        elapsed = Elapsed()
        await ws.close(4000)
        info = await ws.wait_closed()
        assert info == anyws.CloseInfo(4000, "", "local", False)
        assert elapsed() == 5


async def test_a_send_that_was_taken_is_over(channel: Channel) -> None:
    """`send_timeout` does not run on once the server has taken the message."""
    async with channel.websocket(send_timeout=10) as ws:
        await ws.accept()
        await ws.send_text("x")
        await anyio.sleep(30)
        assert ws.close_info is None


@asgi_only("the direct channel writes all at once")
async def test_a_send_that_is_given_up_is_cancelled(channel: Channel) -> None:
    """At `send_timeout` the server's send is cut short, and no more is handed over."""
    async with channel.websocket(send_timeout=10) as ws:
        await ws.accept()
        channel.stall()
        await ws.send_text("cut")
        await ws.send_text("never begun")
        await anyio.sleep(11)
        assert [event["text"] for event in channel.torn] == ["cut"]
    assert channel.messages == []


async def test_what_is_not_taken_in_time_is_let_go(channel: Channel) -> None:
    """Nothing stays queued once a close has been given up."""
    async with channel.websocket(close_timeout=5) as ws:
        await ws.accept()
        channel.stall()
        for _ in range(3):
            await ws.send_text("x")
        elapsed = Elapsed()
        await ws.close()
        assert elapsed() == 5
        assert ws.statistics().send_queued == 0


async def test_a_slow_server_still_gets_a_cancelled_hosts_close(
    channel: Channel,
) -> None:
    """A cancelled host waits less for the answer only, not for the closing frame."""
    channel.answers = False

    async def resume() -> None:
        await anyio.sleep(6)
        channel.resume()

    elapsed = Elapsed()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(resume)
        with anyio.move_on_after(3):
            async with channel.websocket() as ws:
                await ws.accept()
                channel.stall()
                await ws.send_text("last")
                await anyio.sleep(FOREVER)
    assert elapsed() == 7
    assert channel.messages == ["last"]
    assert channel.closes == [(1012, "")]


@server_only("a client does not accept")
@pytest.mark.parametrize("way", ["raise", "reject", "deny"])
async def test_before_accept_nothing_is_waited_for(channel: Channel, way: str) -> None:
    """Whoever leaves before accepting leaves at once, however they leave."""
    channel.answers = False
    elapsed = Elapsed()
    with anyio.move_on_after(FOREVER) as limit, pytest.raises(ValueError, match="mine"):
        async with channel.websocket() as ws:
            if way == "reject":
                await ws.close()
            if way == "deny":
                await ws.send(DENIAL)
            raise ValueError("mine")
    assert elapsed() == 0
    assert not limit.cancelled_caught


DENIAL = {"type": "websocket.http.response.start", "status": 401, "headers": []}
BODY = {"type": "websocket.http.response.body", "body": b"no", "more_body": True}


@server_only("a client denies nothing")
@pytest.mark.parametrize("shielded", [True, False])
async def test_a_stuck_denial_response_is_left(
    channel: Channel, shielded: bool
) -> None:
    """A denial response that the server does not take is given up in time."""
    channel.stall(shielded=shielded)

    async def resume() -> None:
        await anyio.sleep(100)
        channel.resume()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(resume)
        async with channel.websocket(close_timeout=5) as ws:
            with anyio.move_on_after(1):
                await ws.send(DENIAL)
                await ws.send(BODY)
            elapsed = Elapsed()
        assert elapsed() == (99 if shielded else 5)
        tasks.cancel_scope.cancel()
    assert ws.close_info is not None
    assert ws.close_info.code == 1006


@pytest.mark.parametrize("end", ["the peer leaves", "a receive fails"])
async def test_a_stuck_send_to_nobody_keeps_nobody(channel: Channel, end: str) -> None:
    """Once the connection has ended, a pending send is given up with the block."""
    async with channel.websocket() as ws:
        await ws.accept()
        channel.stall()
        await ws.send_text("x")
        await anyio.wait_all_tasks_blocked()
        if end == "the peer leaves":
            channel.leave()
        else:
            channel.fail()
        await ws.wait_closed()
        elapsed = Elapsed()
    assert elapsed() == 0


async def test_a_closing_frame_that_failed_is_not_answered(channel: Channel) -> None:
    """Where the closing frame could not be sent, no answer is waited for."""
    elapsed = Elapsed()
    async with channel.websocket() as ws:
        await ws.accept()
        channel.error = OSError()
    assert elapsed() == 0


async def test_a_disconnect_that_crosses_our_close_is_an_answer() -> None:
    """Leaving waits for nothing when the peer leaves in the very turn of our close."""
    elapsed = Elapsed()
    for _ in range(20):  # in either order of the tasks, which trio leaves to chance
        crossing = Channel()
        crossing.answers = False
        async with crossing.websocket() as ws:
            await ws.accept()
            await anyio.wait_all_tasks_blocked()
            crossing.leave()
    assert elapsed() == 0


async def test_a_peer_that_left_gets_no_closing_frame(channel: Channel) -> None:
    """A close that waits for its turn is not sent any more once the peer has left."""
    async with channel.websocket() as ws, anyio.create_task_group() as tasks:
        await ws.accept()
        channel.stall()
        await ws.send_text("x")
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(ws.close)
        await anyio.wait_all_tasks_blocked()
        channel.leave()
        await anyio.wait_all_tasks_blocked()
        elapsed = Elapsed()
        channel.resume()
    assert elapsed() == 0
    assert channel.closes == []
    assert channel.unread == 0


@asgi_only("the direct channel reads on")
@pytest.mark.parametrize("full_first", [True, False])
async def test_an_unread_peer_hides_no_loss(channel: Channel, full_first: bool) -> None:
    """`wait_closed` returns when the channel has failed and no more can be read."""
    async with channel.websocket(receive_buffer=1) as ws:
        await ws.accept()
        if full_first:
            channel.arrive(*"abc")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ws.wait_closed)
            await anyio.wait_all_tasks_blocked()
            elapsed = Elapsed()
            channel.error = OSError()
            await ws.send_text("x")
            await anyio.wait_all_tasks_blocked()
            if not full_first:
                channel.arrive(*"abc")
        assert elapsed() == 0
        assert (await ws.wait_closed()).code == 1006
        assert await ws.receive_text() == "a"


async def hold_up() -> None:
    """Let time pass in which no task ran, and then some turns of the scheduler."""
    clock = current_clock()
    assert isinstance(clock, MockClock)
    clock.jump(100)
    for _ in range(3):
        await checkpoint()


async def test_an_event_loop_that_was_held_up_is_no_idle_peer(channel: Channel) -> None:
    """A message that is about to arrive when the deadline is noticed is in time."""
    async with channel.websocket(idle_timeout=60) as ws:
        await ws.accept()
        for _ in range(2):
            await anyio.wait_all_tasks_blocked()
            await hold_up()
            channel.arrive("in time")
            assert await ws.receive_text() == "in time"
        assert ws.close_info is None


async def test_a_loop_that_was_held_up_is_no_stuck_send(channel: Channel) -> None:
    """A send that is about to be taken when the deadline is noticed is in time."""
    async with channel.websocket(send_timeout=10) as ws:
        await ws.accept()
        for _ in range(2):
            channel.stall()
            await ws.send_text("x")
            await anyio.wait_all_tasks_blocked()
            await hold_up()
            channel.resume()
            await anyio.wait_all_tasks_blocked()
        assert ws.close_info is None
    assert channel.messages == ["x", "x"]


@server_only("a client denies nothing")
async def test_a_lost_handshake_has_its_last_words_soon(channel: Channel) -> None:
    """A client that is lost before the accept is not waited for any longer."""
    channel.error = OSError()
    async with channel.websocket() as ws:
        with pytest.raises(anyws.ConnectionClosed):
            await ws.send(DENIAL)
            await ws.send(BODY)
        elapsed = Elapsed()
        assert (await ws.wait_closed()).code == 1006
        assert elapsed() < 1


async def test_a_lost_peer_that_goes_on_sending_is_left(channel: Channel) -> None:
    """What it says after a send has failed is heard for `close_timeout` at most."""

    async def chatter() -> None:
        while True:
            channel.arrive("more")
            await anyio.sleep(0.1)

    async with anyio.create_task_group() as tasks:
        async with channel.websocket(send_timeout=10, close_timeout=20) as ws:
            await ws.accept()
            channel.stall()
            tasks.start_soon(chatter)
            elapsed = Elapsed()
            await ws.send_text("x")
            with pytest.raises(anyws.ConnectionClosed, match="1006"):
                while elapsed() < 1000:
                    assert await ws.receive_text() == "more"
            assert elapsed() == 30
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("before", [True, False])
async def test_what_a_lost_peer_has_said_waits_for_who_reads_late(
    channel: Channel, before: bool
) -> None:
    """No time counts in which it is we who do not receive."""
    limits: dict[str, Any] = {"send_timeout": 50, "close_timeout": 20}
    async with channel.websocket(receive_buffer=1, **limits) as ws:
        await ws.accept()
        if before:
            channel.arrive("1", "2", "3")
            await anyio.wait_all_tasks_blocked()
        channel.error = OSError()
        await ws.send_text("x")
        await anyio.wait_all_tasks_blocked()
        if not before:
            channel.arrive("1", "2", "3")
        await anyio.sleep(100)
        assert [await ws.receive_text() for _ in range(3)] == ["1", "2", "3"]
        with pytest.raises(anyws.ConnectionClosed, match="1006"):
            await ws.receive_text()
