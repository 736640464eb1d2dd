"""Which transport serves a stream the best, and what watches a server's sockets."""

from __future__ import annotations

import os
import select
import socket

from anyio.abc import ByteStream, SocketAttribute, SocketStream, UNIXSocketStream

from .transport import SocketTransport, StreamTransport, keep_little_unsent
from .watched_socket import Poller, Watcher


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


def new_watcher() -> Watcher | None:
    """Make what watches the plain sockets of a server; `None`: this system has none.

    Then AnyIO accepts the connections, and a task reads each of them.
    """
    if os.name != "posix":
        return None
    from .event_loop import LoopWatcher, loop_of_task

    loop = loop_of_task()
    if loop is not None:
        return LoopWatcher(loop)
    return Poller() if hasattr(select, "epoll") else None
