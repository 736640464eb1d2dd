"""The server's end of one WebSocket, on a byte stream that the caller has accepted."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager

from anyio import CancelScope
from anyio.abc import ByteStream

from .._frames.transports import transport_of
from .._server.admission import FOREIGN, allows_origin
from .._server.connection import ServerConnection, Terms
from .._server.handshake import HandshakeRefusal
from .._server.websocket import WebSocket
from .._session.upkeep import Upkeep
from .._values.allowed_origins import origins_of
from .._values.deflate import Compression
from .._values.errors import HandshakeError, ProtocolError
from .._values.options import (
    DEFAULTS,
    Options,
    check_options,
    warn_of_limit,
    with_compression,
)
from .greeting import Entrance, addresses_of, dated, read_request, refuse


@asynccontextmanager
async def accept_stream(
    stream: ByteStream,
    *,
    options: Options = DEFAULTS,
    compression: Compression = "deflate",
    open_timeout: float | None = 10.0,
    allowed_origins: str | Iterable[str] | None = None,
) -> AsyncGenerator[WebSocket]:
    """Serve one WebSocket on a byte stream, in an `async with` block.

        async with anyws.accept_stream(stream) as ws:
            await ws.accept()
            async for message in ws: ...

    Entering the block reads and checks the request, and raises `HandshakeError` if the
    client does not send a valid one. Catch that error if one client must not end the
    others. The block calls `accept()`; if it is left without that, the client is
    rejected with 403. Leaving the block closes the connection, with a code for the
    return or the exception, and then the stream.

    Args:
        stream: A connected byte stream, on which the client sends its request.
        options: Buffers, limits and timeouts of the connection.
        compression: `"deflate"` (default) or an `anyws.Deflate`: agree on
            permessage-deflate with a client that offers it, unless `options` or the
            application set `Options.compression`. `None`: never.
        open_timeout: Seconds for the request (default 10.0); `None`: no limit.
        allowed_origins: The origins of pages that may connect, as for `anyws.serve`;
            `None` (default): all.

    Raises:
        ProtocolError: On entry: the client did not ask for a WebSocket. It was answered
            with 400 or 426, and the stream is closed.
        HandshakeError: On entry: the client has gone; or `open_timeout` is over; or the
            page's origin is not allowed, which was answered with 403 and logged. The
            stream is closed.
        TypeError, ValueError: An argument is invalid; the message says which and why.

    Cancellation:
        On entry the stream is closed. In the block the connection is closed with 1012,
        within `Options.close_timeout`.
    Source: RFC 6455 section 4.2.
    """
    check_options(options)
    warn_of_limit(options, "accept_stream", 3)
    options = with_compression(options, compression)
    terms = Terms(
        options=options,
        compression=compression is not None,
        headers=dated,
        origins=origins_of(allowed_origins),
    )
    async with Upkeep().opened() as upkeep:
        connection = await _connect(stream, terms, open_timeout, upkeep)
        async with connection.opened():
            session = connection.session
            receive, send = session.receiver.receive, session.sender.send
            websocket = WebSocket(connection.scope, receive, send)
            websocket._join(session)
            async with session.hosting(websocket):
                yield websocket


async def _connect(
    stream: ByteStream, terms: Terms, seconds: float | None, upkeep: Upkeep
) -> ServerConnection:
    """Read the request; close the stream if none comes in time that may connect."""
    transport = transport_of(stream)
    connection: ServerConnection | None = None
    failure: HandshakeError = HandshakeError(
        f"no request came within open_timeout, {seconds} s"
    )
    try:
        with Entrance(seconds).entering():
            try:
                request, early = await read_request(transport)
                asked = ServerConnection(
                    transport,
                    request,
                    terms,
                    upkeep,
                    early=early,
                    **addresses_of(stream),
                )
                if allows_origin(terms.origins, asked.scope):
                    connection = asked
                    return connection
                failure = HandshakeError(FOREIGN)
                await refuse(transport, HandshakeRefusal(403), terms.headers())
            except HandshakeRefusal as exc:
                failure = ProtocolError(f"the request was answered with {exc.status}")
                await refuse(transport, exc, terms.headers())
            except EOFError as exc:
                failure = HandshakeError(str(exc))
    finally:
        if connection is None:
            with CancelScope(shield=True):
                await transport.aclose()
    raise failure
