"""The `strict` server of `anyws.testing`: each rule of the ASGI specification.

It stands for no server, so it is held against the text: the events of the section
"WebSocket", version 2.4. Where the text says nothing, its choice is the last section.
"""

from __future__ import annotations

from typing import Any

import anyio
import pytest

import anyws
from anyws.testing import ClientDisconnected, Rejected, connect

from .test_connect import ACCEPT, Boom, Raw, outcome, silent

CLOSE = {"type": "websocket.close"}


async def refused(*events: dict[str, Any], accepted: bool = True) -> list[Any]:
    """Return what raises when an application sends these, and then closes."""

    @Raw
    async def app(receive: Any, send: Any, saw: list[Any]) -> None:
        sent = [ACCEPT, *events] if accepted else [*events, ACCEPT]
        saw += [await outcome(send(event)) for event in sent]
        await send(CLOSE)

    async with connect(app, subprotocols=["one"]):
        pass
    return [result for result in app.saw if result is not None]


# Connect


async def test_the_handshake_waits_for_its_reply() -> None:
    """`websocket.connect` comes first, and no message before the accept."""

    @Raw
    async def app(receive: Any, send: Any, saw: list[Any]) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(first, receive, saw)
            await anyio.wait_all_tasks_blocked()
            saw.append("accept")
            await send(ACCEPT)

    async def first(receive: Any, saw: list[Any]) -> None:
        saw.append(await receive())

    async with connect(app, early_data=["early"]):
        pass
    assert app.saw == ["accept", {"type": "websocket.receive", "text": "early"}]


async def test_a_close_is_a_reply_too() -> None:
    """It is 403, and the handshake is not complete."""

    @Raw
    async def app(receive: Any, send: Any, saw: list[Any]) -> None:
        await send({**CLOSE, "code": 4000})

    with pytest.raises(Rejected) as caught:
        async with connect(app):
            pytest.fail("not reached")
    assert caught.value.status == 403


# Accept


async def test_an_accept_has_headers_in_their_order() -> None:
    """And a subprotocol."""

    @Raw
    async def app(receive: Any, send: Any, saw: list[Any]) -> None:
        headers = [(b"x-b", b"1"), (b"x-a", b"2"), (b"x-b", b"3")]
        await send({**ACCEPT, "subprotocol": "two", "headers": headers})
        await receive()

    async with connect(app, subprotocols=["one", "two"]) as ws:
        assert ws.subprotocol == "two"
        pairs = ws.response.headers.items()
        assert [pair for pair in pairs if pair[0].startswith("x-")] == [
            ("x-b", "1"),
            ("x-a", "2"),
            ("x-b", "3"),
        ]


@pytest.mark.parametrize(
    "fields",
    [
        {"headers": [(b"X-Upper", b"1")]},
        {"headers": [(b":status", b"101")]},
        {"headers": [(b"sec-websocket-protocol", b"one")]},
        {"subprotocol": "other"},
    ],
    ids=repr,
)
async def test_an_accept_that_must_not_be(fields: dict[str, Any]) -> None:
    """Names are in lower case; the subprotocol has its own key, and was offered."""
    assert await refused({**ACCEPT, **fields}, accepted=False) == ["ValueError"]


# Receive and send


async def test_a_message_has_one_payload() -> None:
    """The other key may be missing."""
    async with connect(silent) as ws:
        await ws.send_text("")
        await ws.send_bytes(b"")
    texts, data, _ = silent.saw[-3:]
    assert (texts["text"], texts.get("bytes")) == ("", None)
    assert (data["bytes"], data.get("text")) == (b"", None)


@pytest.mark.parametrize(
    ("payload", "errors"),
    [
        ({"text": "a"}, []),
        ({"text": None, "bytes": b"a"}, []),
        ({}, ["ValueError"]),
        ({"text": None, "bytes": None}, ["ValueError"]),
        ({"text": "a", "bytes": b"a"}, ["ValueError"]),
        ({"text": b"a"}, ["TypeError"]),
        ({"bytes": "a"}, ["TypeError"]),
        ({"text": "\ud800"}, ["UnicodeEncodeError"]),
    ],
    ids=repr,
)
async def test_a_send_has_one_payload(
    payload: dict[str, Any], errors: list[str]
) -> None:
    """Exactly one is not `None`, and is what its key says."""
    assert await refused({"type": "websocket.send", **payload}) == errors


@pytest.mark.parametrize(
    "event",
    [ACCEPT, {"type": "websocket.http.response.start", "status": 1}, {"type": "x"}],
    ids=repr,
)
async def test_an_event_has_its_place(event: dict[str, Any]) -> None:
    """A second accept, a denial behind one, and what is no event have none."""
    assert await refused(event) == ["RuntimeError"]


