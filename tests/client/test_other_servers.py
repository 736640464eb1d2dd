"""The client against servers that others wrote, and against Chromium's DevTools."""

from __future__ import annotations

import contextlib
import functools
import http.client
import json
import random
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import anyio
import anyio.to_thread
import pytest

import anyws

from ..support.chromium import browser
from ..support.servers import HERE, HOST

SERVERS = (
    "hypercorn-asyncio",
    "hypercorn-trio",
    "uvicorn-websockets-sansio",
    "uvicorn-wsproto",
    "websockets",
    "aiohttp",
)
pytestmark = pytest.mark.slow  # they start processes

# It loses the peer's code.
BLIND = ("hypercorn-asyncio", "hypercorn-trio")
# Before 0.45 it does not send empty messages; 0.35 is what the tests ask for.
LOSING = ("uvicorn-websockets-sansio",)


@pytest.fixture(scope="module")
def started() -> Iterator[Callable[[str], str]]:
    """Give what starts a server, once; all run until the end of the module."""
    with contextlib.ExitStack() as stack:
        yield functools.cache(lambda name: stack.enter_context(running(name)))


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest, started: Callable[[str], str]) -> str:
    """Have a server run; give the beginning of its URLs."""
    pytest.importorskip(request.param.partition("-")[0])
    return started(request.param)


@contextlib.contextmanager
def running(name: str) -> Iterator[str]:
    """Run a server in a process; give the beginning of its URLs."""
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        listener.listen(128)
        port = listener.getsockname()[1]
        command = [sys.executable, *command_of(name, listener.fileno())]
        process = subprocess.Popen(command, cwd=HERE, pass_fds=[listener.fileno()])
    try:
        deadline = time.monotonic() + 20
        while not answers(port):
            assert process.poll() is None, "the server did not start"
            assert time.monotonic() < deadline, "the server does not answer"
        yield f"ws://{HOST}:{port}"
    finally:
        process.terminate()
        process.wait(20)


def command_of(server: str, descriptor: int) -> list[str]:
    """Return the arguments for Python that run a server on a listening socket."""
    family, _, variant = server.partition("-")
    if family == "hypercorn":
        bind = f"fd://{descriptor}"
        return ["-m", family, "-k", variant, "--bind", bind, "peer_apps:app"]
    return ["peer_apps.py", server, str(descriptor)]


def answers(port: int) -> bool:
    """Whether a server answers a request, whatever it says."""
    with contextlib.closing(http.client.HTTPConnection(HOST, port, timeout=2)) as link:
        try:
            link.request("GET", "/", headers={"Connection": "close"})
            link.getresponse()
        except http.client.HTTPException:
            return True
        except OSError:
            return False
    return True


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """Give the name of the server."""
    return str(request.node.callspec.params["server"])


MESSAGES: list[str | bytes] = [
    "",
    b"",
    "hello, wörld 🌍",
    bytes(range(256)),
    "a" * 125,
    b"b" * 126,
    "c" * 65535,
    b"d" * 65536,
    "e€" * 200_000,
    random.Random(20).randbytes(3_000_000),
]


@pytest.mark.parametrize("compression", ["deflate", None])
async def test_messages_come_back(server: str, name: str, compression: Any) -> None:
    """Small and large, text and bytes, compressed and not."""
    async with anyws.connect(f"{server}/", compression=compression) as ws:
        extensions = ws.response.headers.get("sec-websocket-extensions", "")
        assert ("permessage-deflate" in extensions) is (compression is not None)
        for message in MESSAGES:
            if name in LOSING and not message:
                continue
            await ws.send_message(message)
            assert await ws.receive_message() == message
    assert ws.close_info == anyws.CloseInfo(1000, "", "local", True)


async def test_many_messages_under_way(server: str) -> None:
    """Sent and received at the same time, they keep their order."""
    count = 2000

    async def send() -> None:
        for number in range(count):
            await ws.send_text(f"{number} {'x' * (number % 300)}")

    async with anyws.connect(f"{server}/") as ws, anyio.create_task_group() as tg:
        tg.start_soon(send)
        for number in range(count):
            assert (await ws.receive_text()).split()[0] == str(number)


@pytest.mark.parametrize(
    ("code", "reason"), [(1000, ""), (1001, "bye"), (3000, "ö" * 60), (4999, "x")]
)
async def test_the_server_closes(server: str, code: int, reason: str) -> None:
    """Its code and reason are told."""
    async with anyws.connect(f"{server}/") as ws:
        await ws.send_text(f"close {code} {reason}")
        with pytest.raises(anyws.ConnectionClosed) as caught:
            await ws.receive_text()
        assert caught.value.info == anyws.CloseInfo(code, reason, "peer", True)
        with pytest.raises(anyws.ConnectionClosed):
            await ws.send_text("too late")


@pytest.mark.parametrize("code", [1000, 1001, 3000, 4999])
async def test_the_client_closes(server: str, name: str, code: int) -> None:
    """The server learns the code, if it has ears."""
    async with anyws.connect(f"{server}/") as ws:
        await ws.close(code, "bye")
        assert (await ws.wait_closed()).code == code
    assert ws.close_info == anyws.CloseInfo(code, "bye", "local", True)
    if name in BLIND:
        return
    seen = None
    while seen != code:  # within the time limit of a test
        async with anyws.connect(f"{server}/closes") as ws:
            seen = int(await ws.receive_text())


