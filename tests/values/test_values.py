"""Close codes, reasons, options, errors and events: what needs no connection."""

from __future__ import annotations

import json
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import anyws
from anyws._values import events as _events
from anyws._values.closing import checked_code, fitted_reason, may_be_sent


def test_the_codes_that_may_be_sent() -> None:
    """RFC 6455 section 7.4: 1000-1003, 1007-1014 and 3000-4999, and no other."""
    allowed = {*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)}

    assert {code for code in range(-1, 70000) if may_be_sent(code)} == allowed
    assert checked_code(anyws.CloseCode.GOING_AWAY) == 1001


@pytest.mark.parametrize("code", ["1000", 1000.0, None], ids=repr)
def test_a_code_is_an_int(code: object) -> None:
    """A code of another type is a TypeError that names the type."""
    with pytest.raises(TypeError, match=type(code).__name__):
        checked_code(code)


@given(st.text())
def test_a_reason_is_cut_at_a_character(text: str) -> None:
    """Whatever the text, at most 123 bytes of valid UTF-8 remain, its beginning."""
    reason = fitted_reason(text)

    assert len(reason.encode()) <= 123
    assert text.encode("utf-8", "replace").decode().startswith(reason)
    if len(text.encode("utf-8", "replace")) > 123:
        assert len(reason.encode()) > 119


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        (None, ""),
        ("bye", "bye"),
        (b"by\xff", "by\ufffd"),
        (
            [{"loc": ["query", "q"], "msg": "é"}, {"loc": ("body", 0), "msg": "a"}],
            "query.q: é; body.0: a",
        ),
        ([{"loc": ["query", "q"]}], '[{"loc": ["query", "q"]}]'),
        ([{"loc": 7, "msg": "é"}], '[{"loc": 7, "msg": "é"}]'),
        ({1, 2}.__class__([7]), '"{7}"'),
        ("\ud800", "?"),
    ],
    ids=repr,
)
def test_any_object_is_made_a_reason(reason: object, text: str) -> None:
    """A reason that is no str is repaired, not refused."""
    assert fitted_reason(reason) == text


@pytest.mark.parametrize(
    "wrong",
    [
        {"receive_buffer": 0},
        {"send_buffer": True},
        {"send_buffer_bytes": 1.5},
        {"max_message_bytes": -1},
        {"send_timeout": 0},
        {"idle_timeout": "1"},
        {"close_timeout": None},
        {"close_timeout": float("nan")},
        {"receive_overflow": "drop_newest"},
        {"send_overflow": "never"},
    ],
    ids=repr,
)
def test_options_refuse_what_has_no_meaning(wrong: dict[str, Any]) -> None:
    """A bad value is a ValueError that names the option and shows the value."""
    [(name, value)] = wrong.items()
    with pytest.raises(ValueError, match=name) as caught:
        anyws.Options(**wrong)
    assert repr(value) in str(caught.value)


def test_connection_closed_is_what_old_code_catches() -> None:
    """It is Starlette's two classes and an OSError, and says how it ended."""
    error = anyws.ConnectionClosed(anyws.CloseInfo(4001, "bye", "peer", True))

    for old in (
        anyws.WebSocketError,
        anyws.WebSocketDisconnect,
        anyws.WebSocketDisconnected,
        OSError,
    ):
        assert isinstance(error, old)
    assert str(error) == "connection closed: 4001 'bye' (initiator: peer)"
    assert (error.code, error.reason) == (4001, "bye")
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), copy.info) == (type(error), error.info)


def test_a_type_error_is_pickled_whole() -> None:
    """It crosses a process boundary with both kinds."""
    error = anyws.MessageTypeError("text", "bytes")
    copy = pickle.loads(pickle.dumps(error))

    assert (copy.expected, copy.received) == ("text", "bytes")
    assert str(copy) == str(error)


def test_a_decode_error_is_jsons() -> None:
    """Code that catches json.JSONDecodeError or ValueError goes on working."""
    error = anyws.MessageDecodeError("Expecting value", "{", 1)

    assert isinstance(error, json.JSONDecodeError | anyws.WebSocketError)
    assert str(error) == "Expecting value: line 1 column 2 (char 1)"


@pytest.mark.parametrize(
    ("event", "info"),
    [
        ({"code": 1000, "reason": "x"}, anyws.CloseInfo(1000, "x", "peer", True)),
        ({"code": 4001}, anyws.CloseInfo(4001, "", "peer", True)),
        ({}, anyws.CloseInfo(1005, "", "unknown", None)),
        ({"code": None, "reason": None}, anyws.CloseInfo(1005, "", "unknown", None)),
        ({"code": 1006}, anyws.CloseInfo(1006, "", "unknown", None)),
        ({"code": 1012}, anyws.CloseInfo(1012, "", "unknown", None)),
    ],
    ids=repr,
)
def test_what_a_disconnect_says(event: dict[str, Any], info: anyws.CloseInfo) -> None:
    """Absent and None are one; what the server may have made up is unknown."""
    assert _events.info_of({"type": "websocket.disconnect", **event}) == info


@pytest.mark.parametrize(
    ("headers", "error"),
    [
        ([("x", b"y")], TypeError),
        ([(b"x y", b"z")], ValueError),
        ([(b"", b"z")], ValueError),
        ([(b":path", b"z")], ValueError),
        ([(b"x", b"a\r\nb: c")], ValueError),
        ([(b"x", b"a\x00")], ValueError),
        ([(b"Sec-WebSocket-Protocol", b"chat")], ValueError),
        ([(b"upgrade", b"h2c")], ValueError),
    ],
    ids=repr,
)
def test_bad_headers_are_refused(headers: Any, error: type[Exception]) -> None:
    """Header names and values that a server would choke on do not reach it."""
    with pytest.raises(error):
        _events.outgoing({"type": "websocket.accept", "headers": headers}, [])


def test_header_names_are_lowered() -> None:
    """ASGI's header names are lower case, whatever the user wrote."""
    accept = {"type": "websocket.accept", "headers": [(b"X-A", b"B")]}

    assert _events.outgoing(accept, [])["headers"] == [(b"x-a", b"B")]
