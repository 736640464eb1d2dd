"""Rows S-140 to S-150: Starlette's TestClient against our class, and the codes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
import starlette.status
from anyio.lowlevel import checkpoint
from starlette.responses import JSONResponse
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.websockets import WebSocketDisconnect

import anyws

from ..support import seed
from ..support.seed import CLOSE, Client, Codec, Plain, row

client = seed.client

Handler = Callable[[anyws.WebSocket], Awaitable[None]]


async def echo(websocket: anyws.WebSocket) -> None:
    """Send back what comes."""
    await websocket.accept()
    async for message in websocket:
        await websocket.send_message(message)


def test_the_client_runs_on_its_own_backend() -> None:
    """S-140: without arguments it runs our class on asyncio."""
    with TestClient(Plain(echo)).websocket_connect("/") as peer:
        peer.send_text("hello")
        assert peer.receive_text() == "hello"


def test_the_request_is_what_the_client_sent(client: Client) -> None:
    """S-141: the URL, the headers and the scope are those of the contract."""

    async def handler(websocket: anyws.WebSocket) -> None:
        offered = websocket["subprotocols"]
        await websocket.accept(offered[-1], [(b"x-answer", b"2")])
        await websocket.send_json(
            {
                "url": str(websocket.url),
                "headers": dict(websocket.headers),
                "cookies": websocket.cookies,
                "client": websocket.client,
                "extensions": websocket["extensions"],
                "subprotocols": offered,
            }
        )

    test_client = client(
        Plain(handler),
        base_url="http://elsewhere/",
        headers={"x-always": "0"},
        cookies={"id": "7"},
        client=("peer", 1),
    )
    with test_client.websocket_connect(
        "/room", ["chat", "soap"], params={"a": "b"}, headers={"x-once": "1"}
    ) as peer:
        assert peer.accepted_subprotocol == "soap"
        assert peer.extra_headers == [(b"x-answer", b"2")]
        assert peer.scope["type"] == "websocket"
        seen = peer.receive_json()
    headers = seen.pop("headers")
    assert seen == {
        "url": "ws://testserver/room?a=b",
        "cookies": {"id": "7"},
        "client": ["peer", 1],
        "extensions": {"websocket.http.response": {}},
        "subprotocols": ["chat", "soap"],
    }
    assert (headers["x-always"], headers["x-once"]) == ("0", "1")
    assert headers["connection"] == "upgrade"
    assert headers["sec-websocket-version"] == "13"
    assert headers["sec-websocket-protocol"] == "chat, soap"


def test_the_client_speaks_every_kind(client: Client) -> None:
    """S-142: raw events, text, bytes and JSON in both modes go there and back."""
    with client(Plain(echo)).websocket_connect("/") as peer:
        peer.send({"type": "websocket.receive", "text": "raw"})
        assert peer.receive() == {"type": "websocket.send", "text": "raw"}
        peer.send_text("")
        assert peer.receive_text() == ""
        peer.send_bytes(b"\xff")
        assert peer.receive_bytes() == b"\xff"
        peer.send_json(["é"])
        assert peer.receive_json() == ["é"]
        peer.send_json(["é"], mode="binary")
        assert peer.receive_json(mode="binary") == ["é"]


@pytest.mark.parametrize("code", [1000, 1001, 1006, 4000])
def test_the_clients_close_is_received(client: Client, code: int) -> None:
    """S-142: our class learns its code and reason."""

    async def handler(websocket: anyws.WebSocket) -> None:
        await websocket.accept()
        with pytest.raises(anyws.ConnectionClosed) as caught:
            await websocket.receive_text()
        await websocket.send_json([caught.value.code, caught.value.reason])

    with client(Plain(handler)).websocket_connect("/") as peer:
        peer.close(code, "bye")
        assert peer.receive_json() == [code, "bye"]


async def reject(websocket: anyws.WebSocket) -> None:
    """Close before the accept."""
    await websocket.close(1008, "no")


async def fail(websocket: anyws.WebSocket) -> None:
    """Raise before the accept."""
    raise ZeroDivisionError


async def deny(websocket: anyws.WebSocket) -> None:
    """Answer with a response."""
    await websocket.receive()
    await websocket.send_denial_response(JSONResponse({"a": 1}, 403, {"x-why": "no"}))


def test_a_rejection_is_raised_on_entering(client: Client) -> None:
    """S-143: a close before the accept is a disconnect with its code and reason."""
    with pytest.raises(WebSocketDisconnect) as caught:
        client(Plain(reject)).websocket_connect("/").__enter__()
    assert (caught.value.code, caught.value.reason) == (1008, "no")


def test_an_error_before_accept_is_raised_on_entering(client: Client) -> None:
    """S-143: it is the application's own."""
    with pytest.raises(ZeroDivisionError):
        client(Plain(fail)).websocket_connect("/").__enter__()


