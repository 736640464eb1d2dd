"""A client's open connection as its server meets it, frame by frame."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import zlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import SocketAttribute
from trio.testing import MockClock

import anyws
from anyws._frames.codec import Codec, Side

from ..support.ends import GONE, KINDS, RawServer, opened, raw
from ..support.wired import BINARY, CLOSE, CONT, PING, PONG, TEXT, close_payload, parse
from ..support.wired import closing as any_closing
from ..support.wired import frame as any_frame

SIZE = 8 * 1024 * 1024

# How long a client waits for the server to close first, in seconds.
SERVER_CLOSE_TIMEOUT = "anyws._client.client_channel._SERVER_CLOSE_TIMEOUT"


def frame(opcode: int, payload: str | bytes = b"", **rest: Any) -> bytes:
    """Write a server's frame."""
    return any_frame(opcode, payload, **{"mask": None, **rest})


def closing(code: int, reason: str = "") -> bytes:
    """Write a server's closing frame."""
    return any_closing(code, reason, mask=None)


@pytest.fixture(params=["tcp", "tls"])
def kind(request: pytest.FixtureRequest) -> str:
    """Give a kind of stream on which a peer may be stalled, or reset."""
    return str(request.param)


async def reset(server: RawServer) -> None:
    """Abort the server's TCP connection."""
    plain = server.stream.extra(SocketAttribute.raw_socket)
    linger = struct.pack("ii", 1, 0)
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    await anyio.aclose_forcefully(server.stream)


# Keepalive


async def test_a_ping_is_timed_by_its_pong(tmp_path: Path) -> None:
    """A pong that nobody asked for says nothing; a later one answers for all before."""
    latencies = dict[bytes, float]()
    async with raw("memory", tmp_path, close_timeout=0.05) as (ws, server):

        async def ping(payload: bytes) -> None:
            latencies[payload] = await ws.ping(payload)

        async with anyio.create_task_group() as tasks:
            for payload in (b"a", b"b", b"c"):
                tasks.start_soon(ping, payload)
                assert await server.receive() == (PING, payload)
            await server.send(frame(PONG, b"x"), frame(PONG))
            await anyio.wait_all_tasks_blocked()
            assert latencies == {}
            assert ws.latency is None
            await server.send(frame(PONG, b"b"))
            await anyio.wait_all_tasks_blocked()
            assert sorted(latencies) == [b"a", b"b"]
            await server.send(frame(PONG, b"a"), frame(PONG, b"c"))
        assert ws.latency == latencies[b"c"] == ws.statistics().latency


async def test_pings_are_told_apart(tmp_path: Path) -> None:
    """Without a payload each has its own; the same one twice is refused."""
    async with raw("memory", tmp_path, close_timeout=0.05) as (ws, server):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ws.ping)
            tasks.start_soon(ws.ping)
            payloads = [await server.receive() for _ in range(2)]
            assert len(set(payloads)) == 2
            tasks.start_soon(ws.ping, b"mine")
            assert await server.receive() == (PING, b"mine")
            with pytest.raises(RuntimeError, match="under way"):
                await ws.ping(b"mine")
            await server.send(frame(PONG, b"mine"))
        with pytest.raises(ValueError, match="125"):
            await ws.ping(bytes(126))
        for wrong, kind in (("x", "str"), (None, "NoneType")):
            with pytest.raises(TypeError, match=f"a ping carries bytes, not {kind}"):
                await ws.ping(wrong)  # type: ignore[arg-type]


async def test_a_cancelled_ping_is_forgotten(tmp_path: Path) -> None:
    """Its pong is ignored, and its payload can be used again."""
    async with raw("memory", tmp_path, close_timeout=0.05) as (ws, server):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ws.ping, b"mine")
            assert await server.receive() == (PING, b"mine")
            tasks.cancel_scope.cancel()
        await server.send(frame(PONG, b"mine"))
        await anyio.wait_all_tasks_blocked()
        assert ws.latency is None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ws.ping, b"mine")
            assert await server.receive() == (PING, b"mine")
            await server.send(frame(PONG, b"mine"))
        assert ws.latency is not None


