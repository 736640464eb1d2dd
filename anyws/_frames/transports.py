"""Which transport serves a stream the best: the choice, at either end."""

from __future__ import annotations

import os
import socket

from anyio.abc import ByteStream, SocketAttribute, SocketStream, UNIXSocketStream

from .transport import SocketTransport, StreamTransport, keep_little_unsent


def transport_of(stream: ByteStream) -> StreamTransport:
    """Return the transport that costs the least over a stream.

    The socket below the stream, if there is one, is told to keep little unsent.
    """
    keep_little_unsent(stream.extra(SocketAttribute.raw_socket, None))
    if isinstance(stream, SocketStream | UNIXSocketStream) and os.name == "posix":
        plain = stream.extra(SocketAttribute.raw_socket)
        if isinstance(plain, socket.socket):
            return SocketTransport(stream, plain)
    # AnyIO has no public name for asyncio's own transport. Should a release hide it
    # elsewhere, the connection works all the same, but each message costs more.
    if isinstance(stream, SocketStream) and hasattr(stream, "_transport"):
        from .event_loop import LoopTransport

        return LoopTransport(stream, stream._transport)
    return StreamTransport(stream)
