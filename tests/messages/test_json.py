"""The codec that options name for `send_json`, `receive_json` and `iter_json`."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

import anyws

from ..support.channels import SCOPE, Channel
from ..support.ends import Ends, listening


class Counted:
    """JSON that counts its calls and writes bytes, as orjson does."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def encode(self, value: Any) -> bytes:
        """Write it with spaces, which the default does not."""
        self.calls.append("encode")
        return json.dumps(value).encode()

    def decode(self, message: str | bytes) -> Any:
        """Read it."""
        self.calls.append(type(message).__name__)
        return json.loads(message)


class Msgspecs:
    """JSON by msgspec, with `str`."""

    encode = staticmethod(lambda value: msgspec.json.encode(value).decode())
    decode = staticmethod(msgspec.json.decode)


@pytest.fixture(params=["client", "server"])
async def ends(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Ends]:
    """Give both ends, the near one in each role; the far one sends all back."""
    async with listening("memory", tmp_path) as listener:
        yield Ends(request.param, listener, tells=True)


async def test_json_is_written_and_read_by_the_codec(ends: Ends) -> None:
    """In messages of both kinds; the mode decides which, whatever the codec makes."""
    codec = Counted()
    async with ends.near(json=codec) as ws:
        await ws.send_json([1, 2])
        assert await ws.receive_text() == "[1, 2]"
        await ws.send_json([1], mode="binary")
        assert await ws.receive_bytes() == b"[1]"
        await ws.send_json({})
        assert await ws.receive_json() == {}
        await ws.send_json("x", mode="binary")
        assert await ws.receive_json(mode="binary") == "x"
    assert codec.calls == ["encode", "encode", "encode", "str", "encode", "bytes"]


async def test_text_of_a_codec_is_sent_in_either_mode(ends: Ends) -> None:
    """Text becomes UTF-8 where a binary message is asked for."""
    async with ends.near(json=Msgspecs()) as ws:
        await ws.send_json("é")
        assert await ws.receive_text() == '"é"'
        await ws.send_json("é", mode="binary")
        assert await ws.receive_bytes() == '"é"'.encode()


async def test_what_the_codec_refuses_is_a_decode_error(ends: Ends) -> None:
    """It is consumed, and the connection stays usable; the kind is still checked."""
    async with ends.near(json=Msgspecs()) as ws:
        await ws.send_text("[1 2]")
        with pytest.raises(anyws.MessageDecodeError) as caught:
            await ws.receive_json()
        assert (caught.value.lineno, caught.value.colno) == (1, 4)
        await ws.send_bytes(b"1")
        with pytest.raises(anyws.MessageTypeError):
            await ws.receive_json()
        await ws.send_json(1)
        assert await ws.receive_json() == 1


async def test_what_the_codec_cannot_write_is_not_sent() -> None:
    """Its exception leaves the call as itself."""
    channel = Channel()
    async with channel.websocket(json=Msgspecs()) as ws:
        await ws.accept()
        with pytest.raises(TypeError):
            await ws.send_json(object())
        await anyio.wait_all_tasks_blocked()
        assert channel.messages == []


async def test_a_plain_websocket_uses_the_codec_of_its_options() -> None:
    """It has no session that would know of them."""
    channel, codec = Channel(), Counted()
    options = anyws.Options(json=codec)
    ws = anyws.WebSocket(dict(SCOPE), channel.receive, channel.send, options=options)
    await ws.accept()
    await ws.send_json([1, 2])
    channel.arrive("3")
    assert await ws.receive_json() == 3
    assert (channel.messages, codec.calls) == (["[1, 2]"], ["encode", "str"])


async def test_the_innermost_codec_counts() -> None:
    """As with every option, under a guard whose options say less or other things."""
    inner, outer = Counted(), Counted()
    channel = Channel()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        options = anyws.Options(json=inner)
        async with anyws.WebSocket(scope, receive, send, options=options) as ws:
            await ws.accept()
            await ws.send_json(1)

    guard = anyws.WebSocketMiddleware(app, anyws.Options(json=outer))
    await guard(dict(SCOPE), channel.receive, channel.send)
    assert (inner.calls, outer.calls) == (["encode"], [])
