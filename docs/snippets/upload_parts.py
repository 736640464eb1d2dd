"""A server that takes a message of any size, part by part."""

from __future__ import annotations

import hashlib

import anyws


async def handler(ws: anyws.WebSocket) -> None:
    """Send the digest of each message, without holding a whole one in memory."""
    await ws.accept()
    while True:
        digest = hashlib.sha256()
        async with ws.receive_stream() as message:
            async for part in message:
                digest.update(part.encode() if isinstance(part, str) else part)
        await ws.send_text(digest.hexdigest(), compress=False)
