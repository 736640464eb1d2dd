"""`anyws.serve`: a server in a block, on real sockets, with our own client."""

from __future__ import annotations

import gc
import logging
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.streams.tls import TLSListener
from fastapi import FastAPI
from fastapi import WebSocket as PlainWebSocket
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute

import anyws

from ..support.ends import Pipe, contexts

HOST = "127.0.0.1"


async def echo(ws: anyws.WebSocket) -> None:
    """Send every message back."""
    await ws.accept()
    async for message in ws:
        await ws.send_message(message)


def open_files() -> int:
    """Return how many descriptors the process has open."""
    return len(os.listdir("/proc/self/fd"))


async def emptied(server: anyws.Server) -> None:
    """Wait until no connection is being served."""
    while server.connections:  # noqa: ASYNC110  # it has no event for that
        await anyio.sleep(0.01)


async def closed(ws: anyws.ClientWebSocket) -> anyws.CloseInfo:
    """Receive until the end; return how that was."""
    async for _ in ws:
        pass
    assert ws.close_info is not None
    return ws.close_info


# Addresses


async def test_a_block_serves() -> None:
    """A handler, on a port that is free; the URL leads there."""
    async with anyws.serve(echo, HOST) as server:
        assert server.url == f"ws://{HOST}:{server.port}"
        assert server.urls == [server.url]
        async with anyws.connect(server.url) as ws:
            await ws.send_text("hello")
            assert await ws.receive_text() == "hello"
            await ws.send_bytes(b"\0" * 200_000)
            assert await ws.receive_bytes() == b"\0" * 200_000


async def test_every_address_of_a_name() -> None:
    """They have one port; and a server without a name listens on every interface."""
    for host in ("localhost", None):
        async with anyws.serve(echo, host) as server:
            urls = [*server.urls, f"ws://{HOST}:{server.port}"]
            for url in urls:
                async with anyws.connect(url) as ws:
                    await ws.send_text(url)
                    assert await ws.receive_text() == url


async def test_a_unix_socket(tmp_path: Path) -> None:
    """It is there while the server is, and clients there have no address."""
    path = str(tmp_path / "socket")
    seen = list[Any]()

    async def handler(ws: anyws.WebSocket) -> None:
        seen.extend([ws.scope["client"], ws.scope["server"]])
        await echo(ws)

    async with anyws.serve(handler, unix_path=path) as server:
        assert server.urls == [f"ws+unix://{path}"]
        async with anyws.connect("ws://localhost/", unix_path=path) as ws:
            await ws.send_text("hello")
            assert await ws.receive_text() == "hello"
            assert server.connections[0].address is None
        with pytest.raises(RuntimeError, match="on a TCP port"):
            _ = server.port
    assert seen == [None, (path, None)]
    assert os.listdir(tmp_path) == []


async def test_tls() -> None:
    """It is `wss`, for the scope too."""
    seen = list[Any]()

    async def handler(ws: anyws.WebSocket) -> None:
        seen.append(ws.scope["scheme"])
        await echo(ws)

    theirs, ours = contexts()
    async with anyws.serve(handler, HOST, ssl_context=theirs) as server:
        assert server.url.startswith("wss://")
        async with anyws.connect(server.url, ssl_context=ours) as ws:
            await ws.send_text("hello" * 50_000)
            assert await ws.receive_text() == "hello" * 50_000
        # Another protocol ends its own connection, and no other.
        plain = await anyio.connect_tcp(HOST, server.port)
        async with plain:
            await plain.send(b"GET / HTTP/1.1\r\n\r\n")
            with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
                while True:
                    await plain.receive()
        async with anyws.connect(server.url, ssl_context=ours) as ws:
            await ws.send_text("hello")
            assert await ws.receive_text() == "hello"
    assert seen == ["wss", "wss"]


async def test_given_listeners() -> None:
    """Any listener of byte streams will do; the server closes it."""
    tcp = await anyio.create_tcp_listener(local_host=HOST)
    theirs, ours = contexts()
    plain = await anyio.create_tcp_listener(local_host=HOST)
    tls = TLSListener(plain, theirs, standard_compatible=False)
    async with anyws.serve(echo, listeners=[tcp, tls]) as server:
        async with anyws.connect(server.urls[0]) as ws:
            await ws.send_text("hello")
            assert await ws.receive_text() == "hello"
        url = server.urls[1].replace("ws:", "wss:")
        async with anyws.connect(url, ssl_context=ours) as ws:
            await ws.send_text("hello")
            assert await ws.receive_text() == "hello"
    with pytest.raises(anyws.HandshakeError):
        async with anyws.connect(server.urls[0]):
            pass


