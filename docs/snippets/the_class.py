"""The class itself, with an ASGI scope and without a decorator."""

from __future__ import annotations

from starlette.types import Receive, Scope, Send

import anyws


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Serve one WebSocket of an ASGI server."""
    async with anyws.WebSocket(scope, receive, send) as ws:
        await ws.accept()
        await ws.send_text("hello")
