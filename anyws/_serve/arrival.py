"""A connection on a plain socket, from the accept to the end of its request's head.

It has no task until then. The watcher calls it with what was read; the `Entrance` ends
it when it is late or too old in a crowd.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from .._frames.watched_socket import WatchedSocket
from .._server.handshake import HandshakeRefusal
from .._server.request import Request, RequestReader
from .greeting import Entrance, check_asked

_log: Final = logging.getLogger("anyws.server")

Connect = Callable[[WatchedSocket, Request, bytes], None]
Refuse = Callable[[WatchedSocket, HandshakeRefusal], None]


class Arrival:
    """The recipient of all that a socket reads up to the end of the request's head.

    Args:
        transport: The connection.
        entrance: Counts it among the connections whose request is not complete.
        connect: Called with the request and the bytes behind it. From then on this
            object has nothing to do with the connection.
        refuse: Called in its place for a request that is refused.
    """

    __slots__ = ("_connect", "_entrance", "_reader", "_refuse", "_transport")

    unfinished = False

    def __init__(
        self,
        transport: WatchedSocket,
        entrance: Entrance,
        connect: Connect,
        refuse: Refuse,
    ) -> None:
        self._transport = transport
        self._entrance = entrance
        self._connect = connect
        self._refuse = refuse
        self._reader = RequestReader()
        transport.read_to(self)
        entrance.admit(self.drop)

    def take_in(self, data: bytes) -> bool:
        """Take bytes of the head; return whether it goes on."""
        try:
            request = self._reader.receive_data(data)
            if request is None:
                return True
            self._entrance.dismiss(self.drop)
            check_asked(request)
            self._connect(self._transport, request, self._reader.rest)
        except HandshakeRefusal as refusal:
            self._entrance.dismiss(self.drop)
            self._transport.detach()
            self._refuse(self._transport, refusal)
        return False

    def take_end(self, exc: BaseException | None) -> None:
        """Close the connection: the client has gone, or something has failed here."""
        if exc is not None:
            _log.error("Exception in a server", exc_info=exc)
        self._entrance.dismiss(self.drop)
        self.drop()

    def drop(self) -> None:
        """Close the connection without an answer."""
        self._transport.close_nowait()