async def test_a_listener_without_an_address() -> None:
    """Its connections are served; there is no URL to tell."""
    near, far = Pipe.pair()

    class Once(anyio.abc.Listener[anyio.abc.ByteStream]):
        async def serve(self, handler: Any, task_group: Any = None) -> None:
            task_group.start_soon(handler, far)
            await anyio.sleep_forever()

        async def aclose(self) -> None:
            pass

    async with anyws.serve(echo, listeners=[Once()]) as server:
        assert server.urls == []
        with pytest.raises(RuntimeError, match="no known address"):
            _ = server.url
        async with anyws.connect("ws://memory/", stream=near) as ws:
            await ws.send_text("hello")
            assert await ws.receive_text() == "hello"
            [connection] = server.connections
            assert connection.address is None


async def test_a_listener_that_breaks_ends_the_server() -> None:
    """Its error leaves the block as itself, and the connections end in order."""

    class Broken(anyio.abc.Listener[anyio.abc.ByteStream]):
        async def serve(self, handler: Any, task_group: Any = None) -> None:
            await anyio.sleep(0.01)
            raise anyio.ClosedResourceError

        async def aclose(self) -> None:
            pass

    with pytest.raises(anyio.ClosedResourceError):
        async with anyws.serve(echo, listeners=[Broken()]):
            await anyio.sleep_forever()


async def test_a_port_in_use_is_named() -> None:
    """The error says which address; nothing of the application has run."""
    started = False

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal started
        started = True

    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"cannot listen on {HOST}:{port}"):
            async with anyws.serve(app, HOST, port):
                pass
    assert not started


# The end


@pytest.mark.parametrize("drains", [False, True])
async def test_leaving_the_block_drains(drains: bool) -> None:
    """Peers see 1012, handlers their end; then nothing is left."""
    seen = list[Any]()

    async def handler(ws: anyws.WebSocket) -> None:
        await ws.accept()
        with pytest.raises(anyws.ConnectionClosed) as caught:
            await ws.receive_text()
        seen.append(caught.value.code)
        await anyio.sleep(0.01)  # it has time
        seen.append("over")
        raise caught.value

    async with anyio.create_task_group() as tasks:
        async with anyws.serve(handler, HOST) as server:
            ws = await anyws.connect(server.url).open()

            async def client() -> None:
                async with ws:
                    seen.append(await closed(ws))

            tasks.start_soon(client)
            while not server.connections:
                await anyio.lowlevel.checkpoint()
            await anyio.wait_all_tasks_blocked()
            if drains:
                await server.drain()
                await server.wait_closed()
                assert server.connections == []
    assert 1012 in seen
    assert "over" in seen
    assert anyws.CloseInfo(1012, "", "peer", True) in seen


async def test_cancelling_the_nursery_drains() -> None:
    """A server in a task group is stopped by cancelling that; nothing is left."""
    async with anyws.serve(echo, HOST) as server, anyws.connect(server.url):
        pass  # uvloop keeps a descriptor that its first connection needs
    gc.collect()
    before, infos = open_files(), list[anyws.CloseInfo]()
    ready = anyio.Event()
    finished = list[bool]()

    async def handler(ws: anyws.WebSocket) -> None:
        try:
            await echo(ws)
        except anyws.ConnectionClosed:
            await anyio.sleep(0.01)  # it is not cancelled: it has its time
            finished.append(True)
            raise

    async def client(url: str, number: int) -> None:
        async with anyws.connect(url) as ws:
            await ws.send_text("hello")
            await ws.receive_text()
            opened.append(number)
            if len(opened) == 10:
                ready.set()
            infos.append(await closed(ws))

    opened = list[int]()
    async with anyio.create_task_group() as clients:
        async with anyio.create_task_group() as tasks:
            server = await tasks.start(anyws.serve(handler, HOST).run)
            for number in range(10):
                clients.start_soon(client, server.url, number)
            await ready.wait()
            tasks.cancel_scope.cancel()
        assert finished == [True] * 10
    assert {info.code for info in infos} == {1012}
    assert len(infos) == 10
    gc.collect()
    assert open_files() == before


