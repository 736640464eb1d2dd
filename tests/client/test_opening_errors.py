"""Opening a connection that comes to nothing: what is raised, and what it says."""

from __future__ import annotations

import datetime
import pickle
import socket
import ssl
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from anyio.lowlevel import checkpoint

import anyws

from ..support.peers import (
    HOST,
    Authority,
    Script,
    Visit,
    expect_sockets,
    open_sockets,
    serving,
    serving_unix,
)

LIBRARIES = ("websockets", "anyio", "python_socks", "trio", "asyncio")


@pytest.fixture(scope="module")
def authority() -> Authority:
    """Give an authority for certificates."""
    return Authority()


def chain_of(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error, and all that its traceback shows."""
    while error is not None:
        yield error
        error = error.__cause__ or (
            None if error.__suppress_context__ else error.__context__
        )


async def failure_of(url: str, **options: Any) -> anyws.HandshakeError:
    """Return what opening a connection raises."""
    with pytest.raises(anyws.HandshakeError) as caught:
        async with anyws.connect(url, **options):
            pytest.fail("it was opened")
    error = caught.value
    assert not type(error).__module__.startswith(LIBRARIES)
    assert isinstance(error, OSError | anyws.WebSocketError)
    for link in chain_of(error):
        assert not isinstance(link, StopIteration)
        for private in ("pa55word", "pa:ss", "cGE1NXdvcmQ"):
            assert private not in f"{link} {link!r}", link
    return error


def answering(*parts: str | bytes, hang_up: bool = True) -> Script:
    """Return a script that answers the request with these bytes."""

    async def script(visit: Visit) -> None:
        await visit.read_request()
        for part in parts:
            await visit.send(part)
            for _ in range(3):  # so that it is a read of its own
                await checkpoint()
        if not hang_up:
            await visit.gone()

    return script


# Rejections

LONG = "a" * 300
HEAD = "HTTP/1.1 403 Forbidden\r\nX-Why: because\r\n"


@pytest.mark.parametrize(
    ("parts", "body", "hang_up"),
    [
        ([HEAD + "Content-Length: 4\r\n\r\nwhy?"], "why?", False),
        ([HEAD + "Content-Length: 4\r\n\r\n", "wh", "y?"], "why?", False),
        ([HEAD + "Content-Length: 0\r\n\r\n"], "", False),
        ([HEAD.replace(" Forbidden", "") + "\r\n", "why?"], "why?", True),
        ([HEAD + "Content-Length: 4\r\n\r\nwhy?and more"], "why?", False),
        ([HEAD + "Content-Length: 40\r\n\r\n", "why?"], "why?", True),
        ([HEAD + "Content-Length: x\r\n\r\n", "why?"], "why?", True),
        ([HEAD + "\r\n", "wh", "y?"], "why?", True),
        ([HEAD + "\r\n"], "", True),
        (
            [HEAD + "Transfer-Encoding: chunked\r\n\r\n4\r\nwhy?\r\n0\r\n\r\n"],
            "why?",
            False,
        ),
        (
            [
                HEAD + "Transfer-Encoding: Chunked\r\n\r\n2;a=b\r",
                "\nwh",
                "\r\n2\r\ny",
                "?\r\n0\r\n",
            ],
            "why?",
            False,
        ),
        (
            [HEAD + "Transfer-Encoding: chunked\r\n\r\n4\r\nwhy?\r\n3\r\nand"],
            "why?and",
            True,
        ),
        (
            [HEAD + "Transfer-Encoding: chunked\r\n\r\n4\r\nwhy?\r\n-3\r\nand"],
            "why?",
            False,
        ),
        (
            [HEAD + "Transfer-Encoding: chunked\r\n\r\n4\r\nwhy?\r\nnot hex\r\n"],
            "why?",
            False,
        ),
        ([HEAD + "Transfer-Encoding: rot13\r\n\r\n", "jul?"], "jul?", True),
        ([HEAD.replace("/1.1", "/1.0") + "\r\n", "why?"], "why?", True),
        (
            ["HTTP/1.1 100 Continue\r\n\r\n", HEAD + "Content-Length: 4\r\n\r\nwhy?"],
            "why?",
            False,
        ),
    ],
)
async def test_a_rejection_has_its_body(
    parts: list[str], body: str, hang_up: bool
) -> None:
    """Its first part is in the message, however the body comes, and if it is cut."""
    async with serving(answering(*parts, hang_up=hang_up)) as peer:
        error = await failure_of(peer.url)
    assert isinstance(error, anyws.HandshakeRejected)
    assert (error.status, error.body) == (403, body.encode())
    assert (error.code, error.reason) == (None, None)
    assert error.headers["x-why"] == "because"
    told = f": '{body}'" if body else ""
    assert str(error) == f"the server rejected the WebSocket: 403 Forbidden{told}"
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.status, copy.headers, copy.body) == (403, error.headers, error.body)


@pytest.mark.parametrize(
    ("lines", "size"),
    [
        ("", 2**20),
        ("Content-Length: 2000000\r\n", 2**20),
        ("Transfer-Encoding: chunked\r\n\r\nffffffff", 2**20),
        (f"Content-Length: {'9' * 5000}\r\n", 0),
    ],
    ids=["to the end", "too long", "chunked", "no length"],
)
async def test_a_rejection_with_a_body_that_never_ends(lines: str, size: int) -> None:
    """It is cut at 1 MiB, and its message far before."""
    head = "HTTP/1.1 500 Internal Server Error\r\n"

    async def script(visit: Visit) -> None:
        await visit.read_request()
        await visit.stream.send((head + lines + "\r\n").encode())
        while True:
            await visit.stream.send(b"a" * 65536)

    async with serving(script) as peer:
        error = await failure_of(peer.url)
    assert isinstance(error, anyws.HandshakeRejected)
    assert error.body == b"a" * size
    assert len(str(error)) < 300


@pytest.mark.parametrize(
    "head",
    ["\r\n", "Content-Length: 99\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n4\r\n"],
)
async def test_a_rejection_whose_body_is_late(head: str) -> None:
    """What has come until the time-out is told."""
    script = answering("HTTP/1.1 503 x\r\n" + head, "why?", hang_up=False)
    async with serving(script) as peer:
        error = await failure_of(peer.url, open_timeout=1)
    assert isinstance(error, anyws.HandshakeRejected)
    assert (error.status, error.body) == (503, b"why?")
    assert isinstance(error.__cause__, TimeoutError)


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (403, LONG, f"403 Forbidden: '{'a' * 200}…'"),
        (599, "", "599"),
        (200, "<p>\n  Hi\t\x1b[31m</p>", r"200 OK: '<p> Hi \x1b[31m</p>'"),
        (204, "", "204 No Content"),
        (426, "", "426 Upgrade Required"),
    ],
)
async def test_what_the_message_of_a_rejection_is(
    status: int, body: str, words: str
) -> None:
    """It is one line, and harmless in a terminal."""
    head = f"HTTP/1.1 {status} x\r\nContent-Length: {len(body)}\r\n\r\n"
    async with serving(answering(head + body, hang_up=False)) as peer:
        error = await failure_of(peer.url)
    assert str(error) == f"the server rejected the WebSocket: {words}"


@pytest.mark.parametrize(
    ("head", "body", "cause"),
    [
        ("", 4, ""),
        ("", 2**20, ""),
        ("", 2**20 + 1, "the body is over 1048576 bytes"),
        ("Content-Length: 4\r\n", 4, ""),
        ("Content-Length: 9\r\n", 4, "the body was cut short"),
    ],
)
async def test_what_became_of_a_body(head: str, body: int, cause: str) -> None:
    """Without a length, it ends with the connection; that is no failure."""
    answer = f"HTTP/1.1 403 x\r\n{head}\r\n{'a' * body}"
    async with serving(answering(answer)) as peer:
        error = await failure_of(peer.url)
    assert isinstance(error, anyws.HandshakeRejected)
    assert len(error.body) == min(body, 2**20)
    assert str(error.__cause__ or "") == cause


async def test_a_rejection_before_the_request_was_read() -> None:
    """It is told all the same, though the request could not be sent whole."""

    async def script(visit: Visit) -> None:
        await visit.send("HTTP/1.1 431 x\r\nContent-Length: 3\r\n\r\ntoo")

    async with serving(script) as peer:
        error = await failure_of(peer.url)
    assert isinstance(error, anyws.HandshakeRejected)
    assert error.status == 431


LONG_HEADS = {
    "a policy": f"Content-Security-Policy: {'a' * 9000}\r\n",
    "many lines": "Set-Cookie: a=b\r\n" * 500,
    "nearly too large": "A: " + "b" * (2**18 - 100) + "\r\n",
}


@pytest.mark.parametrize("long", LONG_HEADS.values(), ids=LONG_HEADS)
async def test_a_rejection_with_a_long_head(long: str) -> None:
    """Only the head as a whole has a limit, and it is that of browsers."""
    head = f"HTTP/1.1 403 Forbidden\r\n{long}X-Why: because\r\n\r\n"
    async with serving(answering(head, "why?")) as peer:
        error = await failure_of(peer.url)
    assert isinstance(error, anyws.HandshakeRejected)
    assert (error.status, error.body) == (403, b"why?")
    assert error.headers["x-why"] == "because"
    name, _, value = long.partition("\r\n")[0].partition(": ")
    assert error.headers.getlist(name)[-1] == value


# What is no answer

ACCEPTED = "HTTP/1.1 101 Switching Protocols\r\n"
TOO_LARGE = "the head of the response is over 262144 bytes"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("SSH-2.0-OpenSSH_9.2p1\r\n", "invalid HTTP status line: SSH-2.0"),
        ("220 mail.example ESMTP ready\r\n", "220 mail.example"),
        ("\x15\x03\x01\0\x02\x02\x46" + "\r\n", "HTTP/1.1"),
        ("nonsense without an end", "invalid HTTP status line: nonsense"),
        ("HTTP/1.1 200 OK\n\n", "without CRLF"),
        (ACCEPTED + "A: b\n\n", "without CRLF"),
        ("HTTP/2 101 x\r\n\r\n", "unsupported protocol"),
        ("HTTP/1.0 101 Switching Protocols\r\n\r\n", "HTTP/1.0 has no upgrade"),
        ("HTTP/1.1 ABC x\r\n\r\n", "invalid status code"),
        ("HTTP/1.1 999 x\r\n\r\n", "invalid status code"),
        (ACCEPTED + "no colon\r\n\r\n", "header"),
        (ACCEPTED + "a b: c\r\n\r\n", "invalid header name: a b"),
        (ACCEPTED + "A: b\0\r\n\r\n", "invalid value of the header A"),
        ("HTTP/1.1 200 \0\r\n\r\n", "invalid reason phrase"),
        ("HTTP/1.1 200 " + "a" * 2**18, TOO_LARGE),
        ("HTTP/1.1 503 x\r\nA: " + "b" * 2**18, TOO_LARGE),
        (ACCEPTED + "A: b\r\n" * 2**16, TOO_LARGE),
        ("HTTP/1.1 100 Continue\r\n\r\n" * 17, "over 16 informational"),
    ],
)
async def test_what_is_no_answer(answer: str, words: str) -> None:
    """It is a violation of the protocol, and the message shows of what kind."""
    async with serving(answering(answer.encode("latin-1"), hang_up=False)) as peer:
        error = await failure_of(peer.url)
    assert type(error) is anyws.ProtocolError
    assert str(error).startswith("the server did not answer with HTTP/1.1: ")
    assert words in str(error)
    assert error.__cause__ is not None


@pytest.mark.parametrize("endless", [b"A: b\r\n", b"HTTP/1.1 100 x\r\n\r\n", b"ab"])
async def test_what_has_no_end(endless: bytes) -> None:
    """It is given up when it is too much."""

    async def script(visit: Visit) -> None:
        await visit.read_request()
        if endless.startswith(b"A"):
            await visit.stream.send(ACCEPTED.encode())
        while True:
            await visit.stream.send(endless * 1000)

    async with serving(script) as peer:
        error = await failure_of(peer.url)
    assert type(error) is anyws.ProtocolError


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        (["Upgrade: h2c"], "invalid Upgrade header"),
        (["Sec-WebSocket-Accept: AAAA"], "invalid Sec-WebSocket-Accept"),
        (["Sec-WebSocket-Protocol: unoffered"], "subprotocol"),
        (["Sec-WebSocket-Protocol: chat, superchat"], "Sec-WebSocket-Protocol"),
        (["Sec-WebSocket-Extensions: x-unheard-of"], "x-unheard-of"),
        (
            ["Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=99"],
            "permessage-deflate",
        ),
        (["Sec-WebSocket-Extensions: permessage-deflate; nonsense"], "nonsense"),
        (["Sec-WebSocket-Extensions: ;"], "Sec-WebSocket-Extensions"),
        (
            ["Sec-WebSocket-Extensions: permessage-deflate"] * 2,
            "permessage-deflate",
        ),
    ],
)
async def test_an_answer_that_is_invalid(headers: list[str], words: str) -> None:
    """What was not offered cannot be accepted, and the key proves who answers."""

    async def script(visit: Visit) -> None:
        await visit.accept(*headers)
        await visit.gone()

    async with serving(script) as peer:
        error = await failure_of(peer.url, subprotocols=["chat", "superchat"])
    assert type(error) is anyws.ProtocolError
    assert str(error).startswith("the server's answer is invalid: ")
    assert words in str(error)


@pytest.mark.parametrize(
    ("dropped", "options"),
    [
        ("Upgrade: websocket\r\n", {}),
        ("Connection: Upgrade\r\n", {}),
        ("Sec-WebSocket-Accept", {}),
        ("nothing", {"compression": None}),
        ("nothing", {"subprotocols": ()}),
    ],
)
async def test_an_answer_that_lacks_something(
    dropped: str, options: dict[str, Any]
) -> None:
    """Or that has what was not asked for at all."""

    async def script(visit: Visit) -> None:
        await visit.read_request()
        more = []
        if "compression" in options:
            more = ["Sec-WebSocket-Extensions: permessage-deflate"]
        elif "subprotocols" in options:
            more = ["Sec-WebSocket-Protocol: chat"]
        await visit.send(visit.head(*more).replace(dropped.encode(), b""))
        await visit.gone()

    async with serving(script) as peer:
        error = await failure_of(peer.url, **options)
    assert type(error) is anyws.ProtocolError


@pytest.mark.parametrize(
    "answer", ["", "HTTP/1.1", "HTTP/1.1 101 x\r\n", ACCEPTED + "Upgrade: websock"]
)
async def test_a_server_that_hangs_up(answer: str) -> None:
    """It is told so, whatever it has said by then."""
    async with serving(answering(answer)) as peer:
        error = await failure_of(peer.url)
    assert type(error) is anyws.HandshakeError
    assert str(error) == "the server hung up during the opening handshake"
    assert isinstance(error.__cause__, EOFError)


async def test_a_server_that_resets_the_connection() -> None:
    """It is told so, in the system's words."""

    async def script(visit: Visit) -> None:
        await visit.read_request()
        raw = visit.stream.extra(anyio.abc.SocketAttribute.raw_socket)
        linger = struct.pack("ii", 1, 0)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    async with serving(script) as peer:
        error = await failure_of(peer.url)
    assert type(error) is anyws.HandshakeError
    assert str(error).endswith("opening handshake: Connection reset by peer")


# Nothing to talk to


async def test_a_name_that_does_not_resolve() -> None:
    """It is told which."""
    error = await failure_of("ws://user:pa55word@nowhere.invalid:80", proxy=None)
    assert str(error).startswith("connecting to nowhere.invalid:80 failed: ")
    assert isinstance(error.__cause__, socket.gaierror)


def unused_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("host", [HOST, "localhost", "[::1]"])
async def test_a_port_that_nobody_listens_on(host: str) -> None:
    """It is told which, and once for all addresses."""
    url = f"{host}:{unused_port()}"
    error = await failure_of(f"ws://{url}")
    assert str(error).startswith(f"connecting to {url} failed: ")
    if host == HOST:
        assert str(error).endswith(" failed: Connection refused")
        # Not AnyIO's "All connection attempts failed": the system's own.
        assert isinstance(error.__cause__, ConnectionRefusedError)
    assert error.__cause__ is not None


async def test_an_address_that_cannot_be_reached() -> None:
    """It is told why: TCP has no broadcast."""
    error = await failure_of("ws://255.255.255.255:1", proxy=None)
    assert str(error).startswith("connecting to 255.255.255.255:1 failed: ")
    assert "unreachable" in str(error) or "ermission" in str(error)


async def test_a_unix_socket_that_is_none(tmp_path: Path) -> None:
    """It is told which."""
    path = str(tmp_path / "nothing")
    error = await failure_of("ws://localhost", unix_path=path)
    assert str(error) == (
        f"connecting to the unix socket {path!r} failed: No such file or directory"
    )


@pytest.mark.parametrize("host", ["a..b", ".a", "a" * 64])
async def test_a_host_that_cannot_be_one(host: str) -> None:
    """However far it gets."""
    error = await failure_of(f"ws://{host}/", proxy=None)
    assert str(error).startswith(f"connecting to {host}:80 failed: ")


async def test_a_host_that_tls_cannot_check(tmp_path: Path) -> None:
    """The ssl module's own ValueError does not come out."""
    path = tmp_path / "socket"
    async with serving_unix(silent, path):
        error = await failure_of("wss://.a", unix_path=str(path))
    assert str(error).startswith("the TLS handshake with .a failed: ")
    assert "leading dot" in str(error)


# TLS


async def silent(visit: Visit) -> None:
    """Say nothing."""
    await visit.gone()


@pytest.mark.parametrize(
    ("names", "trusted", "expired", "words"),
    [
        ((HOST,), False, False, "certificate verify failed"),
        (("other.example",), True, False, "not valid for '127.0.0.1'"),
        ((HOST,), True, True, "certificate has expired"),
    ],
    ids=["self-signed", "other-host", "expired"],
)
async def test_a_certificate_that_does_not_do(
    authority: Authority, names: tuple[str], trusted: bool, expired: bool, words: str
) -> None:
    """It is told what is wrong with it."""
    options: dict[str, Any] = {}
    if expired:
        now = datetime.datetime.now(datetime.UTC)
        options["not_before"] = now - datetime.timedelta(days=9)
        options["not_after"] = now - datetime.timedelta(days=1)
    context = authority.client() if trusted else None
    async with serving(silent, tls=authority.server(*names, **options)) as peer:
        error = await failure_of(peer.url, ssl_context=context)
    assert str(error).startswith(f"the TLS handshake with {HOST} failed: ")
    assert words in str(error)
    assert isinstance(error.__cause__, ssl.SSLCertVerificationError)


async def raw_hello(visit: Visit) -> None:
    """Take in a TLS hello, and answer as a plain server does."""
    await visit.stream.receive()
    await visit.send("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    await visit.gone()


async def hang_up_on_hello(visit: Visit) -> None:
    """Take in a TLS hello, and hang up."""
    await visit.stream.receive()


async def test_plain_http_where_tls_should_be(authority: Authority) -> None:
    """OpenSSL's words are told."""
    async with serving(raw_hello) as peer:
        url = peer.url.replace("ws:", "wss:")
        error = await failure_of(url, ssl_context=authority.client())
    assert str(error).startswith(f"the TLS handshake with {HOST} failed: ")
    assert "WRONG_VERSION_NUMBER" in str(error).upper().replace(" ", "_")


async def test_tls_that_is_cut_short(authority: Authority) -> None:
    """It is told as a hanging up."""
    async with serving(hang_up_on_hello) as peer:
        url = peer.url.replace("ws:", "wss:")
        error = await failure_of(url, ssl_context=authority.client())
    assert str(error).startswith(f"the TLS handshake with {HOST} failed: ")
    assert "hung up" in str(error) or "EOF" in str(error)


async def test_a_certificate_of_the_clients_that_is_missing(
    authority: Authority,
) -> None:
    """Under TLS 1.3 that is told only behind the handshake, and told on."""
    context = authority.server()
    context.verify_mode = ssl.CERT_REQUIRED

    def serve() -> None:  # with the standard library, as AnyIO sends no alerts
        connection, _ = listener.accept()
        tls = context.wrap_socket(
            connection, server_side=True, do_handshake_on_connect=False
        )
        with pytest.raises(ssl.SSLError):
            tls.do_handshake()
        with socket.socket(fileno=tls.detach()) as plain:
            plain.shutdown(socket.SHUT_WR)
            while plain.recv(4096):
                pass

    with socket.create_server((HOST, 0)) as listener:
        url = f"wss://{HOST}:{listener.getsockname()[1]}"
        async with anyio.create_task_group() as tg:
            tg.start_soon(anyio.to_thread.run_sync, serve)
            error = await failure_of(url, ssl_context=authority.client())
    assert "hung up during the opening handshake: " in str(error)
    assert "certificate required" in str(error)
    assert isinstance(error.__cause__, ssl.SSLError)


async def test_a_certificate_is_for_the_host_behind_a_redirect(
    authority: Authority,
) -> None:
    """Its check is that of the new host."""
    async with serving(silent, tls=authority.server("localhost")) as other:
        there = other.url.replace("wss:", "https:")
        answer = f"HTTP/1.1 302 x\r\nLocation: {there}\r\nContent-Length: 0\r\n\r\n"
        async with serving(answering(answer)) as peer:
            error = await failure_of(peer.url, ssl_context=authority.client())
    assert "not valid for '127.0.0.1'" in str(error)


# Time-outs


async def hangs(*_: Any, **__: Any) -> Any:
    """Take for ever."""
    await anyio.sleep_forever()


async def timeout_of(url: str, seconds: float = 1, **options: Any) -> str:
    """Return what a time-out says, without the URL.

    On a busy machine, connecting alone may take some tenths of a second.
    """
    error = await failure_of(url, open_timeout=seconds, **options)
    assert type(error) is anyws.HandshakeError
    assert isinstance(error.__cause__, TimeoutError)
    where, _, words = str(error).partition(": ")
    assert where.startswith("ws")
    assert words.endswith(f" timed out after {seconds} s")
    return words.removesuffix(f" timed out after {seconds} s")


async def test_a_name_server_that_does_not_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It counts as connecting."""
    monkeypatch.setattr("anyio._core._sockets.getaddrinfo", hangs)
    words = await timeout_of("ws://a.test/", 0.1, proxy=None)
    assert words == "connecting to a.test:80"


async def test_a_server_that_does_not_accept() -> None:
    """Its backlog is full."""
    with socket.socket() as listener, socket.socket() as first:
        listener.bind((HOST, 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        first.setblocking(False)
        first.connect_ex((HOST, port))
        with socket.socket() as second:
            second.setblocking(False)
            second.connect_ex((HOST, port))
            before = open_sockets()
            words = await timeout_of(f"ws://{HOST}:{port}", 0.1)
            assert words == f"connecting to {HOST}:{port}"
            await expect_sockets(before)


async def test_a_tls_handshake_that_takes_too_long(authority: Authority) -> None:
    """It is told as one."""
    async with serving(silent) as peer:
        url = peer.url.replace("ws:", "wss:")
        words = await timeout_of(url, ssl_context=authority.client())
    assert words == f"the TLS handshake with {HOST}"


@pytest.mark.parametrize("beginning", ["", ACCEPTED, "HTTP/1.1 100 x\r\n\r\n"])
async def test_an_answer_that_takes_too_long(beginning: str) -> None:
    """However much of it has come."""
    async with serving(answering(beginning, hang_up=False)) as peer:
        words = await timeout_of(f"{peer.url}/path?query")
    assert words == "the opening handshake"


async def test_a_server_that_does_not_read() -> None:
    """The request is larger than all buffers on the way."""
    headers = [("X-Large", "a" * 2**20)] * 16
    async with serving(hangs) as peer:
        assert await timeout_of(peer.url, headers=headers) == "the opening handshake"


async def test_a_time_limit_of_ones_own() -> None:
    """It is that of AnyIO, and stays a plain TimeoutError."""
    async with serving(silent) as peer:
        with pytest.raises(TimeoutError) as caught:
            with anyio.fail_after(0.05):
                async with anyws.connect(peer.url, open_timeout=None):
                    pass
    assert not isinstance(caught.value, anyws.HandshakeError)
