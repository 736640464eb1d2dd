"""An application in this process, in the place of an address."""

from __future__ import annotations

import logging
from typing import Any

import anyio
import pytest
from fastapi import FastAPI
from fastapi import WebSocket as FastAPIWebSocket
from starlette.responses import RedirectResponse
from trio.testing import MockClock

import anyws

URL = "ws://name/chat?a=b"


async def echo(ws: anyws.WebSocket) -> None:
    """Be an echo server."""
    await ws.accept(ws.scope["subprotocols"][0] if ws.scope["subprotocols"] else None)
    async for message in ws.iter_text():
        await ws.send_text(message)


async def test_a_handler() -> None:
    """The connection is the same as over a network: the request, pings, parts."""
    scopes = []

    async def handler(ws: anyws.WebSocket) -> None:
        scopes.append(ws.scope)
        await echo(ws)

    async with anyws.connect(
        URL, app=handler, subprotocols=["one"], headers={"x-token": "1"}
    ) as ws:
        assert (ws.response.status, ws.subprotocol) == (101, "one")
        await ws.send_text("hello")
        assert await ws.receive_text() == "hello"
        assert await ws.ping() >= 0
        async with ws.send_stream("text") as out:
            await out.send("1" * 100_000)
            await out.send("2" * 100_000)
        assert await ws.receive_text() == "1" * 100_000 + "2" * 100_000
    assert ws.close_info == anyws.CloseInfo(1000, "", "local", True)
    [scope] = scopes
    assert (scope["path"], scope["query_string"]) == ("/chat", b"a=b")
    assert (scope["server"], scope["scheme"]) == (("name", 80), "ws")
    assert (b"host", b"name") in scope["headers"]
    assert (b"x-token", b"1") in scope["headers"]


async def test_an_application_of_fastapi() -> None:
    """It is unchanged, and under `wss` it knows of it."""
    app = FastAPI()

    @app.websocket("/{room}")
    async def handler(ws: FastAPIWebSocket, room: str) -> None:
        await ws.accept()
        await ws.send_json({"room": room, "scheme": ws.url.scheme})
        await ws.close(4000, "done")

    async with anyws.connect("wss://name/kitchen", app=app) as ws:
        assert await ws.receive_json() == {"room": "kitchen", "scheme": "wss"}
        with pytest.raises(anyws.ConnectionClosed):
            await ws.receive_text()
    assert (ws.close_info.code, ws.close_info.reason) == (4000, "done")  # type: ignore[union-attr]


async def test_it_may_be_entered_again() -> None:
    """One after another; and two applications side by side."""
    connecting = anyws.connect(URL, app=echo)
    for _ in range(2):
        async with connecting as one, anyws.connect(URL, app=echo) as two:
            await one.send_text("1")
            await two.send_text("2")
            assert (await one.receive_text(), await two.receive_text()) == ("1", "2")


async def test_a_rejection() -> None:
    """What the application answers is raised, with its status."""

    async def refuses(ws: anyws.WebSocket) -> None:
        await ws.close()

    for app, status in ((refuses, 403), (FastAPI(), 403)):
        with pytest.raises(anyws.HandshakeRejected) as caught:
            async with anyws.connect(URL, app=app):
                pass
        assert caught.value.status == status


async def test_a_request_that_is_none() -> None:
    """The server's end answers it, and calls no application."""

    async def never(ws: anyws.WebSocket) -> None:
        raise AssertionError

    with pytest.raises(anyws.HandshakeRejected) as caught:
        async with anyws.connect(URL, app=never, headers={"x-long": "x" * 70_000}):
            pass
    assert caught.value.status == 431


async def test_a_request_that_is_never_sent() -> None:
    """No application is called for a client that has no time for its request."""

    async def never(ws: anyws.WebSocket) -> None:
        raise AssertionError

    with pytest.raises(anyws.HandshakeError, match="timed out"):
        async with anyws.connect(URL, app=never, open_timeout=0):
            pass


async def test_redirects() -> None:
    """Each goes to the application; one to another origin is a rejection."""
    paths = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        paths.append(scope["path"])
        target = {"/a": "/b", "/b": "ws://other/"}[scope["path"]]
        await receive()
        await RedirectResponse(target)(scope, receive, send)

    with pytest.raises(anyws.HandshakeRejected) as caught:
        async with anyws.connect("ws://name/a", app=app):
            pass
    assert (caught.value.status, paths) == (307, ["/a", "/b"])


# What the application raises


