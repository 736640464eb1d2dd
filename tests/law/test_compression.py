"""The settings of compression, by whoever names them (law 14)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import anyws
from anyws import Deflate, Options

from ..support.channels import SCOPE, Channel

URL = "ws://name/"
LONG = "anyws " * 200
Handler = Callable[[anyws.WebSocket], Awaitable[None]]


async def echo(ws: anyws.WebSocket) -> None:
    """Be an echo server."""
    await ws.accept()
    async for message in ws.iter_text():
        await ws.send_text(message)


async def answer_of(app: Any, **arguments: Any) -> str | None:
    """Return what a server has answered to an offer; hold that messages pass."""
    async with anyws.connect(URL, app=app, **arguments) as ws:
        await ws.send_text(LONG)
        assert await ws.receive_text() == LONG
        return ws.response.headers.get("sec-websocket-extensions")


@pytest.mark.parametrize(
    ("compression", "answer"),
    [
        (
            "deflate",
            "permessage-deflate; server_max_window_bits=12; client_max_window_bits=12",
        ),
        (
            Deflate(server_max_window_bits=9, server_no_context_takeover=True),
            (
                "permessage-deflate; server_no_context_takeover; "
                "server_max_window_bits=9; client_max_window_bits=12"
            ),
        ),
        (None, None),
    ],
)
async def test_an_endpoint_may_name_it(compression: Any, answer: str | None) -> None:
    """Its word is the innermost one."""
    options = Options(compression=compression)
    assert await answer_of(anyws.endpoint(options=options)(echo)) == answer


async def test_the_innermost_word_counts() -> None:
    """That of the endpoint within a middleware, and that of the class within both."""
    inner = anyws.endpoint(options=Options(compression=None))(echo)
    outer = Options(compression=Deflate(server_max_window_bits=9))
    assert await answer_of(anyws.WebSocketMiddleware(inner, options=outer)) is None

    async def app(scope: Any, receive: Any, send: Any) -> None:
        options = Options(compression=Deflate(server_max_window_bits=10))
        async with anyws.WebSocket(scope, receive, send, options=options) as ws:
            await echo(ws)

    answer = await answer_of(anyws.WebSocketMiddleware(app, options=outer))
    assert answer is not None
    assert "server_max_window_bits=10" in answer


async def test_a_client_may_name_it() -> None:
    """By the argument, or by its options."""
    wanted = Deflate(server_max_window_bits=11, client_no_context_takeover=True)
    for arguments in (
        {"compression": wanted},
        {"options": Options(compression=wanted)},
    ):
        assert await answer_of(echo, **arguments) == (
            "permessage-deflate; client_no_context_takeover; "
            "server_max_window_bits=11; client_max_window_bits=12"
        )
    assert await answer_of(echo, compression=None) is None
    assert await answer_of(echo, options=Options(compression=None)) is None


@pytest.mark.parametrize("named", [True, False])
async def test_a_server_that_is_told_not_to_compress_never_does(named: bool) -> None:
    """Whatever the application names."""
    inner = Options(compression=Deflate()) if named else Options()
    app = anyws.endpoint(options=inner)(echo)
    async with anyws.serve(app, "127.0.0.1", compression=None) as server:
        async with anyws.connect(server.url) as ws:
            await ws.send_text(LONG)
            assert await ws.receive_text() == LONG
            assert "sec-websocket-extensions" not in ws.response.headers


async def test_a_server_may_name_it() -> None:
    """By the argument, or by its options; an application without a word has that."""
    wanted = Deflate(client_max_window_bits=9)
    for arguments in (
        {"compression": wanted},
        {"options": Options(compression=wanted)},
    ):
        async with anyws.serve(echo, "127.0.0.1", **arguments) as server:
            async with anyws.connect(server.url) as ws:
                answer = ws.response.headers["sec-websocket-extensions"]
                assert "client_max_window_bits=9" in answer
                await ws.send_text(LONG)
                assert await ws.receive_text() == LONG


# What accept has settled


def parts_of(ws: anyws.WebSocket) -> Any:
    """Return what an application inside another one is called with."""
    return ws.scope, ws._receive, ws._send


async def test_another_one_after_the_accept_is_an_error() -> None:
    """It changes nothing; the same one again is none."""
    raised = []

    async def app(ws: anyws.WebSocket) -> None:
        await ws.accept()
        for compression in (None, Deflate(level=1)):
            options = Options(compression=compression, max_message_bytes=1)
            with pytest.raises(RuntimeError, match="settled when the connection") as no:
                await anyws.endpoint(options=options)(never)(*parts_of(ws))
            raised.append(str(no.value))
        same = Options(compression="deflate")
        await anyws.endpoint(options=same)(answer)(*parts_of(ws))

    async def never(ws: anyws.WebSocket) -> None:
        raise AssertionError

    async def answer(ws: anyws.WebSocket) -> None:
        await ws.send_text(await ws.receive_text())

    async with anyws.connect(URL, app=app) as ws:
        await ws.send_text(LONG)
        assert await ws.receive_text() == LONG
    assert len(raised) == 2


async def test_it_does_not_hold_where_the_frames_are_not_ours() -> None:
    """A warning says so, as for pings; the default says nothing."""
    for compression in (None, Deflate()):
        channel = Channel()
        with pytest.warns(RuntimeWarning, match=r"Options\.compression has no effect"):
            async with anyws.WebSocket(
                dict(SCOPE),
                channel.receive,
                channel.send,
                options=Options(compression=compression),
            ) as ws:
                await ws.close()
    channel = Channel()
    options = Options(compression="deflate")
    async with anyws.WebSocket(
        dict(SCOPE), channel.receive, channel.send, options=options
    ):
        pass
