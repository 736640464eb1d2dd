"""Opening handshakes and compression under `anyws.hypercorn`, good and bad ones."""

from __future__ import annotations

import contextlib
import random
import time
import zlib
from typing import Any, TypeAlias

import pytest
from websockets.exceptions import InvalidStatus
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.typing import Subprotocol

from ..support import servers
from ..support.servers import HOST, RawClient, Server, frame_bytes

fleet, server, case = servers.engines, servers.server, servers.case

# Handshakes that are wrong in one point, and some that only look so. What is sent, and
# the answers that are right: statuses, or None where the connection may be dropped.

Headers: TypeAlias = list[tuple[str, bytes]]
Answers: TypeAlias = frozenset[int | None]

GOOD: Headers = [
    ("Host", HOST.encode()),
    ("Upgrade", b"websocket"),
    ("Connection", b"Upgrade"),
    ("Sec-WebSocket-Version", b"13"),
    ("Sec-WebSocket-Key", b"dGhlIHNhbXBsZSBub25jZQ=="),
]
TARGET = b"/starlette/echo?case=bad"

ACCEPTED: Answers = frozenset({101})
REFUSED: Answers = frozenset({400, 403, 404, 405, 414, 426, 431, 501, 505})
DROPPED: Answers = REFUSED | {None}
EITHER: Answers = REFUSED | ACCEPTED
SURVIVED: Answers = DROPPED | ACCEPTED


def request(
    *headers: tuple[str, bytes],
    without: str = "",
    line: bytes = b"GET " + TARGET + b" HTTP/1.1",
    eol: bytes = b"\r\n",
    body: bytes = b"",
) -> bytes:
    """Return a handshake, with other headers in the place of its good ones."""
    names = {name.lower() for name, _ in headers} | {without}
    kept = [pair for pair in GOOD if pair[0].lower() not in names]
    rows = [name.encode("latin-1") + b": " + value for name, value in [*kept, *headers]]
    return eol.join([line, *rows, b"", b""]) + body


def each(
    name: str, values: list[bytes], answers: Answers
) -> list[tuple[bytes, Answers]]:
    """Return one handshake for each value of a header."""
    return [(request((name, value)), answers) for value in values]


KEY, VERSION = "Sec-WebSocket-Key", "Sec-WebSocket-Version"
PROTOCOL, EXTENSIONS = "Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions"
DEFLATE = b"permessage-deflate; "

