"""What an application may do without harm to the others of its worker."""

from __future__ import annotations

import logging
import urllib.error
import urllib.request
from collections.abc import Iterator
from functools import partial
from typing import Any

import anyio
import pytest
from hypercorn.config import Config
from websockets.sync.client import connect

import anyws
from anyws.hypercorn import serve
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
    if what == "echo":
        await echo(scope, receive, send)
        return
    if scope["type"] == "websocket" and not what.startswith("early"):
        await receive()
        await send({"type": "websocket.accept"})
        await receive()
    if what.endswith("group"):
        async with anyio.create_task_group() as tg:
            tg.start_soon(anyio.sleep_forever)
            raise Stop
    raise SystemExit(3) if what.endswith("exit") else Stop


@anyws.endpoint
async def echo(ws: anyws.WebSocket) -> None:
    """Answer each message by itself."""
    await ws.accept()
    async for message in ws.iter_text():
        await ws.send_text(message)


@pytest.fixture(params=servers.WORKERS)
def server(request: pytest.FixtureRequest) -> Iterator[HypercornServer]:
    """Give a server of each kind."""
    config = Config()
    config.errorlog = logging.getLogger(LOGGER)
    config.graceful_timeout = 0.5
    worker: Any = servers.need(request.param)
    with HypercornServer(app, worker=worker, config=config) as server:
        yield server


@pytest.mark.parametrize(
    ("what", "code"), [("exit", 1001), ("stop", 1011), ("group", 1011)]
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


@pytest.mark.parametrize("what", ["early-exit", "early-stop"])
def test_an_exit_before_accepting_is_a_500(server: HypercornServer, what: str) -> None:
    """As with any other exception."""
    with connect(f"{server.url}/echo") as other:
        with pytest.raises(Exception, match="HTTP 500"):
            connect(f"{server.url}/{what}")
        other.send("still here")
        assert other.recv(timeout=5) == "still here"


@pytest.mark.parametrize("version", ["1.1", "2"])
@pytest.mark.parametrize("what", ["exit", "group"])
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
