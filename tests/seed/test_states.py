"""Rows S-40 to S-63: what `receive` and `send` do in each state."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from anyio import wait_all_tasks_blocked
from starlette.websockets import WebSocket as StarletteWebSocket
from starlette.websockets import WebSocketDisconnect, WebSocketDisconnected

import anyws

from ..support import seed
from ..support.seed import (
    ACCEPT,
    CLOSE,
    CONNECT,
    CONNECTED,
    CONNECTING,
    DISCONNECTED,
    LEFT,
    RESPONSE,
    SEED_AND_OURS,
    SEND,
    Codec,
    Event,
    row,
)

START: Event = {"type": "websocket.http.response.start", "status": 401, "headers": []}
BODY: Event = {"type": "websocket.http.response.body", "body": b"no"}
MORE_BODY: Event = {**BODY, "more_body": True}
TEXT = seed.arriving("hello")


# 1D. receive(), by client_state.


@SEED_AND_OURS
@pytest.mark.parametrize(
    ("before", "event", "after"),
    [
        row("S-40", [], CONNECT, CONNECTED),
        row("S-42", [CONNECT], TEXT, CONNECTED),
        row("S-43", [CONNECT], LEFT, DISCONNECTED),
    ],
)
async def test_an_event_is_received_as_it_is(
    cls: type[anyws.WebSocket], before: list[Event], event: Event, after: object
) -> None:
    """S-13, S-46: the event is returned untouched, accepted or not; the state moves."""
    websocket = Codec(*before, event).websocket(cls)
    for _ in before:
        await websocket.receive()
    assert await websocket.receive() is event
    assert websocket.client_state is after
    assert websocket.application_state is CONNECTING


FIRST = 'Expected ASGI message "websocket.connect", but got {!r}'
LATER = (
    'Expected ASGI message "websocket.receive" or "websocket.disconnect", but got {!r}'
)


@SEED_AND_OURS
@pytest.mark.parametrize(
    ("before", "event", "says"),
    [
        row("S-41-receive", [], TEXT, FIRST),
        row("S-41-disconnect", [], LEFT, FIRST),
        row("S-41-http", [], {"type": "http.request"}, FIRST),
        row("S-44-connect", [CONNECT], CONNECT, LATER),
        row("S-44-http", [CONNECT], {"type": "http.request"}, LATER),
    ],
)
async def test_an_event_out_of_order_is_refused(
    cls: type[anyws.WebSocket], before: list[Event], event: Event, says: str
) -> None:
    """What the server must not deliver raises; the state stays."""
    websocket = Codec(*before, event).websocket(cls)
    for _ in before:
        await websocket.receive()
    state = websocket.client_state
    with pytest.raises(RuntimeError) as caught:
        await websocket.receive()
    assert type(caught.value) is RuntimeError
    assert str(caught.value) == says.format(event["type"])
    assert websocket.client_state is state


@SEED_AND_OURS
async def test_nothing_is_received_after_the_disconnect(
    cls: type[anyws.WebSocket],
) -> None:
    """S-45: the server is not asked again."""
    wire = Codec(CONNECT, LEFT, TEXT)
    websocket = wire.websocket(cls)
    await websocket.receive()
    await websocket.receive()
    with pytest.raises(WebSocketDisconnected) as caught:
        await websocket.receive()
    assert str(caught.value) == (
        'Cannot call "receive" once a disconnect message has been received.'
    )
    assert wire.asked == 2


@SEED_AND_OURS
async def test_a_cancelled_receive_is_as_good_as_none(
    cls: type[anyws.WebSocket],
) -> None:
    """S-47: the state stays, and the next call gets what comes then."""
    deliver, queue = anyio.create_memory_object_stream[Event](2)
    with deliver, queue:
        websocket: Any = cls(seed.scope_of(), queue.receive, Codec().send)
        deliver.send_nowait(CONNECT)
        await websocket.receive()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(websocket.receive)
            await wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
        assert websocket.client_state is CONNECTED
        deliver.send_nowait(TEXT)
        assert await websocket.receive() is TEXT


# 1E. send(), by application_state.


@SEED_AND_OURS
@pytest.mark.parametrize(
    ("before", "event", "after"),
    [
        row("S-50", [], ACCEPT, CONNECTED),
        row("S-51", [], CLOSE, DISCONNECTED),
        row("S-52", [], START, RESPONSE),
        row("S-54", [ACCEPT], SEND, CONNECTED),
        row("S-54-bytes", [ACCEPT], {**SEND, "text": None, "bytes": b""}, CONNECTED),
        row("S-55", [ACCEPT], CLOSE, DISCONNECTED),
        row("S-58", [START], MORE_BODY, RESPONSE),
        row("S-58-again", [START, MORE_BODY], MORE_BODY, RESPONSE),
        row("S-59", [START], BODY, DISCONNECTED),
        row("S-59-after-more", [START, MORE_BODY], BODY, DISCONNECTED),
    ],
)
async def test_an_event_is_sent(
    cls: type[anyws.WebSocket], before: list[Event], event: Event, after: object
) -> None:
    """S-14: it reaches the server, which sees the state changed already."""
    wire, states = Codec(), []
    websocket = wire.websocket(cls)
    for earlier in before:
        await websocket.send(earlier)
    wire.watch = lambda: states.append(websocket.application_state)
    await websocket.send(event)
    assert states == [after]
    assert websocket.application_state is after
    sent = wire.sent[-1]
    assert {key: sent.get(key) for key in event} == event


AT_FIRST = (
    'Expected ASGI message "websocket.accept", "websocket.close" or '
    '"websocket.http.response.start", but got {!r}'
)
OPEN = 'Expected ASGI message "websocket.send" or "websocket.close", but got {!r}'
DENYING = 'Expected ASGI message "websocket.http.response.body", but got {!r}'
ENDED = 'Cannot call "send" once a close message has been sent.'


@SEED_AND_OURS
@pytest.mark.parametrize(
    ("before", "event", "error", "says"),
    [
        row("S-53-send", [], SEND, RuntimeError, AT_FIRST),
        row("S-53-body", [], BODY, RuntimeError, AT_FIRST),
        row("S-53-unknown", [], {"type": "websocket.ping"}, RuntimeError, AT_FIRST),
        row("S-56-accept", [ACCEPT], ACCEPT, RuntimeError, OPEN),
        row("S-56-denial", [ACCEPT], START, RuntimeError, OPEN),
        row("S-56-unknown", [ACCEPT], {"type": "websocket.ping"}, RuntimeError, OPEN),
        row("S-60-send", [START], SEND, RuntimeError, DENYING),
        row("S-60-accept", [START], ACCEPT, RuntimeError, DENYING),
        row("S-60-close", [START], CLOSE, RuntimeError, DENYING),
        row("S-60-start", [START], START, RuntimeError, DENYING),
        row("S-61-send", [ACCEPT, CLOSE], SEND, WebSocketDisconnected, ENDED),
        row("S-61-accept", [CLOSE], ACCEPT, WebSocketDisconnected, ENDED),
        row("S-61-body", [START, BODY], BODY, WebSocketDisconnected, ENDED),
    ],
)
async def test_an_event_that_is_not_allowed_is_not_sent(
    cls: type[anyws.WebSocket],
    before: list[Event],
    event: Event,
    error: type[Exception],
    says: str,
) -> None:
    """It raises Starlette's error in Starlette's words; the state stays."""
    wire = Codec()
    websocket = wire.websocket(cls)
    for earlier in before:
        await websocket.send(earlier)
    state, sent = websocket.application_state, len(wire.sent)
    with pytest.raises(error) as caught:
        await websocket.send(event)
    assert type(caught.value) is error
    assert str(caught.value) == says.format(event["type"])
    assert websocket.application_state is state
    assert len(wire.sent) == sent


@SEED_AND_OURS
async def test_a_broken_connection_is_told_by_send(cls: type[anyws.WebSocket]) -> None:
    """S-57, S-94: the server's OSError becomes a disconnect with 1006; it has ended."""
    wire = Codec()
    websocket = await wire.accepted(cls)
    wire.error = ConnectionResetError("gone")
    with pytest.raises(WebSocketDisconnect) as caught:
        await websocket.send(SEND)
    assert (caught.value.code, caught.value.reason) == (1006, "")
    assert caught.value.__context__ is wire.error
    assert websocket.application_state is DISCONNECTED
    with pytest.raises(WebSocketDisconnected):
        await websocket.send(SEND)