async def test_pings(server: str) -> None:
    """They are answered, also many at once."""
    async with anyws.connect(f"{server}/") as ws:
        assert 0 <= await ws.ping() < 10
        async with anyio.create_task_group() as tg:
            for _ in range(10):
                tg.start_soon(ws.ping)
        assert 0 <= await ws.ping(b"x" * 125) < 10
        assert ws.latency is not None


async def test_keepalive(server: str) -> None:
    """A server that has nothing to say is known to be there."""
    options = anyws.Options(ping_interval=0.05, ping_timeout=5)
    async with anyws.connect(f"{server}/", options=options) as ws:
        while ws.latency is None:
            await ws.send_text("anything")
            await ws.receive_text()
        await ws.send_text("still there")
        assert await ws.receive_text() == "still there"


async def test_subprotocols(server: str) -> None:
    """The server's choice is told."""
    async with anyws.connect(f"{server}/", subprotocols=["chat"]) as ws:
        assert ws.subprotocol == "chat"


async def test_a_rejection(server: str) -> None:
    """Its status is told, and at once."""
    with anyio.fail_after(5), pytest.raises(anyws.HandshakeRejected) as caught:
        async with anyws.connect(f"{server}/rejected"):
            pass
    assert caught.value.status == 403


async def test_coming_back(server: str) -> None:
    """Whenever the server has closed."""
    turns = 0
    async for ws in anyws.connect(f"{server}/", retry=anyws.Retry(initial_delay=0)):
        async with ws:
            turns += 1
            if turns == 4:
                break
            await ws.send_text("close 1012 restart")
            await ws.receive_text()


async def test_a_server_that_is_gone(server: str) -> None:
    """A connection to no server fails, with the server's port in the message."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port = probe.getsockname()[1]
    with pytest.raises(anyws.HandshakeError, match=str(port)):
        async with anyws.connect(f"ws://{HOST}:{port}"):
            pass


# DevTools


@pytest.fixture(scope="module")
def devtools(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run Chromium; give the address of its DevTools."""
    with browser(tmp_path_factory.mktemp("profile")) as address:
        yield address


def opened_page(devtools: str, url: str) -> str:
    """Open a page; return the URL of its WebSocket."""
    request = urllib.request.Request(f"{devtools}/json/new?{url}", method="PUT")
    with urllib.request.urlopen(request) as response:
        return str(json.load(response)["webSocketDebuggerUrl"])


async def result_of(ws: anyws.ClientWebSocket, number: int, **call: Any) -> Any:
    """Call a method; return its result. Events that come before are dropped."""
    await ws.send_json({"id": number, **call})
    while (answer := await ws.receive_json()).get("id") != number:
        pass
    assert "error" not in answer, answer
    return answer["result"]


def evaluating(expression: str) -> dict[str, Any]:
    """Return the call that evaluates an expression."""
    params = {"expression": expression, "returnByValue": True}
    return {"method": "Runtime.evaluate", "params": params}


async def test_devtools_evaluate(devtools: str) -> None:
    """One and one is two, and large values come through."""
    url = await anyio.to_thread.run_sync(opened_page, devtools, "about:blank")
    async with anyws.connect(url) as ws:
        answer = await result_of(ws, 1, **evaluating("1 + 1"))
        assert answer["result"] == {"type": "number", "value": 2, "description": "2"}
        answer = await result_of(ws, 2, **evaluating("'ä'.repeat(2000000)"))
        assert answer["result"]["value"] == "ä" * 2_000_000
        answer = await result_of(ws, 3, **evaluating(f"'{'b' * 1_000_000}'.length"))
        assert answer["result"]["value"] == 1_000_000


async def test_devtools_events(devtools: str) -> None:
    """A page tells what happens to it; closing it ends the connection."""
    url = await anyio.to_thread.run_sync(opened_page, devtools, "about:blank")
    async with anyws.connect(url) as ws:
        await result_of(ws, 1, method="Page.enable")
        await result_of(ws, 2, method="Runtime.enable")
        await ws.send_json({"id": 3, **evaluating("console.log('hello')")})
        while True:
            event = await ws.receive_json()
            if event.get("method") == "Runtime.consoleAPICalled":
                break
        assert event["params"]["args"] == [{"type": "string", "value": "hello"}]
        page = {"url": "data:text/html,<title>hi</title>"}
        await ws.send_json({"id": 4, "method": "Page.navigate", "params": page})
        methods = set()
        while "Page.loadEventFired" not in methods:
            methods.add((await ws.receive_json()).get("method"))
        answer = await result_of(ws, 5, **evaluating("document.title"))
        assert answer["result"]["value"] == "hi"
        await ws.send_json({"id": 6, "method": "Page.close"})
        with pytest.raises(anyws.ConnectionClosed):
            while True:
                await ws.receive_json()
        assert ws.close_info is not None
