"""Opening a connection as a client: what is asked for, and what is agreed on."""

from __future__ import annotations

import base64
import ssl
from collections.abc import Callable
from math import nan
from pathlib import Path
from typing import Any

import anyio
import pytest

import anyws

from ..support.peers import HOST, Authority, Visit, in_memory, serving, serving_unix
from ..support.wired import CLOSE, PING, TEXT, close_payload, frame


@pytest.fixture(scope="module")
def authority() -> Authority:
    """Give an authority for certificates."""
    return Authority()


SOON = anyws.Options(close_timeout=0.01)  # the peer is not going to answer


async def echo(visit: Visit) -> None:
    """Be an echo server."""
    await visit.echo()


async def says_hello(ws: anyws.ClientWebSocket) -> None:
    """Hold that the connection works."""
    await ws.send_text("hello")
    assert await ws.receive_text() == "hello"


# What the request is


async def test_a_plain_connection() -> None:
    """It works, and the request is that of RFC 6455."""
    async with serving(echo) as peer:
        async with anyws.connect(f"{peer.url}/a%20b?c=d") as ws:
            await says_hello(ws)
            assert ws.response.status == 101
            assert ws.response.headers["Upgrade"] == "websocket"
            assert ws.subprotocol is None
            assert ws.close_info is None
        assert ws.close_info == anyws.CloseInfo(1000, "", "local", True)
        (request,) = peer.requests
    assert request.path == "/a%20b?c=d"
    headers = request.headers
    assert headers["Host"] == f"{HOST}:{peer.port}"
    assert headers["Upgrade"] == "websocket"
    assert headers["Connection"] == "Upgrade"
    assert headers["Sec-WebSocket-Version"] == "13"
    assert len(base64.b64decode(headers["Sec-WebSocket-Key"])) == 16
    assert headers["User-Agent"].startswith("anyws/")
    assert headers["Sec-WebSocket-Extensions"].startswith("permessage-deflate")
    for name in ("Origin", "Authorization", "Sec-WebSocket-Protocol"):
        assert name not in headers


async def test_what_the_request_can_carry() -> None:
    """Headers, an origin and subprotocols are sent; no compression, if not wanted."""
    async with serving(lambda visit: visit.accept("Sec-WebSocket-Protocol: b")) as peer:
        async with anyws.connect(
            peer.url,
            subprotocols=["a", "b"],
            headers=[("X-One", "1"), ("X-One", "2"), ("user-agent", "mine")],
            origin="https://example.org",
            compression=None,
        ) as ws:
            assert ws.subprotocol == "b"
        (request,) = peer.requests
    assert request.headers.get_all("X-One") == ["1", "2"]
    assert request.headers.get_all("User-Agent") == ["mine"]
    assert request.headers["Origin"] == "https://example.org"
    assert request.headers["Sec-WebSocket-Protocol"] == "a, b"
    assert "Sec-WebSocket-Extensions" not in request.headers


def synchronous() -> dict[str, str]:
    """Return headers."""
    return {"X-Token": "one"}


async def asynchronous() -> list[tuple[str, str]]:
    """Return headers, after a while."""
    await anyio.lowlevel.checkpoint()
    return [("X-Token", "one")]


@pytest.mark.parametrize(
    "headers",
    [{"X-Token": "one"}, synchronous, asynchronous],
    ids=["map", "def", "async"],
)
async def test_headers_may_be_made_when_they_are_needed(headers: Any) -> None:
    """A mapping, a function and an async function come to the same."""
    async with serving(echo) as peer:
        async with anyws.connect(peer.url, headers=headers):
            pass
        assert peer.requests[0].headers["X-Token"] == "one"


async def test_a_user_and_password_are_basic_authentication() -> None:
    """They are unquoted; an `Authorization` of one's own goes before them."""
    async with serving(echo) as peer:
        url = peer.url.replace("//", "//us%40er:p%3Ass@")
        async with anyws.connect(url):
            pass
        async with anyws.connect(url, headers={"authorization": "Bearer x"}):
            pass
        first, second = (request.headers for request in peer.requests)
    assert first["Authorization"] == "Basic " + base64.b64encode(b"us@er:p:ss").decode()
    assert second.get_all("Authorization") == ["Bearer x"]