CASES: list[tuple[bytes, Answers]] = [
    # The version (RFC 6455 section 4.4).
    *each(VERSION, [b"12", b"8", b"0", b"", b"abc", b"-13", b"1" * 30], REFUSED),
    *each(VERSION, [b"13, 8", b"\xff", b"13.0", b"+13"], REFUSED),
    (request(without="sec-websocket-version"), REFUSED),
    (request((VERSION, b"13"), (VERSION, b"8")), EITHER),
    # The key (section 4.2.1: 16 bytes in base64).
    *each(KEY, [b"", b"x", b"dGhl", b"=" * 24, b"!" * 24, b"\xff\xfe"], REFUSED),
    *each(KEY, [b"dGhlIHNhbXBsZSBub25jZQ", b"dGhlIHNhbXBsZSBub25jZWE="], REFUSED),
    *each(KEY, [b"dGhlIHNhbXBs\xe9SBub25jZQ==", b"a" * 4000], REFUSED),
    (request(without="sec-websocket-key"), REFUSED),
    (request((KEY, b"dGhlIHNhbXBsZSBub25jZQ=="), (KEY, b"x")), EITHER),
    # The upgrade. Without one it is a request like any other.
    (request(without="upgrade"), REFUSED),
    (request(without="connection"), REFUSED),
    *each("Upgrade", [b"foo", b"\xff", b""], DROPPED),
    *each("Upgrade", [b"h2c"], SURVIVED),  # Hypercorn's upgrade to HTTP/2
    *each("Upgrade", [b"WebSocket", b"WEBSOCKET"], ACCEPTED),
    *each("Upgrade", [b"websocket, foo", b"h2c,WebSocket"], ACCEPTED),
    (request(("Upgrade", b"websocket"), ("Upgrade", b"websocket")), ACCEPTED),
    (request(("Upgrade", b"h2c"), ("Upgrade", b"websocket")), ACCEPTED),
    (request(("Upgrade", b"websocket"), ("Upgrade", b"h2c")), ACCEPTED),
    *each("Connection", [b"keep-alive", b"close", b"\xff"], DROPPED),
    *each("Connection", [b"upgrade", b"UPGRADE", b"keep-alive, Upgrade"], ACCEPTED),
    (request(("Connection", b"keep-alive"), ("Connection", b"Upgrade")), ACCEPTED),
    (request(("Connection", b"Upgrade"), ("connection", b"keep-alive")), ACCEPTED),
    # Names in other cases.
    (request(*((name.lower(), value) for name, value in GOOD)), ACCEPTED),
    (request(*((name.upper(), value) for name, value in GOOD)), ACCEPTED),
    # The request line.
    *(
        (request(line=method + b" " + TARGET + b" HTTP/1.1"), DROPPED)
        for method in (b"POST", b"HEAD", b"PUT", b"CONNECT", b"G\xc9T", b"")
    ),
    (request(line=b"get " + TARGET + b" HTTP/1.1"), EITHER),
    *(
        (request(line=b"GET " + TARGET + b" " + version), DROPPED)
        for version in (b"HTTP/1.0", b"HTTP/2.0", b"HTTP/0.9", b"HTTP/1", b"", b"\xff")
    ),
    *(
        (request(line=b"GET " + target + b" HTTP/1.1"), DROPPED)
        for target in (
            *(b"/\xff\xfe", b"/\xc3\xa9", b"", b"*", b"//", b"/%", b"/%zz", b"/%ff%fe"),
            *(b"?case=bad", b"/" + b"x" * 20_000, b"/a b", b"/\x00", b"/starlette"),
        )
    ),
    (request(line=b"GET /starlette/echo?case=%ff%fe HTTP/1.1"), EITHER),
    (request(line=b"GET /starlette/echo?case=\xff HTTP/1.1"), DROPPED),
    (request(line=b"GET http://a/starlette/echo?case=bad HTTP/1.1"), ACCEPTED),
    (request(line=b"GET http:///starlette/echo?case=bad HTTP/1.1"), REFUSED),
    # Any other header.
    (request(without="host"), DROPPED),
    (request(("Host", b"a"), ("Host", b"b")), DROPPED),
    *each("Host", [b"\xff", b"", b"a b"], SURVIVED),
    *each("Origin", [b"\xff\xfe", b"http://\xe9", b"null"], EITHER),
    *each("User-Agent", [b"\xc3\xa9\xff"], EITHER),
    *each("Cookie", [b"a=\xff; b", b";;;=;"], EITHER),
    *each("X-Long", [b"x" * 12_000], EITHER),
    *each("X-Long", [b"x" * 70_000], DROPPED),
    *each("X-Bad", [b"a\x00b", b"a\rb", b"a\nb", b"a\r\n folded"], SURVIVED),
    *each("Bad Name", [b"x"], DROPPED),
    *each("", [b"x"], DROPPED),
    *each("\xff", [b"x"], DROPPED),
    (request(*((f"X-{n}", b"x") for n in range(3000))), SURVIVED),
    # Subprotocols.
    *each(PROTOCOL, [b"", b",", b"a,,b", b"a b", b'"', b"a, a", b"\xff"], ACCEPTED),
    *each(PROTOCOL, [b"x, " * 1000, b"YWJjZA=="], ACCEPTED),
    (request((PROTOCOL, b"a"), (PROTOCOL, b"b")), ACCEPTED),
    # Extensions. What nobody understands is declined, what is no list may be refused.
    *each(EXTENSIONS, [b"", b",", b";", b"=", b"\xff", b'a; b="open', b"a b"], EITHER),
    *each(EXTENSIONS, [b"foo", b"foo; bar=1", b"x-webkit-deflate-frame"], ACCEPTED),
    *each(EXTENSIONS, [b"permessage-deflate;", DEFLATE + b"=", b"a; =b"], EITHER),
    *each(
        EXTENSIONS,
        [
            *(DEFLATE + b"server_max_window_bits=" + n for n in (b"7", b"16", b"-8")),
            *(DEFLATE + b"server_max_window_bits=" + n for n in (b"x", b"08", b"\xff")),
            *(DEFLATE + b"client_max_window_bits=" + n for n in (b"7", b"99", b"")),
            DEFLATE + b"server_max_window_bits",
            DEFLATE + b"server_no_context_takeover=1",
            DEFLATE + b"client_no_context_takeover; client_no_context_takeover",
            DEFLATE + b"unknown",
            b"permessage-deflate, " * 200 + b"x",
        ],
        EITHER,
    ),
    # Bodies.
    (request(("Content-Length", b"5"), body=b"hello"), frozenset({400})),
    (request(("Content-Length", b"5")), frozenset({400})),
    (request(("Content-Length", b"0")), ACCEPTED),
    (
        request(("Transfer-Encoding", b"chunked"), body=b"1\r\na\r\n0\r\n\r\n"),
        frozenset({400}),
    ),
    (request(("Transfer-Encoding", b"\xff")), DROPPED),
    *each("Content-Length", [b"abc", b"-1", b"\xff", b"1, 2"], DROPPED),
    *each("Expect", [b"100-continue"], SURVIVED | {100}),
    # What is no handshake at all.
    (request(eol=b"\n"), SURVIVED),
    (b"\r\n\r\n" + request(), SURVIVED),
    (b"\x00" * 10 + request(), DROPPED),
    (b"GARBAGE\r\n\r\n" + request(), DROPPED),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100), DROPPED),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", SURVIVED),
    (frame_bytes(1, b"hello"), DROPPED),
    (b"\xff" * 20_000, DROPPED),
    (b"GET", DROPPED),
]


