"""Opening a client's connection, once or again and again."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from inspect import isawaitable
from math import inf
from types import UnionType
from typing import Final, TypeAlias

from anyio import AsyncContextManagerMixin, CancelScope, current_time, fail_after
from anyio.abc import ByteStream
from websockets.uri import WebSocketURI

from .._frames.transport import StreamTransport
from .._frames.transports import transport_of
from .._serve.application import application_of
from .._serve.server import Application
from .._values.deflate import Compression, deflate_of
from .._values.errors import HandshakeError, HandshakeRejected
from .._values.headers import HeadersLike, check_value, checked_request_headers
from .._values.options import DEFAULTS, Options, warn_of_limit, with_compression
from .destination import Destination
from .dial import Dialling
from .handshake import ClientHandshake, checked_subprotocols
from .in_process import InProcessServer, hosted
from .proxy import proxy_for
from .reconnect import Connections
from .retry import Retry
from .url import parse_url, redirect_target, same_origin, shown
from .websocket import ClientWebSocket

HeadersSource: TypeAlias = (
    HeadersLike | Callable[[], HeadersLike | Awaitable[HeadersLike]]
)

MAX_REDIRECTS: Final = 10

# Seconds for the body of a rejection, from its head on: the body may never end.
BODY_TIMEOUT: Final = 2.0

# The type of each argument, and its name in error messages.
_TYPES: Final[dict[str, tuple[UnionType | type, str]]] = {
    "proxy": (str | bool | None, "a URL, True, False or None"),
    "options": (Options, "anyws.Options"),
    "open_timeout": (int | float | None, "a number of seconds or None"),
    "retry": (Retry | None, "anyws.Retry or None"),
}

# The headers with credentials, or the server's name: they are for one origin only.
_HEADERS_FOR_ONE_ORIGIN: Final = frozenset(
    {"authorization", "cookie", "host", "proxy-authorization"}
)


class Connector(AsyncContextManagerMixin):
    """The object that `connect` returns: a block with a connection, or a loop of them.

    `async with` opens one connection and closes it. `async for` opens a connection, and
    another one whenever the last one is over. `connect` describes both.
    """

    def __init__(
        self,
        url: str,
        *,
        subprotocols: Sequence[str],
        headers: HeadersSource | None,
        origin: str | None,
        destination: Destination,
        proxy: str | bool | None,
        compression: Compression,
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
            proxy=proxy, options=options, open_timeout=open_timeout, retry=retry
        )
        destination.check(self._url, proxy)
        if open_timeout is not None and not open_timeout >= 0:
            raise ValueError(
                f"open_timeout must be 0 or more seconds, not {open_timeout}"
            )
        options = with_compression(options, compression)
        if retry is not None and destination.for_one_connection is not None:
            raise ValueError(f"{destination.for_one_connection}, without a retry")
        # Raises ValueError if the URL is not a proxy's.
        proxy_for(destination.dialled(self._url), proxy)
        self._headers = headers
        self._origin = origin
        self._destination = destination
        self._proxy = proxy
        warn_of_limit(options, "a client", 3)
        self._options = options
        self._open_timeout = open_timeout
        self._retry = retry
        self._entered = False
        self._server: InProcessServer | None = None  # of the block, if there is an app

    # A block

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[ClientWebSocket]:
        """Open a connection; close it with the code for what leaves the block."""
        # AnyIO's mixin refuses a second entry too, but only once the connection is
        # open, which is too late if two tasks enter at the same time.
        if self._entered:
            raise RuntimeError(
                "this connect() has been entered: call it once for each connection"
            )
        self._entered = True
        app = self._destination.app
        try:
            async with AsyncExitStack() as stack:
                if app is not None:
                    hosting = hosted(app, self._options.close_timeout)
                    self._server = await stack.enter_async_context(hosting)
                if self._retry is None:
                    websocket = await self.open()
                else:
                    connections = Connections(self.open, self._retry, reconnects=False)
                    websocket = await connections.open()
                async with websocket:
                    yield websocket
        finally:
            self._entered = False
            self._server = None

    # A loop

    def __aiter__(self) -> AsyncIterator[ClientWebSocket]:
        """Return an iterator, which opens a connection at each turn of the loop.

        Raises:
            RuntimeError: The connection is to use a given stream, so there is only one;
                or an application, which needs a block to run in.
        """
        if self._destination.for_one_connection is not None:
            raise RuntimeError(
                f"{self._destination.for_one_connection}: use 'async with'"
            )
        return Connections(self.open, self._retry or Retry(), reconnects=True)

    # Opening

    async def open(self, *, reconnects: bool = False) -> ClientWebSocket:
        """Open one connection, following redirects.

        Args:
            reconnects: Whether the connection is one of a loop.

        Raises:
            HandshakeRejected: The server answered with another status.
            ProtocolError: The server's answer is not a valid answer to an opening
                handshake.
            HandshakeError: The server was not reached, TLS failed, or time ran out.

        Cancellation:
            Safe: everything that was open by then is closed.
        """
        try:
            return await self._open(reconnects)
        except BaseException:
            if self._destination.stream is not None:
                await _close(StreamTransport(self._destination.stream))
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
                compression=deflate_of(self._options.compression),
            )
            if deadline is None:  # the time that `headers()` takes does not count
                limit = self._open_timeout
                deadline = inf if limit is None else current_time() + limit
            try:
                return await self._attempt(url, opening, deadline, reconnects)
            except HandshakeRejected as exc:
                target = redirect_target(url, exc)
                if target is None or self._destination.stream is not None:
                    raise
                if not same_origin(url, target):
                    if self._destination.for_one_origin:
                        raise  # the place is that of the first origin
                    headers = [
                        (name, value)
                        for name, value in headers
                        if name.lower() not in _HEADERS_FOR_ONE_ORIGIN
                    ]
                url = target
        raise HandshakeError(f"{shown(self._url)}: over {MAX_REDIRECTS} redirects")

    async def _attempt(
        self,
        url: WebSocketURI,
        opening: ClientHandshake,
        deadline: float,
        reconnects: bool,
    ) -> ClientWebSocket:
        """Dial, and perform the opening handshake, at one URL."""
        destination = self._destination
        try:
            proxy = proxy_for(destination.dialled(url), self._proxy)
        except ValueError as exc:  # the environment has another proxy for a redirect
            raise HandshakeError(f"{shown(url)}: {exc}") from exc
        dialling = Dialling(url, destination, proxy)
        transport = None
        try:
            with fail_after(deadline - current_time()):
                if self._server is not None:
                    stream = self._server.dial(url)
                else:
                    stream = destination.stream or await dialling.dial()
                transport = transport_of(stream)
                await self._perform_handshake(transport, opening)
            return ClientWebSocket._over(
                transport, opening, self._options, reconnects=reconnects
            )
        except BaseException as exc:
            if transport is not None:
                await _close(transport)
            if isinstance(exc, HandshakeError) or not isinstance(exc, OSError):
                raise
            step = dialling.step if transport is None else "the opening handshake"
            # The TimeoutError of `fail_after`: the system's own (ETIMEDOUT) has become
            # a HandshakeError in Dialling.
            raise opening.rejection() or HandshakeError(
                f"{shown(url)}: {step} timed out after {self._open_timeout} s"
            ) from exc

    async def _perform_handshake(
        self, transport: StreamTransport, opening: ClientHandshake
    ) -> None:
        """Send the request, and read the answer."""
        try:
            await transport.send_all(opening.request)
        except OSError:
            # A server may answer and close before it has read the request: the answer,
            # or the reason of the failure, is found by reading.
            pass
        with fail_after(None) as body:
            while not opening.receive_data(await transport.receive(), transport.error):
                if opening.status and body.deadline == inf:
                    body.deadline = current_time() + BODY_TIMEOUT


def _check_types(**arguments: object) -> None:
    """Raise TypeError for an argument that does not have its type in `_TYPES`."""
    for name, value in arguments.items():
        kind, spoken = _TYPES[name]
        if not isinstance(value, kind):
            raise TypeError(f"{name} must be {spoken}, not {type(value).__name__}")


async def _close(transport: StreamTransport) -> None:
    """Close a transport that no connection was made of, also in a cancelled task."""
    with CancelScope(shield=True):
        await transport.aclose()


def connect(
    url: str,
    *,
    subprotocols: Sequence[str] = (),
    headers: HeadersSource | None = None,
    origin: str | None = None,
    host: str | None = None,
    port: int | None = None,
    ssl_context: ssl.SSLContext | None = None,
    server_hostname: str | None = None,
    proxy: str | bool | None = True,
    compression: Compression = "deflate",
    unix_path: str | None = None,
    stream: ByteStream | None = None,
    app: Application | None = None,
    options: Options = DEFAULTS,
    open_timeout: float | None = 10.0,
    retry: Retry | None = None,
) -> Connector:
    """Connect to a WebSocket server.

    `async with` opens one connection. When the block is left, the connection is closed:
    with 1000 after a return, 1011 after an exception, 1012 after a cancellation, 1001
    after Ctrl-C. After that the same object may be entered again, but not by two tasks
    at once.

        async with anyws.connect("wss://example.org/feed") as ws:
            async for message in ws: ...

    `async for` connects again whenever a connection is over, for whatever reason;
    `break` ends the loop. Each connection needs an `async with` block of its own in the
    loop; the block swallows the connection's own `ConnectionClosed`, and no task runs
    outside of it. If the loop's body does not enter a connection, it is closed at the
    loop's next turn; after a `break`, it is closed only when it is garbage-collected.

        async for ws in anyws.connect("wss://example.org/feed", retry=anyws.Retry()):
            async with ws:
                async for message in ws: ...

    Args:
        url: `ws://` or `wss://`. A user and password in it become basic authentication,
            unless `headers` has an `Authorization` of its own.
        subprotocols: Offered to the server, in the order of preference.
        headers: More headers for the request: a mapping, pairs, or a function, async or
            not, that is called before each try and returns either. If the function
            raises an exception, the block or the loop raises it, without a retry.
        origin: The `Origin` header. Browsers send it; programs need not.
        host, port: The address to connect to, directly or through a proxy, if it is not
            the URL's. The `Host` header and the name that TLS checks stay those of the
            URL.
        ssl_context: For `wss://`. By default, and always for an `https` proxy, the
            system's certificates are trusted.
        server_hostname: The name that TLS asks for, and that the certificate must have,
            if it is not the URL's host.
        proxy: A proxy's URL (`http`, `https`, `socks5`, `socks5h`, `socks4`, `socks4a`;
            SOCKS needs the extra `socks`). `True` (default): the proxy that the
            environment names, but never for a loopback address. `None` or `False`: no
            proxy.
        compression: `"deflate"` (default) or an `anyws.Deflate` offers
            permessage-deflate; `None` does not. `Options.compression` does the same.
        unix_path: The path of a unix socket to connect to instead of the URL's host.
        stream: A connected byte stream to use instead. TLS is not added to it, and it
            is closed at the end, also when the handshake fails.
        app: An application in this process to connect to instead: a handler
            `async def handler(ws)`, an `@anyws.endpoint`, or any ASGI application. It
            runs in a task of the block, over a stream in memory, and its lifespan is
            not run. If it raises an exception, leaving the block raises that exception,
            unless the block raises an error of its own that is not about the end of the
            connection. The application is cancelled if it has not ended
            `Options.close_timeout` seconds after the connection.
        options: Buffers, limits and timeouts of the connection.
        open_timeout: Seconds for one try, from the look-up of the name to the answer,
            all redirects included (default 10.0); `None`: no limit. The body of a
            rejection has 2 seconds of its own; `HandshakeRejected` holds the part that
            has arrived by then.
        retry: When to try again after a try has failed. Without it, a block tries once,
            and a loop uses `Retry()`.

    Redirects are followed, at most 10, and never from `wss` to `ws`; `Authorization`
    and `Cookie` headers are not sent to another origin. If `host`, `port`,
    `server_hostname`, `unix_path` or `app` is given, a redirect to another origin
    counts as a rejection.

    Raises:
        ValueError, TypeError: An argument is invalid; the message says which and why.
        HandshakeRejected: On entry: the server answered with another status than 101.
        ProtocolError: On entry: the server's answer is not a valid answer to an opening
            handshake.
        HandshakeError: On entry: the server was not reached, TLS failed, or
            `open_timeout` has passed.

    Cancellation:
        Safe: everything that was opened before is closed. Inside the block, see
        `ClientWebSocket`.
    Source: RFC 6455 section 4.1; RFC 7692; RFC 8305 (two address families at once).
    """
    return Connector(
        url,
        subprotocols=subprotocols,
        headers=headers,
        origin=origin,
        destination=Destination(
            host=host,
            port=port,
            unix_path=unix_path,
            stream=stream,
            app=None if app is None else application_of(app),
            ssl_context=ssl_context,
            server_hostname=server_hostname,
        ),
        proxy=proxy,
        compression=compression,
        options=options,
        open_timeout=open_timeout,
        retry=retry,
    )