async def test_plain_mistakes_are_explained() -> None:
    """S-53, deviation: a note says what is missing, and a message is no event."""
    websocket = Codec().websocket()
    with pytest.raises(RuntimeError) as caught:
        await websocket.send_text("hello")
    assert caught.value.__notes__ == [
        "Call `await websocket.accept()` before you send."
    ]
    with pytest.raises(TypeError, match=r"not str; send_text\(\)"):
        await websocket.send("hello")


async def test_a_broken_connection_raises_our_error() -> None:
    """S-57, deviation: it is a `ConnectionClosed`, which `close_info` agrees with."""
    wire = Codec()
    websocket = await wire.accepted()
    wire.error = BrokenPipeError()
    with pytest.raises(anyws.ConnectionClosed) as caught:
        await websocket.send_text("hello")
    assert caught.value.info == anyws.CloseInfo(1006, "", "network", None)
    assert websocket.close_info == caught.value.info


async def test_a_disconnect_that_a_server_raises_is_our_error_too() -> None:
    """S-57, deviation: so it is where Starlette's class lies between (FastAPI)."""
    wire = Codec(CONNECT)
    theirs = wire.websocket(StarletteWebSocket)
    websocket = anyws.WebSocket(theirs.scope, theirs.receive, theirs.send)
    await websocket.accept()
    wire.error = BrokenPipeError()
    with pytest.raises(anyws.ConnectionClosed) as caught:
        await websocket.send_text("hello")
    assert caught.value.code == 1006
    assert websocket.application_state is DISCONNECTED


