"""What happens to a stream before it is a WebSocket: TLS, the request, a refusal."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from math import inf
from typing import Any, Final

from anyio import CancelScope, current_time, move_on_after
from anyio.abc import ByteStream, SocketAttribute
from anyio.streams.tls import TLSAttribute, TLSStream

from .._frames.transport import StreamTransport
from .._server.handshake import HandshakeRefusal, Headers
from .._server.request import Request, RequestReader
from .._server.response import plain_response

# The most connections whose request is not complete. One more ends the oldest of them:
# a crowd that never sends its request does not keep a newcomer out.
MAX_HALF_OPEN: Final = 1000

# Seconds for a refused client to read the answer. A connection that is closed with
# bytes unread is reset, and the reset may overtake the answer.
_LINGER: Final = 1.0

_WANTED: Final = "Upgrade Required: a WebSocket is served here"


class Entrance:
    """The connections whose request is not complete: bounded in number and in time.

    Args:
        timeout: Seconds that each of them has; `None`: no limit.
    """

    def __init__(self, timeout: float | None) -> None:
        self._timeout = inf if timeout is None else timeout
        self._scopes: dict[CancelScope, None] = {}  # the oldest first
        self._closed = False

    @contextmanager
    def entering(self) -> Iterator[CancelScope]:
        """Count a connection while the block runs; cancel the block if it is late."""
        with CancelScope(deadline=current_time() + self._timeout) as scope:
            self._scopes[scope] = None
            if self._closed:
                scope.cancel()
            elif len(self._scopes) > MAX_HALF_OPEN:
                self._end(next(iter(self._scopes)))
            try:
                yield scope
            finally:
                self._scopes.pop(scope, None)

    def close(self) -> None:
        """Cancel all blocks, and those to come."""
        self._closed = True
        for scope in list(self._scopes):
            self._end(scope)

    def _end(self, scope: CancelScope) -> None:
        del self._scopes[scope]
        scope.cancel()


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


async def read_request(transport: StreamTransport) -> tuple[Request, bytes]:
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
    if not request.asks_for_websocket:
        # Source: RFC 9110 section 15.5.22.
        raise HandshakeRefusal(
            426, [(b"upgrade", b"websocket"), (b"sec-websocket-version", b"13")]
        )
    return request, reader.rest


async def refuse(
    transport: StreamTransport, refusal: HandshakeRefusal, defaults: Headers
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
    """Return what a scope says of a stream: `client`, `server`, and whether of TLS.

    Source: ASGI "HTTP connection scope".
    """
    local = stream.extra(SocketAttribute.local_address, None)
    remote = stream.extra(SocketAttribute.remote_address, None)
    return {
        "server": (str(local), None) if isinstance(local, str) else _pair(local),
        "client": _pair(remote),
        "secure": stream.extra(TLSAttribute.tls_version, None) is not None,
    }


def _pair(address: Any) -> tuple[str, int] | None:
    is_pair = isinstance(address, tuple) and len(address) >= 2
    return (str(address[0]), int(address[1])) if is_pair else None
