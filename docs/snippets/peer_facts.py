"""Facts about the peer, at the server's end, where anyws reads the frames."""

from __future__ import annotations

from anyio.streams.tls import TLSAttribute

import anyws


async def handler(ws: anyws.WebSocket) -> None:
    """Tell the client about its connection."""
    await ws.accept()
    facts = {
        "round trip (seconds)": await ws.ping(),
        "address": str(ws.peer_address),
        "TLS": ws.extra(TLSAttribute.tls_version, None),
    }
    await ws.send_json(facts)
