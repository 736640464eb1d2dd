"""A client of an application in the same process, over frames in memory."""

from __future__ import annotations

import anyws


async def echo(ws: anyws.WebSocket) -> None:
    """Send every message back."""
    await ws.accept()
    async for message in ws:
        await ws.send_message(message)


async def main() -> str:
    """Connect to the application as to a server."""
    async with anyws.connect("ws://echo/", app=echo) as ws:
        await ws.send_text("hello")
        return await ws.receive_text()