def test_a_denial_is_raised_on_entering(client: Client) -> None:
    """S-145: it is a response, and a disconnect as well."""
    with pytest.raises(WebSocketDenialResponse) as caught:
        client(Plain(deny)).websocket_connect("/").__enter__()
    assert isinstance(caught.value, WebSocketDisconnect)
    assert (caught.value.status_code, caught.value.json()) == (403, {"a": 1})
    assert caught.value.headers["x-why"] == "no"


def test_leaving_disconnects_and_cancels(client: Client) -> None:
    """S-144: our class sees a disconnect with 1000; what waits after it is cut."""
    seen: list[object] = []

    async def handler(websocket: anyws.WebSocket) -> None:
        await websocket.accept()
        async for _ in websocket:
            raise AssertionError("nothing was sent")
        seen.append(websocket.close_info)
        try:
            await anyio.sleep_forever()
        finally:
            seen.append("cut")

    with client(Plain(handler)).websocket_connect("/"):
        pass
    assert seen == [anyws.CloseInfo(1000, "", "peer", True), "cut"]


async def fail_after_the_end(websocket: anyws.WebSocket) -> None:
    """Raise, once the client has gone."""
    await websocket.accept()
    async for _ in websocket:
        raise AssertionError("nothing was sent")
    raise ZeroDivisionError


async def catch_nothing(websocket: anyws.WebSocket) -> None:
    """Receive, and let the disconnect go on."""
    await websocket.accept()
    await websocket.receive_text()


@pytest.mark.parametrize(
    ("handler", "error"),
    [
        row("S-144-error", fail_after_the_end, ZeroDivisionError),
        row("S-144-disconnect", catch_nothing, anyws.ConnectionClosed),
    ],
)
def test_leaving_raises_the_applications_error(
    client: Client, handler: Handler, error: type[Exception]
) -> None:
    """It comes out as it is, a disconnect that nobody caught too."""
    with pytest.raises(error), client(Plain(handler)).websocket_connect("/"):
        pass


@pytest.mark.parametrize(
    "receive",
    [
        row("S-146-text", lambda peer: peer.receive_text()),
        row("S-146-bytes", lambda peer: peer.receive_bytes()),
        row("S-146-json", lambda peer: peer.receive_json()),
    ],
)
def test_our_close_is_raised_by_every_receive(
    client: Client, receive: Callable[[Any], object]
) -> None:
    """It is a disconnect with our code and reason, raw an event."""

    async def handler(websocket: anyws.WebSocket) -> None:
        await websocket.accept()
        await websocket.close(4000, "bye")
        await websocket.close(4001, "again")

    with client(Plain(handler)).websocket_connect("/") as peer:
        with pytest.raises(WebSocketDisconnect) as caught:
            receive(peer)
        assert (caught.value.code, caught.value.reason) == (4000, "bye")
    with client(Plain(handler)).websocket_connect("/") as peer:
        assert peer.receive() == {**CLOSE, "code": 4000, "reason": "bye"}


def test_one_portal_serves_many_connections(client: Client) -> None:
    """S-140: connections of one client, opened together, do not mix."""
    test_client = client(Plain(echo))
    with (
        test_client.websocket_connect("/") as one,
        test_client.websocket_connect("/") as other,
    ):
        one.send_text("1")
        other.send_text("2")
        assert (other.receive_text(), one.receive_text()) == ("2", "1")


# 1M. Status codes.

WS = {
    name: value
    for name, value in vars(starlette.status).items()
    if name.startswith("WS_")
}


def test_the_codes_are_starlettes() -> None:
    """S-150: `CloseCode` has every code that Starlette names, and no other."""
    assert {int(code) for code in anyws.CloseCode} == set(WS.values())


@pytest.mark.parametrize("name", WS, ids=lambda name: f"S-150-{name}")
async def test_starlettes_codes_can_be_sent(name: str) -> None:
    """All but those that stand for the absence of a code (RFC 6455 section 7.4.1)."""
    wire = Codec()
    websocket = await wire.accepted()
    if WS[name] in {1005, 1006, 1015}:
        with pytest.raises(ValueError, match=str(WS[name])):
            await websocket.close(WS[name])
        await checkpoint()
        assert wire.sent == []
    else:
        await websocket.close(WS[name])
        assert wire.sent == [{**CLOSE, "code": WS[name]}]
