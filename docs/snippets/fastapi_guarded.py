"""The guarded class in a FastAPI handler."""

from __future__ import annotations

import anyio
from fastapi import FastAPI

from anyws.fastapi import Guarded

app = FastAPI()


@app.websocket("/clock")
async def clock(ws: Guarded, seconds: float = 1.0) -> None:
    """Send the time; stop when the client leaves, although nothing is received."""
    await ws.accept()
    with ws.cancel_on_disconnect():
        while True:
            await ws.send_json({"now": anyio.current_time()})
            await anyio.sleep(seconds)
