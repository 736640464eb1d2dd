"""The headers that either end may add to the opening handshake."""

from __future__ import annotations

from typing import Any, cast

import h11
import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ResponseReceived
from hypothesis import given
from hypothesis import strategies as st

from anyws._values.headers import (
    RESERVED,
    Role,
    check_value,
    checked_request_headers,
    checked_response_headers,
    is_token,
)

PUNCTUATION = "!#$%&'*+-.^_`|~"  # of a token, RFC 9110 section 5.6.2


def checked(role: str, name: str, value: str = "x") -> Any:
    """Check one header, in the type that the role has."""
    if role == "client":
        return checked_request_headers([(name, value)])
    pair = (name.encode("latin-1"), value.encode("latin-1"))
    return checked_response_headers([pair], cast("Role", role))


def shown(role: str, name: str) -> str:
    """Return a name as an error shows it."""
    return repr(name if role == "client" else name.encode("latin-1"))


@pytest.mark.parametrize("code", range(256))
def test_the_characters_of_a_token(code: int) -> None:
    """A token is letters and digits of ASCII, and some punctuation."""
    char = chr(code)
    allowed = (char.isascii() and char.isalnum()) or char in PUNCTUATION

    assert is_token(f"a{char}b") == is_token(char) == allowed


@pytest.mark.parametrize("name", ["", "a b", "a:", "a\n", "\xe9", ":status", "(a)"])
@pytest.mark.parametrize("role", RESERVED)
def test_a_name_is_a_token(role: str, name: str) -> None:
    """Any other name is refused, and shown as it was given."""
    with pytest.raises(ValueError, match="is not a header name") as caught:
        checked(role, name)

    assert str(caught.value) == f"{shown(role, name)} is not a header name"


CONTROLS = [chr(code) for code in (*range(32), 127) if chr(code) != "\t"]


@pytest.mark.parametrize("value", [*CONTROLS, "a\nb: c", "a\r\n", "\x0b a"], ids=ascii)
@pytest.mark.parametrize("role", RESERVED)
def test_a_value_is_one_line(role: str, value: str) -> None:
    """Control characters are refused; the value, which may be secret, is not shown."""
    with pytest.raises(ValueError, match="CR, LF") as caught:
        checked(role, "x-a", value)

    what = f"the value of header {shown(role, 'x-a')} holds CR, LF"
    assert str(caught.value).startswith(what)


def test_only_a_client_is_bound_to_ascii() -> None:
    """Bytes are sent as they are; how a `str` would be written is anybody's guess."""
    assert checked_response_headers([(b"a", b"\xe9")]) == [(b"a", b"\xe9")]
    with pytest.raises(ValueError, match="what is not ASCII"):
        checked_request_headers([("a", "\xe9")])


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        *((" a=1; Path=/", "a=1; Path=/"), ("a\t", "a"), ("\t a \t", "a")),
        *((" ", ""), ("", ""), ("a \t b", "a \t b")),
    ],
)
@pytest.mark.parametrize("role", RESERVED)
def test_white_space_around_a_value_is_no_part_of_it(
    role: str, value: str, sent: str
) -> None:
    """It is not sent: h11 refuses it, and HTTP/2 forbids it."""
    [(_, found)] = checked(role, "x-a", value)

    assert found == (sent if role == "client" else sent.encode())


CONNECTIONS = (b"connection", b"keep-alive", b"upgrade")  # left out by h2


@given(
    st.lists(
        st.tuples(
            st.sampled_from([b"te", b"b c", b"content-length", *CONNECTIONS])
            | st.binary(),
            st.binary() | st.sampled_from([b" a", b"a\x0b", b"\x7f", b"1", b"a\t"]),
        )
    ),
    st.sampled_from(["server", "denial"]),
)
def test_what_passes_is_taken_by_h11_and_h2(
    headers: list[tuple[bytes, bytes]], role: Role
) -> None:
    """A server's HTTP library refuses no header that was not refused here."""
    try:
        passed = checked_response_headers(headers, role)
    except ValueError:
        return
    if role == "denial":
        h11.Response(status_code=401, headers=passed)
    else:
        h11.InformationalResponse(status_code=101, headers=passed)
    assert over_http2(passed) == [h for h in passed if h[0] not in CONNECTIONS]


