"""The token of a page, in the subprotocols: `new WebSocket(url, ["bearer", token])`."""

from __future__ import annotations

import anyws

TOKENS = {"secret-of-ann": "ann"}


@anyws.endpoint
async def app(ws: anyws.WebSocket) -> None:
    """Greet a user; the answer selects "bearer", and shows no token."""
    user = TOKENS.get(ws.bearer_token() or "")
    if user is None:
        await ws.reject(401, "unknown token")
        return
    await ws.accept()
    await ws.send_text(f"hello, {user}")
