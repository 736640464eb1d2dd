"""Byte streams to a server: TCP, TLS, unix sockets, and through proxies."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from dataclasses import replace
from math import inf
from typing import cast

from anyio import (
    BrokenResourceError,
    CancelScope,
    ClosedResourceError,
    EndOfStream,
    aclose_forcefully,
    connect_tcp,
    connect_unix,
)
from anyio.abc import ByteStream
from anyio.streams.tls import TLSStream
from websockets.http11 import Response
from websockets.proxy import Proxy, prepare_connect_request
from websockets.streams import StreamReader
from websockets.uri import WebSocketURI

from .._frames.transport import reason_of
from .._values.errors import HandshakeError, HandshakeRejected, ProtocolError
from .destination import Destination
from .handshake import USER_AGENT, starlette_headers
from .response import read_response
from .url import without_zone


class Dialling:
    """The way to the server of a URL, one step after the other.

    Args:
        url: The server's URL.
        destination: Where it is reached.
        proxy: The proxy on the way, if there is one.

    Attributes:
        step: The step under way, for the message that it failed or took too long.
    """

    def __init__(
        self,
        url: WebSocketURI,
        destination: Destination,
        proxy: Proxy | None = None,
    ) -> None:
        self.step = ""
        self._url = url
        self._dialled = destination.dialled(url)
        self._destination = destination
        self._proxy = proxy

    async def dial(self) -> ByteStream:
        """Open a byte stream to the server; under TLS, if the URL says so.

        Raises:
            HandshakeError: A step has failed; the message says which step, where, and
                why.
            ProtocolError: A proxy has not answered with HTTP.
            ModuleNotFoundError: A SOCKS proxy needs the extra `socks`.

        Cancellation:
            Safe: everything that was open by then is closed.
        """
        there, proxy = self._dialled, self._proxy
        unix_path = self._destination.unix_path
        stream: ByteStream
        if unix_path is not None:
            with self._explained(f"connecting to the unix socket {unix_path!r}"):
                stream = await connect_unix(unix_path)
        elif proxy is None:
            with self._explained(f"connecting to {_address(there)}"):
                stream = await connect_tcp(there.host, there.port)
        elif proxy.scheme.startswith("socks"):
            stream = await self._through_socks(proxy)
        else:
            stream = await self._through_http(proxy)
        if self._url.secure:
            name = self._destination.tls_name(self._url)
            context = self._destination.ssl_context
            stream = await self._encrypted(stream, name, context)
        return stream

    async def _encrypted(
        self, stream: ByteStream, host: str, context: ssl.SSLContext | None
    ) -> ByteStream:
        with self._explained(f"the TLS handshake with {host}"):
            async with _closed_on_failure(stream):
                return await TLSStream.wrap(
                    stream,
                    hostname=host,
                    ssl_context=context or ssl.create_default_context(),
                    # Many servers close TCP without TLS's close_notify. A stream
                    # that was cut short is known by its missing closing frame: 1006.
                    standard_compatible=False,
                )

    async def _through_http(self, proxy: Proxy) -> ByteStream:
        """Ask an HTTP proxy for a tunnel (RFC 9110 section 9.3.6)."""
        url = replace(self._dialled, host=without_zone(self._dialled.host))
        stream: ByteStream
        with self._explained(f"connecting to the proxy {_address(proxy)}"):
            stream = await connect_tcp(proxy.host, proxy.port)
        if proxy.scheme == "https":
            stream = await self._encrypted(stream, without_zone(proxy.host), None)
        with self._tunnelling(proxy):
            async with _closed_on_failure(stream):
                await stream.send(prepare_connect_request(proxy, url, USER_AGENT))
                response = await _response_of(stream)
                if not 200 <= response.status_code < 300:
                    headers = starlette_headers(response.headers)
                    raise HandshakeRejected(response.status_code, headers)
        return stream

    async def _through_socks(self, proxy: Proxy) -> ByteStream:
        """Ask a SOCKS proxy for a tunnel (RFC 1928)."""
        try:
            from python_socks import ProxyType
            from python_socks.async_.anyio import Proxy as Socks
        except ModuleNotFoundError as exc:
            raise ModuleNotFoundError(
                "a SOCKS proxy needs python-socks: "
                "pip install 'anyws-websockets[socks]'",
                name="python_socks",
            ) from exc
        four = proxy.scheme.startswith("socks4")
        socks = Socks(
            ProxyType.SOCKS4 if four else ProxyType.SOCKS5,
            proxy.host,
            proxy.port,
            proxy.username,
            proxy.password,
            rdns=proxy.scheme in ("socks4a", "socks5h"),
        )
        with self._tunnelling(proxy):
            try:
                host, port = without_zone(self._dialled.host), self._dialled.port
                return await socks.connect(host, port, timeout=inf)
            except (BrokenResourceError, ClosedResourceError, OSError):
                raise
            except Exception as exc:  # python-socks does not export all its errors
                raise HandshakeError(f"{self.step} failed: {exc}") from exc

    def _tunnelling(self, proxy: Proxy) -> AbstractContextManager[None]:
        way = f"through the proxy {_address(proxy)}"
        return self._explained(f"the tunnel to {_address(self._dialled)} {way}")

    @contextmanager
    def _explained(self, step: str) -> Iterator[None]:
        """Raise a HandshakeError that names the step in place of a foreign error."""
        self.step = step
        try:
            yield
        except EndOfStream as exc:
            raise HandshakeError(f"{step} failed: it hung up") from exc
        except HandshakeRejected as exc:
            raise HandshakeError(f"{step} failed: it answered {exc.status}") from exc
        except ProtocolError as exc:
            raise ProtocolError(f"{step} failed: {exc}") from exc
        except HandshakeError:
            raise
        except (BrokenResourceError, ClosedResourceError, OSError, ValueError) as exc:
            # The ssl module raises ValueError for a host name that it cannot check.
            words = f"{step} failed: {reason_of(exc)}"
            raise HandshakeError(words) from _unwrapped(exc)


def _unwrapped(exc: Exception) -> BaseException:
    """Return the system's error that AnyIO has wrapped, or the error itself.

    AnyIO's own says no more than that the connection attempt failed.
    """
    cause = exc.__cause__
    return cause if isinstance(cause, OSError) and type(exc) is OSError else exc


async def _response_of(stream: ByteStream) -> Response:
    """Read the head of a proxy's response; the bytes behind it are the server's."""
    reader = StreamReader()
    parser = read_response(reader)
    while True:
        try:
            next(parser)
        except StopIteration as done:
            return cast("Response", done.value)
        except Exception as exc:
            raise ProtocolError(f"it did not answer with HTTP: {exc}") from exc
        reader.feed_data(await stream.receive())


def _address(of: WebSocketURI | Proxy) -> str:
    """Return a host and its port, for a message."""
    return f"[{of.host}]:{of.port}" if ":" in of.host else f"{of.host}:{of.port}"


@asynccontextmanager
async def _closed_on_failure(stream: ByteStream) -> AsyncIterator[None]:
    """Close a stream at once, without TLS's own closing, if the block fails."""
    try:
        yield
    except BaseException:
        with CancelScope(shield=True):
            await aclose_forcefully(stream)
        raise
