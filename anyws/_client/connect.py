"""Opening a client's connection, once or again and again."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from inspect import isawaitable
from math import inf
from types import UnionType
from typing import Final, Literal, TypeAlias

from anyio import AsyncContextManagerMixin, CancelScope, current_time, fail_after
from anyio.abc import ByteStream
from websockets.uri import WebSocketURI

from .._frames.transport import StreamTransport
from .._values.errors import HandshakeError, HandshakeRejected
from .._values.headers import HeadersLike, check_value, checked_request_headers
from .._values.options import DEFAULTS, Options
from .dial import Dialling, transport_of
from .handshake import ClientHandshake, checked_subprotocols
from .proxy import proxy_for
from .reconnect import Connections
from .retry import Retry
from .url import parse_url, redirected, same_origin, shown
from .websocket import ClientWebSocket

HeadersSource: TypeAlias = (
    HeadersLike | Callable[[], HeadersLike | Awaitable[HeadersLike]]
)

MAX_REDIRECTS: Final = 10

# Seconds for the body of a rejection, behind its head: it may have no end.
BODY_TIMEOUT: Final = 2.0

# What arguments may be, and how that is said.
_TYPES: Final[dict[str, tuple[UnionType | type, str]]] = {
    "ssl_context": (ssl.SSLContext | None, "an ssl.SSLContext or None"),
    "proxy": (str | bool | None, "a URL, True, False or None"),
    "stream": (ByteStream | None, "an anyio.abc.ByteStream or None"),
    "options": (Options, "anyws.Options"),
    "open_timeout": (int | float | None, "a number of seconds or None"),
    "retry": (Retry | None, "anyws.Retry or None"),
}

# Those that speak for the user, or name the server: for the origin they were meant for.
_PRIVATE: Final = frozenset({"authorization", "cookie", "host", "proxy-authorization"})


class Connector(AsyncContextManagerMixin):
    """What `connect` returns: a block with one connection, or a loop over many."""

    def __init__(
        self,
        url: str,
        *,
        subprotocols: Sequence[str],
        headers: HeadersSource | None,
        origin: str | None,
        ssl_context: ssl.SSLContext | None,
        proxy: str | bool | None,
        compression: Literal["deflate"] | None,
        unix_path: str | None,
        stream: ByteStream | None,
        options: Options,
        open_timeout: float | None,
        retry: Retry | None,
    ) -> None:
        self._url = parse_url(url)
        self._subprotocols = checked_subprotocols(subprotocols)
        if not callable(headers):
            headers = checked_request_headers(headers)
        if origin is not None:
            check_value("origin", origin)
        _check_types(
            ssl_context=ssl_context,
            proxy=proxy,
            stream=stream,
            options=options,
            open_timeout=open_timeout,
            retry=retry,
        )
        if open_timeout is not None and not open_timeout >= 0:
            raise ValueError(f"open_timeout is 0 or more seconds, not {open_timeout}")
        if compression not in ("deflate", None):
            raise ValueError(f"compression is 'deflate' or None, not {compression!r}")
        if stream is not None and (unix_path is not None or retry is not None):
            raise ValueError(
                "a stream is for one connection, and has its place already"
            )
        proxy_for(self._url, proxy)  # raises if it is not known
        self._headers = headers
        self._origin = origin
        self._ssl_context = ssl_context
        self._proxy = proxy
        self._compression = compression
        self._unix_path = unix_path
        self._stream = stream
        self._options = options
        self._open_timeout = open_timeout
        self._retry = retry
        self._entered = False

    # A block

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[ClientWebSocket]:
        """Open a connection, and close it by what leaves the block.

        AnyIO's mixin takes note of an entry only once the connection is open: by then
        another task may have begun to enter.
        """
        if self._entered:
            raise RuntimeError(
                "this connect() has been entered: call it once for each connection"
            )
        self._entered = True
        try:
            if self._retry is None:
                websocket = await self.open()
            else:
                connections = Connections(self.open, self._retry, reconnects=False)
                websocket = await connections.open()
            async with websocket:
                yield websocket
        finally:
            self._entered = False

    # A loop

    def __aiter__(self) -> AsyncIterator[ClientWebSocket]:
        """Open a connection, and another whenever the last one is over."""
        if self._stream is not None:
            raise RuntimeError("a stream is for one connection: use 'async with'")
        return Connections(self.open, self._retry or Retry(), reconnects=True)

    # Opening

    async def open(self, *, reconnects: bool = False) -> ClientWebSocket:
        """Open one connection, following redirects."""
        try:
            return await self._open(reconnects)
        except BaseException:
            if self._stream is not None:
                await _closed(StreamTransport(self._stream))
            raise

    async def _open(self, reconnects: bool) -> ClientWebSocket:
        headers = self._headers
        if callable(headers):
            made = headers()
            headers = checked_request_headers(await made if isawaitable(made) else made)
        headers = list(headers or ())
        url = self._url
        deadline: float | None = None
        for _ in range(MAX_REDIRECTS + 1):
            opening = ClientHandshake(
                url,
                headers=headers,
                origin=self._origin,
                subprotocols=self._subprotocols,
                compression=self._compression is not None,
            )
            if deadline is None:  # what the headers take to make does not count
                limit = self._open_timeout
                deadline = inf if limit is None else current_time() + limit
            try:
                return await self._try(url, opening, deadline, reconnects)
            except HandshakeRejected as exc:
                target = redirected(url, exc)
                if target is None or self._stream is not None:
                    raise
                if not same_origin(url, target):
                    if self._unix_path is not None:
                        raise
                    headers = [
                        pair for pair in headers if pair[0].lower() not in _PRIVATE
                    ]
                url = target
        raise HandshakeError(f"{shown(self._url)}: over {MAX_REDIRECTS} redirects")

    async def _try(
        self,
        url: WebSocketURI,
        opening: ClientHandshake,
        deadline: float,
        reconnects: bool,
    ) -> ClientWebSocket:
        try:
            proxy = proxy_for(url, self._proxy)
        except ValueError as exc:  # a redirect leads to where it is asked for
            raise HandshakeError(f"{shown(url)}: {exc}") from exc
        dialling = Dialling(
            url,
            ssl_context=self._ssl_context,
            proxy=proxy,
            unix_path=self._unix_path,
        )
        transport = None
        try:
            with fail_after(deadline - current_time()):
                stream = self._stream or await dialling.dial()
                transport = transport_of(stream)
                await self._shake_hands(transport, opening)
            return ClientWebSocket._over(
                transport, opening, self._options, reconnects=reconnects
            )
        except BaseException as exc:
            if transport is not None:
                await _closed(transport)
            if isinstance(exc, HandshakeError) or not isinstance(exc, OSError):
                raise
            step = dialling.step if transport is None else "the opening handshake"
            # TimeoutError: what the system calls so became a HandshakeError below.
            raise opening.rejection() or HandshakeError(
                f"{shown(url)}: {step} timed out after {self._open_timeout} s"
            ) from exc

    async def _shake_hands(
        self, transport: StreamTransport, opening: ClientHandshake
    ) -> None:
        try:
            await transport.send_all(opening.request)
        except OSError:
            pass  # what it has answered, or what broke it, is to be read
        with fail_after(None) as body:
            while not opening.receive_data(await transport.receive(), transport.error):
                if opening.status and body.deadline == inf:
                    body.deadline = current_time() + BODY_TIMEOUT


def _check_types(**arguments: object) -> None:
    for name, value in arguments.items():
        kind, spoken = _TYPES[name]
        if not isinstance(value, kind):
            raise TypeError(f"{name} must be {spoken}, not {type(value).__name__}")


async def _closed(transport: StreamTransport) -> None:
    """Close what came to nothing."""
    with CancelScope(shield=True):
        await transport.aclose()


def connect(
    url: str,
    *,
    subprotocols: Sequence[str] = (),
    headers: HeadersSource | None = None,
    origin: str | None = None,
    ssl_context: ssl.SSLContext | None = None,
    proxy: str | bool | None = True,
    compression: Literal["deflate"] | None = "deflate",
    unix_path: str | None = None,
    stream: ByteStream | None = None,
    options: Options = DEFAULTS,
    open_timeout: float | None = 10.0,
    retry: Retry | None = None,
) -> Connector:
    """Connect to a WebSocket server.

    As a block it is one connection, closed by what leaves the block. What is returned
    may be entered again after that, but not by two tasks at once.

        async with anyws.connect("wss://example.org/feed") as ws:
            async for message in ws: ...

    As a loop it connects again whenever a connection is over, however that came about;
    `break` leaves it. The block inside is the connection's: nothing runs outside, and
    its `ConnectionClosed` ends there. A connection that is left without having been
    entered is closed only when it is collected.

        async for ws in anyws.connect("wss://example.org/feed", retry=anyws.Retry()):
            async with ws:
                async for message in ws: ...

    Args:
        url: `ws://` or `wss://`. A user and password in it become basic authentication,
            unless `headers` has an `Authorization` of its own.
        subprotocols: Offered to the server, in the order of preference.
        headers: More headers for the request: a mapping, pairs, or a function, async or
            not, that is called before each try and returns either. What it raises is
            not tried again, and ends the loop.
        origin: The `Origin` header. Browsers send it, programs need not.
        ssl_context: For `wss://`; by default the system's certificates are trusted, as
            they always are for an `https` proxy.
        proxy: A proxy's URL (`http`, `https`, `socks5`, `socks5h`, `socks4`, `socks4a`;
            SOCKS needs the extra `socks`). `True` (default): that of the environment,
            which is not asked for a loopback address. `None` or `False`: none.
        compression: `"deflate"` (default) offers permessage-deflate, `None` does not.
        unix_path: The path of a unix socket to connect to instead of the URL's host.
        stream: A connected byte stream to use instead. TLS is not added to it, and it
            is closed at the end, also when the handshake fails.
        options: Buffers, limits and time-outs of the connection.
        open_timeout: Seconds for one try, from the name's look-up to the answer, with
            all redirects (default 10.0); `None`: no limit. The body of a rejection has
            2 seconds of its own, and what has come of it by then is told.
        retry: How to go on after a try that came to nothing. Without it, a block tries
            once, and a loop goes by `Retry()`.

    Redirects are followed, at most 10, and never from `wss` to `ws`; `Authorization`
    and `Cookie` headers do not go to another origin.

    Raises:
        ValueError, TypeError: An argument has no meaning; says which and why.
        HandshakeRejected: On entry: the server answered with another status.
        ProtocolError: On entry: it answered with something else altogether.
        HandshakeError: On entry: it was not reached, or TLS failed, or in time.

    Cancellation:
        Safe: what was open by then is closed. Inside the block, see `ClientWebSocket`.
    Source: RFC 6455 section 4.1; RFC 7692; RFC 8305 (two address families at once).
    """
    return Connector(
        url,
        subprotocols=subprotocols,
        headers=headers,
        origin=origin,
        ssl_context=ssl_context,
        proxy=proxy,
        compression=compression,
        unix_path=unix_path,
        stream=stream,
        options=options,
        open_timeout=open_timeout,
        retry=retry,
    )
