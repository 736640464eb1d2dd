"""The verbs that answer the opening handshake: `reject()`, `bearer_token()`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import anyws
from anyws.testing import connect

Handler = Callable[[anyws.WebSocket], Awaitable[None]]


def plain(handler: Handler) -> Any:
    """Return an application with no session."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await handler(anyws.WebSocket(scope, receive, send))

    return app


modes = pytest.mark.parametrize("mode", [plain, anyws.endpoint])
Mode = Callable[[Handler], Any]


async def answer_of(app: Any, **connecting: Any) -> anyws.HandshakeRejected:
    """Return what rejects the client."""
    with pytest.raises(anyws.HandshakeRejected) as caught:
        async with connect(app, **connecting):
            pass
    return caught.value


@modes
@pytest.mark.parametrize("body", ["né", "né".encode()], ids=["text", "bytes"])
async def test_the_client_gets_the_response(mode: Mode, body: str | bytes) -> None:
    """Its status, headers and body."""

    async def handler(ws: anyws.WebSocket) -> None:
        await ws.reject(429, body, {"retry-after": "3"})

    answer = await answer_of(mode(handler))
    assert (answer.status, answer.body) == (429, "né".encode())
    assert answer.headers["retry-after"] == "3"
    is_text = isinstance(body, str)
    kind = "text/plain; charset=utf-8" if is_text else None
    assert answer.headers.get("content-type") == kind


@modes
async def test_without_denial_responses_it_is_403(mode: Mode) -> None:
    """With no body."""

    async def handler(ws: anyws.WebSocket) -> None:
        await ws.reject(429, "later")

    answer = await answer_of(mode(handler), scope={"extensions": {}})
    assert (answer.status, answer.body) == (403, b"")


@modes
async def test_a_mistake_is_refused_before_anything_is_sent(mode: Mode) -> None:
    """The handshake can be answered after it."""

    async def handler(ws: anyws.WebSocket) -> None:
        wrong: Any
        for wrong in (200, 101, 600):
            with pytest.raises(ValueError, match=f"{wrong} does not reject"):
                await ws.reject(wrong)
        for wrong in ("403", True):
            with pytest.raises(TypeError, match="must be an int"):
                await ws.reject(wrong)
        wrong = {"no": "json"}
        with pytest.raises(TypeError, match="must be str or bytes"):
            await ws.reject(403, wrong)
        with pytest.raises(ValueError, match="te"):
            await ws.reject(403, headers={"te": "trailers"})
        wrong = [("retry-after", "3")]
        with pytest.raises(TypeError, match=r"headers must be a mapping .* not list"):
            await ws.reject(403, headers=wrong)
        await ws.accept()
        with pytest.raises(RuntimeError, match="accepted already"):
            await ws.reject()
        await ws.send_text("open")

    async with connect(mode(handler)) as peer:
        assert await peer.receive_text() == "open"
        await peer.close()


@modes
async def test_a_second_one_does_nothing(mode: Mode) -> None:
    """As with `close()`."""

    async def handler(ws: anyws.WebSocket) -> None:
        await ws.reject()
        await ws.reject(404)
        await ws.close()

    assert (await answer_of(mode(handler))).status == 403


async def test_a_client_that_has_gone_is_rejected_in_silence() -> None:
    """There is nobody to answer."""
    events = [{"type": "websocket.connect"}, {"type": "websocket.disconnect"}]
    sent = []

    async def receive() -> Any:
        return events.pop(0)

    async def send(event: Any) -> None:
        sent.append(event)
        raise OSError

    async def handler(ws: anyws.WebSocket) -> None:
        await ws.wait_closed()
        await ws.reject(404)

    scope: Any = {"type": "websocket", "path": "/", "headers": []}
    await anyws.endpoint(handler)(scope, receive, send)
    assert sent == []


async def test_without_a_session_it_is_silent_as_well() -> None:
    """The server raises when the response is sent."""

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(event: Any) -> None:
        raise OSError("the client has gone")

    async def handler(ws: anyws.WebSocket) -> None:
        await ws.reject(404)

    scope: dict[str, Any] = {"type": "websocket", "headers": []}
    scope["extensions"] = {"websocket.http.response": {}}
    await plain(handler)(scope, receive, send)
    del scope["extensions"]
    await plain(handler)(scope, receive, send)