async def finish(server: RawServer, _: anyws.ClientWebSocket) -> None:
    """End the server's half of the connection."""
    await server.stream.aclose()


async def abort(server: RawServer, _: anyws.ClientWebSocket) -> None:
    """Reset the connection."""
    await reset(server)


async def say_goodbye(server: RawServer, _: anyws.ClientWebSocket) -> None:
    """Send a closing frame."""
    await server.send(closing(4001, "bye"))


async def violate(server: RawServer, _: anyws.ClientWebSocket) -> None:
    """Send what is no frame."""
    await server.send(frame(3))


async def close(server: RawServer, ws: anyws.ClientWebSocket) -> None:
    """Close from the client's own end."""
    await ws.close(4002)


WAYS = {finish: 1006, abort: 1006, say_goodbye: 4001, violate: 1002, close: 4002}


@pytest.mark.parametrize("way", WAYS, ids=lambda way: str(way.__name__))
async def test_a_ping_raises_when_the_connection_ends(
    kind: str,
    tmp_path: Path,
    way: Callable[[RawServer, anyws.ClientWebSocket], Awaitable[None]],
) -> None:
    """However it ends while a pong is waited for, and for each that waits."""
    codes = []
    async with raw(kind, tmp_path, close_timeout=0.2) as (ws, server):

        async def ping() -> None:
            with pytest.raises(anyws.ConnectionClosed) as caught:
                await ws.ping()
            codes.append(caught.value.code)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ping)
            tasks.start_soon(ping)
            for _ in range(2):
                assert await server.receive()
            await way(server, ws)
        with pytest.raises(anyws.ConnectionClosed):
            await ws.ping()
        await anyio.aclose_forcefully(server.stream)
    assert codes == [WAYS[way]] * 2  # type: ignore[index]  # it is one of them


# The keepalive


class TestInVirtualTime:
    """Waits that pass at once."""

    @pytest.fixture
    def anyio_backend(self) -> Any:
        """Run on trio, where time passes at once."""
        return "trio", {"clock": MockClock(autojump_threshold=0)}

    async def test_a_silent_server_is_given_up(self, tmp_path: Path) -> None:
        """After a ping and its time-out the connection is closed with 1011."""
        async with raw(
            "memory", tmp_path, ping_interval=20, ping_timeout=10, close_timeout=5
        ) as (ws, server):
            start = anyio.current_time()
            with pytest.raises(anyws.ConnectionClosed, match="1011"):
                await ws.receive_message()
            assert 30 <= anyio.current_time() - start < 31
            assert [await server.receive() for _ in range(2)] == [
                (PING, b"anyws"),
                (CLOSE, close_payload(1011, "keepalive ping timeout")),
            ]
        assert anyio.current_time() - start < 36.5
        assert ws.close_info is not None
        assert (ws.close_info.initiator, ws.close_info.clean) == ("local", False)

    async def test_a_full_buffer_is_no_silent_server(self, tmp_path: Path) -> None:
        """A slow reader finds the connection open, and each message."""
        count, text = 400, "x" * 1000
        async with raw(
            "memory", tmp_path, receive_buffer=1, ping_interval=20, ping_timeout=20
        ) as (ws, server):

            async def answer() -> None:
                while (got := await server.receive()) is not None:
                    if got[0] == PING:
                        await server.send(frame(PONG, got[1]))

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(server.send, frame(TEXT, text) * count)
                await anyio.sleep(100)
                tasks.start_soon(answer)
                for _ in range(count):
                    await anyio.sleep(1)
                    assert await ws.receive_text() == text
                tasks.cancel_scope.cancel()
            assert ws.close_info is None

    @pytest.mark.parametrize("who", ["client", "server"])
    @pytest.mark.parametrize("answers", [True, False])
    @pytest.mark.parametrize("floods", [True, False])
    async def test_a_server_that_stays_does_not_hold_the_client(
        self, tmp_path: Path, who: str, answers: bool, floods: bool
    ) -> None:
        """Leaving takes `close_timeout` and a second, if the stream is left open."""
        async with anyio.create_task_group() as tasks:
            async with raw("memory", tmp_path, close_timeout=5) as (ws, server):
                start = anyio.current_time()

                async def flood() -> None:
                    while True:
                        await server.send(frame(TEXT, "x" * 1000))
                        await anyio.sleep(0.01)

                async def stay() -> None:
                    if who == "server":
                        await server.send(closing(1000))
                    await server.until_close()
                    if who == "client" and answers:
                        await server.send(closing(1000))

                if answers or who == "server":
                    tasks.start_soon(stay)
                if floods:
                    tasks.start_soon(flood)
                if who == "server":
                    await ws.wait_closed()
            elapsed = anyio.current_time() - start
            tasks.cancel_scope.cancel()
        assert elapsed <= 6.1
        if answers or who == "server":
            assert elapsed <= 1.1


