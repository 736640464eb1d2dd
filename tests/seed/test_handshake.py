"""Rows S-70 to S-77: accepting, closing, denying; and what must not be sent."""

from __future__ import annotations

import http.cookies
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from starlette.background import BackgroundTask
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.websockets import WebSocketDisconnect, WebSocketDisconnected

import anyws

from ..support.seed import (
    ACCEPT,
    CLOSE,
    CONNECT,
    CONNECTED,
    CONNECTING,
    DISCONNECTED,
    LEFT,
    SEED_AND_OURS,
    Codec,
    arriving,
    row,
)

DENIAL: dict[str, Any] = {"extensions": {"websocket.http.response": {}}}

# S-70, S-71. Accepting.


@SEED_AND_OURS
@pytest.mark.parametrize(
    ("arguments", "changes"),
    [
        row("S-70-bare", {}, {}),
        row("S-70-subprotocol", {"subprotocol": "chat"}, {"subprotocol": "chat"}),
        row("S-70-headers", {"headers": [(b"a", b"1")]}, {"headers": [(b"a", b"1")]}),
        row("S-70-tuple", {"headers": ((b"a", b"1"),)}, {"headers": [(b"a", b"1")]}),
    ],
)
async def test_accept_takes_the_connect_and_sends_the_accept(
    cls: type[anyws.WebSocket], arguments: dict[str, Any], changes: dict[str, Any]
) -> None:
    """It receives first, then sends one whole event; both states are connected."""
    wire = Codec(CONNECT)
    websocket = wire.websocket(cls)
    await websocket.accept(**arguments)
    (sent,) = wire.sent
    assert {**sent, "headers": list(sent["headers"])} == {**ACCEPT, **changes}
    assert websocket.client_state is CONNECTED
    assert websocket.application_state is CONNECTED


@SEED_AND_OURS
async def test_accept_receives_only_the_connect(cls: type[anyws.WebSocket]) -> None:
    """S-70: where the connect was received already, nothing more is."""
    wire = Codec(CONNECT, arriving("hello"))
    websocket = wire.websocket(cls)
    await websocket.receive()
    await websocket.accept("chat", [(b"a", b"1")])
    assert wire.asked == 1


@SEED_AND_OURS
async def test_accept_twice(cls: type[anyws.WebSocket]) -> None:
    """S-71: the second raises the error of the table."""
    websocket = await Codec().accepted(cls)
    with pytest.raises(RuntimeError, match=r"but got 'websocket\.accept'"):
        await websocket.accept()


@SEED_AND_OURS
async def test_accept_after_close(cls: type[anyws.WebSocket]) -> None:
    """S-71: what was rejected cannot be accepted."""
    websocket = Codec(CONNECT).websocket(cls)
    await websocket.close()
    with pytest.raises(WebSocketDisconnected, match='Cannot call "send"'):
        await websocket.accept()


@SEED_AND_OURS
async def test_accept_of_something_else(cls: type[anyws.WebSocket]) -> None:
    """S-71: a connection does not begin with a message; nothing is sent."""
    wire = Codec(arriving("hello"))
    with pytest.raises(RuntimeError, match=r'Expected ASGI message "websocket\.conn'):
        await wire.websocket(cls).accept()
    assert wire.sent == []


def header(name: bytes, value: bytes = b"1") -> dict[str, Any]:
    """Return the arguments of an accept with one header."""
    return {"headers": [(name, value)]}


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        row("unoffered", {"subprotocol": "soap"}, ValueError, "soap.*not offered"),
        row("space-in-name", header(b"a b"), ValueError, "not a header name"),
        row("empty-name", header(b""), ValueError, "not a header name"),
        row("pseudo-header", header(b":status"), ValueError, "not a header name"),
        row("newline-in-name", header(b"a\n"), ValueError, "not a header name"),
        row("newline-in-value", header(b"a", b"1\r\nb: 2"), ValueError, "CR, LF"),
        row("nul-in-value", header(b"a", b"\0"), ValueError, "NUL"),
        row("str", header("a"), TypeError, "bytes"),  # type: ignore[arg-type]  # wrong
        row("a-length", header(b"Content-Length", b"0"), ValueError, "no body"),
        row("te", header(b"te", b"trailers"), ValueError, "connection"),
        row(
            "subprotocol-as-header",
            header(b"Sec-WebSocket-Protocol", b"chat"),
            ValueError,
            "subprotocol=",
        ),
    ],
)
async def test_an_accept_that_must_not_be_sent(
    arguments: dict[str, Any], error: type[Exception], says: str
) -> None:
    """S-70, deviation: it is refused and can be repeated; the server sees nothing."""
    wire = Codec(CONNECT)
    websocket = wire.websocket()
    with pytest.raises(error, match=says):
        await websocket.accept(**arguments)
    assert wire.sent == []
    assert websocket.application_state is CONNECTING
    assert websocket.subprotocol is None
    await websocket.accept("chat")
    assert websocket.subprotocol == "chat"