async def test_a_handler_that_does_not_end_is_cancelled() -> None:
    """When `drain_timeout` is over."""
    cancelled = False

    async def handler(ws: anyws.WebSocket) -> None:
        nonlocal cancelled
        await ws.accept()
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            cancelled = True
            raise

    server = anyws.serve(handler, HOST, drain_timeout=0.05, drain_code=1001)
    async with server, anyws.connect(server.url) as ws:
        await ws.send_text("hello")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(server.drain)
            assert (await closed(ws)).code == 1001
    assert cancelled


async def test_what_leaves_the_block_is_no_group() -> None:
    """An exception of the user's leaves as itself, after the drain."""
    infos = list[anyws.CloseInfo]()
    async with anyio.create_task_group() as tasks:
        with pytest.raises(KeyError, match="mine"):
            async with anyws.serve(echo, HOST) as server:
                ws = await anyws.connect(server.url).open()

                async def client() -> None:
                    async with ws:
                        infos.append(await closed(ws))

                tasks.start_soon(client)
                while not server.connections:
                    await anyio.lowlevel.checkpoint()
                raise KeyError("mine")
    assert [info.code for info in infos] == [1012]


async def test_a_server_runs_once() -> None:
    """And tells nothing before."""
    server = anyws.serve(echo, HOST)
    with pytest.raises(RuntimeError, match="is not running"):
        _ = server.url
    async with server:
        with pytest.raises(RuntimeError, match="entered"):
            async with server:
                pass
    with pytest.raises(RuntimeError, match="runs once"):
        async with server:
            pass
    with pytest.raises(RuntimeError, match="runs once"):
        await server.run()


# Applications


async def test_a_framework() -> None:
    """Routes, parameters and the lifespan's state of an unchanged application."""
    events = list[str]()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        events.append("startup")
        yield {"greeting": "hello"}
        events.append("shutdown")

    app = FastAPI(lifespan=lifespan)

    @app.websocket("/items/{number}")
    async def items(websocket: PlainWebSocket, number: int) -> None:
        await websocket.accept()
        await websocket.send_text(f"{websocket.state.greeting} {number}")
        await websocket.receive_text()

    async with anyws.serve(app, HOST) as server:
        assert events == ["startup"]
        async with anyws.connect(f"{server.url}/items/7") as ws:
            assert await ws.receive_text() == "hello 7"
        with pytest.raises(anyws.HandshakeRejected) as caught:
            async with anyws.connect(f"{server.url}/nowhere"):
                pass
        assert caught.value.status == 403
    assert events == ["startup", "shutdown"]


async def test_a_startup_that_fails() -> None:
    """The block is never entered, and the address is free again."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        raise ValueError("no database")
        yield

    app = Starlette(routes=[WebSocketRoute("/", echo)], lifespan=lifespan)
    with socket.create_server((HOST, 0)) as found:
        port = found.getsockname()[1]
    for _ in range(2):
        with pytest.raises(RuntimeError, match="no database"):
            async with anyws.serve(app, HOST, port):
                pytest.fail("entered")


async def test_an_application_without_a_lifespan() -> None:
    """It raises when it is asked for one, as the specification has it."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "websocket"
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": scope["path"]})

    async with anyws.serve(app, HOST) as server:
        async with anyws.connect(f"{server.url}/a%20b") as ws:
            assert await ws.receive_text() == "/a b"
            assert (await closed(ws)).code == 1000


class Odd(BaseException):
    """An exception that is no `Exception`."""


