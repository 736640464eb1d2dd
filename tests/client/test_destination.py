"""Another place than the one of the URL."""

from __future__ import annotations

import ssl
from typing import Any

import pytest

import anyws

from ..support.peers import HOST, Authority, Visit, in_memory, serving
from ..support.proxies import Tunnels

NAME = "server.test"


@pytest.fixture(scope="module")
def authority() -> Authority:
    """Give an authority for certificates."""
    return Authority()


async def echo(visit: Visit) -> None:
    """Be an echo server."""
    await visit.echo()


async def says_hello(ws: anyws.ClientWebSocket) -> None:
    """Hold that the connection works."""
    await ws.send_text("hello")
    assert await ws.receive_text() == "hello"


async def test_another_host_and_port() -> None:
    """They are dialled, and the request stays that of the URL."""
    async with serving(echo) as peer:
        url = f"ws://{NAME}:9/path"
        connecting = anyws.connect(url, host=HOST, port=peer.port, proxy=None)
        async with connecting as ws:
            await says_hello(ws)
        (request,) = peer.requests
    assert (request.headers["Host"], request.path) == (f"{NAME}:9", "/path")


async def test_one_of_the_two_stays_that_of_the_url() -> None:
    """A host alone, or a port alone."""
    async with serving(echo) as peer:
        for url, other in (
            (f"ws://{NAME}:{peer.port}", {"host": HOST}),
            (f"ws://{HOST}:9", {"port": peer.port}),
        ):
            async with anyws.connect(url, **other) as ws:
                await says_hello(ws)


async def test_a_loop_dials_the_other_place_each_time() -> None:
    """So does a try after one that has failed."""
    async with serving(echo) as peer:
        count = 0
        async for ws in anyws.connect(f"ws://{NAME}", host=HOST, port=peer.port):
            async with ws:
                await says_hello(ws)
            count += 1
            if count == 2:
                break
        assert len(peer.visits) == 2


async def test_a_failure_names_the_place_that_was_dialled() -> None:
    """The URL's host has nothing to do with it."""
    with pytest.raises(anyws.HandshakeError, match=r"connecting to 127\.0\.0\.1:1 "):
        async with anyws.connect(f"ws://{NAME}", host=HOST, port=1):
            pass


async def test_tls_asks_for_the_name_of_the_url(authority: Authority) -> None:
    """Whatever host is dialled; and for another one, if that is named."""
    async with serving(echo, tls=authority.server(NAME)) as peer:
        place: dict[str, Any] = {
            "host": HOST,
            "port": peer.port,
            "ssl_context": authority.client(),
        }
        async with anyws.connect(f"wss://{NAME}", **place) as ws:
            await says_hello(ws)
        with pytest.raises(anyws.HandshakeError, match=r"TLS handshake with other\."):
            async with anyws.connect("wss://other.test", **place):
                pass
        place["server_hostname"] = NAME
        async with anyws.connect("wss://other.test", **place) as ws:
            await says_hello(ws)
    assert peer.requests[-1].headers["Host"] == "other.test"


@pytest.mark.parametrize("scheme", ["http", "socks5"])
async def test_a_proxy_is_asked_for_the_place_that_is_dialled(scheme: str) -> None:
    """It leads to the other host, and the request is that of the URL."""
    tunnels = Tunnels()
    script = tunnels.http if scheme == "http" else tunnels.socks5
    async with serving(echo) as peer, serving(script) as way:
        tunnels.port = peer.port
        proxy = f"{scheme}://{HOST}:{way.port}"
        async with anyws.connect(
            f"ws://{NAME}:9", host="127.0.0.9", port=7, proxy=proxy
        ) as ws:
            await says_hello(ws)
        assert peer.requests[0].headers["Host"] == f"{NAME}:9"
    (asked,) = tunnels.asked
    assert "127.0.0.9:7" in asked
    assert NAME not in asked