async def test_a_user_without_a_password_has_an_empty_one() -> None:
    """Such is a token, as other clients take it."""
    async with serving(echo) as peer:
        async with anyws.connect(peer.url.replace("//", "//token@")):
            pass
        (request,) = peer.requests
    token = base64.b64encode(b"token:").decode()
    assert request.headers["Authorization"] == f"Basic {token}"


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("/a;b=1/~c!?d=[1]|e", "/a;b=1/~c!?d=[1]|e"),
        ("/ü%20?ß=%41", "/%C3%BC%20?%C3%9F=%41"),
        ("/\udcff", "/%FF"),
        ("?q", "/?q"),
    ],
)
async def test_what_is_not_ascii_is_escaped(given: str, sent: str) -> None:
    """As UTF-8, or as the byte that an argument of the command line was; once."""
    async with serving(echo) as peer:
        async with anyws.connect(peer.url + given):
            pass
        assert peer.requests[0].path == sent


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"url": b"ws://a"}, TypeError, "a URL is a str, not bytes"),
        ({"url": "http://a"}, ValueError, "scheme isn't ws or wss"),
        ({"url": "ws://"}, ValueError, "hostname isn't provided"),
        ({"url": "ws://a/#b"}, ValueError, "fragment"),
        ({"url": "ws://a/ b"}, ValueError, "escape them"),
        ({"url": "ws://a/\r\nX: y"}, ValueError, "control characters"),
        ({"url": "ws://a:b/"}, ValueError, "its port"),
        ({"url": "ws://a:70000/"}, ValueError, "its port"),
        ({"url": f"ws://{'ä' * 64}/"}, ValueError, "host"),
        ({"url": "ws://a:0/"}, ValueError, "its port is 0"),
        ({"proxy": "http://a:0"}, ValueError, "its port is 0"),
        ({"url": "ws://u:\ud800@a/"}, ValueError, "not UTF-8"),
        ({"url": "ws://a%3Ab:c@a/"}, ValueError, "its user has a colon"),
        ({"subprotocols": "chat"}, TypeError, "sequence"),
        ({"subprotocols": [1]}, TypeError, "is a str"),
        ({"subprotocols": ["a b"]}, ValueError, "token"),
        ({"subprotocols": ["a", "a"]}, ValueError, "twice"),
        ({"headers": ["ab"]}, TypeError, "pairs of str"),
        ({"headers": {"a b": "c"}}, ValueError, "not a header name"),
        ({"headers": {"a": "b\r\nc: d"}}, ValueError, "CR, LF"),
        ({"headers": {"a": "ä"}}, ValueError, "not ASCII"),
        ({"headers": {"Upgrade": "h2c"}}, ValueError, "the opening handshake sends it"),
        ({"headers": {"origin": "x"}}, ValueError, "pass origin= instead"),
        ({"origin": "a\r\nb: c"}, ValueError, "origin holds CR, LF"),
        ({"origin": 1}, TypeError, "origin is a str"),
        ({"compression": "gzip"}, ValueError, "'deflate', an anyws.Deflate or None"),
        ({"proxy": "gopher://a"}, ValueError, "scheme gopher isn't supported"),
        ({"proxy": "http://a:b"}, ValueError, "its port"),
        ({"proxy": "http://a%3Ab:c@d"}, ValueError, "the proxy.*its user has a colon"),
        ({"options": {}}, TypeError, "anyws.Options"),
        ({"options": None}, TypeError, "options must be anyws.Options, not NoneType"),
        ({"retry": 3}, TypeError, "anyws.Retry"),
        ({"open_timeout": "x"}, TypeError, "open_timeout must be a number.*not str"),
        (
            {"open_timeout": -1},
            ValueError,
            "open_timeout must be 0 or more seconds, not -1",
        ),
        ({"open_timeout": nan}, ValueError, "open_timeout must be 0 or more seconds"),
        ({"stream": 5}, TypeError, "stream must be an anyio.abc.ByteStream.*not int"),
        ({"proxy": 5}, TypeError, "proxy must be a URL, True.*not int"),
        ({"ssl_context": 5}, TypeError, "ssl_context must be an ssl.SSL.*not int"),
    ],
)
def test_arguments_without_a_meaning_are_refused(
    arguments: dict[str, Any], error: type[Exception], words: str
) -> None:
    """At the call, before anything is opened."""
    with pytest.raises(error, match=words):
        anyws.connect(**{"url": "ws://localhost", **arguments})