async def test_a_silent_server_is_given_up(kind: str, tmp_path: Path) -> None:
    """The same in real time, and by a stream of the system's."""
    options = {"ping_interval": 0.1, "ping_timeout": 0.1, "close_timeout": 0.1}
    async with raw(kind, tmp_path, **options) as (ws, server):
        with pytest.raises(anyws.ConnectionClosed, match="1011"):
            await ws.receive_message()
        frames, code = await server.until_close()
        assert ([opcode for opcode, _ in frames], code) == ([PING], 1011)


@pytest.mark.parametrize("answers", [True, False])
async def test_a_server_that_stays_does_not_hold_the_client(
    kind: str, tmp_path: Path, answers: bool
) -> None:
    """The same in real time; the server hears that the stream was closed."""
    async with anyio.create_task_group() as tasks:
        async with raw(kind, tmp_path, close_timeout=0.1) as (_, server):

            async def stay() -> None:
                await server.until_close()
                if answers:
                    await server.send(closing(1000))

            tasks.start_soon(stay)


async def test_a_stalled_server_is_left_in_time(kind: str, tmp_path: Path) -> None:
    """What is queued, the closing frame and the answer share `close_timeout`."""
    async with raw(kind, tmp_path, close_timeout=0.2) as (ws, server):
        await ws.send_bytes(bytes(SIZE))
        await ws.send_text("queued")
    assert server


