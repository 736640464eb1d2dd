"""Opening a connection through a proxy."""

from __future__ import annotations

import base64
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import NoReturn

import anyio
import pytest
from anyio.abc import SocketStream

import anyws

from ..support.peers import HOST, Authority, Peer, Script, Visit, serving
from ..support.proxies import Tunnels
from .test_opening_errors import failure_of, unused_port

CREDENTIALS = "us%40er:pa55word"
SOCKS = ["socks5", "socks5h", "socks4", "socks4a"]


@pytest.fixture(scope="module")
def authority() -> Authority:
    """Give an authority for certificates."""
    return Authority()


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget the proxies of who runs the tests."""
    for name in ("http", "https", "ws", "wss", "socks", "all", "no"):
        for spelling in (f"{name}_proxy", f"{name}_proxy".upper()):
            monkeypatch.delenv(spelling, raising=False)


def script_of(tunnels: Tunnels, scheme: str) -> Script:
    """Return the script for a proxy of this scheme."""
    if scheme.startswith("socks5"):
        return tunnels.socks5
    return tunnels.socks4 if scheme.startswith("socks4") else tunnels.http


@asynccontextmanager
async def proxied(
    tunnels: Tunnels, scheme: str = "http", authority: Authority | None = None
) -> AsyncIterator[tuple[Peer, str]]:
    """Run an echo server and a proxy before it; yield it, and the proxy's place."""
    tls = None if authority is None else authority.server(HOST, "far.test")
    async with AsyncExitStack() as stack:
        peer = await stack.enter_async_context(serving(Visit.echo, tls=tls))
        tunnels.port = peer.port
        proxy_tls = None
        if scheme == "https":
            proxy_tls = (authority or Authority()).server()
        script = script_of(tunnels, scheme)
        proxy = await stack.enter_async_context(serving(script, tls=proxy_tls))
        yield peer, f"{HOST}:{proxy.port}"


async def works(url: str, proxy: str | bool, authority: Authority | None) -> None:
    """Hold that a connection can be opened, and used."""
    context = None if authority is None else authority.client()
    async with anyws.connect(url, proxy=proxy, ssl_context=context) as ws:
        await ws.send_text("hello")
        assert await ws.receive_text() == "hello"
    assert ws.close_info == anyws.CloseInfo(1000, "", "local", True)


