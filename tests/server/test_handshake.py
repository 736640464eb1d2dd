"""The server's side of the opening handshake: what is malformed, and what is agreed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.extensions.permessage_deflate import PerMessageDeflate

from anyws._server.handshake import (
    HandshakeRefusal,
    Headers,
    ServerHandshake,
    origin_form,
)

# Those of RFC 6455 section 1.3.
KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

HEADERS: Headers = [
    (b"host", b"server.example.com"),
    (b"upgrade", b"websocket"),
    (b"connection", b"Upgrade"),
    (b"sec-websocket-key", KEY),
    (b"sec-websocket-version", b"13"),
]
PROTOCOL = b"sec-websocket-protocol"
EXTENSIONS = b"sec-websocket-extensions"


def opening(
    *more: tuple[bytes, bytes],
    path: bytes = b"/",
    http_version: str = "1.1",
    without: bytes = b"",
) -> ServerHandshake:
    """Return a handshake with more headers, or without one."""
    headers = [header for header in HEADERS if header[0] != without]
    return ServerHandshake(path, [*headers, *more], http_version)


def refused(*more: tuple[bytes, bytes], **options: object) -> HandshakeRefusal:
    """Return how a handshake is refused."""
    with pytest.raises(HandshakeRefusal) as caught:
        opening(*more, **options)  # type: ignore[arg-type]  # as they are named
    return caught.value


# The request


def test_a_plain_handshake_is_answered() -> None:
    """Key and version are enough; the answer is that of the RFC's example."""
    handshake = opening()

    assert handshake.path == "/"
    assert handshake.subprotocols == []
    assert handshake.agree() == ([], [])
    assert handshake.answer(None) == (
        101,
        [
            (b"sec-websocket-accept", ACCEPT),
            (b"upgrade", b"WebSocket"),
            (b"connection", b"Upgrade"),
        ],
    )


def test_names_and_values_as_clients_spell_them() -> None:
    """Names have no case, and values may have spaces around them."""
    headers = [
        (b"Sec-WebSocket-Key", b"  " + KEY + b"\t"),
        (b"Sec-WebSocket-Version", b" 13 "),
        (b"Sec-WebSocket-Protocol", b"chat , v2.chat "),
    ]
    handshake = ServerHandshake(b"/", headers, "1.1")

    assert handshake.subprotocols == ["chat", "v2.chat"]
    assert (b"sec-websocket-accept", ACCEPT) in handshake.answer(None)[1]


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        (b"/a%20b", "/a b"),
        (b"/caf%C3%A9", "/café"),
        (b"/%FF", "/\N{REPLACEMENT CHARACTER}"),
        (b"/100%", "/100%"),
        (b"", ""),
    ],
)
def test_the_path_is_decoded(raw: bytes, path: str) -> None:
    """As ASGI has it; what is no UTF-8 does not fail."""
    assert opening(path=raw).path == path


def test_a_path_is_ascii() -> None:
    """Anything else would have to be percent-encoded."""
    assert refused(path=b"/caf\xc3\xa9").status == 400


BAD_KEYS = {
    "empty": b"",
    "spaces": b"  ",
    "no base64": b"!" * 24,
    "a stray character": b"dGhlIHNhbXBsZSBub25jZQ==!",
    "no padding": KEY[:-2],
    "too short": b"dGhlIHNhbXBsZSBub25j",
    "too long": b"dGhlIHNhbXBsZSBub25jZSE=",
    "not ASCII": b"\xff" * 24,
}


@pytest.mark.parametrize("name", BAD_KEYS)
def test_a_bad_key_is_400(name: str) -> None:
    """A key is 16 bytes in base64."""
    key = (b"sec-websocket-key", BAD_KEYS[name])
    refusal = refused(key, without=b"sec-websocket-key")

    assert refusal.status == 400
    assert refusal.headers == []


def test_no_key_is_400() -> None:
    """Over HTTP/1.1 a client has to send one."""
    assert refused(without=b"sec-websocket-key").status == 400


@pytest.mark.parametrize("name", [b"sec-websocket-key", b"sec-websocket-version"])
def test_a_header_that_is_there_twice_is_400(name: bytes) -> None:
    """Key and version may not appear more than once, not even with one value."""
    assert refused((name, dict(HEADERS)[name])).status == 400


@pytest.mark.parametrize(
    ("version", "status"),
    [(b"12", 426), (b"14", 426), (b"013", 426), (b"x", 426), (b"13, 8", 426)],
)
def test_another_version_is_426(version: bytes, status: int) -> None:
    """The answer says which version there is."""
    refusal = refused(
        (b"sec-websocket-version", version), without=b"sec-websocket-version"
    )

    assert refusal.status == status
    assert refusal.headers == [(b"sec-websocket-version", b"13")]


@pytest.mark.parametrize("more", [[], [(b"sec-websocket-version", b"")]])
def test_no_version_is_400(more: Headers) -> None:
    """A request without a version is no opening handshake."""
    assert refused(*more, without=b"sec-websocket-version").status == 400