# Tokens


async def authenticate(ws: anyws.WebSocket) -> None:
    """Send back who it is."""
    token = ws.bearer_token()
    if token != "s3cret":
        await ws.reject(401)
        return
    assert ws.bearer_token() == token
    await ws.accept()
    await ws.send_json([ws.subprotocol, str(ws.close_info)])


@modes
async def test_a_token_is_taken_and_never_sent_back(mode: Mode) -> None:
    """The answer selects "bearer", as a browser needs one of its offers."""
    app = mode(authenticate)
    for offers in ["bearer", "s3cret"], ["a", "bearer", "s3cret"]:
        async with connect(app, subprotocols=offers) as peer:
            assert peer.subprotocol == "bearer"
            assert "s3cret" not in str(peer.response.headers)
            await peer.receive_json()
            await peer.close()
    nothing: list[list[str]] = [["bearer"], ["s3cret"], [], ["s3cret", "bearer"]]
    for offers in nothing:
        assert (await answer_of(app, subprotocols=offers)).status == 401


@modes
@pytest.mark.parametrize(
    ("value", "offers", "selected"),
    [
        ("Bearer s3cret", [], None),
        ("bearer s3cret", ["chat"], None),
        ("BEARER   s3cret ", [], None),
        ("Bearer s3cret", ["bearer", "other"], "bearer"),
        ("Bearer", ["bearer", "s3cret"], "bearer"),
        ("Basic YTpi", ["bearer", "s3cret"], "bearer"),
    ],
)
async def test_a_token_in_a_header(
    mode: Mode, value: str, offers: list[str], selected: str | None
) -> None:
    """It counts first, and what is no such token leaves the subprotocols."""
    app, headers = mode(authenticate), {"authorization": value}
    async with connect(app, headers=headers, subprotocols=offers) as peer:
        assert await peer.receive_json() == [selected, "None"]
        await peer.close()


@pytest.mark.parametrize("value", ["", "Bearer", "Bearer ", "Bearers3cret", "s3cret"])
async def test_a_header_without_a_token(value: str) -> None:
    """There is none then, in no other header either."""
    headers = {"authorization": value, "x-authorization": "Bearer s3cret"}
    answer = await answer_of(anyws.endpoint(authenticate), headers=headers)
    assert answer.status == 401


async def test_a_protocol_beside_the_token_may_be_selected() -> None:
    """But not the token."""

    @anyws.endpoint
    async def app(ws: anyws.WebSocket) -> None:
        assert ws.bearer_token() == "s3cret"
        with pytest.raises(ValueError, match="must not be sent back") as caught:
            await ws.accept("s3cret")
        assert "s3cret" not in str(caught.value)
        await ws.accept("chat")

    async with connect(app, subprotocols=["chat", "bearer", "s3cret"]) as peer:
        assert peer.subprotocol == "chat"


@modes
async def test_a_token_is_taken_on_another_object(mode: Mode) -> None:
    """A dependency looks at it, and the handler accepts."""

    async def handler(ws: anyws.WebSocket) -> None:
        other: anyws.WebSocket = anyws.WebSocket(ws.scope, ws.receive, ws.send)
        assert other.bearer_token() == "s3cret"
        with pytest.raises(ValueError, match="must not be sent back"):
            await ws.accept("s3cret")
        await ws.accept()
        await ws.close()

    async with connect(mode(handler), subprotocols=["bearer", "s3cret"]) as peer:
        assert peer.subprotocol == "bearer"


async def test_no_error_shows_a_token() -> None:
    """Nor one about a subprotocol that was not offered."""

    @anyws.endpoint
    async def app(ws: anyws.WebSocket) -> None:
        with pytest.raises(ValueError, match=r"'soap' was not offered") as caught:
            await ws.accept("soap")
        assert "s3cret" not in str(caught.value)
        assert "'chat'" in str(caught.value)

    await answer_of(app, subprotocols=["chat", "bearer", "s3cret"])
