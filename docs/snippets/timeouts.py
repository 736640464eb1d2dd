"""Deadlines around calls that may wait."""

from __future__ import annotations

import anyio

import anyws


@anyws.endpoint
async def app(ws: anyws.WebSocket) -> None:
    """Ask for a name; continue without it after a while."""
    await ws.accept()
    await ws.send_text("your name?")
    name = "somebody"
    with anyio.move_on_after(10):
        name = await ws.receive_text()
    # A name that comes too late is not lost: it is the next message.
    with anyio.fail_after(10):  # TimeoutError closes the connection with 1011
        await ws.send_text(f"hello, {name}")