@pytest.mark.parametrize("error", [ValueError, SystemExit, Odd])
async def test_an_exception_ends_its_own_connection(
    error: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged once; other connections live on."""

    async def handler(ws: anyws.WebSocket) -> None:
        await ws.accept()
        if ws.url.path == "/bad":
            raise error("Boom")
        await ws.send_text(await ws.receive_text())

    async with anyws.serve(handler, HOST) as server:
        async with anyws.connect(server.url) as good:
            async with anyws.connect(f"{server.url}/bad") as bad:
                assert (await closed(bad)).code in (1011, 1001)
            await good.send_text("still here")
            assert await good.receive_text() == "still here"
    errors = [r for r in caplog.records if r.levelno >= logging.ERROR]
    assert [record.name for record in errors] == ["anyws.server"]
    assert "Boom" in str(errors[0].exc_info)


async def test_what_a_peer_does_is_not_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Leaving, breaking the protocol, resetting."""
    caplog.set_level(logging.INFO)
    async with anyws.serve(echo, HOST) as server:
        for rest in (b"", b"\xff" * 20, b"\x81\xfe"):
            stream = await anyio.connect_tcp(HOST, server.port)
            async with stream:
                await stream.send(request() + rest)
                await stream.receive()
        await emptied(server)
    assert [r for r in caplog.records if r.name == "anyws.server"] == []


@pytest.mark.parametrize(
    ("app", "words"),
    [
        (None, "not None"),
        ("module:app", "python -m anyws serve module:app"),
        (lambda ws: None, "must be async"),
        (open_files, "must be async"),
        (emptied, None),
    ],
)
def test_what_is_no_application_is_refused(app: Any, words: str | None) -> None:
    """At once, with what to write in its place; no event loop has to run for that."""
    if words is None:
        anyws.serve(app)
        return
    with pytest.raises(TypeError, match=words):
        anyws.serve(app)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"port": "80"}, TypeError),
        ({"port": True}, TypeError),
        ({"host": 80}, TypeError),
        ({"options": {}}, TypeError),
        ({"max_connections": 0}, ValueError),
        ({"max_connections": 1.5}, TypeError),
        ({"open_timeout": 0}, ValueError),
        ({"drain_timeout": 0}, ValueError),
        ({"drain_code": 1005}, ValueError),
        ({"compression": "gzip"}, ValueError),
        ({"host": "a", "unix_path": "b"}, ValueError),
        ({"ssl_context": True}, TypeError),
    ],
)
def test_arguments_are_checked(arguments: Any, error: type[Exception]) -> None:
    """Before anything is opened."""
    with pytest.raises(error):
        anyws.serve(echo, **arguments)


# What is known of the connections


async def test_the_connections_are_known() -> None:
    """Who they are, since when, what has passed; and they can be closed."""
    async with anyws.serve(echo, HOST) as server:
        async with anyws.connect(f"{server.url}/room") as ws:
            await ws.send_text("hello")
            await ws.receive_text()
            [connection] = server.connections
            assert connection.path == "/room"
            assert connection.address is not None
            assert connection.address[0] == HOST
            age = datetime.now(UTC) - connection.since
            assert timedelta(0) <= age < timedelta(minutes=1)
            assert connection.statistics().messages_received == 1
            assert "/room" in repr(connection)
            with pytest.raises(ValueError, match="1005"):
                connection.close(1005)
            connection.close(4000, "enough")
            assert await closed(ws) == anyws.CloseInfo(4000, "enough", "peer", True)
        await emptied(server)


async def test_compression_and_options() -> None:
    """They are the server's, and applications may override the options."""
    small = anyws.Options(max_message_bytes=10)

    @anyws.endpoint(options=anyws.Options(max_message_bytes=20))
    async def roomy(ws: anyws.WebSocket) -> None:
        await echo(ws)

    for app, most in ((echo, 10), (roomy, 20)):
        async with anyws.serve(app, HOST, options=small, compression=None) as server:
            async with anyws.connect(server.url) as ws:
                assert "sec-websocket-extensions" not in ws.response.headers
                await ws.send_text("a" * most)
                assert await ws.receive_text() == "a" * most
                await ws.send_text("a" * (most + 1))
                assert (await closed(ws)).code == 1009
    async with anyws.serve(echo, HOST) as server:
        async with anyws.connect(server.url) as ws:
            assert "date" in ws.response.headers
            assert (
                "permessage-deflate" in ws.response.headers["sec-websocket-extensions"]
            )


def request(target: str = "/", *headers: str) -> bytes:
    """Write a request for a WebSocket."""
    lines = [
        f"GET {target} HTTP/1.1",
        "Host: a",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        *headers,
    ]
    return "\r\n".join([*lines, "", ""]).encode()