@pytest.mark.parametrize("secure", [False, True], ids=["ws", "wss"])
@pytest.mark.parametrize("scheme", ["http", "https", *SOCKS])
async def test_a_tunnel(
    scheme: str,
    secure: bool,
    authority: Authority,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Everything is asked of the proxy: no name is looked up that it can look up."""
    authority.ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    tunnels = Tunnels()
    async with serving(Visit.echo, tls=authority.server() if secure else None) as peer:
        tunnels.port = peer.port
        tls = authority.server() if scheme == "https" else None
        async with serving(script_of(tunnels, scheme), tls=tls) as proxy:
            local = scheme in ("socks5", "socks4")
            host = HOST if secure or local else "far.test"
            url = f"{'wss' if secure else 'ws'}://{host}:1234"
            await works(
                url, f"{scheme}://{HOST}:{proxy.port}", authority if secure else None
            )
    (asked,) = tunnels.asked
    if scheme.startswith("http"):
        first, *lines = asked.split("\r\n")
        assert first == f"CONNECT {host}:1234 HTTP/1.1"
        assert f"Host: {host}:1234" in lines
        assert any(line.startswith("User-Agent: anyws/") for line in lines)
        assert "authorization" not in asked.lower()
    else:
        assert asked == f"{host}:1234"


async def test_a_name_may_be_looked_up_before_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """That is what tells `socks5` from `socks5h`."""
    tunnels = Tunnels()
    async with proxied(tunnels, "socks5") as (_, proxy):
        await works("ws://localhost:1234", f"socks5://{proxy}", None)
    assert tunnels.asked[0] in (f"{HOST}:1234", "::1:1234")


@pytest.mark.parametrize("scheme", ["http", "socks5", "socks4"])
async def test_a_user_and_password_for_the_proxy(scheme: str) -> None:
    """They are unquoted, and go to nobody else."""
    tunnels = Tunnels(wants_user=True)
    async with proxied(tunnels, scheme) as (peer, proxy):
        await works(f"ws://{HOST}", f"{scheme}://{CREDENTIALS}@{proxy}", None)
        (request,) = peer.requests
    assert "proxy-authorization" not in request.headers
    assert "authorization" not in request.headers
    if scheme == "http":
        token = base64.b64encode(b"us@er:pa55word").decode()
        assert f"Proxy-Authorization: Basic {token}" in tunnels.asked[0]
    else:
        assert tunnels.users == [("us@er", "pa55word" if scheme == "socks5" else "")]


async def test_a_user_without_a_password_for_the_proxy() -> None:
    """It is empty then."""
    tunnels = Tunnels()
    async with proxied(tunnels) as (_, proxy):
        await works(f"ws://{HOST}", f"http://token@{proxy}", None)
    token = base64.b64encode(b"token:").decode()
    assert f"Proxy-Authorization: Basic {token}" in tunnels.asked[0]


@pytest.mark.parametrize("scheme", ["http", "socks5", "socks5h"])
async def test_a_zone_is_not_told_to_a_proxy(scheme: str) -> None:
    """It would name an interface of the proxy's."""
    tunnels = Tunnels()
    async with proxied(tunnels, scheme) as (_, proxy):
        await works("ws://[fe80::1%25lo]:1234", f"{scheme}://{proxy}", None)
    if scheme == "http":
        first, *lines = tunnels.asked[0].split("\r\n")
        assert first == "CONNECT [fe80::1]:1234 HTTP/1.1"
        assert "Host: [fe80::1]:1234" in lines
    else:
        assert tunnels.asked == ["fe80::1:1234"]


async def test_a_proxy_with_a_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is for the system alone, as a server's is."""
    hosts = []

    async def connect_tcp(host: str, port: int) -> SocketStream:
        hosts.append(host)
        return await anyio.connect_tcp(HOST, port)

    async with proxied(Tunnels()) as (_, proxy):
        monkeypatch.setattr("anyws._client.dial.connect_tcp", connect_tcp)
        place = proxy.replace(HOST, "[fe80::1%25eth0]")
        await works("ws://far.test", f"http://{place}", None)
    assert hosts == ["fe80::1%eth0"]


# What proxies answer


@pytest.mark.parametrize(
    ("answer", "words", "kind"),
    [
        (
            "HTTP/1.1 407 x\r\nContent-Length: 2\r\n\r\nno",
            "it answered 407",
            anyws.HandshakeError,
        ),
        ("HTTP/1.0 502 Bad Gateway\r\n\r\n", "it answered 502", anyws.HandshakeError),
        (
            f"HTTP/1.1 503 x\r\nContent-Security-Policy: {'a' * 9000}\r\n\r\n",
            "it answered 503",
            anyws.HandshakeError,
        ),
        ("HTTP/1.1 101 Switching\r\n\r\n", "it answered 101", anyws.HandshakeError),
        (
            "HTTP/1.1 100 Continue\r\n\r\n" * 17,
            "it did not answer with HTTP: over 16 informational responses",
            anyws.ProtocolError,
        ),
        ("SSH-2.0\r\n", "it did not answer with HTTP: ", anyws.ProtocolError),
        ("a" * 10000, "it did not answer with HTTP: ", anyws.ProtocolError),
        (
            "HTTP/1.1 200 " + "a" * 2**18,
            "it did not answer with HTTP: the head of the response is over 262144",
            anyws.ProtocolError,
        ),
    ],
)
async def test_an_http_proxy_that_refuses(
    answer: str, words: str, kind: type[anyws.HandshakeError]
) -> None:
    """It is told which one, and what it said."""
    tunnels = Tunnels(answer=answer)
    async with proxied(tunnels) as (_, proxy):
        error = await failure_of(
            "ws://far.test:1234", proxy=f"http://user:pa55word@{proxy}"
        )
    assert type(error) is kind
    step = f"the tunnel to far.test:1234 through the proxy {proxy} failed: "
    assert str(error).startswith(step + words)
    if kind is anyws.HandshakeError:
        assert isinstance(error.__cause__, anyws.HandshakeRejected)
        assert str(error.__cause__.status) in words


@pytest.mark.parametrize("status", ["HTTP/1.0 200 OK", "HTTP/1.1 200", "HTTP/1.1 200 "])
async def test_a_terse_http_proxy(status: str) -> None:
    """Many still answer with HTTP/1.0, or without a reason phrase."""
    tunnels = Tunnels(answer=f"{status}\r\nVia: x\r\n\r\n")
    async with proxied(tunnels) as (_, proxy):
        await works("ws://far.test", f"http://{proxy}", None)


@pytest.mark.parametrize("first", ["100", "102 Processing", "103 Early Hints"])
async def test_informational_responses_come_before_a_proxy_answers(first: str) -> None:
    """They are passed over, as a server's are."""
    early = f"HTTP/1.1 {first}\r\nVia: x\r\n\r\n" * 2
    tunnels = Tunnels(answer=f"{early}HTTP/1.1 200 OK\r\n\r\n")
    async with proxied(tunnels) as (_, proxy):
        await works("ws://far.test", f"http://{proxy}", None)
    refusing = Tunnels(answer=f"{early}HTTP/1.1 407 x\r\n\r\n")
    async with proxied(refusing) as (_, proxy):
        error = await failure_of("ws://far.test", proxy=f"http://{proxy}")
    assert isinstance(error.__cause__, anyws.HandshakeRejected)
    assert error.__cause__.status == 407


@pytest.mark.parametrize(
    ("scheme", "tunnels", "words"),
    [
        ("socks5", Tunnels(code=5), "Connection refused"),
        ("socks5", Tunnels(code=2), "not allowed"),
        ("socks5", Tunnels(code=99), "Invalid reply code"),
        ("socks5", Tunnels(wants_user=True), "authentication"),
        ("socks4", Tunnels(code=91), "rejected or failed"),
    ],
)
async def test_a_socks_proxy_that_refuses(
    scheme: str, tunnels: Tunnels, words: str
) -> None:
    """It is told which one, and what it said."""
    async with proxied(tunnels, scheme) as (_, proxy):
        error = await failure_of(
            f"ws://{HOST}:1234", proxy=f"{scheme}://user:pa55w0rd@{proxy}"
        )
    step = f"the tunnel to {HOST}:1234 through the proxy {proxy} failed: "
    assert str(error).startswith(step)
    if not tunnels.wants_user:
        assert words in str(error)
    else:
        assert words in str(error).lower()
    assert "w0rd" not in str(error)


@pytest.mark.parametrize("scheme", ["http", "https", "socks5", "socks4"])
async def test_a_proxy_that_is_not_there(scheme: str) -> None:
    """The system's words are told."""
    proxy = f"{HOST}:{unused_port()}"
    error = await failure_of("ws://127.0.0.2", proxy=f"{scheme}://u:pa55word@{proxy}")
    assert f"the proxy {proxy} failed: " in str(error)
    assert str(error).endswith("Connection refused")


@pytest.mark.parametrize("scheme", ["http", "socks5", "socks4"])
@pytest.mark.parametrize("says", [b"", b"HTTP/1.1 2", b"\x05"])
async def test_a_proxy_that_hangs_up(scheme: str, says: bytes) -> None:
    """In whatever moment."""

    async def script(visit: Visit) -> None:
        await visit.stream.receive(1000)
        await visit.send(says)

    async with serving(script) as peer:
        proxy = f"{scheme}://user:pa55word@{HOST}:{peer.port}"
        error = await failure_of("ws://127.0.0.2", proxy=proxy)
    step = f"the tunnel to 127.0.0.2:80 through the proxy {HOST}:{peer.port} failed: "
    assert str(error).startswith(step)


@pytest.mark.parametrize("scheme", ["http", "https", "socks5", "socks4a"])
async def test_a_proxy_that_does_not_answer(scheme: str) -> None:
    """It is told what took too long."""

    async def script(visit: Visit) -> None:
        await visit.gone()

    async with serving(script) as peer:
        place = f"{HOST}:{peer.port}"
        proxy = f"{scheme}://user:pa55word@{place}"
        error = await failure_of("ws://far.test", proxy=proxy, open_timeout=1)
    step = f"the tunnel to far.test:80 through the proxy {place}"
    if scheme == "https":
        step = f"the TLS handshake with {HOST}"
    assert str(error) == f"ws://far.test:80: {step} timed out after 1 s"


async def test_a_proxy_whose_certificate_does_not_do(authority: Authority) -> None:
    """The system's certificates are for the proxy too."""
    async with serving(Visit.gone, tls=authority.server()) as peer:
        proxy = f"https://{HOST}:{peer.port}"
        error = await failure_of("ws://far.test", proxy=proxy)
    assert str(error).startswith(f"the TLS handshake with {HOST} failed: ")
    assert "certificate verify failed" in str(error)


async def test_a_user_that_socks_cannot_carry() -> None:
    """What the library of its own says does not come out."""
    async with proxied(Tunnels(wants_user=True), "socks5") as (_, proxy):
        error = await failure_of(
            f"ws://{HOST}", proxy=f"socks5://{'u' * 300}:pa55word@{proxy}"
        )
    assert "the tunnel to" in str(error)


async def test_a_socks_proxy_without_the_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is told what to install; nothing else needs it."""
    monkeypatch.setitem(sys.modules, "python_socks", None)
    with pytest.raises(
        ModuleNotFoundError, match=r"pip install 'anyws-websockets\[socks\]'"
    ):
        async with anyws.connect("ws://far.test", proxy=f"socks5://{HOST}:1"):
            pass


# The environment


async def knows_no_name(*_arguments: object, **_options: object) -> NoReturn:
    """Resolve nothing, as `getaddrinfo` of a machine without a name server."""
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


@pytest.mark.parametrize(
    ("variable", "scheme", "secure"),
    [
        ("http_proxy", "http", False),
        ("https_proxy", "http", False),
        ("HTTPS_PROXY", "http", True),
        ("ws_proxy", "http", False),
        ("wss_proxy", "http", True),
        ("socks_proxy", "socks5h", False),
        ("all_proxy", "socks5h", False),
        ("ALL_PROXY", "http", True),
    ],
)
async def test_the_proxy_of_the_environment(
    variable: str,
    scheme: str,
    secure: bool,
    authority: Authority,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is used, unless it is declined, or another is named."""
    tunnels = Tunnels()
    async with proxied(tunnels, scheme, authority if secure else None) as (_, proxy):
        monkeypatch.setenv(variable, f"{scheme}://{proxy}")
        url = f"{'wss' if secure else 'ws'}://far.test:1234"
        await works(url, True, authority if secure else None)
        assert len(tunnels.asked) == 1
        with monkeypatch.context() as without_names:
            # A real resolver may keep a socket of its own for seconds.
            without_names.setattr("anyio._core._sockets.getaddrinfo", knows_no_name)
            for no in (None, False):
                with pytest.raises(anyws.HandshakeError, match="not known"):
                    async with anyws.connect(url, proxy=no):
                        pass
        other = f"http://{HOST}:{unused_port()}"
        error = await failure_of(url, proxy=other)
        assert "refused" in str(error)
    assert len(tunnels.asked) == 1


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.9.9.9", "localhost", "localhost.", "a.localhost", "[::1]"],
)
async def test_no_proxy_is_asked_for_a_loopback_address(
    host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless it is given: it may stand elsewhere."""
    tunnels = Tunnels()
    async with proxied(tunnels) as (_, proxy):
        monkeypatch.setenv("all_proxy", f"http://{proxy}")
        monkeypatch.setenv("http_proxy", f"http://{proxy}")
        url = f"ws://{host}:{unused_port()}"
        with pytest.raises(anyws.HandshakeError, match="connecting to"):
            async with anyws.connect(url):
                pass
        assert not tunnels.asked
        await works(url, f"http://{proxy}", None)


@pytest.mark.parametrize("variable", ["http_proxy", "all_proxy"])
async def test_no_proxy_is_asked_where_there_is_none(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So says the environment, by a list of hosts."""
    tunnels = Tunnels()
    async with proxied(tunnels) as (_, proxy):
        monkeypatch.setenv(variable, f"http://{proxy}")
        monkeypatch.setenv("no_proxy", "near.invalid")
        error = await failure_of("ws://near.invalid")
        assert str(error).startswith("connecting to near.invalid:80 failed: ")
        await works("ws://far.test", True, None)


def test_a_proxy_of_the_environment_that_is_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is told at once, without its password."""
    monkeypatch.setenv("http_proxy", "gopher://user:pa55word@a")
    with pytest.raises(ValueError, match="scheme gopher isn't supported") as caught:
        anyws.connect("ws://far.test")
    assert "pa55word" not in str(caught.value)


@pytest.mark.parametrize("variable", ["all_proxy", "HTTPS_PROXY"])
def test_a_proxy_of_the_environment_without_a_scheme(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told which variable is to be mended."""
    monkeypatch.setenv(variable, "127.0.0.1:3128")
    with pytest.raises(ValueError, match=r".") as caught:
        anyws.connect("wss://far.test")
    assert str(caught.value) == (
        f"the proxy's URL in the environment's {variable} is invalid: "
        "it does not begin as http:// does"
    )


async def test_a_redirect_to_where_the_environment_has_no_proxy_that_is_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """That has to do with the network by then, and is no error of the call."""
    monkeypatch.setenv("http_proxy", "gopher://user:pa55word@a")

    async def script(visit: Visit) -> None:
        await visit.read_request()
        await visit.send("HTTP/1.1 302 x\r\nLocation: http://far.test/\r\n\r\n")

    async with serving(script) as peer:
        error = await failure_of(peer.url, retry=anyws.Retry())
    assert str(error).startswith("ws://far.test:80/: the proxy")
