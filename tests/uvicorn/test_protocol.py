"""`anyws.uvicorn.WebSocketProtocol` in a real uvicorn, in the test's own event loop."""

from __future__ import annotations

import logging
import runpy
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
import trustme
import uvicorn
from anyio.abc import SocketAttribute
from anyio.streams.tls import TLSAttribute
from fastapi import FastAPI
from fastapi import WebSocket as PlainWebSocket
from starlette.responses import PlainTextResponse

import anyws
import anyws.uvicorn
from anyws.uvicorn import WebSocketProtocol

from ..conftest import backend
from ..support.wired import CLOSE, PING, PONG, TEXT, closing, frame

HOST = "127.0.0.1"
REQUEST = (
    b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


@pytest.fixture(
    scope="module",
    params=[
        backend("asyncio", use_uvloop=False),
        backend("asyncio+uvloop", needs="uvloop", use_uvloop=True),
    ],
)
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """Run on what uvicorn runs on."""
    return request.param


@asynccontextmanager
async def serving(app: Any, **settings: Any) -> AsyncIterator[uvicorn.Server]:
    """Run a uvicorn; its URL is in `server.url`."""
    settings = {"host": HOST, "port": 0, "lifespan": "off", **settings}
    config = uvicorn.Config(app, ws=WebSocketProtocol, log_config=None, **settings)
    server = uvicorn.Server(config)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server._serve)  # without the signals
        while not server.started:  # noqa: ASYNC110  # it has no event for that
            await anyio.sleep(0.01)
        [sock] = server.servers[0].sockets
        vars(server)["url"] = f"ws://{HOST}:{sock.getsockname()[1]}"
        if "uds" in settings:
            vars(server)["url"] = "ws://localhost"
        try:
            yield server
        finally:
            server.should_exit = True


def url_of(server: uvicorn.Server) -> str:
    """Return where it is."""
    url: str = vars(server)["url"]
    return url


@anyws.endpoint
async def echo(ws: anyws.WebSocket) -> None:
    """Send every message back."""
    await ws.accept(subprotocol=next(iter(ws.scope["subprotocols"]), None))
    async for message in ws:
        await ws.send_message(message)


async def closed(ws: anyws.ClientWebSocket) -> anyws.CloseInfo:
    """Receive until the end; return how that was."""
    async for _ in ws:
        pass
    assert ws.close_info is not None
    return ws.close_info


class Noted:
    """A handler's ways to tell the test something.

    Attributes:
        values: What it has told.
    """

    def __init__(self) -> None:
        self.values: list[Any] = []
        self.told = anyio.Event()

    def __call__(self, value: Any) -> None:
        """Tell."""
        self.values.append(value)
        self.told.set()


# Messages and ends


async def test_an_unchanged_application() -> None:
    """FastAPI's own class, its parameters, and both kinds of message."""
    app = FastAPI()

    @app.websocket("/items/{number}")
    async def items(websocket: PlainWebSocket, number: int) -> None:
        await websocket.accept(headers=[(b"x-a", b"1"), (b"x-a", b"2")])
        await websocket.send_text(f"{number} {websocket.url.query}")
        await websocket.send_bytes(await websocket.receive_bytes())

    async with serving(app) as server:
        async with anyws.connect(f"{url_of(server)}/items/7?a=%20") as ws:
            assert ws.response.headers.getlist("x-a") == ["1", "2"]
            assert await ws.receive_text() == "7 a=%20"
            await ws.send_bytes(b"\0" * 200_000)
            assert await ws.receive_bytes() == b"\0" * 200_000
            assert (await closed(ws)).code == 1000


