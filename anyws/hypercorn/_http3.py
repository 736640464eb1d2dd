"""HTTP/3: WebSockets are refused, in words.

Hypercorn 0.18 tells no application that a connection over QUIC has ended, and an event
for a stream that it has forgotten ends every QUIC connection of the worker. So the
engine opens no WebSocket there; a client can fall back to HTTP/2 or HTTP/1.1.
"""

from __future__ import annotations

from typing import ClassVar

from hypercorn.protocol.events import EndBody, Request, Response
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.ws_stream import ASGIWebsocketState, WSStream

MESSAGE = "WebSockets are not served over HTTP/3: an opening handshake was refused"


class RefusedStream(WSStream):
    """Answers an opening handshake with 501.

    It does not tell Hypercorn that it has ended: Hypercorn would forget the stream, and
    fail at the next event for it.
    """

    logged: ClassVar = False

    async def handle(self, event: StreamEvent) -> None:
        """Refuse the handshake; ignore every later event."""
        if not isinstance(event, Request):
            return
        self.closed = True
        self.state = ASGIWebsocketState.HTTPCLOSED
        # RFC 9114 section 4.2: a client must refuse a `connection` header.
        headers = [(b"content-length", b"0")]
        await self.send(Response(self.stream_id, headers, 501))
        await self.send(EndBody(self.stream_id))
        if not RefusedStream.logged:
            RefusedStream.logged = True
            await self.config.log.warning(MESSAGE)
