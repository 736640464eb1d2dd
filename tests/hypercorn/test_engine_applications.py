"""What an application may do without harm to the others of its worker."""

from __future__ import annotations

import errno
import inspect
import logging
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Generator, Iterator
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypercorn import __main__ as command
from hypercorn.config import Config
from websockets.sync.client import connect

import anyws
from anyws.hypercorn import engine, load, run, serve
from anyws.hypercorn.__main__ import main
from anyws.hypercorn._engine import uninstall
from anyws.hypercorn._logging import ExhaustionFilter
from anyws.hypercorn._worker import contain
from anyws.testing import HypercornServer

from ..support import servers
from ..support.h2_client import connected
from ..support.servers import end_of

UPGRADE = (
    b"GET / HTTP/1.1\r\nhost: here\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
    b"sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\nsec-websocket-version: 13\r\n\r\n"
)
LOGGER = "test_engine_applications"


class Stop(BaseException):
    """Of the kind that frameworks make for themselves."""


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Do what the path says."""
    if scope["type"] == "lifespan":
        await echo(scope, receive, send)
        return
    what = scope["path"].strip("/")
    if what in {"echo", "flood"}:
        await (echo if what == "echo" else flood)(scope, receive, send)
        return
    if scope["type"] == "websocket" and not what.startswith("early"):
        await receive()
        await send({"type": "websocket.accept"})
        await receive()
    if what.endswith("group"):
        async with anyio.create_task_group() as tg:
            tg.start_soon(anyio.sleep_forever)
            raise Stop
    if what.endswith("generator"):
        raise GeneratorExit
    raise SystemExit(3) if what.endswith("exit") else Stop


@anyws.endpoint
async def echo(ws: anyws.WebSocket) -> None:
    """Answer each message by itself."""
    await ws.accept()
    async for message in ws.iter_text():
        await ws.send_text(message)


@anyws.endpoint(options=anyws.Options(close_timeout=0.3, send_timeout=None))
async def flood(ws: anyws.WebSocket) -> None:
    """Send more than a peer takes that does not read."""
    await ws.accept()
    with anyio.move_on_after(0.3):
        while True:
            await ws.send_bytes(bytes(2**16))


@pytest.fixture(params=servers.WORKERS)
def worker_name(request: pytest.FixtureRequest) -> str:
    """Give the name of each kind of worker."""
    return servers.need(request.param)


@pytest.fixture
def server(worker_name: str) -> Iterator[HypercornServer]:
    """Give a server of each kind."""
    config = Config()
    config.errorlog = logging.getLogger(LOGGER)
    config.graceful_timeout = 0.5
    worker: Any = worker_name
    with HypercornServer(app, worker=worker, config=config) as server:
        yield server


@pytest.mark.parametrize(
    ("what", "code"),
    [("exit", 1001), ("stop", 1011), ("group", 1011), ("generator", 1011)],
)
def test_an_exit_ends_its_own_websocket(
    server: HypercornServer, caplog: pytest.LogCaptureFixture, what: str, code: int
) -> None:
    """`sys.exit()` is no end of the server: others go on, and the log has it once."""
    with connect(f"{server.url}/echo") as other:
        with connect(f"{server.url}/{what}") as client:
            client.send("now")
            assert end_of(client)[0] == code
        other.send("still here")
        assert other.recv(timeout=5) == "still here"
    errors = [r for r in caplog.records if r.name == LOGGER and r.exc_info]
    assert len(errors) == 1
    with connect(f"{server.url}/echo") as another:
        another.send("again")
        assert another.recv(timeout=5) == "again"


@pytest.mark.parametrize("what", ["early-exit", "early-stop", "early-generator"])
def test_an_exit_before_accepting_is_a_500(server: HypercornServer, what: str) -> None:
    """As with any other exception."""
    with connect(f"{server.url}/echo") as other:
        with pytest.raises(Exception, match="HTTP 500"):
            connect(f"{server.url}/{what}")
        other.send("still here")
        assert other.recv(timeout=5) == "still here"


@pytest.mark.parametrize("version", ["1.1", "2"])
@pytest.mark.parametrize("what", ["exit", "group", "generator"])
def test_an_exit_ends_its_own_request(
    server: HypercornServer,
    caplog: pytest.LogCaptureFixture,
    what: str,
    version: str,
) -> None:
    """So is that of a plain request, over HTTP/1.1 and HTTP/2."""
    with connect(f"{server.url}/echo") as other:
        if version == "1.1":
            with pytest.raises(urllib.error.HTTPError, match="500"):
                urllib.request.urlopen(f"{server.http_url}/{what}", timeout=5)
        else:
            with connected(int(server.url.rpartition(":")[2])) as client:
                stream = client.request(f"/{what}")
                stream.wait_end()
                assert stream.status == 500
        other.send("still here")
        assert other.recv(timeout=5) == "still here"
    errors = [r for r in caplog.records if r.name == LOGGER and r.exc_info]
    assert len(errors) == 1


async def test_a_coroutine_that_is_closed_ends() -> None:
    """A loop that ends abruptly closes it: that is no exception of an application."""

    class Paused:
        def __await__(self) -> Generator[None, None, None]:
            yield

    served = contain(Paused(), Config())
    served.send(None)

    def close() -> None:
        served.close()

    await anyio.to_thread.run_sync(close)
    assert inspect.getcoroutinestate(served) == inspect.CORO_CLOSED


@pytest.mark.parametrize("log", ["-", None])
async def test_the_handler_goes_on_before_its_peer_is_answered(
    log: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    """A handler that registers itself after the accept misses no message of others."""
    answered = anyio.Event()
    was_answered: list[bool] = []

    @anyws.endpoint
    async def handler(ws: anyws.WebSocket) -> None:
        await ws.accept()
        was_answered.append(answered.is_set())
        await ws.send_text("at once")
        await ws.close()

    config = Config()
    config.accesslog = log
    async with anyio.create_task_group() as tg:
        [url] = await tg.start(partial(serve, handler, config, bind="127.0.0.1:0"))
        port = int(url.rpartition(":")[2])
        async with await anyio.connect_tcp("127.0.0.1", port) as client:
            await client.send(UPGRADE)
            answer = await client.receive()
            answered.set()
            while b"at once" not in answer:
                answer += await client.receive()
        tg.cancel_scope.cancel()
    assert answer.startswith(b"HTTP/1.1 101")
    assert answer.count(b"HTTP/1.1") == 1
    assert answer.index(b"\r\n\r\n") < answer.index(b"at once")
    assert was_answered == [False]


def handler(ws: object) -> None:
    """Be no async function."""


async def two(_: object, __: object) -> None:
    """Take neither a WebSocket nor what ASGI has."""


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (None, "not None: write `async def handler"),
        ("chat:app", "not its path 'chat:app': import it, or run `python -m"),
        (handler, r"parameters \(ws: 'object'\) -> 'None': write `async def handler"),
        (lambda: None, r"parameters \(\): write `async def handler"),
        (two, "write `async def handler"),
        (3, "not 3: write"),
    ],
)
async def test_what_is_no_application_is_a_type_error(wrong: Any, words: str) -> None:
    """At once, and not as a 500 for each client."""
    with pytest.raises(TypeError, match=words):
        await serve(wrong, bind="127.0.0.1:0")
    with pytest.raises(TypeError, match=words):
        run(wrong, bind="127.0.0.1:0")


def test_what_is_loaded_is_an_application_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under `python -m anyws.hypercorn` and stock Hypercorn's command."""
    (tmp_path / "loaded_by_a_test.py").write_text(
        "async def app(ws): ...\ndef wrong(ws): ...\n"
        "async def asgi(scope, receive, send): ...\n"
        "def wsgi(environ, start_response): ...\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with engine():
        assert len(signature(load("loaded_by_a_test").__call__).parameters) == 3
        assert load("loaded_by_a_test", "asgi").__name__ == "asgi"
        assert load("loaded_by_a_test", "wsgi").__name__ == "wsgi"
        with pytest.raises(TypeError, match="write `async def handler"):
            load("loaded_by_a_test", "wrong")
    for _ in range(4):  # `load` is for good
        uninstall()


async def test_origins_are_a_keyword_too() -> None:
    """Which is checked at once, and holds for every route."""
    with pytest.raises(ValueError, match="not an origin"):
        await serve(echo, bind="127.0.0.1:0", allowed_origins="*")
    with pytest.raises(TypeError, match="allowed_origins is a str or several, not int"):
        await serve(echo, allowed_origins=7)  # type: ignore[arg-type]  # wrong
    ours = partial(serve, echo, bind="127.0.0.1:0", allowed_origins="https://a.test")
    async with anyio.create_task_group() as tg:
        [url] = await tg.start(ours)
        url = url.replace("http", "ws")
        async with anyws.connect(url, origin="https://a.test"):
            pass
        with pytest.raises(anyws.HandshakeRejected, match="403"):
            async with anyws.connect(url, origin="https://b.test"):
                pass
        tg.cancel_scope.cancel()


async def test_a_handler_is_served_as_an_endpoint() -> None:
    """Without the decorator."""

    async def greet(ws: anyws.WebSocket) -> None:
        await ws.accept()
        await ws.send_text("hello")

    async with anyio.create_task_group() as tg:
        [url] = await tg.start(partial(serve, greet, bind="127.0.0.1:0"))
        async with anyws.connect(url.replace("http", "ws")) as client:
            assert await client.receive_text() == "hello"
        tg.cancel_scope.cancel()


@pytest.mark.parametrize("takes", [0, 1], ids=["at once", "behind the startup"])
async def test_an_application_may_return_from_its_lifespan(takes: int) -> None:
    """One that knows no lifespan is served all the same, and ends."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await echo(scope, receive, send)
        elif takes:
            await receive()

    async with anyio.create_task_group() as tg:
        [url] = await tg.start(partial(serve, app, bind="127.0.0.1:0"))
        async with anyws.connect(url.replace("http", "ws")) as client:
            await client.send_text("hello")
            assert await client.receive_text() == "hello"
        tg.cancel_scope.cancel()


# An address that is in use.


@pytest.fixture
def taken() -> Iterator[str]:
    """Give an address that another server listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


async def test_an_address_in_use_is_named(taken: str) -> None:
    """The error says what cannot be had, and which setting it is."""
    words = f"cannot listen on {taken}: .* those of bind"
    with pytest.raises(OSError, match=words) as caught:
        await serve(echo, bind=taken)
    assert caught.value.errno == errno.EADDRINUSE


NO_ADDRESSES = ["127.0.0.1:70000", "127.0.0.1:-1", "fd://one", "unix:" + "x" * 200]


@pytest.mark.parametrize("address", NO_ADDRESSES)
async def test_what_is_no_address_is_named(address: str) -> None:
    """The same words, where Python's own error is no OSError or has no number."""
    words = re.escape(f"cannot listen on {address}: ") + ".* those of bind"
    with pytest.raises((OSError, ValueError), match=words):
        await serve(echo, bind=address)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("-m", "anyws.hypercorn", "--bind", "ADDRESS", "app"), "those of --bind)"),
        (("chat.py", "--port", "PORT"), "--port chooses another port"),
    ],
)
def test_an_address_in_use_is_one_line(
    taken: str, command: tuple[str, ...], words: str
) -> None:
    """And no address is told as one to open."""
    port = taken.rpartition(":")[2]
    names = {"ADDRESS": taken, "PORT": port}
    done = subprocess.run(
        [sys.executable, *(names.get(part, part) for part in command)],
        cwd=Path(__file__).parents[2] / "examples",
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    [line] = done.stderr.splitlines()
    assert f"cannot listen on {taken}: " in line
    assert line.endswith(words)
    assert (done.returncode, done.stdout) == (1, "")


def test_a_port_that_is_none_is_one_line() -> None:
    """As an address in use is."""
    command = ["-m", "anyws.hypercorn", "--bind", "127.0.0.1:70000", "echo:app"]
    done = subprocess.run(
        [sys.executable, *command],
        cwd=Path(__file__).parents[2] / "examples",
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    [line] = done.stderr.splitlines()
    assert line.startswith("cannot listen on 127.0.0.1:70000: ")
    assert line.endswith("those of --bind)")
    assert done.returncode == 1


# What is not installed.


@pytest.mark.parametrize("event_loop", ["trio", "uvloop"])
def test_a_missing_event_loop_is_one_line(
    event_loop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the command that installs it, by the name the distribution has."""
    monkeypatch.setattr("anyws.hypercorn._engine.find_spec", lambda _: None)
    words = rf"pip install 'anyws-websockets\[hypercorn,{event_loop}\]'"
    monkeypatch.setattr(sys, "argv", ["hypercorn", "-k", event_loop, "app"])
    monkeypatch.setattr(Config, "create_sockets", Config.create_sockets)
    monkeypatch.setattr(command, "run", vars(command)["run"])
    with pytest.raises(SystemExit, match=f"-k {event_loop} needs .*{words}"):
        main()
    options: dict[str, Any] = {"backend": "trio"}
    if event_loop == "uvloop":
        options = {"backend_options": {"use_uvloop": True}}
    with pytest.raises(ModuleNotFoundError, match=words):
        run(echo, bind="127.0.0.1:0", **options)


# Descriptors, and the log.


def descriptors() -> int:
    """Count those of this process, in which the server runs."""
    return len(os.listdir("/proc/self/fd"))


def test_a_client_that_asks_for_nothing_is_gone_at_once(
    server: HypercornServer,
) -> None:
    """Its descriptor is not kept for the keep-alive time of five seconds."""
    port = int(server.url.rpartition(":")[2])
    before = descriptors()
    for _ in range(5):
        socket.create_connection(("127.0.0.1", port)).close()
    time.sleep(0.2)
    assert servers.eventually(lambda: descriptors() <= before, 2)


def test_the_applications_close_timeout_holds_for_the_socket(
    server: HypercornServer,
) -> None:
    """A peer that reads nothing has that long, and not the worker's five seconds."""
    port = int(server.url.rpartition(":")[2])
    before = descriptors()
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", port))
        client.sendall(UPGRADE.replace(b"GET /", b"GET /flood"))
        assert client.recv(12) == b"HTTP/1.1 101"
        held = descriptors()
        assert servers.eventually(lambda: descriptors() < held, 3)
    assert servers.eventually(lambda: descriptors() <= before)


def test_the_access_log_escapes_control_characters(
    worker_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A peer writes no lines of its own into it, and no codes for a terminal."""
    config = Config()
    caplog.set_level("INFO", LOGGER)
    config.accesslog = logging.getLogger(LOGGER)
    config.graceful_timeout = 0.5
    worker: Any = worker_name
    with HypercornServer(app, worker=worker, config=config) as server:
        with connect(f"{server.url}/echo?%0a"):
            pass
        for path in ("/a%0d%0ab", "/c%1b[31m", "/d%7f", "/e%c2%9b"):
            with pytest.raises(Exception, match="HTTP"):
                connect(f"{server.url}/early-stop{path}")
            with pytest.raises(urllib.error.HTTPError, match="500"):
                urllib.request.urlopen(f"{server.http_url}{path}", timeout=5)
    lines = [r.getMessage() for r in caplog.records if r.name == LOGGER]
    assert len(lines) >= 9
    assert not any(c < " " or "\x7f" <= c < "\xa0" for line in lines for c in line)
    assert any(r"/a\x0d\x0ab" in line for line in lines)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("asyncio", "socket.accept() out of system resource\nsocket: ..."),
        ("trio.serve_listeners", "accept returned %s"),
    ],
)
def test_descriptors_that_run_out_are_told_once(name: str, text: str) -> None:
    """Not by a traceback for each try; other records pass as they are."""
    own = ExhaustionFilter()
    kinds = [text, text, "another"]
    records = [
        logging.LogRecord(name, 40, "", 1, kind, ("EMFILE",), (None, None, None))
        for kind in kinds
    ]
    assert [own.filter(record) for record in records] == [True, False, True]
    assert "no file descriptor is left" in records[0].getMessage()
    assert records[0].exc_info is None
    assert records[2].msg == "another"