async def test_codes_and_reasons_pass_both_ways() -> None:
    """The application has the peer's, and the peer the application's."""
    note = Noted()

    @anyws.endpoint
    async def app(ws: anyws.WebSocket) -> None:
        await ws.accept()
        if ws.url.path == "/close":
            await ws.close(4001, "enough")
        await ws.wait_closed()
        note(ws.close_info)

    async with serving(app) as server:
        async with anyws.connect(url_of(server)) as ws:
            await ws.close(4002, "bye")
        await note.told.wait()
        async with anyws.connect(f"{url_of(server)}/close") as ws:
            assert await closed(ws) == anyws.CloseInfo(4001, "enough", "peer", True)
    assert note.values[0] == anyws.CloseInfo(4002, "bye", "peer", True)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(TEXT, b"\xff" * 3), 1007),
        (frame(TEXT, b"\xff" * 300), 1007),
        (frame(TEXT, b"a", mask=None), 1002),
        (frame(TEXT, b"a" * 2000), 1009),
        (closing(4000), 4000),
        (closing(None), 1005),
    ],
)
async def test_the_end_is_answered_though_the_application_is_busy(
    data: bytes, code: int
) -> None:
    """The peer has its closing frame and the end of TCP before the handler returns."""
    release, note = anyio.Event(), Noted()

    @anyws.endpoint
    async def app(ws: anyws.WebSocket) -> None:
        await ws.accept()
        await release.wait()
        note(ws.close_info)

    async with serving(app, ws_max_size=1000) as server:
        stream = await anyio.connect_tcp(HOST, int(url_of(server).rpartition(":")[2]))
        async with stream:
            await stream.send(REQUEST)
            received = await stream.receive()
            await stream.send(data)
            with pytest.raises(anyio.EndOfStream):
                while True:
                    received += await stream.receive()
        answer = received.partition(b"\r\n\r\n")[2]
        assert answer[0] == 0x80 | CLOSE
        assert int.from_bytes(answer[2:4] or b"\x03\xed") == code
        release.set()
        await note.told.wait()
        assert note.values[0].code == code


async def test_a_reset_is_noticed() -> None:
    """By an application that only waits."""
    note = Noted()

    @anyws.endpoint
    async def app(ws: anyws.WebSocket) -> None:
        await ws.accept()
        note((await ws.wait_closed()).code)

    async with serving(app) as server:
        stream = await anyio.connect_tcp(HOST, int(url_of(server).rpartition(":")[2]))
        await stream.send(REQUEST)
        await stream.receive()
        await anyio.aclose_forcefully(stream)
        await note.told.wait()
    assert note.values == [1006]


async def test_an_exception_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """With uvicorn's own words; other connections live on."""

    @anyws.endpoint
    async def app(ws: anyws.WebSocket) -> None:
        if ws.url.path == "/":
            await echo.handler(ws)
            return
        await ws.accept()
        raise {"/error": ValueError, "/exit": SystemExit}[ws.url.path]("Boom")

    async with serving(app) as server, anyws.connect(url_of(server)) as good:
        for path, code in (("/error", 1011), ("/exit", 1001)):
            async with anyws.connect(f"{url_of(server)}{path}") as ws:
                assert (await closed(ws)).code == code
        await good.send_text("hello")
        assert await good.receive_text() == "hello"
    errors = [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR]
    assert errors == ["Exception in ASGI application\n"] * 2


# The opening handshake