async def test_the_environment_has_no_proxy_for_a_loopback_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The address that is dialled decides."""
    monkeypatch.setenv("http_proxy", f"http://{HOST}:1")
    async with serving(echo) as peer:
        async with anyws.connect(f"ws://{NAME}", host=HOST, port=peer.port) as ws:
            await says_hello(ws)


async def test_a_redirect_to_another_origin_is_a_rejection() -> None:
    """The place was named for the first one; within it, redirects are followed."""

    async def script(visit: Visit) -> None:
        request = await visit.read_request()
        where = {"/a": "/b", "/b": "ws://elsewhere.test/"}[request.path]
        await visit.send(
            f"HTTP/1.1 307 Temporary Redirect\r\nLocation: {where}\r\n\r\n".encode()
        )

    async with serving(script) as peer:
        with pytest.raises(anyws.HandshakeRejected) as caught:
            async with anyws.connect(f"ws://{NAME}/a", host=HOST, port=peer.port):
                pass
        assert caught.value.status == 307
        assert [request.path for request in peer.requests] == ["/a", "/b"]


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"host": 1}, TypeError, "host must be a str or None, not int"),
        ({"port": "80"}, TypeError, "port must be an int or None, not str"),
        ({"port": True}, TypeError, "port must be an int or None, not bool"),
        ({"host": ""}, ValueError, "host is a name or an address, not ''"),
        ({"host": "a b"}, ValueError, "host is a name or an address"),
        ({"host": "a\r\nb"}, ValueError, "host is a name or an address"),
        ({"host": "ws://a"}, ValueError, "host is a name or an address"),
        ({"host": "[::1]"}, ValueError, "host is a name or an address"),
        ({"port": 0}, ValueError, "port must be from 1 to 65535, not 0"),
        ({"port": 65536}, ValueError, "port must be from 1 to 65535"),
        ({"host": "a", "unix_path": "b"}, ValueError, "exclude each other"),
        ({"port": 1, "app": anyws.accept_stream}, TypeError, "application"),
        ({"app": "module:app"}, TypeError, "not its path"),
        ({"unix_path": "b", "proxy": "http://p"}, ValueError, "goes through no proxy"),
        ({"server_hostname": "a"}, ValueError, "for TLS, which is not used here"),
        ({"server_hostname": ""}, ValueError, "server_hostname is a name"),
        ({"server_hostname": b"a"}, TypeError, "server_hostname must be a str"),
    ],
)
def test_what_has_no_meaning(
    arguments: dict[str, Any], error: type[Exception], words: str
) -> None:
    """It is refused at once, with words that say what and why."""
    with pytest.raises(error, match=words):
        anyws.connect("ws://name", **arguments)


async def test_what_has_no_meaning_together() -> None:
    """An application or a stream has its place, and no TLS."""

    async def app(ws: anyws.WebSocket) -> None:
        """Do nothing."""

    ours, theirs = in_memory()
    context = ssl.create_default_context()
    for arguments, words in (
        ({"app": app, "stream": ours}, "stream and app exclude each other"),
        ({"app": app, "host": "a"}, "host or port and app exclude each other"),
        ({"app": app, "proxy": "http://p"}, "app goes through no proxy"),
        ({"app": app, "ssl_context": context}, "reached without TLS"),
        ({"app": app, "server_hostname": "a"}, "for TLS, which is not used here"),
        ({"app": app, "retry": anyws.Retry()}, "runs in one block, without a retry"),
        ({"stream": ours, "server_hostname": "a"}, "for TLS"),
    ):
        with pytest.raises(ValueError, match=words):
            anyws.connect("wss://name", **arguments)  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="runs in one block: use 'async with'"):
        anyws.connect("ws://name", app=app).__aiter__()
    await ours.aclose()
    await theirs.aclose()


async def test_a_unix_socket_with_the_name_of_a_certificate(
    tmp_path: Any, authority: Authority
) -> None:
    """The name is checked where the URL's host is none of the certificate's."""
    path = str(tmp_path / "socket")

    async def handler(ws: anyws.WebSocket) -> None:
        await ws.accept()
        await ws.send_text(ws.url.hostname or "")

    context = authority.server(NAME)
    async with anyws.serve(handler, unix_path=path, ssl_context=context):
        async with anyws.connect(
            "wss://other.test",
            unix_path=path,
            ssl_context=authority.client(),
            server_hostname=NAME,
        ) as ws:
            assert await ws.receive_text() == "other.test"
