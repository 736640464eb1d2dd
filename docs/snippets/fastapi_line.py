"""FastAPI's own class, guarded by one line."""

from __future__ import annotations

from fastapi import FastAPI, WebSocket

import anyws

app = FastAPI()
app.add_middleware(anyws.WebSocketMiddleware)  # this line


@app.websocket("/ws")
async def echo(websocket: WebSocket) -> None:
    """Send every message back."""
    await websocket.accept()
    while True:
        await websocket.send_text(await websocket.receive_text())