async def test_an_end_that_the_channel_knows_better_is_kept() -> None:
    """S-57, deviation: our own error from below (the middleware) goes up unchanged."""
    wire = Codec()
    websocket = await wire.accepted()
    wire.error = anyws.ConnectionClosed(anyws.CloseInfo(4000, "bye", "peer", True))
    with pytest.raises(anyws.ConnectionClosed) as caught:
        await websocket.send_text("hello")
    assert caught.value is wire.error
    assert websocket.close_info == anyws.CloseInfo(4000, "bye", "peer", True)
    assert websocket.application_state is DISCONNECTED


@SEED_AND_OURS
async def test_only_an_os_error_means_a_broken_connection(
    cls: type[anyws.WebSocket],
) -> None:
    """S-57: any other error of the server's goes through as it is."""
    wire = Codec()
    websocket = await wire.accepted(cls)
    wire.error = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        await websocket.send(SEND)


@SEED_AND_OURS
@pytest.mark.parametrize(
    ("before", "event", "after"),
    [
        row("S-62-accept", [], ACCEPT, CONNECTED),
        row("S-62-start", [], START, RESPONSE),
        row("S-62-body", [START], MORE_BODY, RESPONSE),
    ],
)
async def test_a_handshake_that_breaks_raises_the_os_error(
    cls: type[anyws.WebSocket], before: list[Event], event: Event, after: object
) -> None:
    """Before the connection is open nothing is translated; the state has changed."""
    wire = Codec()
    websocket = wire.websocket(cls)
    for earlier in before:
        await websocket.send(earlier)
    wire.error = BrokenPipeError()
    with pytest.raises(BrokenPipeError) as caught:
        await websocket.send(event)
    assert caught.value is wire.error
    assert websocket.application_state is after


@SEED_AND_OURS
async def test_a_disconnect_received_does_not_stop_a_send(
    cls: type[anyws.WebSocket],
) -> None:
    """S-63: what becomes of a message to a peer that left is the server's choice."""
    wire = Codec(LEFT)
    websocket = await wire.accepted(cls)
    await websocket.receive()
    await websocket.send_text("hello")
    assert wire.sent == [SEND]
