"""Rows S-80 to S-89: receiving messages."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import pytest
from starlette.websockets import WebSocketDisconnect, WebSocketDisconnected

import anyws

from ..support.seed import (
    CONNECT,
    LEFT,
    SEED_AND_OURS,
    Codec,
    Event,
    arriving,
    collected,
    row,
)

Call = Callable[[Any], Awaitable[Any]]


async def first(messages: AsyncGenerator[Any, None]) -> Any:
    """Return what an asynchronous generator yields first."""
    async with aclosing(messages):
        return await anext(messages)


# 1G. Receiving.

RECEIVES: dict[str, Call] = {
    "S-80": lambda ws: ws.receive_text(),
    "S-81": lambda ws: ws.receive_bytes(),
    "S-82": lambda ws: ws.receive_json(),
    "S-82-binary": lambda ws: ws.receive_json("binary"),
    "S-86": lambda ws: first(ws.iter_text()),
    "S-87": lambda ws: first(ws.iter_bytes()),
    "S-88": lambda ws: first(ws.iter_json()),
}
# How servers spell the key that a message does not need.
SPELLINGS: dict[str, Callable[[str | bytes], Event]] = {
    "absent": arriving,
    "none": lambda payload: {"text": None, "bytes": None, **arriving(payload)},
}
EVERY_RECEIVE = pytest.mark.parametrize(
    "receive", [row(name, call) for name, call in RECEIVES.items()]
)


@SEED_AND_OURS
@pytest.mark.parametrize(
    ("name", "payload", "value"),
    [
        row("S-80", "S-80", "hëllo", "hëllo"),
        row("S-81", "S-81", b"\xff\0", b"\xff\0"),
        row("S-82", "S-82", '{"a": [1, null]}', {"a": [1, None]}),
        row("S-82-binary", "S-82-binary", '"é"'.encode(), "é"),
        row("S-86", "S-86", "hello", "hello"),
        row("S-87", "S-87", b"hello", b"hello"),
        row("S-88", "S-88", "[1]", [1]),
        row("S-89-text", "S-80", "", ""),
        row("S-89-bytes", "S-81", b"", b""),
    ],
)
@pytest.mark.parametrize("spelled", SPELLINGS)
async def test_a_message_is_received(
    cls: type[anyws.WebSocket],
    name: str,
    payload: str | bytes,
    value: object,
    spelled: str,
) -> None:
    """S-83: it is returned, whether the other key is absent or `None`."""
    websocket = await Codec(SPELLINGS[spelled](payload)).accepted(cls)
    assert await RECEIVES[name](websocket) == value


@SEED_AND_OURS
@EVERY_RECEIVE
async def test_nothing_is_received_before_accept(
    cls: type[anyws.WebSocket], receive: Call
) -> None:
    """The error says what to do; the server is not asked."""
    wire = Codec(CONNECT)
    with pytest.raises(WebSocketDisconnected) as caught:
        await receive(wire.websocket(cls))
    assert str(caught.value) == (
        'WebSocket is not connected. Need to call "accept" first.'
    )
    assert wire.asked == 0


@SEED_AND_OURS
@EVERY_RECEIVE
async def test_nothing_is_received_after_our_own_close(
    cls: type[anyws.WebSocket], receive: Call
) -> None:
    """It is refused in the same words, and what still comes stays with the server."""
    wire = Codec(arriving("late"))
    websocket = await wire.accepted(cls)
    await websocket.close()
    with pytest.raises(WebSocketDisconnected, match="WebSocket is not connected"):
        await receive(websocket)
    assert wire.asked == 1


@SEED_AND_OURS
@pytest.mark.parametrize("mode", ["bytes", "", "TEXT"])
@pytest.mark.parametrize(
    "call",
    [
        row("S-82", lambda ws, mode: ws.receive_json(mode=mode)),
        row("S-92", lambda ws, mode: ws.send_json({}, mode=mode)),
    ],
)
async def test_the_mode_of_json_is_text_or_binary(
    cls: type[anyws.WebSocket], call: Callable[..., Awaitable[Any]], mode: str
) -> None:
    """The mode is checked first, so even before accept; the server is not asked."""
    wire = Codec(CONNECT)
    with pytest.raises(RuntimeError) as caught:
        await call(wire.websocket(cls), mode)
    assert str(caught.value) == 'The "mode" argument should be "text" or "binary".'
    assert (wire.asked, wire.sent) == (0, [])


@pytest.mark.parametrize(
    ("name", "payload"),
    [
        row("S-82", "S-82", "{not JSON"),
        row("S-82-empty", "S-82", ""),
        row("S-82-binary", "S-82-binary", b"{not JSON"),
        row("S-82-not-utf-8", "S-82-binary", b'"\xff"'),
        row("S-88", "S-88", "{not JSON"),
    ],
)
async def test_bad_json_leaves_the_connection_open(
    name: str, payload: str | bytes
) -> None:
    """Deviation: it is one error, the JSON module's and a ValueError."""
    wire = Codec(arriving(payload), arriving("next"))
    websocket = await wire.accepted()
    with pytest.raises(json.JSONDecodeError) as caught:
        await RECEIVES[name](websocket)
    assert isinstance(caught.value, anyws.MessageDecodeError)
    assert await websocket.receive_text() == "next"
    assert wire.sent == []


