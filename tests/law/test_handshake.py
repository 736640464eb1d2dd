"""The opening handshake in guarded mode: rejected, denied, accepted, cut short."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from starlette.exceptions import WebSocketException

import anyws

from ..support.channels import Channel
from ..support.wired import SERVED


@pytest.fixture(params=SERVED)
async def channel(request: pytest.FixtureRequest) -> Channel:
    """Return a fresh channel."""
    make: type[Channel] = request.param
    return make()


async def test_returning_before_accept_rejects(channel: Channel) -> None:
    """A return before accept is a close, which servers answer with 403."""
    async with channel.websocket():
        pass

    assert [event["type"] for event in channel.sent] == ["websocket.close"]


async def test_a_rejection_may_have_any_code(channel: Channel) -> None:
    """Before accept there is no closing frame, so no code is refused."""
    async with channel.websocket() as ws:
        await ws.close(1006)

    assert channel.closes == [(1006, "")]


async def test_a_send_before_accept_says_what_is_missing(channel: Channel) -> None:
    """The text of the error is Starlette's; a note, shown below it, helps."""
    async with channel.websocket() as ws:
        for send in (ws.send_text, ws.send_json, ws.send_message):
            with pytest.raises(RuntimeError, match="websocket") as caught:
                await send("x")
            assert str(caught.value).endswith("but got 'websocket.send'")
            assert caught.value.__notes__ == [
                "Call `await websocket.accept()` before you send."
            ]
        with pytest.raises(RuntimeError) as caught:
            ws.send_nowait("x")
        assert len(caught.value.__notes__) == 1
        with pytest.raises(RuntimeError) as caught:
            await ws.send({"type": "websocket.http.response.body"})
        assert not hasattr(caught.value, "__notes__")


async def test_raising_before_accept_sends_nothing(channel: Channel) -> None:
    """An exception before accept is left to the server, which answers with 500."""
    with pytest.raises(ValueError, match="mine"):
        async with channel.websocket() as ws:
            raise ValueError("mine")

    assert channel.sent == []
    with pytest.raises(anyws.ConnectionClosed):
        await ws.send_text("late")


async def test_a_websocket_exception_before_accept_rejects(channel: Channel) -> None:
    """WebSocketException before accept is a close with its code."""
    with pytest.raises(WebSocketException):
        async with channel.websocket():
            raise WebSocketException(1008, "no")

    assert channel.closes == [(1008, "no")]


@pytest.mark.parametrize("more_body", [True, False])
async def test_no_close_behind_a_denial_response(
    channel: Channel, more_body: bool
) -> None:
    """A denial response, whole or begun, is not followed by a close."""
    start = {"type": "websocket.http.response.start", "status": 401, "headers": []}
    body = {
        "type": "websocket.http.response.body",
        "body": b"x",
        "more_body": more_body,
    }
    async with channel.websocket() as ws:
        await ws.send(start)
        with pytest.raises(RuntimeError, match=r"http\.response\.body"):
            await ws.close()
        await ws.send(body)
        if not more_body:
            await ws.close()

    assert channel.sent == [start, body]


START, BODY = "websocket.http.response.start", "websocket.http.response.body"


async def test_a_denial_may_leave_out_what_has_a_default(channel: Channel) -> None:
    """The server gets events that are whole: Hypercorn fails without headers."""
    async with channel.websocket() as ws:
        await ws.send({"type": START, "status": 401})
        await ws.send({"type": BODY})

    assert channel.sent == [
        {"type": START, "status": 401, "headers": []},
        {"type": BODY, "body": b"", "more_body": False},
    ]


