"""Progress is life: which peers the keepalive and the idle time give up, and when.

Over our own frames, from both ends, in virtual time.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeAlias

import anyio
import pytest
from trio.testing import MockClock

import anyws
from anyws._frames.transport import PIECE_BYTES

from ..support.wired import (
    BINARY,
    CONT,
    MASK,
    PING,
    DialledChannel,
    EagerChannel,
    WiredChannel,
    frame,
)

Peer: TypeAlias = WiredChannel | DialledChannel

# After the accept a ping goes out at 10, and its answer is due at 15.
PINGS: Final[dict[str, Any]] = {"ping_interval": 10, "ping_timeout": 5}
NO_PINGS: Final[dict[str, Any]] = {"ping_interval": None}
LONG: Final = bytes(20 * PIECE_BYTES - 100)  # a message that is written in 20 pieces


@pytest.fixture(scope="module")
def anyio_backend() -> Any:
    """Run on trio, where time passes at once."""
    return "trio", {"clock": MockClock(autojump_threshold=0)}


QUEUEING: Final = [
    pytest.param(WiredChannel, id="server"),
    pytest.param(DialledChannel, id="client"),
]


@pytest.fixture(params=QUEUEING)
async def channel(request: pytest.FixtureRequest) -> Peer:
    """Return a fresh channel: a client of our server, or a server of our client."""
    make: type[Peer] = request.param
    return make()


any_outlet: Final = pytest.mark.parametrize(
    "channel",
    [*QUEUEING, pytest.param(EagerChannel, id="eager server")],
    indirect=True,
)


class Elapsed:
    """The seconds since it was made, to a tenth."""

    def __init__(self) -> None:
        self._start = anyio.current_time()

    def __call__(self) -> float:
        """Return them."""
        return round(anyio.current_time() - self._start, 1)


def peers_frame(
    channel: Peer, opcode: int, payload: bytes, *, fin: bool = True
) -> bytes:
    """Write a frame as the peer of this channel does."""
    mask = None if isinstance(channel, DialledChannel) else MASK
    return frame(opcode, payload, fin=fin, mask=mask)


async def trickle(channel: Peer, data: bytes, pieces: int, pause: float) -> None:
    """Let bytes arrive in so many pieces, a pause before each."""
    size = -(-len(data) // pieces)
    for at in range(0, len(data), size):
        await anyio.sleep(pause)
        channel.read(data[at : at + size])


async def echo(ws: anyws.WebSocket) -> None:
    """Send back what comes."""
    while True:
        await ws.send_message(await ws.receive_message())


# A peer that reads nothing


@any_outlet
async def test_a_peer_that_writes_and_never_reads_is_closed(channel: Peer) -> None:
    """An echo that is stuck in a send is no reason to wait: nothing moves."""
    async with channel.websocket(**PINGS, receive_buffer=2, send_buffer=2) as ws:
        await ws.accept()
        elapsed = Elapsed()
        channel.stall()
        channel.arrive(*[b"x" * 60_000] * 200)
        with anyio.move_on_after(9):
            await echo(ws)
        assert channel.unread > 0  # the reading has stopped
        with pytest.raises(anyws.ConnectionClosed, match="1011 'keepalive ping time"):
            await echo(ws)
        assert elapsed() == 15


@any_outlet
async def test_a_peer_that_pings_and_never_reads_is_closed(channel: Peer) -> None:
    """Its unread pongs stop the reading, and wait."""
    async with channel.websocket(**PINGS) as ws:
        await ws.accept()
        elapsed = Elapsed()
        channel.stall()
        ping = peers_frame(channel, PING, bytes(125))
        for _ in range(100):
            channel.read(ping * 40)
        assert (await ws.wait_closed()).code == 1011
        assert elapsed() == pytest.approx(20)  # `close_timeout` included
        assert channel.unread > 0


@any_outlet
async def test_a_pulled_cable_is_found_under_a_trickle_of_ticks(channel: Peer) -> None:
    """Small messages that the kernel takes at once show nothing."""
    channel.answers_pings = False
    async with channel.websocket(**PINGS) as ws:
        await ws.accept()
        elapsed = Elapsed()
        with pytest.raises(anyws.ConnectionClosed, match="1011"):
            while True:
                await ws.send_text("tick")
                await anyio.sleep(0.1)
        assert elapsed() == pytest.approx(15, abs=0.2)


async def test_a_reader_that_stops_is_given_up_after_its_last_piece(
    channel: Peer,
) -> None:
    """The answer is due so long after what moved last, and not after the ping."""
    channel.pace = 3
    async with channel.websocket(**PINGS) as ws:
        await ws.accept()
        elapsed = Elapsed()
        await ws.send_bytes(LONG)
        await anyio.sleep(17)  # five pieces have moved, the last one at 15
        channel.stall()
        await anyio.sleep(2.9)
        assert ws.close_info is None
        with pytest.raises(anyws.ConnectionClosed, match="1011"):
            await ws.receive_message()
        assert elapsed() == 20


# A peer that is slow


async def test_a_slow_message_keeps_its_sender_alive(channel: Peer) -> None:
    """The pong stands behind the message; its bytes come all the time."""
    channel.answers_pings = False
    payload = bytes(600_000)
    async with (
        channel.websocket(**PINGS) as ws,
        anyio.create_task_group() as tasks,
    ):
        await ws.accept()
        elapsed = Elapsed()
        message = peers_frame(channel, BINARY, payload)
        tasks.start_soon(trickle, channel, message, 96, 0.5)
        assert await ws.receive_bytes() == payload
        assert elapsed() == 48
        assert len(channel.pings) == 1
        # The ping is answered no more: due 5 s after the last bytes.
        assert (await ws.wait_closed()).code == 1011
        assert elapsed() == 53


async def test_a_slow_reader_is_alive_while_a_long_message_moves(channel: Peer) -> None:
    """Our ping stands behind our own message."""
    channel.pace = 4
    async with channel.websocket(**PINGS) as ws:
        await ws.accept()
        elapsed = Elapsed()
        await ws.send_bytes(LONG)
        await anyio.sleep(79)
        assert channel.pings == []
        assert ws.close_info is None
        await anyio.sleep(10)
        assert len(channel.pings) == 1
        assert channel.messages == [LONG]
        assert elapsed() == 89
        assert ws.close_info is None


async def test_a_reader_slower_than_a_piece_in_the_timeout_is_given_up(
    channel: Peer,
) -> None:
    """A piece that still waits is no progress."""
    channel.pace = 30
    async with channel.websocket(**PINGS) as ws:
        await ws.accept()
        elapsed = Elapsed()
        await ws.send_bytes(LONG)
        with pytest.raises(anyws.ConnectionClosed, match="1011"):
            await ws.receive_message()
        assert elapsed() == 15


# An application that is slow


async def tick(ws: anyws.WebSocket) -> None:
    """Send a little, all the time."""
    while True:
        await ws.send_text("tick")
        await anyio.sleep(0.3)


async def nothing(ws: anyws.WebSocket) -> None:
    """Send nothing."""


@any_outlet
@pytest.mark.parametrize("meanwhile", [tick, nothing])
async def test_an_application_that_computes_keeps_its_peer(
    channel: Peer, meanwhile: Callable[[anyws.WebSocket], Coroutine[Any, Any, None]]
) -> None:
    """While it does not receive, no pong can be read; and then there is time for it."""
    channel.answers_pings = False
    async with channel.websocket(**PINGS, receive_buffer=1) as ws:
        await ws.accept()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(meanwhile, ws)
            channel.arrive(*[b"x"] * 400)
            await anyio.sleep(60)
            assert channel.unread > 0
            assert ws.close_info is None
            elapsed = Elapsed()
            for _ in range(400):
                await ws.receive_bytes()
            await anyio.sleep(4.9)
            assert ws.close_info is None
            assert (await ws.wait_closed()).code == 1011
            assert elapsed() == 5
            tasks.cancel_scope.cancel()


async def test_the_end_of_a_pause_gives_the_whole_time(channel: Peer) -> None:
    """Although nothing is read then: all had been read in one go."""
    channel.answers_pings = False
    async with channel.websocket(**PINGS, receive_buffer=1) as ws:
        await ws.accept()
        channel.read(peers_frame(channel, BINARY, b"x") * 1000)
        await anyio.sleep(62)
        elapsed = Elapsed()
        for _ in range(1000):
            await ws.receive_bytes()
        assert (await ws.wait_closed()).code == 1011
        assert elapsed() == 5


async def test_a_write_that_waits_ends_a_pause_of_ours(channel: Peer) -> None:
    """From then on the peer can show that it is alive, by reading."""
    channel.answers_pings = False
    async with channel.websocket(**PINGS, receive_buffer=1) as ws:
        await ws.accept()
        channel.arrive(*[b"x"] * 400)
        await anyio.sleep(103)
        elapsed = Elapsed()
        channel.stall()
        await ws.send_text("waits")
        await anyio.sleep(4.9)
        assert ws.close_info is None
        await anyio.sleep(0.2)
        assert ws.close_info == anyws.CloseInfo(1011, "keepalive ping timeout", "local")
        assert elapsed() == 5.1


async def test_a_write_that_is_through_begins_another_pause(channel: Peer) -> None:
    """The time in which nothing waits does not count."""
    channel.answers_pings = False
    async with channel.websocket(**PINGS, receive_buffer=1) as ws:
        await ws.accept()
        channel.arrive(*[b"x"] * 400)
        await anyio.sleep(100)
        for _ in range(3):
            channel.stall()
            await ws.send_text("waits")
            await anyio.sleep(4)
            channel.resume()
            await anyio.sleep(100)
        assert ws.close_info is None


# The idle time


@pytest.mark.parametrize("fragments", [1, 10])
async def test_bytes_of_a_message_are_no_silence(channel: Peer, fragments: int) -> None:
    """A message under way puts the idle time off, whole in a frame or not."""
    part = bytes(6000)
    opcodes = [BINARY] + [CONT] * (fragments - 1)
    message = b"".join(
        peers_frame(channel, opcode, part, fin=number == fragments)
        for number, opcode in enumerate(opcodes, 1)
    )
    async with (
        channel.websocket(**NO_PINGS, idle_timeout=5) as ws,
        anyio.create_task_group() as tasks,
    ):
        await ws.accept()
        elapsed = Elapsed()
        tasks.start_soon(trickle, channel, message, 12, 4)
        assert await ws.receive_bytes() == part * fragments
        assert elapsed() == 48
        assert (await ws.wait_closed()).code == 1001
        assert elapsed() == 53


@pytest.mark.parametrize("within", [False, True], ids=["between", "within a message"])
@pytest.mark.parametrize("pieces", [1, 10])
async def test_pings_are_silence(channel: Peer, pieces: int, within: bool) -> None:
    """Neither whole nor byte by byte do they put the idle time off."""
    async with channel.websocket(**NO_PINGS, idle_timeout=5) as ws:
        await ws.accept()
        elapsed = Elapsed()
        pings = peers_frame(channel, PING, bytes(100)) * 10
        if within:
            part = peers_frame(channel, BINARY, b"part", fin=False)
            channel.read(part + pings[:3])
            pings = pings[3:]
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(trickle, channel, pings, 10 * pieces, 1 / pieces)
            with pytest.raises(anyws.ConnectionClosed, match="1001"):
                await ws.receive_message()
            assert elapsed() == 5
            tasks.cancel_scope.cancel()


async def test_a_long_message_that_moves_is_no_silence(channel: Peer) -> None:
    """The idle time begins when the last piece that had to wait has moved."""
    channel.pace = 4
    async with channel.websocket(**NO_PINGS, idle_timeout=5) as ws:
        await ws.accept()
        elapsed = Elapsed()
        await ws.send_bytes(LONG)
        assert (await ws.wait_closed()).code == 1001
        assert elapsed() == pytest.approx(85 + 4)  # and the closing frame waits too


async def test_pongs_that_had_to_wait_are_silence(channel: Peer) -> None:
    """They are read, and say nothing of a message; one before them has moved at 1."""
    channel.pace = 1
    async with channel.websocket(**NO_PINGS, idle_timeout=5) as ws:
        await ws.accept()
        elapsed = Elapsed()
        await ws.send_text("moves")
        async with anyio.create_task_group() as tasks:
            pings = peers_frame(channel, PING, bytes(100)) * 10
            tasks.start_soon(trickle, channel, pings, 10, 1)
            with pytest.raises(anyws.ConnectionClosed, match="1001"):
                await ws.receive_message()
            assert elapsed() == 6
            tasks.cancel_scope.cancel()


async def test_ticks_to_a_silent_peer_put_nothing_off(channel: Peer) -> None:
    """What is taken at once is no message of the peer's."""
    async with channel.websocket(**NO_PINGS, idle_timeout=5) as ws:
        await ws.accept()
        elapsed = Elapsed()
        with pytest.raises(anyws.ConnectionClosed, match="1001"):
            await tick(ws)
        assert elapsed() == pytest.approx(5, abs=0.4)
