"""Compression settings of an endpoint and of a client."""

from __future__ import annotations

import anyws

# Fast and small: level 1, little memory, and no history between messages.
CHEAP = anyws.Deflate(level=1, memory_level=3, server_no_context_takeover=True)


@anyws.endpoint(options=anyws.Options(compression=CHEAP))
async def app(ws: anyws.WebSocket) -> None:
    """Send every message back, compressed unless it is binary."""
    await ws.accept()
    async for message in ws:
        await ws.send_message(message, compress=isinstance(message, str))


def without_compression(url: str) -> anyws.Connector:
    """Connect without offering compression."""
    return anyws.connect(url, compression=None)
