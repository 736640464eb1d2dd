"""Hypercorn with the engine, in a program."""

from __future__ import annotations

import anyws
import anyws.hypercorn


@anyws.endpoint
async def app(ws: anyws.WebSocket) -> None:
    """Send every message back."""
    await ws.accept()
    async for message in ws:
        await ws.send_message(message)


if __name__ == "__main__":
    anyws.hypercorn.run(app, backend="trio", bind="127.0.0.1:8000")