@pytest.mark.parametrize("name", [b"sec-websocket-version", EXTENSIONS])
def test_a_header_that_is_not_ascii_is_400(name: bytes) -> None:
    """Tokens are ASCII."""
    assert refused((name, b"caf\xe9"), without=name).status == 400


@pytest.mark.parametrize("version", ["1.0", "0.9"])
def test_there_is_no_websocket_before_http_1_1(version: str) -> None:
    """Such a request is malformed, whatever its headers say."""
    assert refused(http_version=version).status == 400


@pytest.mark.parametrize("key", [[], [(b"sec-websocket-key", b"ignored")]])
def test_http_2_has_no_key(key: Headers) -> None:
    """RFC 8441: no key is processed, and the answer is 200 without an accept."""
    handshake = opening(*key, http_version="2", without=b"sec-websocket-key")

    assert handshake.answer(None) == (200, [])
    assert handshake.answer("chat") == (200, [(PROTOCOL, b"chat")])


def test_http_2_has_a_version() -> None:
    """RFC 8441: the version is negotiated as in RFC 6455."""
    version = (b"sec-websocket-version", b"8")
    refusal = refused(version, http_version="2", without=b"sec-websocket-version")

    assert refusal.status == 426


# Subprotocols


def test_several_headers_of_subprotocols_are_one_list() -> None:
    """RFC 6455 section 11.3.4: the header may appear several times in a request."""
    handshake = opening((PROTOCOL, b"a, b"), (b"other", b"x"), (PROTOCOL, b"c"))

    assert handshake.subprotocols == ["a", "b", "c"]
    assert handshake.answer("b")[1][0] == (PROTOCOL, b"b")


@pytest.mark.parametrize("name", ["YWJjZA==", "a b", "a;b", '"a"', "/", "a:b@c"])
def test_a_subprotocol_need_not_be_a_token(name: str) -> None:
    """Clients put credentials there, in base64; what an answer can carry is taken."""
    handshake = opening((PROTOCOL, f"chat, {name}".encode()))

    assert handshake.subprotocols == ["chat", name]
    assert handshake.answer(name)[1][0] == (PROTOCOL, name.encode())


@pytest.mark.parametrize("value", [b"", b",", b" ,\t,", b"\xff", b"a\x0bb", b"a\tb"])
def test_what_is_no_usable_subprotocol_is_ignored(value: bytes) -> None:
    """The others can be chosen; none at all is as if none were offered."""
    assert opening((PROTOCOL, value)).subprotocols == []
    assert opening((PROTOCOL, value + b", chat")).subprotocols == ["chat"]


# A body


@pytest.mark.parametrize("http_version", ["1.1", "2"])
@pytest.mark.parametrize(
    "header",
    [
        *((b"content-length", b"14"), (b"Content-Length", b"010")),
        *((b"transfer-encoding", b"chunked"), (b"Transfer-Encoding", b"")),
    ],
)
def test_a_body_is_400(header: tuple[bytes, bytes], http_version: str) -> None:
    """Its bytes would be taken for frames."""
    assert refused(header, http_version=http_version).status == 400


@pytest.mark.parametrize("length", [b"0", b" 00 "])
def test_an_empty_body_is_none(length: bytes) -> None:
    """A client may say that there is none."""
    assert opening((b"content-length", length)).subprotocols == []


# The target


@pytest.mark.parametrize(
    ("target", "path", "host"),
    [
        (b"http://other/ws", b"/ws", b"other"),
        (b"HTTPS://other:8443/ws?a=/b", b"/ws?a=/b", b"other:8443"),
        (b"ws://[::1]:80", b"/", b"[::1]:80"),
        (b"http://other?a", b"/?a", b"other"),
        (b"/ws", b"/ws", b"server.example.com"),
        (b"/http://other/ws", b"/http://other/ws", b"server.example.com"),
        (b"//other/ws", b"//other/ws", b"server.example.com"),
        (b"http:///ws", b"http:///ws", b"server.example.com"),
        (b"http://user@other/ws", b"http://user@other/ws", b"server.example.com"),
        (b"*", b"*", b"server.example.com"),
    ],
)
def test_a_target_may_be_a_url(target: bytes, path: bytes, host: bytes) -> None:
    """The host in it counts, and not that of the header (RFC 9112 section 3.2.2)."""
    found, headers = origin_form(target, HEADERS)

    assert found == path
    assert headers == [(b"host", host), *HEADERS[1:]]


# Extensions


def agreed(*offers: bytes) -> tuple[str, PerMessageDeflate] | None:
    """Return the answer to offers in headers of their own, and what it agrees on."""
    headers, extensions = opening(*[(EXTENSIONS, offer) for offer in offers]).agree()
    if not headers:
        assert extensions == []
        return None
    [(name, value)], [extension] = headers, extensions
    assert name == EXTENSIONS
    assert isinstance(extension, PerMessageDeflate)
    return value.decode(), extension


