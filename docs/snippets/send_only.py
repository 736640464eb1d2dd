"""A stream of tokens to a client that only listens, and may leave."""

from __future__ import annotations

import anyio

import anyws


@anyws.endpoint
async def app(ws: anyws.WebSocket) -> None:
    """Work for the client for as long as it is connected."""
    await ws.accept()
    with ws.cancel_on_disconnect():  # also ends other waits than sends
        for step in range(60):
            await anyio.sleep(0.05)  # the model is thinking
            await ws.send_text(f"token {step}")