async def test_no_subprotocol_can_be_chosen_where_none_was_offered() -> None:
    """S-70, deviation: so it is where the scope does not have the list at all."""
    websocket = Codec(CONNECT).websocket(subprotocols=None)
    with pytest.raises(ValueError, match="not offered"):
        await websocket.accept("chat")


async def test_header_names_are_sent_in_lower_case() -> None:
    """S-70, deviation: ASGI wants them so, and HTTP/2 refuses others."""
    wire = Codec(CONNECT)
    await wire.websocket().accept(headers=[(b"X-Seed", b"Value")])
    assert wire.sent[0]["headers"] == [(b"x-seed", b"Value")]


async def test_white_space_around_a_value_is_not_sent() -> None:
    """S-70, deviation: `http.cookies` makes values with a space before them."""
    wire = Codec(CONNECT)
    cookie = http.cookies.SimpleCookie({"a": "1"}).output(header="").encode()
    await wire.websocket().accept(headers=[(b"set-cookie", cookie)])
    assert cookie == b" a=1"
    assert wire.sent[0]["headers"] == [(b"set-cookie", b"a=1")]


# S-72 to S-74. Closing.


@SEED_AND_OURS
@pytest.mark.parametrize("accepted", [False, True], ids=["before-accept", "accepted"])
@pytest.mark.parametrize(
    ("arguments", "changes"),
    [
        row("S-72-bare", (), {}),
        row("S-72-code", (4000,), {"code": 4000}),
        row("S-72-reason", (1001, "bye"), {"code": 1001, "reason": "bye"}),
        row("S-72-no-reason", (1001, None), {"code": 1001}),
    ],
)
async def test_close_sends_a_close(
    cls: type[anyws.WebSocket],
    accepted: bool,
    arguments: tuple[Any, ...],
    changes: dict[str, Any],
) -> None:
    """It is one whole event, and the peer's answer is not waited for."""
    wire = Codec()
    websocket = await wire.accepted(cls) if accepted else wire.websocket(cls)
    asked = wire.asked
    await websocket.close(*arguments)
    assert wire.sent == [{**CLOSE, **changes}]
    assert wire.asked == asked
    assert websocket.application_state is DISCONNECTED


async def test_aclose_is_close() -> None:
    """S-72: AnyIO's name for it closes with 1000."""
    wire = Codec()
    await (await wire.accepted()).aclose()
    assert wire.sent == [CLOSE]


@pytest.mark.parametrize("accepted", [False, True], ids=["rejected", "closed"])
async def test_close_twice(accepted: bool) -> None:
    """S-73, deviation: the second is silent, and nothing is sent; the first counts."""
    wire = Codec()
    websocket = await wire.accepted() if accepted else wire.websocket()
    await websocket.close(4000, "first")
    await websocket.close(4001, "second")
    await websocket.send({"type": "websocket.close"})
    assert wire.sent == [{**CLOSE, "code": 4000, "reason": "first"}]
    assert websocket.close_info == anyws.CloseInfo(4000, "first", "local")


SERVERS_ERRORS = pytest.mark.parametrize(
    "error",
    [
        row("says-nothing", None),
        row("OSError", BrokenPipeError("gone")),
        row("RuntimeError", RuntimeError("Unexpected ASGI message")),
        row("disconnect", WebSocketDisconnect(1006)),
        row("disconnected", WebSocketDisconnected("Cannot call")),
    ],
)


@SERVERS_ERRORS
async def test_close_after_the_peers_disconnect(error: Exception | None) -> None:
    """S-74, deviation: silent whatever the server says; what the peer said holds."""
    wire = Codec(LEFT)
    websocket = await wire.accepted()
    await websocket.receive()
    wire.error = error
    await websocket.close(4000)
    assert websocket.application_state is DISCONNECTED
    assert websocket.close_info == anyws.CloseInfo(1001, "away", "peer", True)