OFFERS = {
    b"permessage-deflate": "permessage-deflate; server_max_window_bits=12",
    b"permessage-deflate; client_max_window_bits": "permessage-deflate;"
    " server_max_window_bits=12; client_max_window_bits=12",
    b"permessage-deflate; client_max_window_bits=15": "permessage-deflate;"
    " server_max_window_bits=12; client_max_window_bits=12",
    b"permessage-deflate; client_max_window_bits=9": "permessage-deflate;"
    " server_max_window_bits=12; client_max_window_bits=9",
    b'permessage-deflate; server_max_window_bits="10"': "permessage-deflate;"
    " server_max_window_bits=10",
    b"permessage-deflate; server_max_window_bits=8": "permessage-deflate;"
    " server_max_window_bits=8",
    b"permessage-deflate; server_no_context_takeover": "permessage-deflate;"
    " server_no_context_takeover; server_max_window_bits=12",
    b"permessage-deflate; client_no_context_takeover": "permessage-deflate;"
    " client_no_context_takeover; server_max_window_bits=12",
}


@pytest.mark.parametrize("offer", OFFERS, ids=bytes.decode)
def test_an_offer_of_compression_is_taken(offer: bytes) -> None:
    """The answer holds what was offered, and a window of ours."""
    result = agreed(offer)

    assert result is not None
    assert result[0] == OFFERS[offer]


def test_what_is_agreed_is_what_is_answered() -> None:
    """The extension has the parameters of the answer."""
    result = agreed(
        b"permessage-deflate; server_no_context_takeover;"
        b" server_max_window_bits=10; client_max_window_bits=11"
    )

    assert result is not None
    extension = result[1]
    assert extension.local_no_context_takeover
    assert not extension.remote_no_context_takeover
    assert extension.local_max_window_bits == 10
    assert extension.remote_max_window_bits == 11


def test_a_client_that_does_not_bound_its_window() -> None:
    """Whoever does not offer to use a smaller one may use the largest."""
    result = agreed(b"permessage-deflate")

    assert result is not None
    assert result[1].remote_max_window_bits == 15


BAD_OFFERS = [
    b"permessage-deflate; unknown",
    b"permessage-deflate; server_max_window_bits",
    b"permessage-deflate; server_max_window_bits=7",
    b"permessage-deflate; server_max_window_bits=16",
    b"permessage-deflate; server_max_window_bits=x",
    b"permessage-deflate; server_max_window_bits=010",
    b"permessage-deflate; client_max_window_bits=16",
    b"permessage-deflate; server_no_context_takeover=1",
    b"permessage-deflate; client_no_context_takeover; client_no_context_takeover",
    b"x-webkit-deflate-frame",
]


@pytest.mark.parametrize("offer", BAD_OFFERS, ids=bytes.decode)
@pytest.mark.parametrize("headers", [1, 2])
def test_an_offer_that_cannot_be_met_is_declined(offer: bytes, headers: int) -> None:
    """The next one is taken; without one there is no compression, but a connection."""
    good = b"permessage-deflate; server_max_window_bits=9"

    assert agreed(offer) is None
    result = agreed(offer, good) if headers == 2 else agreed(offer + b", " + good)
    assert result is not None
    assert result[0] == good.decode()


def test_the_first_good_offer_is_taken() -> None:
    """Clients offer what they like best first."""
    first, second = (
        b"permessage-deflate; server_max_window_bits=9",
        b"permessage-deflate",
    )
    result = agreed(first + b"," + second)

    assert result is not None
    assert result[0] == first.decode()


def test_a_window_of_8_bits_for_the_client() -> None:
    """Decompressing needs no larger window than compressing."""
    result = agreed(b"permessage-deflate; client_max_window_bits=8")

    assert result is not None
    assert result[1].remote_max_window_bits == 8


@pytest.mark.parametrize(
    "value", [b"", b",", b";", b"a;;", b"a; b=", b"a; b=c d", b"@"]
)
def test_bad_syntax_of_extensions_is_400(value: bytes) -> None:
    """A header that cannot be read is not skipped."""
    assert refused((EXTENSIONS, value)).status == 400


def test_each_connection_has_a_window_of_its_own() -> None:
    """Two handshakes never share an extension, nor does one that is asked twice."""
    handshake = opening((EXTENSIONS, b"permessage-deflate"))
    [[one], [other]] = [handshake.agree()[1] for _ in range(2)]

    assert one is not other


values = st.binary(max_size=20) | st.sampled_from([*OFFERS, *BAD_OFFERS, KEY, b"13"])


@given(
    path=st.binary(max_size=10),
    headers=st.lists(st.tuples(st.sampled_from([n for n, _ in HEADERS]), values))
    | st.lists(st.tuples(st.sampled_from([PROTOCOL, EXTENSIONS]), values)),
    whole=st.booleans(),
    http_version=st.sampled_from(["1.0", "1.1", "2"]),
)
def test_no_request_raises_anything_else(
    path: bytes, headers: Headers, whole: bool, http_version: str
) -> None:
    """Whatever a client writes is a handshake or a refusal."""
    try:
        handshake = ServerHandshake(
            path, [*(HEADERS if whole else []), *headers], http_version
        )
    except HandshakeRefusal as exc:
        assert exc.status in (400, 426)  # noqa: PT017 - either way is right
    else:
        handshake.agree()
        assert handshake.answer(None)[0] in (101, 200)