@pytest.mark.parametrize(
    "header",
    [
        *((b"content-type", b"text/plain"), (b"content-length", b"5")),
        *((b"connection", b"close"), (b"upgrade", b"websocket")),
        *((b"retry-after", b"3"), (b"sec-websocket-version", b"13")),
    ],
)
def test_a_denial_response_is_a_whole_response(header: tuple[bytes, bytes]) -> None:
    """It has a body, and may say what it wants instead."""
    assert checked_response_headers([header, header], "denial") == [header, header]


@pytest.mark.parametrize("length", ["", "a", "-1", "1, 1", "+1", "1" * 21, "\xb2"])
def test_the_length_of_a_denial_is_a_number(length: str) -> None:
    """And all of them are the same."""
    for other in (length, "1"):
        values = [(b"content-length", v.encode("latin-1")) for v in (other, length)]
        with pytest.raises(ValueError, match="content-length is one number"):
            checked_response_headers(values, "denial")
    lengths = [(b"content-length", b"1"), (b"content-length", b"2")]
    with pytest.raises(ValueError, match="content-length is one number"):
        checked_response_headers(lengths, "denial")


def over_http2(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return headers of a response as a client has them over HTTP/2."""
    client = H2Connection(H2Configuration(client_side=True))
    server = H2Connection(H2Configuration(client_side=False))
    client.initiate_connection()
    request = [":method", ":scheme", ":authority", ":path"]
    client.send_headers(1, list(zip(request, ["GET", "http", "a", "/"], strict=True)))
    server.initiate_connection()
    server.receive_data(client.data_to_send())
    server.send_headers(1, [(b":status", b"200"), *headers])
    for event in client.receive_data(server.data_to_send()):
        if isinstance(event, ResponseReceived):
            return [(bytes(n), bytes(v)) for n, v in event.headers[1:]]
    raise AssertionError("no response")


@pytest.mark.parametrize(
    ("role", "name", "why"),
    [
        (role, name, why)
        for role, names in RESERVED.items()
        for name, why in names.items()
    ],
)
def test_a_reserved_name_is_refused(role: str, name: str, why: str) -> None:
    """In either case of letters, and the error says what else to do."""
    for spelt in (name, name.title()):
        with pytest.raises(ValueError, match="cannot be set") as caught:
            checked(role, spelt)

        assert str(caught.value) == f"header {shown(role, spelt)} cannot be set: {why}"


@pytest.mark.parametrize(
    "name",
    [
        *("connection", "keep-alive", "proxy-connection", "te", "transfer-encoding"),
        *("upgrade", "content-length", "trailer"),
    ],
)
@pytest.mark.parametrize("role", ["client", "server"])
def test_no_role_sets_what_is_the_connections(role: str, name: str) -> None:
    """HTTP/2 forbids such a header, or what it promises does not come."""
    with pytest.raises(ValueError, match="cannot be set"):
        checked(role, name, "trailers" if name == "te" else "0")


def test_what_only_one_role_reserves() -> None:
    """A server may set what means nothing in its answer."""
    for name in ("origin", "sec-websocket-key", "sec-websocket-version"):
        assert checked("server", name) == [(name.encode(), b"x")]
    assert RESERVED["server"].keys() < RESERVED["client"].keys()


def test_names_of_a_response_are_lower_case() -> None:
    """ASGI wants them so; a client's go out as they were written."""
    assert checked("server", "X-A") == [(b"x-a", b"x")]
    assert checked("client", "X-A") == [("X-A", "x")]


def test_headers_of_a_request_are_a_mapping_or_pairs_or_none() -> None:
    """A name may be there several times, where they are pairs."""
    pairs = [("a", "1"), ("a", "2")]

    assert checked_request_headers({"a": "1"}) == [("a", "1")]
    assert checked_request_headers(iter(pairs)) == pairs
    assert checked_request_headers(None) == []


@pytest.mark.parametrize("pair", [("a", b"b"), (b"a", "b"), "ab", ("a",), ("a", None)])
def test_headers_are_pairs_of_one_type(pair: Any) -> None:
    """Each role has its own type, and the error says which."""
    with pytest.raises(TypeError, match="headers are pairs of str, not"):
        checked_request_headers([pair])
    with pytest.raises(TypeError, match="headers are pairs of bytes, not"):
        checked_response_headers([pair])


def test_a_value_that_is_no_str() -> None:
    """The error says what was meant, and the type that came."""
    value: Any = b"x"
    with pytest.raises(TypeError, match="origin is a str, not bytes"):
        check_value("origin", value)
