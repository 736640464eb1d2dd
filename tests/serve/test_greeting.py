"""What a server grants a client that has not sent its request: little, and not long."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from typing import Any

import anyio
import pytest
from anyio.abc import ByteStream, Listener, SocketAttribute, TaskGroup

import anyws
from anyws._serve import greeting
from anyws._server.request import MAX_HEAD_BYTES

from .test_server import HOST, closed, echo, emptied, request


async def ask(server: anyws.Server, data: bytes) -> bytes:
    """Return all that the server sends in answer to some bytes."""
    async with await anyio.connect_tcp(HOST, server.port) as stream:
        await stream.send(data)
        return await all_of(stream)


async def all_of(stream: ByteStream) -> bytes:
    """Read up to the end, in order or not."""
    received = b""
    try:
        while True:
            received += await stream.receive()
    except (anyio.EndOfStream, anyio.BrokenResourceError):
        return received


async def test_plain_http_is_told_what_is_here() -> None:
    """A 426, whatever the method, and however long the body."""
    async with anyws.serve(echo, HOST) as server:
        for asked in (
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET / HTTP/1.0\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 900000\r\n\r\n"
            + bytes(900_000),
            b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
            request().replace(b"Upgrade: websocket", b"Upgrade: h2c"),
        ):
            answer = await ask(server, asked)
            head, _, body = answer.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 426 Upgrade Required\r\n")
            assert b"upgrade: websocket" in head
            assert b"connection: close" in head
            assert body == b"Upgrade Required: a WebSocket is served here"


@pytest.mark.parametrize(
    ("before", "after", "status"),
    [
        (b"Host: a", b"Hoast: a", 400),
        (b"Version: 13", b"Version: 8", 426),
        (b"Version: 13\r\n", b"Version: 13\r\nContent-Length: 5\r\n", 400),
        (b"Key: dGhl", b"Key: dG", 400),
        (b"GET / ", b"GET * ", 400),
        (b"GET / ", b"GET /\xff ", 400),
        (b"GET", b"\x16\x03\x01", 400),
        (b"HTTP/1.1", b"HTTP/2.0", 400),
        (b"Host: a", b"Host: a\r\nCookie: " + b"a" * MAX_HEAD_BYTES, 431),
    ],
)
async def test_a_bad_request_is_refused(
    before: bytes, after: bytes, status: int
) -> None:
    """By its status, before the application hears of it."""
    heard = False

    async def handler(ws: anyws.WebSocket) -> None:
        nonlocal heard
        heard = True

    async with anyws.serve(handler, HOST) as server:
        answer = await ask(server, request().replace(before, after))
        assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert not heard


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"GET / ", b"GET http://example.org/ "),
        (b"Connection: Upgrade", b"Connection: keep-alive\r\nConnection: Upgrade"),
        (b"Upgrade: websocket", b"Upgrade: h2c, WebSocket"),
        (b"Host: a", b"Host: a\r\nSec-WebSocket-Protocol: YWJjZA==, \xff"),
        (b"Host: a", b"Host: a\r\nContent-Length: 0"),
    ],
)
async def test_an_odd_request_is_served(before: bytes, after: bytes) -> None:
    """As the engine of Hypercorn serves it."""
    async with anyws.serve(echo, HOST) as server:
        async with await anyio.connect_tcp(HOST, server.port) as stream:
            await stream.send(request().replace(before, after))
            assert (await stream.receive()).startswith(b"HTTP/1.1 101 Switching")


async def test_a_request_in_pieces_and_frames_behind_it() -> None:
    """Frames that come with the request are kept."""
    async with anyws.serve(echo, HOST) as server:
        async with await anyio.connect_tcp(HOST, server.port) as stream:
            whole = request() + b"\x81\x82\0\0\0\0hi"
            for at in range(0, len(whole), 50):
                await stream.send(whole[at : at + 50])
                await anyio.wait_all_tasks_blocked()
            received = b""
            while not received.endswith(b"\x81\x02hi"):
                received += await stream.receive()


async def test_a_slow_client_is_dropped() -> None:
    """It has `open_timeout` for all of its request, and trickling does not help."""
    async with anyws.serve(echo, HOST, open_timeout=0.2) as server:
        async with await anyio.connect_tcp(HOST, server.port) as stream:

            async def trickle() -> None:
                try:
                    while True:
                        await stream.send(b"a")
                        await anyio.sleep(0.02)
                except anyio.BrokenResourceError:
                    pass

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(trickle)
                assert await all_of(stream) == b""
                tasks.cancel_scope.cancel()
        async with anyws.connect(server.url) as ws:
            await ws.send_text("hello")
            assert await ws.receive_text() == "hello"


async def test_half_open_connections_are_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A newcomer ends the oldest of them, and is served."""
    monkeypatch.setattr(greeting, "MAX_HALF_OPEN", 3)
    async with anyws.serve(echo, HOST, open_timeout=None) as server:
        streams = []
        for _ in range(3):
            stream = await anyio.connect_tcp(HOST, server.port)
            await stream.send(b"GET")
            streams.append(stream)
            await anyio.sleep(0.02)  # so that they are accepted in this order
        async with anyws.connect(server.url) as ws:
            await ws.send_text("hello")
            assert await ws.receive_text() == "hello"
            assert await all_of(streams[0]) == b""
            await streams[1].send(request()[3:])
            assert (await streams[1].receive()).startswith(b"HTTP/1.1 101 ")
        for stream in streams:
            await anyio.aclose_forcefully(stream)