@SERVERS_ERRORS
async def test_close_when_the_peer_has_gone_unnoticed(error: Exception | None) -> None:
    """S-74, deviation: silent too where the disconnect was not received yet."""
    wire = Codec(LEFT)
    websocket = await wire.accepted()
    wire.error = error
    await websocket.close()
    assert websocket.application_state is DISCONNECTED


async def test_close_after_a_send_that_failed() -> None:
    """S-74, deviation: the end is known already, so nothing is said."""
    wire = Codec()
    websocket = await wire.accepted()
    wire.error = BrokenPipeError()
    with pytest.raises(anyws.ConnectionClosed):
        await websocket.send_text("hello")
    await websocket.close()
    assert wire.sent == []


async def test_close_before_accept_when_the_peer_has_gone() -> None:
    """S-74, deviation from S-62 by rule 9 of the law: a rejection is silent too."""
    wire = Codec(CONNECT)
    websocket = wire.websocket()
    await websocket.receive()
    wire.error = BrokenPipeError()
    await websocket.close()
    assert websocket.application_state is DISCONNECTED


NOT_IN_A_FRAME = pytest.mark.parametrize(
    "code",
    [-1, 0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 70000],
    ids=lambda code: f"S-72-{code}",
)


@NOT_IN_A_FRAME
async def test_a_code_that_must_not_be_sent(code: int) -> None:
    """Deviation: it is a ValueError that names it; the connection stays open."""
    wire = Codec()
    websocket = await wire.accepted()
    with pytest.raises(ValueError, match=str(code)):
        await websocket.close(code)
    assert wire.sent == []
    assert websocket.application_state is CONNECTED
    assert websocket.close_info is None
    await websocket.close(3000)
    assert wire.sent == [{**CLOSE, "code": 3000}]


@pytest.mark.parametrize("accepted", [False, True], ids=["before-accept", "accepted"])
@pytest.mark.parametrize("code", ["4000", 1000.0, [1000]], ids=["str", "float", "list"])
async def test_a_code_that_is_no_number(accepted: bool, code: Any) -> None:
    """S-72, deviation: it is a TypeError, and servers do not see it."""
    wire = Codec()
    websocket = await wire.accepted() if accepted else wire.websocket()
    with pytest.raises(TypeError, match="int"):
        await websocket.close(code)
    assert wire.sent == []


@SEED_AND_OURS
@NOT_IN_A_FRAME
async def test_any_code_rejects(cls: type[anyws.WebSocket], code: int) -> None:
    """Before the accept no frame carries the code, so none is refused."""
    wire = Codec()
    await wire.websocket(cls).close(code)
    assert wire.sent == [{**CLOSE, "code": code}]


@pytest.mark.parametrize("code", [1003, 1007, 1014, 3000, 4999])
async def test_a_code_at_the_edge_is_sent(code: int) -> None:
    """S-72: what RFC 6455 allows goes through."""
    wire = Codec()
    await (await wire.accepted()).close(code)
    assert wire.sent == [{**CLOSE, "code": code}]


@pytest.mark.parametrize(
    ("reason", "sent"),
    [
        row("fits", "x" * 123, "x" * 123),
        row("too-long", "x" * 124, "x" * 123),
        row("two-bytes-each", "é" * 62, "é" * 61),
        row("four-bytes-each", "x" + "\N{GRINNING FACE}" * 31, "x" + 30 * "😀"),
        row("list", [{"loc": ["q"]}], '[{"loc": ["q"]}]'),
        row("exception", ValueError("bad"), '"bad"'),
        row("bytes", b"bye", "bye"),
        row("none", None, ""),
    ],
)
async def test_a_reason_is_repaired(reason: Any, sent: str) -> None:
    """S-72, S-119, deviation: it becomes text, cut at a character to 123 bytes."""
    wire = Codec()
    await (await wire.accepted()).close(1008, reason)
    assert wire.sent == [{**CLOSE, "code": 1008, "reason": sent}]


# S-75 to S-77. Denying.


@SEED_AND_OURS
async def test_a_denial_needs_the_extension(cls: type[anyws.WebSocket]) -> None:
    """S-75: a server that does not know it is not troubled with it."""
    wire = Codec(CONNECT)
    websocket = wire.websocket(cls, extensions={})
    with pytest.raises(RuntimeError) as caught:
        await websocket.send_denial_response(Response())
    assert str(caught.value) == (
        "The server doesn't support the Websocket Denial Response extension."
    )
    assert wire.sent == []