async def test_refusals() -> None:
    """A rejection, a response of the application's, an error, and a bad request."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        path = scope["path"]
        if path == "/response":
            await PlainTextResponse("no", 401, {"x-a": "1"})(scope, receive, send)
        elif path == "/error":
            raise ValueError("Boom")
        else:
            await receive()
            await send({"type": "websocket.close"})

    async with serving(app) as server:
        for path, status, body in (
            ("/response", 401, b"no"),
            ("/error", 500, b"Internal Server Error"),
            ("/close", 403, b""),
        ):
            with pytest.raises(anyws.HandshakeRejected) as caught:
                async with anyws.connect(f"{url_of(server)}{path}"):
                    pass
            assert (caught.value.status, caught.value.body) == (status, body)
            assert caught.value.headers["server"] == "uvicorn"
        port = int(url_of(server).rpartition(":")[2])
        for before, after, wanted in (
            (b"Key: dGhl", b"Key: dG", b"HTTP/1.1 400 "),
            (b"Version: 13", b"Version: 8", b"HTTP/1.1 426 "),
            (b"Host: a", b"Host: a\r\nContent-Length: 3", b"HTTP/1.1 400 "),
        ):
            async with await anyio.connect_tcp(HOST, port) as stream:
                await stream.send(REQUEST.replace(before, after))
                assert (await stream.receive()).startswith(wanted)


# Settings


async def test_settings_of_headers_and_paths() -> None:
    """`root_path`, `headers`, `server_header`, `date_header`."""
    note = Noted()

    @anyws.endpoint
    async def app(ws: anyws.WebSocket) -> None:
        note({name: ws.scope[name] for name in ("path", "root_path", "scheme")})
        await ws.accept()

    async with serving(
        app,
        root_path="/api",
        headers=[("x-own", "1")],
        server_header=False,
        date_header=False,
    ) as server:
        async with anyws.connect(f"{url_of(server)}/ws") as ws:
            headers = ws.response.headers
            assert headers["x-own"] == "1"
            assert not {"server", "date"} & set(headers)
    assert note.values == [{"path": "/api/ws", "root_path": "/api", "scheme": "ws"}]


async def test_proxy_headers() -> None:
    """The address is the client's, as uvicorn's own middleware finds it."""
    note = Noted()

    @anyws.endpoint
    async def app(ws: anyws.WebSocket) -> None:
        note((ws.scope["client"], ws.scope["scheme"]))
        await ws.accept()

    headers = {"X-Forwarded-For": "192.0.2.7", "X-Forwarded-Proto": "https"}
    async with serving(app, proxy_headers=True) as server:
        async with anyws.connect(url_of(server), headers=headers):
            pass
    assert note.values == [(("192.0.2.7", 0), "wss")]


async def test_settings_of_messages() -> None:
    """`ws_max_size` raises the default bound, and is the highest one.

    `ws_max_queue` and `ws_per_message_deflate` hold too.
    """
    large = 20 * 1024 * 1024
    wanted = anyws.Options(max_message_bytes=2 * large, compression=anyws.Deflate())

    @anyws.endpoint(options=wanted)
    async def greedy(ws: anyws.WebSocket) -> None:
        assert ws._session is not None
        note((ws._session.options.receive_buffer, ws._session.options.ping_interval))
        await echo.handler(ws)

    note = Noted()
    settings: Any = {"ws_max_size": large, "ws_max_queue": 5, "ws_ping_interval": 0}
    async with serving(greedy, **settings, ws_per_message_deflate=False) as server:
        options = anyws.Options(max_message_bytes=large)
        async with anyws.connect(url_of(server), options=options) as ws:
            assert "sec-websocket-extensions" not in ws.response.headers
            await ws.send_bytes(bytes(large))
            assert len(await ws.receive_bytes()) == large
            await ws.send_bytes(bytes(large + 1))
            assert (await closed(ws)).code == 1009
    assert note.values == [(5, None)]


async def test_an_application_has_settings_of_compression() -> None:
    """They count, unless uvicorn's setting is off."""
    wanted = anyws.Deflate(server_max_window_bits=9)
    app = anyws.endpoint(options=anyws.Options(compression=wanted))(echo.handler)
    async with serving(app) as server:
        async with anyws.connect(url_of(server)) as ws:
            answer = ws.response.headers["sec-websocket-extensions"]
            assert "server_max_window_bits=9" in answer
            await ws.send_text("x" * 1000)
            assert await ws.receive_text() == "x" * 1000


async def test_concurrency_is_limited() -> None:
    """Above `limit_concurrency` the answer is a 503."""
    async with serving(echo, limit_concurrency=2) as server:
        async with anyws.connect(url_of(server)) as ws:
            with pytest.raises(anyws.HandshakeRejected) as caught:
                async with anyws.connect(url_of(server)):
                    pass
            assert caught.value.status == 503
            await ws.send_text("hello")
            assert await ws.receive_text() == "hello"


async def answer_pings(stream: Any, count: int, *, answers: bool = True) -> bytes:
    """Take so many pings, or all up to the end; return what else came."""
    others = b""
    while count:
        try:
            data = await stream.receive()
        except anyio.EndOfStream:
            return others
        while data and data[0] == 0x80 | PING:
            size = data[1]
            if answers:
                await stream.send(frame(PONG, data[2 : 2 + size]))
            data, count = data[2 + size :], count - 1
        others += data
    return others


async def test_a_live_peer_is_never_closed_while_the_application_is_busy() -> None:
    """It answers pings; that two of its messages are unread does not matter."""
    release, note = anyio.Event(), Noted()

    @anyws.endpoint
    async def app(ws: anyws.WebSocket) -> None:
        await ws.accept()
        await release.wait()
        note([await ws.receive_text(), await ws.receive_text()])

    async with serving(app, ws_ping_interval=0.02, ws_ping_timeout=0.1) as server:
        port = int(url_of(server).rpartition(":")[2])
        async with await anyio.connect_tcp(HOST, port) as stream:
            await stream.send(REQUEST)
            await stream.receive()
            await stream.send(frame(TEXT, "one") + frame(TEXT, "two"))
            assert await answer_pings(stream, 20) == b""
            release.set()
            await note.told.wait()
    assert note.values == [["one", "two"]]


