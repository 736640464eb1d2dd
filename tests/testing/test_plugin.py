"""The pytest plugin's fixtures, as a test that asks for them has them."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from typing import Any
from urllib.request import ProxyHandler, build_opener

import anyio
import pytest
from hypercorn.config import Config

import anyws
from anyws.testing import HypercornServer

pytest_plugins = ["pytester"]

WORKERS = ["asyncio", "uvloop", "trio"]


@anyws.endpoint
async def echo(ws: anyws.WebSocket) -> None:
    """Send back what comes, and close as the peer asks."""
    await ws.accept()
    async for message in ws:
        await ws.send_message(message)


async def test_the_fixture_connects(websocket_connect: Callable[..., Any]) -> None:
    """In the test's own task, on the backend of the test, under a strict server."""
    async with websocket_connect(echo) as ws:
        await ws.send_text("hello")
        assert await ws.receive_text() == "hello"


def test_the_server_is_an_option(pytester: pytest.Pytester) -> None:
    """A call may still say another."""
    pytester.makepyfile(
        """
        def test_it(websocket_connect):
            assert websocket_connect.keywords == {"server": "granian"}
        """
    )
    run = pytester.runpytest_inprocess("-p", "anyws", "-o", "anyws_server=granian")
    run.assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("handler", "lines"),
    [
        ("await ws.wait_closed()", [">*connect(app, *", "E * no answer * in app"]),
        (
            "await ws.accept(); await ws.wait_closed()",
            [">*ws.receive_text()", "E * no message * in app"],
        ),
        ("raise KeyError(1)", [">*connect(app, *", "E * KeyError: 1"]),
        (
            "await ws.accept(); raise KeyError(1)",
            [">*ws.receive_text()", ">*connect(app, *", "E * KeyError: 1"],
        ),
    ],
)
def test_a_failure_shows_the_test_and_the_handler(
    pytester: pytest.Pytester, handler: str, lines: list[str]
) -> None:
    """Where either is, and nothing of how a peer waits."""
    pytester.makepyfile(
        f"""
        import anyws, pytest

        @anyws.endpoint
        async def app(ws):
            {handler}

        @pytest.mark.parametrize("anyio_backend", ["asyncio"])
        async def test_it(websocket_connect, anyio_backend):
            async with websocket_connect(app, deadline=0.5) as ws:
                await ws.receive_text()
        """
    )
    options = ("-p", "anyio", "-p", "anyws", "-o", "anyio_mode=auto")
    run = pytester.runpytest_inprocess(*options)
    run.assert_outcomes(failed=1)
    run.stdout.fnmatch_lines(lines)
    run.stdout.no_fnmatch_line("*anyws/testing/_*.py:*")
    run.stdout.no_fnmatch_line("*WouldBlock*")
    run.stdout.no_fnmatch_line("*Cancelled*")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [({"worker": "Trio"}, ValueError), ({"engine": "no"}, TypeError)],
)
def test_a_server_that_is_none_is_refused(
    arguments: dict[str, Any], error: type[Exception]
) -> None:
    """Another one, started instead, would prove nothing."""
    with pytest.raises(error, match=f"{next(iter(arguments))} must be"):
        HypercornServer(echo, **arguments)


def test_a_server_is_a_context_manager_and_spares_its_configuration() -> None:
    """For fixtures of any scope."""
    config = Config()
    bind = config.bind
    with HypercornServer(echo, config=config) as server:
        port = int(server.url.rpartition(":")[2])
    assert config.bind == bind
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


async def test_a_server_is_left_in_an_async_test() -> None:
    """Also in a test on trio, whose thread must not wait for another trio."""
    pytest.importorskip("trio")
    with HypercornServer(echo, worker="trio") as server:
        async with anyws.connect(f"{server.url}/ws") as ws:
            await ws.send_text("hello")
            assert await ws.receive_text() == "hello"


def test_the_plugin_needs_no_extra() -> None:
    """With neither Hypercorn nor trio it loads, and a server is a skipped test."""
    script = """
import sys
for name in ("hypercorn", "trio", "uvloop"):
    sys.modules[name] = None
import anyws.testing._plugin as plugin, pytest
try:
    next(plugin.hypercorn_server.__wrapped__())
except pytest.skip.Exception as exc:
    print(exc)
"""
    run = partial(subprocess.run, capture_output=True, text=True, check=True)
    done = run([sys.executable, "-P", "-W", "error", "-c", script])
    assert done.stdout.strip() == "hypercorn is not installed"


@pytest.fixture(params=WORKERS)
def worker(request: pytest.FixtureRequest) -> str:
    """Give a worker that is there."""
    if request.param != "asyncio":
        pytest.importorskip(request.param, reason=f"{request.param} is not installed")
    return str(request.param)


@pytest.mark.parametrize("engine", [True, False])
async def test_a_real_server_serves(
    hypercorn_server: Callable[..., Any], worker: str, engine: bool
) -> None:
    """Over sockets, on either worker, whatever backend the test runs on."""
    server = hypercorn_server(echo, worker=worker, engine=engine)
    async with anyws.connect(f"{server.url}/ws") as ws:
        await ws.send_text("hello")
        assert await ws.receive_text() == "hello"


@pytest.mark.parametrize("engine", [True, False])
def test_a_real_server_answers_plain_requests(
    hypercorn_server: Callable[..., Any], worker: str, engine: bool
) -> None:
    """It is the whole server, at a port of its own."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            body = json.dumps(scope["path"]).encode()
            await send({"type": "http.response.body", "body": body})

    async def lifespan(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await echo(scope, receive, send)
        await app(scope, receive, send)

    servers = [hypercorn_server(lifespan, worker=worker, engine=engine)] * 2
    for server in servers:
        opener = build_opener(ProxyHandler({}))
        with opener.open(f"{server.http_url}/path", timeout=5) as response:
            assert json.load(response) == "/path"


@pytest.mark.parametrize("engine", [True, False])
async def test_a_server_ends_although_a_connection_is_open(
    hypercorn_server: Callable[..., Any], worker: str, engine: bool
) -> None:
    """The end of the test does not wait for it."""
    server = hypercorn_server(echo, worker=worker, engine=engine)
    async with anyws.connect(f"{server.url}/ws") as ws:
        await ws.send_text("hello")
        assert await ws.receive_text() == "hello"
        await anyio.to_thread.run_sync(server.close)
        info = await ws.wait_closed()
    assert info.code == 1012 if engine else info.code in (1006, 1011, 1012)


@pytest.mark.parametrize("engine", [True, False])
def test_a_server_that_does_not_start_says_why(
    hypercorn_server: Callable[..., Any], worker: str, engine: bool
) -> None:
    """The error is that of the lifespan."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    with pytest.raises(Exception, match="no database"):
        hypercorn_server(app, worker=worker, engine=engine)
