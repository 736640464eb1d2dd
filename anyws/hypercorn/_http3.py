"""HTTP/3: WebSockets are refused, in words.

Hypercorn 0.18 tells no application how a connection over QUIC has ended, and an event
for a stream that it has forgotten ends every such connection of the worker. So no
WebSocket is opened there; clients that ask for one may fall back to HTTP/2 or HTTP/1.1.
"""

from __future__ import annotations

from typing import ClassVar

from hypercorn.protocol.events import EndBody, Request, Response
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.ws_stream import ASGIWebsocketState, WSStream

MESSAGE = "WebSockets are not served over HTTP/3: an opening handshake was refused"


class RefusedStream(WSStream):
    """Answers an opening handshake with 501.

    It says nothing to Hypercorn of its end: what came later for a stream that Hypercorn
    has forgotten would be an error there.
    """

    logged: ClassVar = False

    async def handle(self, event: StreamEvent) -> None:
        """Refuse the handshake, and ignore all that follows."""
        if not isinstance(event, Request):
            return
        self.closed = True
        self.state = ASGIWebsocketState.HTTPCLOSED
        # No `connection` header: HTTP/3 has none, and a client would not take it.
        headers = [(b"content-length", b"0")]
        await self.send(Response(self.stream_id, headers, 501))
        await self.send(EndBody(self.stream_id))
        if not RefusedStream.logged:
            RefusedStream.logged = True
            await self.config.log.warning(MESSAGE)