async def test_a_peer_that_answers_no_ping_is_closed() -> None:
    """With 1011, and the application is told."""
    note = Noted()

    @anyws.endpoint(options=anyws.Options(close_timeout=0.2))
    async def app(ws: anyws.WebSocket) -> None:
        await ws.accept()
        note(await ws.wait_closed())

    async with serving(app, ws_ping_interval=0.02, ws_ping_timeout=0.1) as server:
        port = int(url_of(server).rpartition(":")[2])
        async with await anyio.connect_tcp(HOST, port) as stream:
            await stream.send(REQUEST)
            await stream.receive()
            others = await answer_pings(stream, 100, answers=False)
            assert others[:1] == bytes([0x80 | CLOSE])
            assert int.from_bytes(others[2:4]) == 1011
        await note.told.wait()
    assert note.values[0].code == 1011


async def test_answers_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    """As uvicorn's own classes do, so that filters of logs go on working."""
    caplog.set_level(logging.INFO)
    app = FastAPI()
    app.websocket_route("/ws")(echo)
    async with serving(app) as server:
        async with anyws.connect(f"{url_of(server)}/ws?a=1"):
            pass
        with pytest.raises(anyws.HandshakeRejected):
            async with anyws.connect(f"{url_of(server)}/nowhere"):
                pass
    lines = [r.getMessage() for r in caplog.records if "WebSocket" in r.getMessage()]
    assert [line.partition(" - ")[2] for line in lines] == [
        '"WebSocket /ws?a=1" [accepted]',
        '"WebSocket /nowhere" 403',
    ]


async def test_tls(tmp_path: Path) -> None:
    """Large messages pass both ways, the end is in order, and the scope tells of it."""
    note = Noted()

    @anyws.endpoint
    async def app(ws: anyws.WebSocket) -> None:
        note(ws.scope["extensions"]["tls"]["tls_version"])
        note(ws.extra(TLSAttribute.tls_version))
        note(ws.extra(SocketAttribute.remote_address) == ws.peer_address)
        await echo.handler(ws)

    authority = trustme.CA()
    pem = str(tmp_path / "pem")
    authority.issue_cert(HOST).private_key_and_cert_chain_pem.write_to_path(pem)
    ours = ssl.create_default_context()
    authority.configure_trust(ours)
    async with serving(app, ssl_certfile=pem) as server:
        url = url_of(server).replace("ws:", "wss:")
        async with anyws.connect(url, ssl_context=ours, compression=None) as ws:
            for size in (1, 100_000, 3_000_000):
                await ws.send_bytes(bytes(size))
                assert len(await ws.receive_bytes()) == size
            server.should_exit = True
            assert await closed(ws) == anyws.CloseInfo(1012, "", "peer", True)
    assert note.values == [0x0304, "TLSv1.3", True]


async def test_a_unix_socket(tmp_path: Path) -> None:
    """The scope says so."""
    note = Noted()

    @anyws.endpoint
    async def app(ws: anyws.WebSocket) -> None:
        note((ws.scope["client"], ws.scope["server"]))
        await echo.handler(ws)

    path = str(tmp_path / "socket")
    async with serving(app, uds=path) as server:
        async with anyws.connect(url_of(server), unix_path=path) as ws:
            await ws.send_text("hello")
            assert await ws.receive_text() == "hello"
    [(client, local)] = note.values
    assert client is None
    assert local in ((path, None), None)  # older releases of uvicorn have no address


# Flow


async def test_a_chatty_peer_is_held_up() -> None:
    """An application that does not read stops the reading; nothing is lost then."""
    release, note = anyio.Event(), Noted()
    count, size = 100, 100_000

    @anyws.endpoint
    async def app(ws: anyws.WebSocket) -> None:
        await ws.accept()
        await release.wait()
        sizes = [len(await ws.receive_bytes()) for _ in range(count)]
        note(sizes)

    async with serving(app, ws_max_size=200_000) as server:
        async with anyws.connect(url_of(server), compression=None) as ws:
            sent = 0

            async def send() -> None:
                nonlocal sent
                for _ in range(count):
                    await ws.send_bytes(bytes(size))
                    sent += 1

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(send)
                before = -1
                while sent != before:
                    before = sent
                    await anyio.sleep(0.2)
                assert sent < count
                release.set()
            await note.told.wait()
    assert note.values == [[size] * count]


async def test_a_send_to_a_peer_that_does_not_read_can_be_timed_out() -> None:
    """And the connection ends in time."""
    note = Noted()

    @anyws.endpoint(options=anyws.Options(close_timeout=0.2))
    async def app(ws: anyws.WebSocket) -> None:
        await ws.accept()
        with anyio.move_on_after(1) as scope:
            while True:
                await ws.send_bytes(bytes(100_000))
        # What the kernel takes, and little more.
        note((scope.cancelled_caught, ws.statistics().bytes_sent < 30_000_000))

    async with serving(app) as server:
        port = int(url_of(server).rpartition(":")[2])
        async with await anyio.connect_tcp(HOST, port) as stream:
            await stream.send(REQUEST)
            await note.told.wait()
            while server.server_state.tasks:  # noqa: ASYNC110  # uvicorn's own
                await anyio.sleep(0.02)
    assert note.values == [(True, True)]