WRONG: list[tuple[str, str | bytes, str, str]] = [
    ("S-80", b"[1]", "text", "bytes"),
    ("S-81", "[1]", "bytes", "text"),
    ("S-82", b"[1]", "text", "bytes"),
    ("S-82-binary", "[1]", "bytes", "text"),
    ("S-86", b"[1]", "text", "bytes"),
    ("S-87", "[1]", "bytes", "text"),
    ("S-88", b"[1]", "text", "bytes"),
]


@pytest.mark.parametrize("spelled", SPELLINGS)
@pytest.mark.parametrize(
    ("name", "payload", "expected", "received"),
    [row(f"S-83-{case[0]}", *case) for case in WRONG],
)
async def test_a_message_of_the_wrong_kind(
    name: str, payload: str | bytes, expected: str, received: str, spelled: str
) -> None:
    """Deviation: one typed error on every server; the connection stays usable."""
    websocket = await Codec(SPELLINGS[spelled](payload), arriving("next")).accepted()
    with pytest.raises(anyws.MessageTypeError) as caught:
        await RECEIVES[name](websocket)
    assert (caught.value.expected, caught.value.received) == (expected, received)
    assert await websocket.receive_message() == "next"


ONE_MESSAGE = ["S-80", "S-81", "S-82", "S-82-binary"]


@SEED_AND_OURS
@pytest.mark.parametrize("name", ONE_MESSAGE)
@pytest.mark.parametrize(
    ("event", "code", "reason"),
    [
        row("S-84", {"code": 4000, "reason": "bye"}, 4000, "bye"),
        row("S-84-no-reason", {"code": 1006}, 1006, ""),
        row("S-84-reason-none", {"code": 1000, "reason": None}, 1000, ""),
    ],
)
async def test_the_disconnect_is_raised(
    cls: type[anyws.WebSocket], name: str, event: Event, code: int, reason: str
) -> None:
    """S-85: the error carries code and reason; the next call raises another one."""
    websocket = await Codec({"type": "websocket.disconnect", **event}).accepted(cls)
    with pytest.raises(WebSocketDisconnect) as caught:
        await RECEIVES[name](websocket)
    assert (caught.value.code, caught.value.reason) == (code, reason)
    with pytest.raises(WebSocketDisconnected, match='Cannot call "receive" once'):
        await RECEIVES[name](websocket)


@pytest.mark.parametrize("name", ONE_MESSAGE)
@pytest.mark.parametrize("event", [{}, {"code": None}], ids=["absent", "none"])
async def test_a_disconnect_without_a_code_is_1005(name: str, event: Event) -> None:
    """S-84, deviation: no code is invented, and its absence is no KeyError."""
    websocket = await Codec({"type": "websocket.disconnect", **event}).accepted()
    with pytest.raises(anyws.ConnectionClosed) as caught:
        await RECEIVES[name](websocket)
    assert (caught.value.code, caught.value.reason) == (1005, "")
    assert websocket.close_info == caught.value.info


@SEED_AND_OURS
@EVERY_RECEIVE
async def test_nothing_is_received_after_the_end(
    cls: type[anyws.WebSocket], receive: Call
) -> None:
    """S-85: iterators too raise what is no disconnect, instead of ending."""
    websocket = await Codec(LEFT).accepted(cls)
    await websocket.receive()
    with pytest.raises(WebSocketDisconnected, match='Cannot call "receive" once'):
        await receive(websocket)


@SEED_AND_OURS
@pytest.mark.parametrize("code", [1000, 1001, 1006, 1011])
@pytest.mark.parametrize(
    ("iterate", "payloads", "values"),
    [
        row("S-86", lambda ws: ws.iter_text(), ["a", "b"], ["a", "b"]),
        row("S-87", lambda ws: ws.iter_bytes(), [b"a", b""], [b"a", b""]),
        row("S-88", lambda ws: ws.iter_json(), ["1", "[]"], [1, []]),
    ],
)
async def test_iterators_end_with_the_connection(
    cls: type[anyws.WebSocket],
    iterate: Callable[[Any], Any],
    payloads: list[str | bytes],
    values: list[Any],
    code: int,
) -> None:
    """They yield what came and end silently, whatever the code."""
    wire = Codec(*map(arriving, payloads), {**LEFT, "code": code})
    assert await collected(iterate(await wire.accepted(cls))) == values
