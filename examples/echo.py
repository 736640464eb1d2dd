"""Send every message back.

hypercorn -k trio echo:app
"""

from __future__ import annotations

import anyws


@anyws.endpoint
async def app(ws: anyws.WebSocket) -> None:
    """Serve one connection; returning closes it with 1000."""
    await ws.accept()
    async for message in ws:
        await ws.send_message(message)
