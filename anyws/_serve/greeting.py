"""The steps before a stream is a WebSocket: TLS, the request, and a refusal."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import formatdate
from functools import lru_cache
from math import inf
from time import time
from typing import Any, Final

from anyio import CancelScope, current_time, move_on_after
from anyio.abc import ByteStream, SocketAttribute
from anyio.streams.tls import TLSAttribute, TLSStream

from .._server.connection import ServerTransport
from .._server.handshake import HandshakeRefusal, Headers
from .._server.request import Request, RequestReader
from .._server.response import plain_response
from .._session.timekeeper import Alarm, Timekeeper

# The most connections whose request is not complete. One more ends the oldest of them:
# a crowd that never sends its request does not keep a newcomer out.
MAX_HALF_OPEN: Final = 1000

# Seconds for a refused client to read the answer. A connection that is closed with
# bytes unread is reset, and the reset may overtake the answer.
_LINGER: Final = 1.0

_WANTED: Final = "Upgrade Required: a WebSocket is served here"


class Entrance:
    """The connections whose request is not complete: bounded in number and in time.

    Each is known by the function that ends it.

    Args:
        timeout: Seconds that each of them has; `None`: no limit.
        keeper: Tells when the time of one without a task is up; `None`: each has one.
    """

    def __init__(self, timeout: float | None, keeper: Timekeeper | None = None) -> None:
        self._timeout = inf if timeout is None else timeout
        self._ends: dict[Callable[[], object], float] = {}  # until when; oldest first
        self._alarm = None if keeper is None else Alarm(keeper, self._end_the_late)
        self._closed = False

    def admit(self, end: Callable[[], object]) -> None:
        """Count a connection until `dismiss`; end it if it is late."""
        by = current_time() + self._timeout
        self._admit(end, by)
        if self._alarm is not None and by < self._alarm.at:
            self._alarm.set(by)

    def _admit(self, end: Callable[[], object], by: float) -> None:
        self._ends[end] = by
        if self._closed:
            self._end(end)
        elif len(self._ends) > MAX_HALF_OPEN:
            self._end(next(iter(self._ends)))

    def dismiss(self, end: Callable[[], object]) -> None:
        """Count a connection no more."""
        self._ends.pop(end, None)

    @contextmanager
    def entering(self) -> Iterator[None]:
        """Count a connection while the block runs; cancel the block if it is late."""
        with CancelScope(deadline=current_time() + self._timeout) as scope:
            self._admit(scope.cancel, inf)
            try:
                yield
            finally:
                self.dismiss(scope.cancel)

    def close(self) -> None:
        """End all connections, and those to come."""
        self._closed = True
        for end in list(self._ends):
            self._end(end)
        if self._alarm is not None:
            self._alarm.cancel()

    def _end(self, end: Callable[[], object]) -> None:
        del self._ends[end]
        end()

    def _end_the_late(self) -> None:
        """End those whose time is up; look at the one behind them when it is due."""
        now = current_time()
        for end, by in list(self._ends.items()):
            if by <= now:
                self._end(end)
            elif by < inf and self._alarm is not None:
                self._alarm.set(by)
                break


async def encrypted(stream: ByteStream, context: ssl.SSLContext | None) -> ByteStream:
    """Return the stream under TLS, if a context asks for that.

    Raises:
        OSError, EndOfStream, BrokenResourceError: The client does not speak TLS.
    """
    if context is None:
        return stream
    return await TLSStream.wrap(
        stream,
        server_side=True,
        ssl_context=context,
        # Many clients close TCP without TLS's close_notify. A stream that was cut short
        # is known by its missing closing frame.
        standard_compatible=False,
    )


async def read_request(transport: ServerTransport) -> tuple[Request, bytes]:
    """Read a request for a WebSocket; return it, and the bytes behind its head.

    Raises:
        HandshakeRefusal: It is malformed, or asks for something else.
        EOFError: The client has gone.
    """
    reader = RequestReader()
    request = None
    while request is None:
        data = await transport.receive()
        if not data:
            raise EOFError("the client has gone before it sent a request")
        request = reader.receive_data(data)
    check_asked(request)
    return request, reader.rest


def check_asked(request: Request) -> None:
    """Refuse a request that does not ask for a WebSocket.

    Raises:
        HandshakeRefusal: It is 426.
    Source: RFC 9110 section 15.5.22.
    """
    if not request.asks_for_websocket:
        raise HandshakeRefusal(
            426, [(b"upgrade", b"websocket"), (b"sec-websocket-version", b"13")]
        )


async def refuse(
    transport: ServerTransport, refusal: HandshakeRefusal, defaults: Headers
) -> None:
    """Answer with an HTTP response, and wait until the client has read it.

    Cancellation:
        The response may have been sent or not.
    """
    text = _WANTED if refusal.status == 426 else None
    answer = plain_response(refusal.status, [*defaults, *refusal.headers], text)
    try:
        with move_on_after(_LINGER):
            await transport.send_all(answer)
            if await transport.send_eof():
                while await transport.receive():
                    pass
    except OSError:
        pass


def addresses_of(stream: ByteStream) -> dict[str, Any]:
    """Return the entries of a scope for a stream: `client`, `server`, and the TLS flag.

    Source: ASGI "HTTP connection scope".
    """
    local = stream.extra(SocketAttribute.local_address, None)
    remote = stream.extra(SocketAttribute.remote_address, None)
    secure = stream.extra(TLSAttribute.tls_version, None) is not None
    return addresses(local, remote, secure=secure)


def addresses(local: Any, remote: Any, *, secure: bool) -> dict[str, Any]:
    """Return the entries of a scope for a socket with these addresses."""
    return {
        "server": (str(local), None) if isinstance(local, str) else _pair(local),
        "client": _pair(remote),
        "secure": secure,
    }


def _pair(address: Any) -> tuple[str, int] | None:
    is_pair = isinstance(address, tuple) and len(address) >= 2
    return (str(address[0]), int(address[1])) if is_pair else None


def dated() -> Headers:
    """Return the `Date` header (RFC 9110 section 6.6.1)."""
    return [_date_header(int(time()))]


@lru_cache(maxsize=1)
def _date_header(seconds: int) -> tuple[bytes, bytes]:
    return b"date", formatdate(seconds, usegmt=True).encode()
