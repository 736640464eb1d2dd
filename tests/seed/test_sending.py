"""Rows S-90 to S-94: sending messages; and what plain mode has beyond the seed."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
from starlette.websockets import WebSocketDisconnect

import anyws

from ..support.channels import SCOPE, Channel
from ..support.seed import (
    CONNECT,
    CONNECTED,
    DISCONNECTED,
    LEFT,
    SEED_AND_OURS,
    SEND,
    Codec,
    arriving,
    collected,
    row,
)

Call = Callable[[Any], Awaitable[Any]]

# 1H. Sending.

SENDS: dict[str, tuple[Call, dict[str, Any]]] = {
    "S-90": (lambda ws: ws.send_text("hëllo"), {"text": "hëllo"}),
    "S-90-empty": (lambda ws: ws.send_text(""), {"text": ""}),
    "S-91": (lambda ws: ws.send_bytes(b"\xff"), {"bytes": b"\xff"}),
    "S-91-empty": (lambda ws: ws.send_bytes(b""), {"bytes": b""}),
    "S-92": (
        lambda ws: ws.send_json({"a": [1, None], "é": 2}),
        {"text": '{"a":[1,null],"é":2}'},
    ),
    "S-92-binary": (
        lambda ws: ws.send_json(["é"], mode="binary"),
        {"bytes": '["é"]'.encode()},
    ),
    "S-92-nan": (lambda ws: ws.send_json(math.nan), {"text": "NaN"}),
}
EVERY_SEND = pytest.mark.parametrize(
    ("send", "payload"), [row(name, *case) for name, case in SENDS.items()]
)


@SEED_AND_OURS
@EVERY_SEND
async def test_a_message_is_sent(
    cls: type[anyws.WebSocket], send: Call, payload: dict[str, Any]
) -> None:
    """S-93: the event has the key of its kind and not the other one."""
    wire = Codec()
    await send(await wire.accepted(cls))
    assert wire.sent == [{"type": "websocket.send", **payload}]


@SEED_AND_OURS
@EVERY_SEND
async def test_nothing_is_sent_before_accept(
    cls: type[anyws.WebSocket], send: Call, payload: dict[str, Any]
) -> None:
    """S-53: it is the error of the table."""
    wire = Codec(CONNECT)
    with pytest.raises(RuntimeError, match=r"but got 'websocket\.send'"):
        await send(wire.websocket(cls))
    assert wire.sent == []


@SEED_AND_OURS
@EVERY_SEND
async def test_the_peers_going_is_told_by_every_send(
    cls: type[anyws.WebSocket], send: Call, payload: dict[str, Any]
) -> None:
    """S-94: where the server raises OSError, each of them raises 1006."""
    wire = Codec()
    websocket = await wire.accepted(cls)
    wire.error = OSError("gone")
    with pytest.raises(WebSocketDisconnect) as caught:
        await send(websocket)
    assert caught.value.code == 1006


@SEED_AND_OURS
async def test_what_json_does_not_take_is_a_type_error(
    cls: type[anyws.WebSocket],
) -> None:
    """S-92: nothing was sent, and the connection stays as it is."""
    wire = Codec()
    websocket = await wire.accepted(cls)
    with pytest.raises(TypeError, match="not JSON serializable"):
        await websocket.send_json(object())
    assert wire.sent == []
    assert websocket.application_state is CONNECTED


@pytest.mark.parametrize(
    ("send", "error"),
    [
        row("neither", lambda ws: ws.send({"type": "websocket.send"}), ValueError),
        row("nones", lambda ws: ws.send({**SEND, "text": None}), TypeError),
        row("both", lambda ws: ws.send({**SEND, "bytes": b"1"}), ValueError),
        row("both-empty", lambda ws: ws.send({**SEND, "bytes": b""}), ValueError),
        row("none-as-text", lambda ws: ws.send_text(None), TypeError),
        row("bytes-as-text", lambda ws: ws.send_text(b"1"), TypeError),
        row("text-as-bytes", lambda ws: ws.send_bytes("1"), TypeError),
        row("number", lambda ws: ws.send_message(1), TypeError),
        row("surrogate", lambda ws: ws.send_text("\ud800"), UnicodeEncodeError),
    ],
)
async def test_a_message_that_must_not_be_sent(
    send: Call, error: type[Exception]
) -> None:
    """S-93, deviation: it is refused before the server sees it; the state stays."""
    wire = Codec()
    websocket = await wire.accepted()
    with pytest.raises(error):
        await send(websocket)
    assert wire.sent == []
    await websocket.send_text("hello")
    assert wire.sent == [SEND]


@pytest.mark.parametrize("kind", [bytearray, memoryview])
async def test_a_buffer_is_sent_as_bytes(kind: type[Any]) -> None:
    """S-91, deviation: the server gets bytes, whatever becomes of the buffer."""
    wire, buffer = Codec(), bytearray(b"before")
    websocket = await wire.accepted()
    await websocket.send_bytes(buffer if kind is bytearray else kind(buffer))
    buffer[:] = b"AFTER!"
    assert wire.sent == [{"type": "websocket.send", "bytes": b"before"}]
    assert type(wire.sent[0]["bytes"]) is bytes


# Beyond the seed, without a session.


async def test_messages_of_both_kinds_in_plain_mode() -> None:
    """`receive_message` and `send_message` tell the kinds by the type."""
    wire = Codec(arriving(""), arriving(b""))
    websocket = await wire.accepted()
    await websocket.send_message(await websocket.receive_message())
    await websocket.send_message(await websocket.receive_message())
    assert wire.sent == [
        {"type": "websocket.send", "text": ""},
        {"type": "websocket.send", "bytes": b""},
    ]


@pytest.mark.parametrize("code", [1000, 1001, 1005, 1006, 4000])
async def test_async_for_in_plain_mode(code: int) -> None:
    """It yields both kinds and ends with the connection; `close_info` says how."""
    wire = Codec(arriving("a"), arriving(b"b"), {**LEFT, "code": code})
    websocket = await wire.accepted()
    infos = [websocket.close_info]
    assert await collected(websocket) == ["a", b"b"]
    infos.append(websocket.close_info)
    assert [info and (info.code, info.reason) for info in infos] == [
        None,
        (code, "away"),
    ]


async def test_async_for_raises_what_is_not_an_end() -> None:
    """An error of the server's is not mistaken for the end."""
    wire = Codec({"type": "http.request"})
    with pytest.raises(RuntimeError, match=r"but got 'http\.request'"):
        await collected(await wire.accepted())