@pytest.mark.parametrize("transport", ["memory", "tcp", "unix"])
async def test_the_server_is_left_to_close_first(
    tmp_path: Path, transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who closes the stream first keeps the port: the client ends its half, and waits.

    What the server has pinged behind the client's close is answered by then.
    """
    monkeypatch.setattr(SERVER_CLOSE_TIMEOUT, 600.0)
    left = False

    async def serve(server: RawServer) -> None:
        assert await server.until_close() == ([], 1000)
        await server.send(frame(PING, b"late"), closing(1000))
        assert await server.receive() == (PONG, b"late")
        assert await server.receive() is None
        await anyio.wait_all_tasks_blocked()
        assert not left
        await server.stream.send(frame(TEXT, "ignored"))
        await server.stream.aclose()
        while not left:  # noqa: ASYNC110 - by a kernel's way, which no event tells of
            await anyio.sleep(0.001)

    async with anyio.create_task_group() as tasks:
        async with opened(transport, tmp_path) as (ws, server):
            tasks.start_soon(serve, server)
            async with ws:
                pass
            left = True


async def test_who_broke_the_rules_is_left_to_read_why(tmp_path: Path) -> None:
    """The stream is not closed over what the server still sends: it would be reset."""
    left = False

    async def serve(server: RawServer) -> None:
        await server.send(frame(3))
        assert await server.until_close() == ([], 1002)
        assert await server.receive() is None
        for _ in range(10):
            await server.stream.send(bytes(100_000))
        assert not left
        await server.stream.aclose()

    async with anyio.create_task_group() as tasks:
        async with opened("memory", tmp_path) as (ws, server):
            tasks.start_soon(serve, server)
            async with ws:
                assert (await ws.wait_closed()).code == 1002
            left = True


# What is cancelled, and what is cut short


async def read_all(server: RawServer) -> tuple[list[str | bytes], Codec]:
    """Read as a server to the end of the stream; return the messages."""
    wire, messages = Codec(Side.SERVER, max_message_bytes=2 * SIZE), list[str | bytes]()
    try:
        while wire.info is None:
            events = parse(wire, await server.stream.receive())
            messages += [event["text"] or event["bytes"] for event in events]
            if answer := wire.take():
                await server.stream.send(answer)
    except GONE:
        wire.receive_eof()
    return messages, wire


async def test_a_cancelled_send_tears_nothing(kind: str, tmp_path: Path) -> None:
    """Behind sends of 8 MB that were cancelled on their way, the next is whole."""
    read = []
    async with anyio.create_task_group() as tasks:
        async with raw(kind, tmp_path) as (ws, server):
            sent, cut = list[str | bytes](), 0
            for number in range(4):
                message = bytes([number]) * SIZE
                with anyio.move_on_after(0.05) as scope:
                    await ws.send_bytes(message)
                    sent.append(message)
                cut += scope.cancelled_caught
            assert cut
            assert ws.close_info is None

            async def collect() -> None:
                read.append(await read_all(server))

            tasks.start_soon(collect)
            await ws.send_text("next")
            await ws.close()
            await ws.wait_closed()

    [(messages, wire)] = read
    assert messages == [*sent, "next"]
    assert wire.info == anyws.CloseInfo(1000, "", "peer", True)


@pytest.mark.parametrize("end", ["close_timeout", "send_timeout"])
async def test_nothing_follows_what_was_cut_short(
    kind: str, tmp_path: Path, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A message that is given up half-way is the last that the server gets."""
    # The server is not waited for any longer.
    monkeypatch.setattr(SERVER_CLOSE_TIMEOUT, 600.0)
    options: dict[str, Any] = {end: 0.1, "close_timeout": 0.1}
    async with opened(kind, tmp_path, **options) as (ws, server):
        async with ws:
            await ws.send_bytes(bytes(SIZE))
            if end == "send_timeout":
                assert (await ws.wait_closed()).code == 1006
            else:
                await server.send(closing(1000))
        messages, wire = await read_all(server)

    assert messages == []
    assert wire.info == anyws.CloseInfo(1006, "", "network", False)


@pytest.mark.parametrize("stalled", [True, False])
async def test_a_host_that_is_cancelled_at_every_turn(
    kind: str, tmp_path: Path, anyio_backend_name: str, stalled: bool
) -> None:
    """Native cancellation, again and again, keeps neither the close nor the file."""
    if anyio_backend_name != "asyncio":
        pytest.skip("native asyncio cancellation")
    async with opened(kind, tmp_path, close_timeout=0.1) as (ws, server):
        files = len(os.listdir("/proc/self/fd"))

        async def host() -> None:
            async with ws:
                if stalled:
                    await ws.send_bytes(bytes(SIZE))
                await anyio.sleep_forever()

        task = asyncio.ensure_future(host())
        await anyio.wait_all_tasks_blocked()
        while not task.done():
            task.cancel()
            await asyncio.sleep(0)
        assert task.cancelled()
        await anyio.wait_all_tasks_blocked()
        if not stalled:  # AnyIO's older releases need a turn without being cancelled
            assert len(os.listdir("/proc/self/fd")) == files - 1
            assert await server.until_close() == ([], 1012)


# Violations


def deflated(data: bytes) -> bytes:
    """Compress a message."""
    deflate = zlib.compressobj(9, wbits=-12)
    return (deflate.compress(data) + deflate.flush(zlib.Z_SYNC_FLUSH))[:-4]


VIOLATIONS = {
    "masked": (any_frame(TEXT, "hello"), 1002),
    "reserved bit": (frame(TEXT, "hello", rsv=2), 1002),
    "reserved opcode": (frame(3), 1002),
    "fragmented ping": (frame(PING, fin=False), 1002),
    "nothing to continue": (frame(CONT, "x"), 1002),
    "close with 1005": (closing(1005), 1002),
    "bad UTF-8": (frame(TEXT, b"\xff"), 1007),
    "bad UTF-8 in a reason": (frame(CLOSE, b"\x03\xe8\xff"), 1007),
    "oversize": (frame(BINARY, bytes(1001)), 1009),
    "oversize in fragments": (
        frame(TEXT, "x" * 600, fin=False) + frame(CONT, "x" * 600),
        1009,
    ),
    "bomb": (frame(BINARY, deflated(bytes(2**20)), rsv=4), 1009),
    "no deflate": (frame(BINARY, b"\x07\xff\xff", rsv=4), 1002),
}


@pytest.mark.parametrize("transport", KINDS)
@pytest.mark.parametrize("name", VIOLATIONS)
async def test_a_server_that_breaks_the_rules_is_told(
    tmp_path: Path, name: str, transport: str
) -> None:
    """The server is sent the code, and the user told the same, behind what came."""
    data, code = VIOLATIONS[name]
    compression = name in ("bomb", "no deflate")
    async with raw(
        transport, tmp_path, compression=compression, max_message_bytes=1000
    ) as (ws, server):
        await server.send(frame(TEXT, "before"), data, frame(TEXT, "behind"))
        assert await ws.receive_text() == "before"
        with pytest.raises(anyws.ConnectionClosed) as caught:
            await ws.receive_text()

        assert caught.value.code == code
        assert isinstance(caught.value, anyws.MessageTooBig) is (code == 1009)
        assert caught.value.info.initiator == "local"
        assert await server.until_close() == ([], code)
        await anyio.aclose_forcefully(server.stream)


async def test_broken_tls_is_a_broken_connection(tmp_path: Path) -> None:
    """What is no record of TLS ends the connection as its loss does: 1006."""
    async with raw("tls", tmp_path) as (ws, server):
        await server.stream.transport_stream.send(b"\x17\x03\x03\x00\x20" + bytes(32))  # type: ignore[attr-defined]  # a TLSStream
        with pytest.raises(anyws.ConnectionClosed, match="1006"):
            await ws.receive_text()
        with pytest.raises(anyws.ConnectionClosed, match="1006"):
            await ws.send_text("late")


async def test_a_flood_that_nobody_reads_is_held_back(tmp_path: Path) -> None:
    """No more is read than the buffer and the read-ahead hold; the rest waits."""
    text, count, sent = "x" * 100_000, 100, 0
    async with raw("memory", tmp_path, close_timeout=0.05, receive_buffer=1) as (
        ws,
        server,
    ):

        async def flood() -> None:
            nonlocal sent
            for _ in range(count):
                await server.send(frame(TEXT, text))
                sent += 1

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(flood)
            await anyio.wait_all_tasks_blocked()
            assert sent < 15
            for _ in range(count):
                assert await ws.receive_text() == text


async def test_a_receive_cancelled_a_thousand_times_loses_nothing(
    tmp_path: Path,
) -> None:
    """No cancelled receive keeps what comes after it, or in the midst of it."""
    async with raw("memory", tmp_path, close_timeout=0.05) as (ws, server):
        for number in range(1000):
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(ws.receive_text)
                    if number == 500:
                        await anyio.wait_all_tasks_blocked()
                    scope.cancel()
            await server.send(frame(TEXT, str(number))[: 1 if number % 2 else None])
            if number % 2:
                await server.send(frame(TEXT, str(number))[1:])
            assert await ws.receive_text() == str(number)