@pytest.mark.parametrize("parts", [0, 1, 2])
async def test_a_denial_begins_with_the_first_part_of_its_body(parts: int) -> None:
    """The server has both in one turn: uvicorn's oldest class answers after that."""
    seen: list[tuple[str, bool]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": START, "status": 401})
        for left in reversed(range(parts)):
            await anyio.wait_all_tasks_blocked()
            await send({"type": BODY, "body": b"x", "more_body": left > 0})

    events = iter([{"type": "websocket.connect"}])

    async def receive() -> dict[str, Any]:
        event = next(events, None)
        while event is None:
            await anyio.sleep_forever()
        return event

    async with anyio.create_task_group() as tasks:
        turned = False

        async def turn() -> None:
            nonlocal turned
            turned = True

        async def send(event: Any) -> None:
            nonlocal turned
            if event["type"] == START:
                turned = False
                tasks.start_soon(turn)
            seen.append((event["type"], turned))

        extensions = {"websocket.http.response": dict[str, Any]()}
        scope = {"type": "websocket", "headers": [], "extensions": extensions}
        await anyws.WebSocketMiddleware(app)(scope, receive, send)
    expected = [(START, False), (BODY, False), (BODY, True)]
    assert seen == expected[: parts + 1]


@pytest.mark.parametrize(
    ("event", "error"),
    [
        ({"status": 401, "headers": [(b"x", b"a\r\nb: c")]}, ValueError),
        ({"status": 401, "headers": [(b"te", b"trailers")]}, ValueError),
        ({"status": 401, "headers": [("x", "y")]}, TypeError),
        ({"status": 101}, ValueError),
        ({"status": 600}, ValueError),
        ({"status": "401"}, TypeError),
        ({"status": True}, TypeError),
        ({}, TypeError),
    ],
    ids=repr,
)
async def test_a_denial_that_must_not_be_sent(
    channel: Channel, event: dict[str, object], error: type[Exception]
) -> None:
    """It is refused before the state changes; another one can be sent."""
    async with channel.websocket() as ws:
        with pytest.raises(error):
            await ws.send({"type": START, **event})
        assert ws.application_state is anyws.WebSocketState.CONNECTING
        await ws.send({"type": START, "status": 403})
        with pytest.raises(TypeError, match="body must be bytes, not str"):
            await ws.send({"type": BODY, "body": "x"})
        await ws.send({"type": BODY, "body": bytearray(b"x")})

    assert [event["type"] for event in channel.sent] == [START, BODY]
    assert channel.sent[1]["body"] == b"x"


@pytest.mark.parametrize(
    ("length", "bodies", "says"),
    [
        (b"3", [b"ab"], "1 bytes shorter"),
        (b"3", [b"abcd"], "1 bytes longer"),
        (b"3", [b"ab", b"cd"], "1 bytes longer"),
        (b"3", [b"a", b""], "2 bytes shorter"),
        (b"0", [b"a"], "1 bytes longer"),
    ],
)
async def test_the_body_of_a_denial_is_as_long_as_it_says(
    channel: Channel, length: bytes, bodies: list[bytes], says: str
) -> None:
    """A client would fail an HTTP/2 connection, with all others on it."""
    *first, last = bodies
    headers = [(b"content-length", length)]
    async with channel.websocket() as ws:
        await ws.send({"type": START, "status": 401, "headers": headers})
        for body in first:
            await ws.send({"type": BODY, "body": body, "more_body": True})
        with pytest.raises(ValueError, match=says):
            await ws.send({"type": BODY, "body": last})
        assert ws.application_state is anyws.WebSocketState.RESPONSE
        rest = b"x" * (int(length) - len(b"".join(first)))
        await ws.send({"type": BODY, "body": rest})

    assert (
        b"".join(event["body"] for event in channel.sent[1:]) == b"".join(first) + rest
    )


@pytest.mark.parametrize("status", [204, 304])
async def test_a_denial_without_a_body_may_say_how_long_one_is(
    channel: Channel, status: int
) -> None:
    """As RFC 9110 section 8.6 has it for 304."""
    headers = [(b"content-length", b"3")]
    async with channel.websocket() as ws:
        await ws.send({"type": START, "status": status, "headers": headers})
        await ws.send({"type": BODY})

    assert len(channel.sent) == 2


async def test_messages_behind_a_denial_are_discarded(channel: Channel) -> None:
    """A client that talks on while it is denied is read, and not kept waiting."""
    async with channel.websocket(receive_buffer=2) as ws:
        await ws.send(
            {"type": "websocket.http.response.start", "status": 401, "headers": []}
        )
        channel.arrive(*"x" * 100)
        await anyio.wait_all_tasks_blocked()

        assert channel.unread == 0
        assert ws.statistics().receive_queued == 0


async def test_a_cancelled_accept_is_accepted(channel: Channel) -> None:
    """`accept()` that is cancelled while it waits leaves a state that is true."""
    async with channel.websocket() as ws:
        channel.stall()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ws.accept, "chat")
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()

        assert ws.application_state is anyws.WebSocketState.CONNECTED
        assert ws.subprotocol == "chat"
        channel.resume()
        await ws.send_text("after")
    assert channel.sent[0]["type"] == "websocket.accept"
    assert channel.messages == ["after"]


async def test_an_unoffered_subprotocol_is_refused(channel: Channel) -> None:
    """The error says what was offered, and the handshake can still be completed."""
    async with channel.websocket() as ws:
        with pytest.raises(ValueError, match=r"'soap' was not offered.*graphql-ws"):
            await ws.accept("soap")
        assert ws.application_state is anyws.WebSocketState.CONNECTING
        await ws.accept("chat")

    assert channel.sent[0]["subprotocol"] == "chat"
