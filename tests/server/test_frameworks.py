"""Litestar and Quart, with classes of their own, under `anyws.WebSocketMiddleware`."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest
import sniffio

import anyws
from anyws.testing import connect


def litestar_app(seen: list[Any]) -> Any:
    """Make an application of Litestar's; note what a handler meets."""
    litestar = pytest.importorskip("litestar", reason="litestar is not installed here")

    async def handler(socket: Any) -> None:
        await socket.accept()
        try:
            while (text := await socket.receive_text()) != "return":
                await socket.send_text(text)
        except Exception as exc:
            seen.append(exc)
            raise

    async def sender(socket: Any) -> None:
        await socket.accept()
        try:
            while True:
                await socket.send_text("tick")
        except Exception as exc:
            seen.append(exc)
            raise

    for each in (handler, sender):
        each.__annotations__ = {"socket": litestar.WebSocket, "return": None}
    routes = [litestar.websocket("/echo")(handler), litestar.websocket("/send")(sender)]
    # It would open the log of this process for good.
    return litestar.Litestar(routes, logging_config=None)


def quart_app(seen: list[Any]) -> Any:
    """Make an application of Quart's, or on trio of Quart-Trio's."""
    websocket = pytest.importorskip("quart").websocket
    app: Any
    if sniffio.current_async_library() == "trio":
        app = pytest.importorskip("quart_trio").QuartTrio("quart")
    else:
        app = import_module("quart").Quart("quart")

    async def handler() -> None:
        while (text := await websocket.receive()) != "return":
            await websocket.send(text)

    async def sender() -> None:
        try:
            while True:
                await websocket.send("tick")
        except Exception as exc:
            seen.append(exc)
            raise

    app.websocket("/echo")(handler)
    app.websocket("/send")(sender)
    return app


@pytest.fixture(params=[litestar_app, quart_app], ids=["litestar", "quart"])
def make(request: pytest.FixtureRequest) -> Any:
    """Return what makes the application, in the event loop that it is for."""
    return request.param


async def test_an_echo_is_guarded(make: Any) -> None:
    """The session counts what passes, and a return closes with 1000."""
    counts: list[anyws.Statistics] = []

    class Counting:
        def opened(self, connection: Any) -> None: ...
        def message(self, connection: Any, direction: str, size: int) -> None: ...
        def dropped(self, connection: Any, direction: str, count: int) -> None: ...
        def closed(self, connection: Any, summary: anyws.ConnectionSummary) -> None:
            counts.append(summary.statistics)

    options = anyws.Options(observer=Counting())
    app = anyws.WebSocketMiddleware(make([]), options=options)
    async with connect(app, "/echo") as peer:
        for text in ("hello", "x" * 100_000):
            await peer.send_text(text)
            assert await peer.receive_text() == text
        await peer.send_text("return")
        assert (await peer.wait_closed()).code == 1000
    assert [(each.messages_received, each.messages_sent) for each in counts] == [(3, 2)]


@pytest.mark.parametrize("path", ["/echo", "/send"])
async def test_a_client_that_leaves_is_no_error(make: Any, path: str) -> None:
    """Also where the handler only sends."""
    seen: list[Any] = []
    app = anyws.WebSocketMiddleware(make(seen))
    async with connect(app, path) as peer:
        await peer.send_text("tick")
        assert await peer.receive_text() == "tick"
        await peer.close(4001, "bye")
    if make is litestar_app:  # Quart cancels the handler
        [told] = seen
        # A send may fail before the code that came with the close is read.
        assert told.code in ((4001, 1006) if path == "/send" else (4001,))
        assert isinstance(told, anyws.ConnectionClosed) == (path == "/send")


async def test_a_bound_holds(make: Any) -> None:
    """A message that is too big closes, and the framework never sees it."""
    options = anyws.Options(max_message_bytes=8)
    async with connect(
        anyws.WebSocketMiddleware(make([]), options=options), "/echo"
    ) as peer:
        await peer.send_text("more than that")
        assert (await peer.wait_closed()).code == 1009
