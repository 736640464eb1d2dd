"""A hub under a real server: many members, one of which does not read."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import get_args

import anyio
import pytest
from hypercorn.config import Config
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from websockets.sync.client import ClientConnection, connect

import anyws
from anyws.testing import HypercornServer
from anyws.testing._real_hypercorn import Worker

MEMBERS = 15
MESSAGES = 400
REQUEST = (
    "GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
    "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    "Sec-WebSocket-Version: 13\r\n\r\n"
)


def text_of(number: int) -> str:
    """Return a message: small ones, and some that are worth compressing."""
    return f"{number} " + "anyws " * (15_000 if number % 5 == 0 else 1)


class Application:
    """Members that publish what they send, and get some of it back beside that."""

    def __init__(self) -> None:
        self.hub = anyws.Hub()
        self.members: list[anyws.Attachment] = []
        self.app = Starlette(
            routes=[WebSocketRoute("/ws", anyws.endpoint(self.handle))],
            lifespan=self.hub.lifespan,
        )

    async def handle(self, ws: anyws.WebSocket) -> None:
        """Serve one member."""
        await ws.accept()
        with self.hub.attach(ws, "all", buffer=64) as member:
            self.members.append(member)
            async for text in ws.iter_text():
                self.hub.publish("all", text)
                if text.startswith("7"):
                    await ws.send_text(f"own {text}")


@contextmanager
def stalled(url: str) -> Iterator[None]:
    """Be a member that reads nothing."""
    host, port = url.removeprefix("ws://").split(":")
    with socket.socket() as peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        peer.connect((host, int(port)))
        peer.sendall(REQUEST.encode())
        assert peer.recv(12) == b"HTTP/1.1 101"
        yield


def got(member: ClientConnection, count: int) -> list[str]:
    """Return the next messages."""
    return [str(member.recv(timeout=15)) for _ in range(count)]


@pytest.mark.parametrize("compression", ["deflate", None])
@pytest.mark.parametrize("worker", get_args(Worker))
@pytest.mark.slow
def test_one_that_does_not_read_costs_the_others_nothing(
    worker: Worker, compression: str | None
) -> None:
    """They get every message, in order and right, between what they get alone."""
    application, config = Application(), Config()
    config.loglevel = "ERROR"
    with ExitStack() as stack:
        server = stack.enter_context(
            HypercornServer(application.app, worker=worker, config=config)
        )
        stack.enter_context(stalled(server.url))
        members = [
            stack.enter_context(connect(f"{server.url}/ws", compression=compression))
            for _ in range(MEMBERS)
        ]
        while len(application.members) < MEMBERS + 1:
            anyio.run(anyio.sleep, 0.01)
        publisher, expected = members[0], list(map(text_of, range(MESSAGES)))
        rest: list[str] = []
        for start in range(0, MESSAGES, 40):
            for text in expected[start : start + 40]:
                publisher.send(text)
            alone = sum(text.startswith("7") for text in expected[start : start + 40])
            rest += got(publisher, 40 + alone)
            for member in members[1:]:
                assert got(member, 40) == expected[start : start + 40]
        own = [text for text in rest if text.startswith("own")]
        assert [text for text in rest if not text.startswith("own")] == expected
        assert own == [f"own {text}" for text in expected if text.startswith("7")]
        [behind] = [m for m in application.members if m.statistics().lag]
        statistics = behind.statistics()
        assert statistics.lag == 64
        assert statistics.dropped + statistics.sent + 64 == MESSAGES
        log = application.hub._life.topics.by_name["all"].log
        assert len(log) == 64