@pytest.mark.parametrize(
    "arguments",
    [
        {"url": "ws://user:secret@a:b/"},
        {"url": "ws://user:sec/ret@a/"},
        {"url": "ws://user:sec#ret@a/"},
        {"url": "ws://user:secret@a/#b"},
        {"url": "http://user:secret@a/"},
        {"url": "ws://user:secret@ä" + "ä" * 64},
        {"proxy": "http://user:secret@a/path"},
        {"proxy": "http://user:secret@a:b"},
        {"proxy": "gopher://user:secret@a"},
        {"url": "ws://user%3A:secret@a"},
        {"proxy": "http://user%3A:secret@a"},
        {"headers": {"Authorization": "secret\n"}},
    ],
)
def test_refusals_do_not_repeat_a_password(arguments: dict[str, Any]) -> None:
    """Nor does what they are chained to, and so no traceback."""
    with pytest.raises(ValueError, match=r".") as caught:
        anyws.connect(**{"url": "ws://localhost", **arguments})
    error: BaseException | None = caught.value
    while error is not None:
        assert "sec" not in str(error)
        error = error.__cause__ or error.__context__


async def test_headers_made_too_late_are_checked_too() -> None:
    """Then nothing is opened."""
    async with serving(echo) as peer:
        with pytest.raises(ValueError, match="CR, LF"):
            async with anyws.connect(peer.url, headers=lambda: {"a": "\n"}):
                pass
        assert not peer.visits


# What is agreed on


@pytest.mark.parametrize(
    "parameters",
    [
        "",
        "; server_no_context_takeover; client_no_context_takeover",
        "; server_max_window_bits=8; client_max_window_bits=8",
        "; server_max_window_bits=15; client_max_window_bits=15",
    ],
)
async def test_compression_is_used_when_it_is_agreed_on(parameters: str) -> None:
    """Whatever a server answers the offer of a browser with."""

    async def script(visit: Visit) -> None:
        await visit.accept(f"Sec-WebSocket-Extensions: permessage-deflate{parameters}")
        data = b""
        while len(data) < 2 or len(data) < 6 + (data[1] & 0x7F):
            data += await visit.stream.receive()
        assert data[0] == 0xC1
        payload = bytes(b ^ data[2 + n % 4] for n, b in enumerate(data[6:]))
        await visit.send(frame(TEXT, payload, rsv=4, mask=None))
        await visit.gone()

    async with serving(script) as peer:
        async with anyws.connect(peer.url, options=SOON) as ws:
            await ws.send_text("ab" * 1000)
            assert await ws.receive_text() == "ab" * 1000
        offer = peer.requests[0].headers["Sec-WebSocket-Extensions"]
    assert offer == "permessage-deflate; client_max_window_bits"


async def test_frames_right_behind_the_response_are_not_lost() -> None:
    """They are in the same read as the response."""

    async def script(visit: Visit) -> None:
        await visit.read_request()
        hello = frame(TEXT, "hello", mask=None)
        bye = frame(CLOSE, close_payload(4000, "bye"), mask=None)
        await visit.send(visit.head() + hello + bye)
        await visit.gone()

    async with serving(script) as peer:
        async with anyws.connect(peer.url) as ws:
            assert await ws.receive_text() == "hello"
            with pytest.raises(anyws.ConnectionClosed) as caught:
                await ws.receive_text()
    assert caught.value.info == anyws.CloseInfo(4000, "bye", "peer", True)


async def test_a_ping_right_behind_the_response_is_answered() -> None:
    """Though it has come before there was a task to write its pong."""
    pongs = []

    async def script(visit: Visit) -> None:
        await visit.read_request()
        await visit.send(visit.head() + frame(PING, "hi", mask=None))
        data = await visit.stream.receive()
        pongs.append(
            (data[0], bytes(a ^ b for a, b in zip(data[6:], data[2:4], strict=True)))
        )
        await visit.send(frame(TEXT, "done", mask=None))
        await visit.gone()

    async with serving(script) as peer:
        async with anyws.connect(peer.url, options=SOON) as ws:
            assert await ws.receive_text() == "done"
    assert pongs == [(0x8A, b"hi")]


async def test_a_ping_may_be_the_first_thing_that_is_sent() -> None:
    """It does not wait for something else to be sent."""
    async with serving(Visit.echo) as peer:
        async with anyws.connect(peer.url) as ws:
            assert await ws.ping() >= 0


async def test_pings_are_measured_by_a_fine_clock() -> None:
    """Not by that of uvloop's, which tells whole milliseconds."""
    async with serving(Visit.echo) as peer:
        async with anyws.connect(peer.url) as ws:
            milliseconds = [await ws.ping() * 1000 for _ in range(20)]
            assert ws.latency == milliseconds[-1] / 1000
    assert any(abs(each - round(each)) > 0.001 for each in milliseconds)