def answer_of(client: RawClient, within: float) -> int | None:
    """Return the status of an answer, None if the connection was dropped or silent."""
    client.socket.settimeout(max(within, 0.01))
    try:
        head = client.answer()
    except TimeoutError:
        return None
    return int(head.split()[1]) if head.startswith(b"HTTP/1.") else None


def ask_wrongly(server: Server) -> list[tuple[bytes, int | None]]:
    """Send all the handshakes; return those whose answers are not right."""
    assert len(CASES) >= 100
    wrong: list[tuple[bytes, int | None]] = []
    with contextlib.ExitStack() as stack:
        clients: list[RawClient] = []
        for data, _ in CASES:
            client = RawClient(server.port)
            stack.enter_context(contextlib.closing(client))
            with contextlib.suppress(ConnectionError):  # dropped before its last byte
                client.socket.sendall(data)
            clients.append(client)
        silent_until = time.monotonic() + 1
        for client, (data, right) in zip(clients, CASES, strict=True):
            within = silent_until - time.monotonic() if None in right else 30
            status = answer_of(client, within)
            if status not in right:
                wrong.append((data[:300], status))
            client.reset()
    return wrong


def test_malformed_handshakes_harm_nobody(server: Server, case: str) -> None:
    """Each gets its answer; a live connection, the process and the log go on."""
    since, pid = server.log_position(), server.stats()["pid"]
    with server.connect("/starlette/echo", case) as live:
        wrong = ask_wrongly(server)
        live.send("still there")
        assert live.recv(timeout=2) == "still there"
    assert wrong == []
    assert server.stats()["pid"] == pid
    assert server.log(since) == ""


# Bytes that come with the handshake.


@pytest.mark.parametrize("kind", ["starlette", "anyws"])
def test_early_messages_are_delivered(server: Server, case: str, kind: str) -> None:
    """What came in one packet with the handshake is there once it is accepted."""
    early = b"".join(frame_bytes(1, b"early %d" % n) for n in range(3))
    client = RawClient(server.port)
    with contextlib.closing(client):
        client.ask(f"/{kind}/held?case={case}", trailing=early)
        server.note(case, "called")
        client.send_text("late")
        server.get(f"/release?case={case}")
        assert client.answer().startswith(b"HTTP/1.1 101")
        got = [client.receive() for _ in range(4)]
        assert [f and f.payload for f in got] == [
            *(b"early 0", b"early 1", b"early 2"),
            b"late",
        ]
        client.send_close()
        assert client.receive_until_close() == ([], 1000)


@pytest.mark.parametrize("kind", ["starlette", "anyws"])
def test_an_early_close_is_delivered(server: Server, case: str, kind: str) -> None:
    """A peer that closes before it is accepted is told apart from one that vanishes."""
    client = RawClient(server.port)
    with contextlib.closing(client):
        early = frame_bytes(8, b"\x0f\xa1bye")
        client.ask(f"/{kind}/held?case={case}", trailing=early)
        server.note(case, "called")
        server.get(f"/release?case={case}")
        assert client.answer().startswith(b"HTTP/1.1 101")
        assert client.receive_until_close() == ([], 4001)
    closed = server.note(case, "closed")
    assert (closed["code"], closed["reason"]) == (4001, "bye")


@pytest.mark.parametrize(
    "garbage",
    [b"\xff" * 64, b"GET / HTTP/1.1\r\n\r\n", b"\x00"],
    ids=["ones", "request", "byte"],
)
def test_early_garbage_harms_nobody(server: Server, case: str, garbage: bytes) -> None:
    """It is a violation of the protocol: 1002, or the end; no other peer feels it."""
    since, pid = server.log_position(), server.stats()["pid"]
    with (
        server.connect("/starlette/echo", case) as live,
        server.raw_with("/starlette/receiver", case, trailing=garbage) as client,
    ):
        if len(garbage) > 1:
            assert client.receive_until_close()[1] in (1002, None)
            assert server.note(case, "closed")["code"] in (1002, 1006)
        live.send("still there")
        assert live.recv(timeout=2) == "still there"
    assert server.stats()["pid"] == pid
    assert server.log(since) == ""