@SEED_AND_OURS
async def test_a_denial_after_accept(cls: type[anyws.WebSocket]) -> None:
    """S-76: it is refused as any event out of order."""
    wire = Codec()
    websocket = await wire.accepted(cls, **DENIAL)
    with pytest.raises(RuntimeError, match=r"but got 'websocket\.http\.response\.star"):
        await websocket.send_denial_response(Response())
    assert wire.sent == []


@SEED_AND_OURS
@pytest.mark.parametrize("kind", ["Response", "JSON", "Streaming", "File"])
async def test_any_response_is_a_denial(
    cls: type[anyws.WebSocket], kind: str, tmp_path: Path
) -> None:
    """S-75, S-77: status, headers, body; the background task runs; it has ended."""
    file = tmp_path / "denial"
    file.write_bytes(b"[1]")
    ran: list[int] = []
    arguments: dict[str, Any] = {
        "status_code": 401,
        "headers": {"x-why": "seed"},
        "background": BackgroundTask(ran.append, 1),
    }
    make: dict[str, Callable[[], Response]] = {
        "Response": lambda: Response(b"[1]", **arguments),
        "JSON": lambda: JSONResponse([1], **arguments),
        "Streaming": lambda: StreamingResponse(iter([b"[", b"1]"]), **arguments),
        "File": lambda: FileResponse(file, **arguments),
    }
    wire = Codec(CONNECT)
    websocket = wire.websocket(cls, **DENIAL, method="GET")
    await websocket.receive()
    await websocket.send_denial_response(make[kind]())
    start, *bodies = wire.sent
    assert start["type"] == "websocket.http.response.start"
    assert start["status"] == 401
    assert (b"x-why", b"seed") in start["headers"]
    assert {body["type"] for body in bodies} == {"websocket.http.response.body"}
    assert b"".join(body["body"] for body in bodies) == b"[1]"
    assert ran == [1]
    assert websocket.application_state is DISCONNECTED


async def test_events_may_leave_out_what_has_a_default() -> None:
    """S-75, deviation: plain, too, the server gets events that are whole."""
    start, body = "websocket.http.response.start", "websocket.http.response.body"
    denied, accepted = Codec(CONNECT), Codec(CONNECT)
    websocket = denied.websocket()
    with pytest.raises(ValueError, match="CR, LF"):
        await websocket.send({"type": start, "status": 401, "headers": [(b"a", b"\n")]})
    assert websocket.application_state is CONNECTING
    await websocket.send({"type": start, "status": 401})
    await websocket.send({"type": body})
    websocket = accepted.websocket()
    await websocket.send({"type": "websocket.accept"})
    await websocket.send({"type": "websocket.close"})
    assert denied.sent == [
        {"type": start, "status": 401, "headers": []},
        {"type": body, "body": b"", "more_body": False},
    ]
    assert accepted.sent == [ACCEPT, CLOSE]


async def test_a_plain_denial_is_as_long_as_it_says() -> None:
    """S-75, deviation: another body is refused, and the right one can be sent."""
    start, body = "websocket.http.response.start", "websocket.http.response.body"
    wire = Codec(CONNECT)
    websocket = wire.websocket()
    headers = [(b"content-length", b"2")]
    await websocket.send({"type": start, "status": 401, "headers": headers})
    with pytest.raises(ValueError, match="1 bytes shorter"):
        await websocket.send({"type": body, "body": b"x"})
    await websocket.send({"type": body, "body": b"xy"})
    assert [event["type"] for event in wire.sent] == [start, body]


async def test_a_cancelled_close_can_be_tried_again() -> None:
    """Law 9: after a close that was cut short, the state is true: it is not closed."""
    gate, sent = anyio.Event(), list[Any]()

    async def send(event: Any) -> None:
        if event["type"] == "websocket.close":
            await gate.wait()
        sent.append(event["type"])

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    ws = anyws.WebSocket({"type": "websocket"}, receive, send)
    await ws.accept()
    with anyio.move_on_after(0.01):
        await ws.close()
    assert (ws.application_state.name, ws.close_info) == ("CONNECTED", None)
    gate.set()
    await ws.close()

    assert sent == ["websocket.accept", "websocket.close"]
