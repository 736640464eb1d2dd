"""Send the time every second, and stop when the client leaves.

The handler never receives. It still notices that its client has gone, in any way: the
sleep is cancelled, or the next send raises.

hypercorn -k trio ticker:app
"""

from __future__ import annotations

from datetime import UTC, datetime

import anyio

import anyws


@anyws.endpoint
async def app(ws: anyws.WebSocket) -> None:
    """Serve one connection."""
    await ws.accept()
    try:
        with ws.cancel_on_disconnect():
            while True:
                await ws.send_text(datetime.now(UTC).isoformat(timespec="seconds"))
                await anyio.sleep(1)
    finally:
        print("the client has gone:", ws.close_info, flush=True)