NEEDS_THE_BLOCK: dict[str, Callable[[Any], Any]] = {
    "send_nowait": lambda ws: ws.send_nowait("hello"),
    "cancel_on_disconnect": lambda ws: ws.cancel_on_disconnect().__enter__(),
    "statistics": lambda ws: ws.statistics(),
    "messages": lambda ws: ws.messages,
}


@pytest.mark.parametrize("name", NEEDS_THE_BLOCK)
async def test_what_needs_the_block_says_so(name: str) -> None:
    """It is a RuntimeError that names the method and `async with`; nothing is sent."""
    wire = Codec()
    websocket = await wire.accepted()
    with pytest.raises(RuntimeError, match=rf"{name}.*async with"):
        NEEDS_THE_BLOCK[name](websocket)
    assert wire.sent == []


async def test_wait_closed_needs_the_block() -> None:
    """Plain, nobody would notice the end; so it does not wait for ever."""
    websocket = await Codec().accepted()
    with pytest.raises(RuntimeError, match=r"wait_closed.*async with"):
        await websocket.wait_closed()


@pytest.mark.parametrize("event", ["message", "close"])
async def test_a_cancelled_plain_send_ends_nothing(event: str) -> None:
    """The states are as before; what became of the event only the server knows."""

    async def send(event: Any) -> None:
        if event["type"] != "websocket.accept":
            await anyio.sleep_forever()

    websocket = anyws.WebSocket(SCOPE, Channel().receive, send)
    await websocket.accept()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(
            *((websocket.send_text, "x") if event == "message" else (websocket.close,))
        )
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()

    assert websocket.application_state is CONNECTED
    assert websocket.close_info is None


async def test_the_answer_to_our_plain_close_changes_nothing() -> None:
    """The end stays ours when the disconnect that answers it is received."""
    channel = Channel()
    websocket = anyws.WebSocket(SCOPE, channel.receive, channel.send)
    await websocket.accept()
    await websocket.close(4000, "bye")
    assert (await websocket.receive())["type"] == "websocket.disconnect"

    assert websocket.close_info == anyws.CloseInfo(4000, "bye", "local", None)


@pytest.mark.parametrize("error", [OSError(), RuntimeError("after close")], ids=repr)
async def test_a_plain_close_to_nobody_is_silent(error: Exception) -> None:
    """Servers differ in how they say that the peer has gone; `close()` does not."""
    channel = Channel()
    websocket = anyws.WebSocket(SCOPE, channel.receive, channel.send)
    await websocket.accept()
    channel.error = error
    await websocket.close(4000)

    assert websocket.application_state is DISCONNECTED
    assert websocket.close_info == anyws.CloseInfo(4000, "", "local", None)