async def test_a_response_in_single_bytes() -> None:
    """However it is cut, it is the same response."""

    async def script(visit: Visit) -> None:
        await visit.read_request()
        for byte in visit.head() + frame(TEXT, "hello", mask=None):
            await visit.send(bytes([byte]))
        await visit.gone()

    async with serving(script) as peer:
        async with anyws.connect(peer.url, options=SOON) as ws:
            assert await ws.receive_text() == "hello"


async def test_an_answer_with_a_long_head() -> None:
    """A load balancer's cookies are no reason not to talk."""
    long = ["Set-Cookie: " + "a" * 20_000, *["X-Hop: b"] * 200]
    async with serving(lambda visit: visit.accept(*long)) as peer:
        async with anyws.connect(peer.url, options=SOON) as ws:
            assert ws.response.headers["set-cookie"] == "a" * 20_000
            assert len(ws.response.headers.getlist("x-hop")) == 200


@pytest.mark.parametrize("status", ["101", "101 ", "101 Web Socket Protocol Handshake"])
async def test_an_answer_with_any_reason_phrase(status: str) -> None:
    """Or with none: nothing depends on it."""

    async def script(visit: Visit) -> None:
        await visit.read_request()
        await visit.send(visit.head(status=status))
        await visit.gone()

    async with serving(script) as peer:
        async with anyws.connect(peer.url, options=SOON) as ws:
            assert ws.response.status == 101


@pytest.mark.parametrize("first", ["100", "100 Continue", "103 Early Hints", "199 x"])
async def test_informational_responses_come_before_the_answer(first: str) -> None:
    """They are passed over."""

    async def script(visit: Visit) -> None:
        await visit.read_request()
        await visit.send(f"HTTP/1.1 {first}\r\nLink: </a>\r\n\r\n" * 2)
        await visit.send(visit.head())
        await visit.gone()

    async with serving(script) as peer:
        async with anyws.connect(peer.url, options=SOON) as ws:
            assert ws.response.status == 101
            assert "link" not in ws.response.headers


# The ways to a server


async def test_tls(authority: Authority) -> None:
    """The certificate is checked against what was asked for."""
    async with serving(echo, tls=authority.server()) as peer:
        async with anyws.connect(peer.url, ssl_context=authority.client()) as ws:
            await says_hello(ws)
        assert ws.close_info == anyws.CloseInfo(1000, "", "local", True)