@pytest.mark.parametrize("how", ["reset", "finish"])
def test_a_peer_that_leaves_before_it_is_accepted(
    server: Server, case: str, how: str
) -> None:
    """The handler is told by its first receive."""
    client = RawClient(server.port)
    with contextlib.closing(client):
        client.ask(f"/starlette/held?case={case}")
        server.note(case, "called")
        client.reset() if how == "reset" else client.finish()
        server.get(f"/release?case={case}")
        assert server.note(case, "closed")["code"] == 1006


# Subprotocols.


def test_the_answer_has_a_reason_phrase(server: Server, case: str) -> None:
    """Some clients insist on one, though it may be empty (RFC 9112 section 4)."""
    client = RawClient(server.port)
    client.ask(f"/starlette/echo?case={case}")
    assert client.answer().startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
    client.close()


def test_an_offered_subprotocol_is_agreed_on(server: Server, case: str) -> None:
    """The handler's choice is in the answer."""
    chat = Subprotocol("chat")
    with server.connect(
        "/starlette/chosen", case, subprotocols=[chat], subprotocol=chat
    ) as client:
        assert client.subprotocol == "chat"
        assert client.recv(timeout=2) == "chat"


def test_an_unoffered_subprotocol_is_the_handlers_error(
    server: Server, case: str
) -> None:
    """Also an application of bare ASGI events ends neither the process nor others."""
    pid = server.stats()["pid"]
    with server.connect("/starlette/echo", case) as live:
        with (
            pytest.raises(InvalidStatus) as caught,
            server.connect("/unoffered-event", case),
        ):
            pass
        assert caught.value.response.status_code == 500
        assert server.note(case, "refused")["error"] == "ValueError"
        live.send("still there")
        assert live.recv(timeout=2) == "still there"
    assert server.stats()["pid"] == pid


# Compression.


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"server_no_context_takeover": True},
        {"client_no_context_takeover": True, "server_no_context_takeover": True},
        {"server_max_window_bits": 9, "client_max_window_bits": 9},
        {"client_max_window_bits": True},
    ],
    ids=["plain", "server-none", "both-none", "small-windows", "any-window"],
)
@pytest.mark.parametrize("kind", ["starlette", "anyws"])
def test_compressed_messages_survive(
    server: Server, case: str, kind: str, parameters: dict[str, Any]
) -> None:
    """Whatever is agreed on, each message comes back as it was."""
    rng = random.Random(7)
    words = [rng.randbytes(4).hex() for _ in range(100)]
    messages: list[str | bytes] = [
        *("", "a", "x" * 100_000, "é" * 1000, b"", rng.randbytes(100_000)),
        *(" ".join(rng.choices(words, k=200)) for _ in range(50)),
        *(rng.randbytes(n) for n in range(1, 200, 17)),
    ]
    factory = ClientPerMessageDeflateFactory(**parameters)
    with server.connect(f"/{kind}/echo", case, extensions=[factory]) as client:
        assert client.response is not None
        agreed = client.response.headers[EXTENSIONS]
        assert agreed.startswith("permessage-deflate")
        for name, value in parameters.items():
            if name.startswith("server"):
                assert name in agreed
                assert value is True or f"{name}={value}" in agreed
        for message in messages:
            client.send(message)
            assert client.recv(timeout=5) == message


def test_an_application_has_settings_of_compression(server: Server, case: str) -> None:
    """They are part of the answer."""
    factory = ClientPerMessageDeflateFactory()
    with server.connect("/anyws/deflated", case, extensions=[factory]) as client:
        assert client.response is not None
        assert "server_max_window_bits=9" in client.response.headers[EXTENSIONS]
        client.send("x" * 1000)
        assert client.recv(timeout=5) == "x" * 1000


def test_what_is_sent_is_compressed(server: Server, case: str) -> None:
    """A peer that offers compression gets it; one that does not sees no trace of it."""
    deflate = zlib.compressobj(wbits=-15)
    text = deflate.compress(b"x" * 50_000) + deflate.flush(zlib.Z_SYNC_FLUSH)
    with server.raw_with(
        "/starlette/echo", case, headers=f"{EXTENSIONS}: permessage-deflate\r\n"
    ) as client:
        client.socket.sendall(frame_bytes(client.TEXT, text[:-4], 0xC0))
        echoed = client.receive()
    assert echoed is not None
    assert len(echoed.payload) < 1000
    inflated = zlib.decompressobj(wbits=-15).decompress(echoed.payload + text[-4:])
    assert inflated == b"x" * 50_000
    with server.connect("/starlette/echo", case) as plain:
        assert plain.response is not None
        assert EXTENSIONS not in plain.response.headers
        plain.send("x" * 50_000)
        assert plain.recv(timeout=2) == "x" * 50_000
