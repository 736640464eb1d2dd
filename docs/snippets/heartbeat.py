"""A heartbeat in messages, for browsers, and for servers that hide their pings."""

from __future__ import annotations

import anyws

beat = anyws.Heartbeat(interval=20, timeout=20)  # the peer answers "ping" with "pong"


@anyws.endpoint(options=anyws.Options(heartbeat=beat))
async def app(ws: anyws.WebSocket) -> None:
    """Serve one client; one that does not answer is closed with 1011."""
    await ws.accept()
    async for message in ws:
        await ws.send_message(message)