async def test_tls_by_the_certificates_of_the_system(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are those that OpenSSL is told of."""
    authority.ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    async with serving(echo, tls=authority.server()) as peer:
        async with anyws.connect(peer.url) as ws:
            await says_hello(ws)


async def test_a_unix_socket(tmp_path: Path) -> None:
    """The URL says what is asked for there."""
    path = tmp_path / "socket"
    async with serving_unix(echo, path) as peer:
        async with anyws.connect("ws://name/path", unix_path=str(path)) as ws:
            await says_hello(ws)
        (request,) = peer.requests
    assert (request.headers["Host"], request.path) == ("name", "/path")


async def test_two_address_families(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the first address does not answer, the next one does."""
    getaddrinfo = anyio.getaddrinfo

    async def found(host: str, port: int, **options: Any) -> Any:
        if host == HOST:
            return await getaddrinfo(host, port, **options)
        assert host == "two.test"
        first = await getaddrinfo("::1", port, **options)
        return first + await getaddrinfo(HOST, port, **options)

    monkeypatch.setattr("anyio._core._sockets.getaddrinfo", found)
    async with serving(echo) as peer:
        async with anyws.connect(f"ws://two.test:{peer.port}", proxy=None) as ws:
            await says_hello(ws)


@pytest.mark.parametrize("secure", [False, True], ids=["ws", "wss"])
async def test_an_address_with_a_zone(
    secure: bool, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is for the system alone: neither the server nor TLS is told of it."""
    asked = []

    async def connect_tcp(host: str, port: int) -> Any:
        asked.append(host)
        return await anyio.connect_tcp(HOST, port)

    tls = authority.server("fe80::1") if secure else None
    async with serving(echo, tls=tls) as peer:
        monkeypatch.setattr("anyws._client.dial.connect_tcp", connect_tcp)
        url = peer.url.replace(HOST, "[fe80::1%25eth0]")
        context = authority.client() if secure else None
        async with anyws.connect(url, ssl_context=context, proxy=None) as ws:
            await says_hello(ws)
        (request,) = peer.requests
    assert asked == ["fe80::1%eth0"]
    assert request.headers["Host"] == f"[fe80::1]:{peer.port}"


async def test_any_byte_stream() -> None:
    """One of memory, too."""
    ours, theirs = in_memory()

    async def serve() -> None:
        async with theirs:
            await Visit(theirs).echo()

    async with anyio.create_task_group() as tg:
        tg.start_soon(serve)
        async with anyws.connect("ws://name", stream=ours) as ws:
            await says_hello(ws)
    with pytest.raises(anyio.ClosedResourceError):
        await ours.send(b"x")


async def test_a_given_stream_is_closed_when_it_comes_to_nothing() -> None:
    """However early that is."""

    def failing() -> dict[str, str]:
        raise LookupError("no token")

    for headers in (failing, lambda: {"a": "\n"}):
        ours, theirs = in_memory()
        with pytest.raises((LookupError, ValueError)):
            async with anyws.connect("ws://name", stream=ours, headers=headers):
                pass
        with pytest.raises(anyio.EndOfStream):
            await theirs.receive()
        await theirs.aclose()


async def test_a_given_stream_is_for_one_connection() -> None:
    """What would need another is refused."""
    ours, theirs = in_memory()
    with pytest.raises(ValueError, match="for one connection"):
        anyws.connect("ws://name", stream=ours, retry=anyws.Retry())
    with pytest.raises(ValueError, match="unix_path and stream exclude each other"):
        anyws.connect("ws://name", stream=ours, unix_path="/nowhere")
    with pytest.raises(RuntimeError, match="use 'async with'"):
        anyws.connect("ws://name", stream=ours).__aiter__()
    await ours.aclose()
    await theirs.aclose()


async def test_a_block_cannot_be_entered_twice() -> None:
    """Neither that of `connect`, nor the connection's."""
    async with serving(echo) as peer:
        connecting = anyws.connect(peer.url)
        async with connecting as ws:
            with pytest.raises(RuntimeError, match="entered"):
                async with connecting:
                    pass
            with pytest.raises(RuntimeError, match="entered"):
                async with ws:
                    pass
        with pytest.raises(RuntimeError, match="cannot be entered twice"):
            async with ws:
                pass
        async with connecting as ws:
            await says_hello(ws)


async def test_a_block_cannot_be_entered_by_two_tasks() -> None:
    """The second is refused before it dials; once the first is over, it may enter."""
    asked, answer = anyio.Event(), anyio.Event()

    async def script(visit: Visit) -> None:
        await visit.read_request()
        asked.set()
        await answer.wait()
        await visit.send(visit.head())
        await visit.gone()

    async def enter() -> None:
        async with connecting:
            pass

    async with serving(script) as peer:
        connecting = anyws.connect(peer.url, options=SOON)
        async with anyio.create_task_group() as tg:
            tg.start_soon(enter)
            await asked.wait()
            with pytest.raises(RuntimeError, match="once for each connection"):
                await enter()
            assert len(peer.visits) == 1
            answer.set()
        await enter()
        assert len(peer.visits) == 2


async def test_a_block_that_could_not_be_entered_can_be_again() -> None:
    """What was refused, or cancelled, has left nothing behind."""
    answers = iter(["HTTP/1.1 503 x\r\nContent-Length: 0\r\n\r\n", None])

    async def script(visit: Visit) -> None:
        await visit.read_request()
        await visit.send(next(answers) or visit.head())
        await visit.gone()

    async with serving(script) as peer:
        connecting = anyws.connect(peer.url, options=SOON)
        with anyio.CancelScope() as scope:
            scope.cancel()
            async with connecting:
                pass
        with pytest.raises(anyws.HandshakeRejected):
            async with connecting:
                pass
        async with connecting:
            pass


# Redirects


def redirecting(status: int, location: Callable[[], str], *more: str) -> Any:
    """Return a script that redirects; what it asks of nobody but "/there"."""

    async def script(visit: Visit) -> None:
        request = await visit.read_request()
        if request.path == "/there":
            await visit.send(visit.head())
            await visit.gone()
            return
        lines = (f"HTTP/1.1 {status} Moved", f"Location: {location()}", *more)
        await visit.send("\r\n".join([*lines, "Content-Length: 0", "", ""]))
        await visit.gone()

    return script


SECRETS = {"Authorization": "a", "Cookie": "b", "Host": "c", "X-Other": "d"}


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_followed(status: int) -> None:
    """Within the origin with everything that was to be sent."""
    async with serving(redirecting(status, lambda: "/there")) as peer:
        url = f"{peer.url.replace('//', '//user:pass@')}/here"
        async with anyws.connect(url, headers={"Cookie": "b"}, options=SOON) as ws:
            assert ws.response.status == 101
        first, second = peer.requests
    assert (first.path, second.path) == ("/here", "/there")
    for name in ("Authorization", "Cookie"):
        assert first.headers[name] == second.headers[name]


@pytest.mark.parametrize(
    ("location", "path"),
    [
        (b"/next#part", "/next"),
        (b"next?a=b#part#more", "/a/next?a=b"),
        ("/ü?ß".encode(), "/%C3%BC?%C3%9F"),
        (b"/\xfc%20", "/%FC%20"),
    ],
)
async def test_where_a_redirect_leads(location: bytes, path: str) -> None:
    """Without its fragment; and escaped, though it should have been before."""

    async def script(visit: Visit) -> None:
        await visit.read_request()
        if len(peer.visits) == 1:
            head = b"HTTP/1.1 302 x\r\nLocation: " + location
            await visit.send(head + b"\r\nContent-Length: 0\r\n\r\n")
        else:
            await visit.send(visit.head())
        await visit.gone()

    async with serving(script) as peer:
        async with anyws.connect(f"{peer.url}/a/b", options=SOON):
            pass
        assert peer.requests[1].path == path


@pytest.mark.parametrize("scheme", ["ws", "http"])
async def test_credentials_stay_with_their_origin(scheme: str) -> None:
    """The others go along to another host or port."""
    async with serving(redirecting(302, str)) as other:
        there = f"{scheme}://{HOST}:{other.port}/there"
        async with serving(redirecting(302, lambda: there)) as peer:
            async with anyws.connect(peer.url, headers=SECRETS, options=SOON):
                pass
            url = peer.url.replace("//", "//user:pass@")
            async with anyws.connect(url, options=SOON):
                pass
            first, second = other.requests
    assert first.headers["X-Other"] == "d"
    assert first.headers["Host"] == f"{HOST}:{other.port}"
    for headers in (first.headers, second.headers):
        assert "Authorization" not in headers
        assert "Cookie" not in headers


async def test_redirects_to_an_encrypted_one(authority: Authority) -> None:
    """They are followed; but never from one, back to where all can read along."""
    tls, context = authority.server(), authority.client()
    async with serving(redirecting(302, str), tls=tls) as other:
        there = f"{other.url}/there"
        async with serving(redirecting(302, lambda: there)) as peer:
            async with anyws.connect(peer.url, ssl_context=context, options=SOON):
                pass
        async with serving(redirecting(302, lambda: peer.url), tls=tls) as secure:
            with pytest.raises(anyws.ProtocolError, match="not encrypted"):
                async with anyws.connect(secure.url, ssl_context=context):
                    pass


async def test_there_is_an_end_of_redirects() -> None:
    """After ten it gives up."""
    async with serving(redirecting(302, lambda: "/here")) as peer:
        with pytest.raises(anyws.HandshakeError, match="over 10 redirects"):
            async with anyws.connect(peer.url):
                pass
        assert len(peer.visits) == 11


@pytest.mark.parametrize(
    "location",
    [
        "ftp://a/",
        "ws://",
        "//user:secret@a:b/",
        "ws://user:secret@[::1/",
        "ws://user:secret@a:0/",
        "//user:secret@[",
        "http://user:secret@[foo]bar/",
        "http://us%3Aer:secret@127.0.0.1/",
    ],
)
async def test_redirects_to_no_websocket(location: str) -> None:
    """They are a violation of the protocol; a password in them is not shown."""
    async with serving(redirecting(302, lambda: location)) as peer:
        with pytest.raises(anyws.ProtocolError, match="the server redirects") as caught:
            async with anyws.connect(peer.url):
                pass
        error: BaseException | None = caught.value
        while error is not None:
            assert "secret" not in str(error)
            error = error.__cause__ or error.__context__


async def test_redirects_that_are_none() -> None:
    """Without a place, from a given stream or a unix socket, they are rejections."""
    async with serving(redirecting(304, lambda: "/there")) as peer:
        with pytest.raises(anyws.HandshakeRejected) as caught:
            async with anyws.connect(peer.url):
                pass
    assert caught.value.status == 304


def test_a_context_is_for_what_is_encrypted() -> None:
    """A context for `ws` is not refused, as a redirect may need it."""
    anyws.connect("ws://localhost", ssl_context=ssl.create_default_context())
