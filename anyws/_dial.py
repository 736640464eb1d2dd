"""Byte streams to a server: TCP, TLS, unix sockets, and through proxies."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final, cast

from anyio import (
    BrokenResourceError,
    CancelScope,
    ClosedResourceError,
    EndOfStream,
    aclose_forcefully,
    connect_tcp,
    connect_unix,
)
from anyio.abc import ByteStream, SocketAttribute, SocketStream, UNIXSocketStream
from anyio.streams.tls import TLSStream
from starlette.datastructures import Headers
from websockets.exceptions import InvalidProxy
from websockets.http11 import Response
from websockets.proxy import Proxy, get_proxy, parse_proxy, prepare_connect_request
from websockets.streams import StreamReader
from websockets.uri import WebSocketURI

from ._endings import leaves_of
from ._errors import HandshakeError, HandshakeRejected
from ._opening import USER_AGENT
from ._transport import SocketTransport, StreamTransport
from ._url import is_loopback

_BROKEN: Final = (BrokenResourceError, ClosedResourceError, EndOfStream)


def proxy_for(url: WebSocketURI, proxy: str | bool | None) -> Proxy | None:
    """Return the proxy on the way to a URL, if there is one.

    Args:
        url: Where to.
        proxy: A proxy's URL; or `True` for that of the environment (`wss_proxy`,
            `https_proxy`, `all_proxy`, `no_proxy` and so on), which is not asked for a
            loopback address.

    Raises:
        ValueError: It is no URL of a proxy, or of a kind that is not known.
    """
    if proxy is True:
        proxy = None if is_loopback(url.host) else get_proxy(url)
    if not proxy:
        return None
    try:
        return parse_proxy(proxy)
    except InvalidProxy as exc:
        raise ValueError(f"the proxy's URL is invalid: {exc.msg}") from exc


async def dial(
    url: WebSocketURI,
    *,
    ssl_context: ssl.SSLContext | None = None,
    proxy: Proxy | None = None,
    unix_path: str | None = None,
) -> ByteStream:
    """Open a byte stream to the server of a URL; under TLS, if the URL says so.

    Raises:
        HandshakeError: That could not be done; says what failed, and where.

    Cancellation:
        Safe: what was open by then is closed.
    """
    stream: ByteStream
    if unix_path is not None:
        with _explained(f"cannot connect to the unix socket {unix_path!r}"):
            stream = await connect_unix(unix_path)
    elif proxy is None:
        with _explained(f"cannot connect to {url.host}:{url.port}"):
            stream = await connect_tcp(url.host, url.port)
    elif proxy.scheme.startswith("socks"):
        stream = await _through_socks(url, proxy)
    else:
        stream = await _through_http(url, proxy)
    if url.secure:
        stream = await _encrypted(stream, url.host, ssl_context)
    return stream


async def _encrypted(
    stream: ByteStream, host: str, context: ssl.SSLContext | None
) -> ByteStream:
    with _explained(f"the TLS handshake with {host} failed"):
        async with _closed_on_failure(stream):
            return await TLSStream.wrap(
                stream,
                hostname=host,
                ssl_context=context or ssl.create_default_context(),
                # A closing frame says what TLS's own closing would; without it, 1006.
                standard_compatible=False,
            )


async def _through_http(url: WebSocketURI, proxy: Proxy) -> ByteStream:
    """Ask an HTTP proxy for a tunnel (RFC 9110 section 9.3.6)."""
    where = f"the proxy {proxy.host}:{proxy.port}"
    stream: ByteStream
    with _explained(f"cannot connect to {where}"):
        stream = await connect_tcp(proxy.host, proxy.port)
    if proxy.scheme == "https":
        stream = await _encrypted(stream, proxy.host, None)
    with _explained(f"{where} opened no tunnel to {url.host}:{url.port}"):
        async with _closed_on_failure(stream):
            await stream.send(prepare_connect_request(proxy, url, USER_AGENT))
            response = await _response_of(stream)
            if not 200 <= response.status_code < 300:
                headers = Headers(dict(response.headers.raw_items()))
                raise HandshakeRejected(response.status_code, headers)
    return stream


async def _response_of(stream: ByteStream) -> Response:
    """Read the head of a proxy's response; behind it, it is the server's turn."""
    reader = StreamReader()
    parser = Response.parse(
        reader.read_line, reader.read_exact, reader.read_to_eof, proxy=True
    )
    while True:
        try:
            next(parser)
        except StopIteration as done:
            return cast("Response", done.value)
        except Exception as exc:
            raise ConnectionError(f"it did not answer with HTTP: {exc}") from exc
        reader.feed_data(await stream.receive())


async def _through_socks(url: WebSocketURI, proxy: Proxy) -> ByteStream:
    try:
        from python_socks import ProxyError, ProxyType
        from python_socks.async_.anyio import Proxy as Socks
    except ModuleNotFoundError as exc:
        raise ModuleNotFoundError(
            "a SOCKS proxy needs python-socks: install the extra 'socks'",
            name="python_socks",
        ) from exc
    kind = ProxyType.SOCKS4 if proxy.scheme.startswith("socks4") else ProxyType.SOCKS5
    socks = Socks(
        kind,
        proxy.host,
        proxy.port,
        proxy.username,
        proxy.password,
        rdns=proxy.scheme in ("socks4a", "socks5h"),
    )
    with _explained(
        f"the proxy {proxy.host}:{proxy.port} opened no tunnel to {url.host}:{url.port}"
    ):
        try:
            return await socks.connect(url.host, url.port)
        except ProxyError as exc:
            raise ConnectionError(str(exc)) from exc


def transport_of(stream: ByteStream) -> StreamTransport:
    """Return the shortest way to write to a stream, and to read from it."""
    if isinstance(stream, SocketStream | UNIXSocketStream) and os.name == "posix":
        plain = stream.extra(SocketAttribute.raw_socket)
        if isinstance(plain, socket.socket):
            return SocketTransport(stream, plain)
    # AnyIO has no public name for what asyncio reads a socket by. Without it, all that
    # follows is the longer way.
    if isinstance(stream, SocketStream) and hasattr(stream, "_transport"):
        from ._asyncio import LoopTransport

        return LoopTransport(stream, stream._transport)
    return StreamTransport(stream)


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """Say what failed, and why, in place of what AnyIO and others raise."""
    try:
        yield
    except _BROKEN as exc:
        raise HandshakeError(f"{what}: the connection was closed") from exc
    except HandshakeRejected as exc:
        raise HandshakeError(f"{what}: it answered {exc.status}") from exc
    except OSError as exc:
        raise HandshakeError(f"{what}: {_reason(exc)}") from exc


def _reason(exc: OSError) -> str:
    """Return why; AnyIO has one error for all addresses, which it names as causes."""
    causes = leaves_of(exc.__cause__) if exc.__cause__ is not None else [exc]
    return "; ".join(dict.fromkeys(map(_words_of, causes)))


def _words_of(exc: BaseException) -> str:
    """Return the system's own words, which backends wrap in theirs."""
    number = None if isinstance(exc, ssl.SSLError) else getattr(exc, "errno", None)
    if number is not None and number > 0:  # below, they are the resolver's
        return os.strerror(number)
    return getattr(exc, "strerror", None) or str(exc)


@asynccontextmanager
async def _closed_on_failure(stream: ByteStream) -> AsyncIterator[None]:
    try:
        yield
    except BaseException:
        with CancelScope(shield=True):
            await aclose_forcefully(stream)
        raise
