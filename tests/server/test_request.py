"""The head of a request: what is read, what is refused, and how much is held."""

from __future__ import annotations

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anyws._server.handshake import HandshakeRefusal
from anyws._server.request import MAX_HEAD_BYTES, RequestReader, parse_head

HEAD = (
    b"GET /chat?room=1 HTTP/1.1\r\nHost: example.org\r\nUpgrade: WebSocket\r\n"
    b"Connection: keep-alive\r\nConnection: Upgrade\r\nX-Empty:\r\nX-Tab:\ta \t b \t"
)


def test_a_head_is_read() -> None:
    """Names are in lower case, and values without the white space around them."""
    request = parse_head(HEAD)

    assert request[:3] == (b"GET", b"/chat?room=1", "1.1")
    assert request.headers == [
        (b"host", b"example.org"),
        (b"upgrade", b"WebSocket"),
        (b"connection", b"keep-alive"),
        (b"connection", b"Upgrade"),
        (b"x-empty", b""),
        (b"x-tab", b"a \t b"),
    ]
    assert request.asks_for_websocket


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"GET /", b"POST /"),
        (b"HTTP/1.1", b"HTTP/1.0"),
        (b"Upgrade: WebSocket", b"Upgrade: h2c"),
        (b"Connection: Upgrade", b"Connection: close"),
    ],
)
def test_not_every_request_asks_for_a_websocket(before: bytes, after: bytes) -> None:
    """It is a GET of HTTP/1.1, and names the protocol and the upgrade."""
    assert not parse_head(HEAD.replace(before, after)).asks_for_websocket


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"HTTP/1.1", b"HTTP/1.2"),
        (b"HTTP/1.1", b"http/1.1"),
        (b"GET /chat", b"GET  /chat"),
        (b"GET /chat", b"GET /ch\xc3\xa4t"),
        (b"GET", b"G(T"),
        (b"Host:", b"Host :"),
        (b"Host:", b" Host:"),
        (b"Host:", b"H\xc3\xb6st:"),
        (b"Host:", b"Host"),
        (b"Host: example.org\r\n", b""),
        (b"Host: example.org\r\n", b"Host: a\r\nHost: b\r\n"),
        (b"\r\nUpgrade", b"\nUpgrade"),
        (b"\r\nUpgrade", b"\rUpgrade"),
        (b"\r\nUpgrade", b"\r\n folded\r\nUpgrade"),
        (b"WebSocket", b"Web\x00Socket"),
        (b"WebSocket", b"Web\x7fSocket"),
        (b"WebSocket", b"Web\nSocket"),
    ],
)
def test_a_malformed_head_is_refused(before: bytes, after: bytes) -> None:
    """What two parsers might read in two ways is a 400."""
    assert before in HEAD
    with pytest.raises(HandshakeRefusal) as caught:
        parse_head(HEAD.replace(before, after, 1))
    assert caught.value.status == 400


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_a_head_may_come_in_pieces(size: int) -> None:
    """Wherever it is cut; what comes behind it is kept."""
    data, reader = HEAD + b"\r\n\r\n\x81\x80", RequestReader()
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    whole = -(-(len(HEAD) + 4) // size)
    requests = [reader.receive_data(piece) for piece in pieces[:whole]]

    assert requests[:-1] == [None] * (len(requests) - 1)
    assert requests[-1] == parse_head(HEAD)
    assert (b"\x81\x80").startswith(reader.rest)


@pytest.mark.parametrize("size", [100, MAX_HEAD_BYTES, 10 * MAX_HEAD_BYTES])
def test_a_head_is_bounded(size: int) -> None:
    """Above the bound it is a 431, complete or not, and in pieces of any size."""
    reader = RequestReader()
    with pytest.raises(HandshakeRefusal) as caught:
        for _ in range(MAX_HEAD_BYTES // size + 2):
            reader.receive_data(b"a" * size)
    assert caught.value.status == 431

    padding = b"a" * (MAX_HEAD_BYTES - len(HEAD) - len(b"\r\nX: \r\n\r\n"))
    whole = HEAD + b"\r\nX: " + padding + b"\r\n\r\n"
    assert RequestReader().receive_data(whole) is not None
    with pytest.raises(HandshakeRefusal):
        RequestReader().receive_data(whole.replace(b"X:", b"XX:"))


@pytest.mark.parametrize("data", [b"\x16\x03\x01\x02\x00", b"\r\nGET", b" GET"])
def test_another_protocol_is_refused_at_once(data: bytes) -> None:
    """Nobody waits for the end of a head that is none."""
    with pytest.raises(HandshakeRefusal) as caught:
        RequestReader().receive_data(data)
    assert caught.value.status == 400


LINES = st.lists(
    st.one_of(
        st.sampled_from(
            [b"Host: a", b"X: 1", b"X:\t", b" folded", b"X : 1", b"Y: \xff", b"Z"]
        ),
        st.binary(max_size=12),
        st.text("aZ:-_ \t\r\n\x00", max_size=12).map(str.encode),
    ),
    max_size=5,
)
FIRST = st.one_of(
    st.sampled_from([b"GET / HTTP/1.1", b"GET /a?b HTTP/1.0", b"G-T * HTTP/1.1"]),
    st.text("GET/ .HP10\t", max_size=20).map(str.encode),
)


@given(FIRST, LINES)
def test_what_is_read_is_what_h11_reads(first: bytes, lines: list[bytes]) -> None:
    """It takes no head that h11 refuses, and reads the same in what it takes."""
    data = b"\r\n".join([first, *lines]) + b"\r\n\r\n"
    try:
        request = RequestReader().receive_data(data)
    except HandshakeRefusal:
        return
    assert request is not None
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(data)
    event = connection.next_event()
    assert isinstance(event, h11.Request)
    assert (event.method, event.target) == (request.method, request.target)
    assert event.http_version.decode() == request.http_version
    assert list(event.headers) == request.headers
