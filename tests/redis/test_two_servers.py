"""Two servers on two backends, which a Redis server connects."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

import pytest
import uvicorn
from hypercorn.config import Config
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from websockets.sync.client import ClientConnection, connect

import anyws
from anyws.testing import HypercornServer

from ..support.redis_servers import NEEDS_REDIS, RedisServer, redis_server

pytest.importorskip("coredis")
from anyws.redis import RedisBackend

MESSAGES = 3000

pytestmark = [NEEDS_REDIS, pytest.mark.slow]


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    """Run a Redis server for all tests."""
    with redis_server() as running:
        yield running


def application(url: str, durable: bool) -> Starlette:
    """Return an application whose members publish what they send."""
    backend = RedisBackend(url, durable=durable, prefix=f"durable-{durable}")
    hub = anyws.Hub(backend=backend, max_queued=2 * MESSAGES)

    @anyws.endpoint
    async def handle(ws: anyws.WebSocket) -> None:
        await ws.accept()
        with hub.attach(ws, "all", buffer=3 * MESSAGES):
            async for text in ws.iter_text():
                hub.publish("all", text)

    return Starlette(routes=[WebSocketRoute("/", handle)], lifespan=hub.lifespan)


@contextmanager
def on_uvicorn(app: Starlette) -> Iterator[str]:
    """Serve on uvicorn and asyncio, in a thread; yield the address."""
    listener = socket.create_server(("127.0.0.1", 0))
    protocol = "anyws.uvicorn:WebSocketProtocol"
    config = uvicorn.Config(app, ws=protocol, loop="asyncio", log_level="error")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        yield f"ws://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


@contextmanager
def on_hypercorn(app: Starlette) -> Iterator[str]:
    """Serve on Hypercorn and trio, in a thread; yield the address."""
    config = Config()
    config.loglevel = "ERROR"
    with HypercornServer(app, worker="trio", config=config) as server:
        yield server.url


def meet(one: ClientConnection, other: ClientConnection) -> None:
    """Publish by each until the other has it."""
    for sender, receiver in ((one, other), (other, one)):
        for number in count():
            sender.send(f"mark {number}")
            try:
                while not str(receiver.recv(timeout=0.5)).startswith("mark"):
                    pass
                break
            except TimeoutError:
                assert number < 20
        sender.send("met")
        while receiver.recv(timeout=10) != "met":
            pass


def burst(member: ClientConnection, name: str) -> threading.Thread:
    """Send all messages of a member, as fast as they go, in a thread."""
    texts = [f"{name}{number}" for number in range(MESSAGES)]

    def send() -> None:
        for text in texts:
            member.send(text)

    thread = threading.Thread(target=send)
    thread.start()
    return thread


@pytest.mark.parametrize("durable", [False, True], ids=["plain", "durable"])
def test_a_burst_from_websocket_to_websocket(
    server: RedisServer, durable: bool
) -> None:
    """Both members get all that both send, in one order."""
    with (
        on_hypercorn(application(server.url, durable)) as first,
        on_uvicorn(application(server.url, durable)) as second,
        connect(first) as one,
        connect(second) as other,
    ):
        meet(one, other)
        threads = [burst(one, "x"), burst(other, "y")]
        seen: list[list[str]] = []
        for member in (one, other):
            got: list[str] = []
            while len(got) < 2 * MESSAGES:
                text = str(member.recv(timeout=20))
                if text[0] in "xy":
                    got.append(text)
            seen.append(got)
        for thread in threads:
            thread.join()
        assert seen[0] == seen[1]
        for name in "xy":
            own = [text for text in seen[0] if text[0] == name]
            assert own == [f"{name}{number}" for number in range(MESSAGES)]