@pytest.mark.parametrize("error", [LookupError, SystemExit])
async def test_an_exception_before_the_answer(error: type[BaseException]) -> None:
    """It is raised on entry, as itself, and not as the 500 that it makes."""

    async def app(ws: anyws.WebSocket) -> None:
        raise error("no room")

    with pytest.raises(error, match="no room") as caught:
        async with anyws.connect(URL, app=app):
            pass
    assert isinstance(caught.value.__context__, anyws.HandshakeError)


async def test_an_exception_after_the_answer() -> None:
    """The block sees 1011, and raises what the application has raised."""

    async def app(ws: anyws.WebSocket) -> None:
        await ws.accept()
        raise LookupError("no room")

    with pytest.raises(LookupError, match="no room") as caught:
        async with anyws.connect(URL, app=app) as ws:
            await ws.receive_text()
    assert isinstance(caught.value.__context__, anyws.ConnectionClosed)
    assert ws.close_info == anyws.CloseInfo(1011, "", "peer", True)


async def test_an_exception_that_the_block_does_not_see() -> None:
    """A block that returns raises it all the same."""

    async def app(ws: anyws.WebSocket) -> None:
        await ws.accept()
        async for _ in ws:
            pass
        raise LookupError("at the end")

    with pytest.raises(LookupError, match="at the end"):
        async with anyws.connect(URL, app=app):
            pass


async def test_exceptions_of_both(caplog: pytest.LogCaptureFixture) -> None:
    """That of the block is raised as itself, and the application's is logged."""

    async def app(ws: anyws.WebSocket) -> None:
        await ws.accept()
        async for _ in ws:
            pass
        raise LookupError("of the application")

    with pytest.raises(KeyError, match="of the block"):
        async with anyws.connect(URL, app=app):
            raise KeyError("of the block")
    [record] = caplog.records
    assert (record.name, record.levelno) == ("anyws.server", logging.ERROR)
    assert isinstance(record.exc_info[1], LookupError)  # type: ignore[index]


async def test_the_end_of_the_connection_is_no_error_of_the_application() -> None:
    """Neither where it lets that out."""

    async def app(ws: anyws.WebSocket) -> None:
        await ws.accept()
        await ws.receive_text()

    async with anyws.connect(URL, app=app):
        pass


# Cancellation and time


async def test_a_cancellation_ends_both() -> None:
    """The application is cancelled with the block, and no task is left."""
    seen = []

    async def app(ws: anyws.WebSocket) -> None:
        await ws.accept()
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            seen.append("cancelled")
            raise

    with anyio.CancelScope() as scope:
        async with anyws.connect(URL, app=app) as ws:
            scope.cancel()
            await anyio.sleep_forever()
    assert seen == ["cancelled"]
    assert ws.close_info is not None
    assert ws.close_info.code == 1012


async def test_a_cancellation_on_entry() -> None:
    """It ends an application that has not answered yet."""
    asked, ended = anyio.Event(), anyio.Event()

    async def app(ws: anyws.WebSocket) -> None:
        asked.set()
        try:
            await anyio.sleep_forever()
        finally:
            ended.set()

    async def enter() -> None:
        async with anyws.connect(URL, app=app):
            raise AssertionError

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(enter)
        await asked.wait()
        tasks.cancel_scope.cancel()
    assert ended.is_set()


class TestTime:
    """What takes seconds, which pass at once."""

    @pytest.fixture
    def anyio_backend(self) -> tuple[str, dict[str, object]]:
        """Run on trio, whose clock can be a fake."""
        return "trio", {"clock": MockClock(autojump_threshold=0)}

    async def test_an_application_that_does_not_end(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        """It is cancelled after `close_timeout`, and the log tells of it."""

        async def app(ws: anyws.WebSocket) -> None:
            await ws.accept()
            await anyio.sleep_forever()

        began = anyio.current_time()
        options = anyws.Options(close_timeout=7.0)
        async with anyws.connect(URL, app=app, options=options) as ws:
            pass
        assert ws.close_info == anyws.CloseInfo(1000, "", "local", True)
        assert anyio.current_time() - began == pytest.approx(7.0)
        assert "did not end within 7.0 s" in caplog.text

    async def test_an_application_that_takes_its_time(self) -> None:
        """It goes on after its client has left, and the block waits for it."""
        done = []

        async def app(ws: anyws.WebSocket) -> None:
            await ws.accept()
            async for _ in ws:
                pass
            await anyio.sleep(3)
            done.append("saved")

        async with anyws.connect(URL, app=app):
            pass
        assert done == ["saved"]

    async def test_an_application_that_does_not_answer(self) -> None:
        """`open_timeout` holds for it as for any server."""

        async def app(ws: anyws.WebSocket) -> None:
            await anyio.sleep_forever()

        with pytest.raises(anyws.HandshakeError, match="timed out after 2 s"):
            async with anyws.connect(URL, app=app, open_timeout=2):
                pass