# Disconnect


@pytest.mark.parametrize(
    ("leave", "code", "reason"),
    [
        (lambda ws: ws.close(4000, "bye"), 4000, "bye"),
        (lambda ws: ws.close(None), 1005, ""),
    ],
)
async def test_a_disconnect_has_the_code_of_the_peer(
    leave: Any, code: int, reason: str
) -> None:
    """It is 1005 for a closing frame without one."""
    async with connect(silent) as ws:
        await leave(ws)
    event = silent.saw[-1]
    assert (event["code"], event.get("reason") or "") == (code, reason)


async def test_a_close_that_was_cancelled_is_forgotten() -> None:
    """The close at the end of the block has a code again."""
    async with connect(silent) as ws:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await ws.close(None)
        assert ws.close_info is None
    assert silent.saw[-1]["code"] == 1000


async def test_a_disconnect_follows_a_loss_of_the_socket() -> None:
    """With the code of RFC 6455 for that."""
    async with connect(silent) as ws:
        ws.abort()
    assert silent.saw[-1]["code"] == 1006


async def test_a_disconnect_follows_an_own_close() -> None:
    """Once the peer has answered."""

    @Raw
    async def app(receive: Any, send: Any, saw: list[Any]) -> None:
        await send(ACCEPT)
        await send({**CLOSE, "code": 4000, "reason": "why"})
        saw.append(await receive())

    async with connect(app):
        pass
    [event] = app.saw
    assert (event["type"], event["code"]) == ("websocket.disconnect", 4000)


async def test_a_send_to_a_client_that_is_gone() -> None:
    """It raises an `OSError`, which may leave the application."""

    @Raw
    async def app(receive: Any, send: Any, saw: list[Any]) -> None:
        await send(ACCEPT)
        await receive()
        saw.append(await outcome(send(CLOSE)))
        await send({"type": "websocket.send", "text": "late"})

    async with connect(app):
        pass
    assert app.saw == ["ClientDisconnected"]
    assert issubclass(ClientDisconnected, OSError)


# Close


@pytest.mark.parametrize(
    ("fields", "code", "reason"),
    [
        ({}, 1000, ""),
        ({"code": 4000, "reason": None}, 4000, ""),
        ({"code": 3000, "reason": "x" * 200}, 3000, "x" * 123),
    ],
)
async def test_a_close_has_its_code_or_1000(
    fields: dict[str, Any], code: int, reason: str
) -> None:
    """Any reason will do: it is cut to what a frame holds."""

    @Raw
    async def app(receive: Any, send: Any, saw: list[Any]) -> None:
        await send(ACCEPT)
        await send({**CLOSE, **fields})

    async with connect(app) as ws:
        info = await ws.wait_closed()
    assert info == anyws.CloseInfo(code, reason, "peer", True)


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 2999, 5000])
async def test_a_close_has_a_code_that_a_frame_may_carry(code: int) -> None:
    """As per the WebSocket specification."""
    assert await refused({**CLOSE, "code": code}) == ["ValueError"]


# What the specification leaves open


async def test_an_end_without_an_answer_is_500() -> None:
    """Whether the application returned or raised."""

    @Raw
    async def app(receive: Any, send: Any, saw: list[Any]) -> None:
        pass

    with pytest.raises(Rejected) as caught:
        async with connect(app):
            pytest.fail("not reached")
    assert caught.value.status == 500


@pytest.mark.parametrize(("error", "code"), [(None, 1006), (Boom(), 1011)], ids=repr)
async def test_an_end_without_a_close(error: Exception | None, code: int) -> None:
    """One that returns leaves its peer without a word, one that raises with 1011."""

    @Raw
    async def app(receive: Any, send: Any, saw: list[Any]) -> None:
        await send(ACCEPT)
        if error is not None:
            raise error

    try:
        async with connect(app) as ws:
            assert (await ws.wait_closed()).code == code
    except Boom as exc:
        assert exc is error  # noqa: PT017 - in one of two cases


async def test_a_receive_after_the_end_is_an_error() -> None:
    """So is a send after an own close: either is a mistake of the application's."""

    @Raw
    async def app(receive: Any, send: Any, saw: list[Any]) -> None:
        await send(ACCEPT)
        await send(CLOSE)
        late = {"type": "websocket.send", "text": "late"}
        saw += [await outcome(send(event)) for event in (late, CLOSE)]
        await receive()
        saw.append(await outcome(receive()))

    async with connect(app):
        pass
    assert app.saw == ["RuntimeError"] * 3
