"""A rejection with a status and a body, and a subprotocol that is agreed on."""

from __future__ import annotations

import anyws

KNOWN = ("chat.v2", "chat.v1")


@anyws.endpoint
async def app(ws: anyws.WebSocket) -> None:
    """Accept clients with a key that speak a known subprotocol."""
    if "x-key" not in ws.headers:
        await ws.reject(401, "no key", {"www-authenticate": "Key"})
        return
    offered = ws.scope["subprotocols"]
    chosen = next((name for name in KNOWN if name in offered), None)
    await ws.accept(subprotocol=chosen)
    await ws.send_text(f"speaking {chosen}")
