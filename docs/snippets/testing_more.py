"""More tests: close codes, rejections, and misbehaving clients."""

from __future__ import annotations

import anyio
import pytest

import anyws
from anyws.testing import connect

pytestmark = pytest.mark.anyio


@anyws.endpoint(options=anyws.Options(max_message_bytes=100))
async def app(ws: anyws.WebSocket) -> None:
    """Serve one connection, if the client knows the word."""
    if ws.query_params.get("word") != "please":
        return  # without an accept: 403
    await ws.accept()
    async for message in ws:
        await ws.send_message(message)


async def test_a_rejection() -> None:
    """A client that does not know the word is rejected."""
    with pytest.raises(anyws.HandshakeRejected) as caught:
        async with connect(app, "/"):
            pass
    assert caught.value.status == 403


async def test_a_close_code() -> None:
    """A message that is too large closes the connection with 1009."""
    async with connect(app, "/?word=please") as ws:
        await ws.send_text("x" * 101)
        info = await ws.wait_closed()
    assert info.code == anyws.CloseCode.MESSAGE_TOO_BIG


async def test_a_lost_client() -> None:
    """A connection that is cut ends the handler, without an error."""
    async with connect(app, "/?word=please", server="uvicorn") as ws:
        ws.abort()


async def test_a_client_that_does_not_read() -> None:
    """The buffers of a stalled client fill, and the handler waits."""
    async with connect(app, "/?word=please") as ws:
        ws.stall()
        for _ in range(50):
            await ws.send_text("hello")
        await anyio.wait_all_tasks_blocked()
        ws.resume()
        assert await ws.receive_text() == "hello"
        await ws.close()