# The end of the server


async def test_a_shutdown_closes_with_1012() -> None:
    """Those that are not accepted are rejected; the application may end in order."""
    note, entered = Noted(), Noted()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        if scope["path"] == "/late":
            entered("late")
        else:
            await send({"type": "websocket.accept"})
        event = await receive()
        await anyio.sleep(0.05)
        note(event["code"])

    statuses = list[int]()

    async def late(url: str) -> None:
        with pytest.raises(anyws.HandshakeRejected) as caught:
            async with anyws.connect(f"{url}/late"):
                pass
        statuses.append(caught.value.status)

    async with serving(app) as server:
        async with anyws.connect(url_of(server)) as ws:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(late, url_of(server))
                await entered.told.wait()
                server.should_exit = True
                assert await closed(ws) == anyws.CloseInfo(1012, "", "peer", True)
    assert sorted(note.values) == [1012, 1012]
    assert statuses == [503]


async def test_a_shutdown_is_told_to_who_waits_for_it() -> None:
    """`ws.draining` becomes true, and the handler need not be cancelled."""
    note = Noted()

    @anyws.endpoint
    async def app(ws: anyws.WebSocket) -> None:
        await ws.accept()
        assert not ws.draining
        await ws.draining
        note(bool(ws.draining))

    async with serving(app) as server:
        async with anyws.connect(url_of(server)) as ws:
            server.should_exit = True
            assert await closed(ws) == anyws.CloseInfo(1012, "", "peer", True)
            await note.told.wait()
    assert note.values == [True]


@pytest.mark.parametrize("shielded", [False, True])
async def test_the_graceful_time_is_uvicorns(shielded: bool) -> None:
    """A handler that does not end is cancelled after `timeout_graceful_shutdown`."""
    note = Noted()
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep

    @anyws.endpoint
    async def app(ws: anyws.WebSocket) -> None:
        await ws.accept()
        try:
            await sleep(100)
        finally:
            note("cancelled")
            if shielded:
                with anyio.CancelScope(shield=True):
                    await sleep(0.05)
                note("over")

    async with serving(app, timeout_graceful_shutdown=0.2) as server:
        async with anyws.connect(url_of(server)) as ws:
            await ws.send_text("hello")
            server.should_exit = True
            assert await closed(ws) == anyws.CloseInfo(1012, "", "peer", True)
    while server.server_state.tasks:  # noqa: ASYNC110  # uvicorn's own
        await anyio.sleep(0.02)
    assert note.values == ["cancelled", *(["over"] if shielded else [])]


@pytest.mark.parametrize(
    ("released", "found", "words"),
    [
        ("0.35.9", True, "0.36 or later, whose --ws takes a class, and not 0.35.9"),
        ("0.9.0", True, "and not 0.9.0"),
        ("0.54.0", False, "pip install 'anyws-websockets\\[uvicorn\\]'"),
    ],
)
def test_an_older_uvicorn_is_refused(
    released: str, found: bool, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As is its absence; it is said what to install."""
    monkeypatch.setattr("importlib.metadata.version", lambda _: released)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: found or None)
    with pytest.raises((RuntimeError, ModuleNotFoundError), match=words):
        runpy.run_path(str(anyws.uvicorn.__file__))


async def test_a_shutdown_before_the_application_runs() -> None:
    """The request is refused with 503, and nothing is begun."""
    began = False

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal began
        began = True

    class Stopped(WebSocketProtocol):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.shutdown()

    async with serving(app) as server:
        server.config.ws_protocol_class = Stopped
        with pytest.raises(anyws.HandshakeRejected) as caught:
            async with anyws.connect(url_of(server)):
                pass
        assert caught.value.status == 503
    assert not began


async def test_nothing_is_left() -> None:
    """No task and no connection stands in uvicorn's lists afterwards."""
    async with serving(echo) as server:
        clients = partial(anyws.connect, url_of(server))
        async with clients() as one, clients(), clients() as three:
            await one.close(4000)
            await three.send_text("hello")
        state = server.server_state
        while state.tasks or state.connections:  # noqa: ASYNC110  # uvicorn's own
            await anyio.sleep(0.02)