async def test_connections_are_bounded() -> None:
    """Above `max_connections` the answer is a 503, until one has ended."""
    async with anyws.serve(echo, HOST, max_connections=2) as server:
        async with anyws.connect(server.url), anyws.connect(server.url) as two:
            with pytest.raises(anyws.HandshakeRejected) as caught:
                async with anyws.connect(server.url):
                    pass
            assert caught.value.status == 503
            await two.close()
            await closed(two)
            while len(server.connections) == 2:  # noqa: ASYNC110  # no event for that
                await anyio.sleep(0.01)
            async with anyws.connect(server.url) as ws:
                await ws.send_text("hello")
                assert await ws.receive_text() == "hello"
        await emptied(server)


async def test_a_server_that_stops_drops_who_has_not_asked() -> None:
    """At once, though handlers still have time."""
    release = anyio.Event()

    async def handler(ws: anyws.WebSocket) -> None:
        await ws.accept()
        await release.wait()

    server = anyws.serve(handler, HOST, open_timeout=None, drain_timeout=60)
    async with server, anyws.connect(server.url):
        stream = await anyio.connect_tcp(HOST, server.port)
        await stream.send(b"GET")
        await anyio.sleep(0.05)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(server.drain)
            assert await all_of(stream) == b""
            assert len(server.connections) == 1
            release.set()
        await stream.aclose()


@pytest.mark.parametrize("closes", [True, False])
async def test_a_violation_that_comes_early(closes: bool) -> None:
    """A frame behind the request that breaks the protocol is answered after the accept.

    The application is told at once, though the peer sends nothing more.
    """
    seen = list[Any]()
    told = anyio.Event()

    async def handler(ws: anyws.WebSocket) -> None:
        await anyio.sleep(0.02)
        await ws.accept()
        seen.append((await ws.wait_closed()).code)
        told.set()

    rest = b"\x88\x82\0\0\0\0\x0f\xa0" if closes else b"\xff" * 9
    patient = anyws.Options(close_timeout=100)
    async with anyws.serve(handler, HOST, options=patient) as server:
        async with await anyio.connect_tcp(HOST, server.port) as stream:
            await stream.send(request() + rest)
            await told.wait()
            received = await all_of(stream)
    assert seen == [4000 if closes else 1002]
    frames = received.partition(b"\r\n\r\n")[2]
    assert int.from_bytes(frames[2:4]) == seen[0]


class Failing(Listener[ByteStream]):
    """A listener of no known kind, which fails at first.

    Args:
        listener: Accepts, after the failures.
        fail: Raises, as often as it fails.
    """

    def __init__(self, listener: Any, fail: Callable[[], None]) -> None:
        self._listener, self._fail = listener, fail

    async def serve(self, handler: Any, task_group: TaskGroup | None = None) -> None:
        """Fail, or accept."""
        self._fail()
        await self._listener.serve(handler, task_group)

    async def aclose(self) -> None:
        """Close the listener."""
        await self._listener.aclose()


@pytest.mark.parametrize("plain", [True, False], ids=["sockets", "a listener"])
async def test_accepting_goes_on_when_the_system_is_out_of_descriptors(
    plain: bool, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is said once, and waited out."""
    failures, accept = 3, socket.socket.accept

    def fail() -> None:
        nonlocal failures
        failures -= 1
        if failures >= 0:
            raise OSError(errno.EMFILE, "Too many open files")

    def failing(listening: socket.socket) -> Any:
        fail()
        return accept(listening)

    listener: Any = await anyio.create_tcp_listener(local_host=HOST)
    [tcp] = listener.listeners
    url = "ws://{}:{}".format(*tcp.extra(SocketAttribute.local_address))
    if plain:
        monkeypatch.setattr(socket.socket, "accept", failing)
    else:
        listener = Failing(tcp, fail)
    async with anyws.serve(echo, listeners=[listener]):
        async with anyws.connect(url) as ws:
            await ws.send_text("hello")
            assert await ws.receive_text() == "hello"
    assert failures < 0
    lines = [r.getMessage() for r in caplog.records if r.name == "anyws.server"]
    assert lines == ["connections cannot be accepted: Too many open files"]
