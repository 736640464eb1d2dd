"""A soft drain: handlers finish their work before the server stops."""

from __future__ import annotations

import anyws

drain = anyws.Drain(soft=True, turn=10, spread=5)


@anyws.endpoint(drain=drain)
async def app(ws: anyws.WebSocket) -> None:
    """Answer questions; after the drain has begun, take no new one."""
    await ws.accept()
    while not ws.draining:
        question = await ws.receive_text()
        await ws.send_text(f"the answer to {question}")
    # Returning closes with 1012: the client connects again, to another server.
