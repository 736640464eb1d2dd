"""A plain FastAPI application and one line more.

The middleware guards every WebSocket of the application, which goes on using FastAPI's
own class: sends raise when the client has gone, a closed tab is no traceback, a return
closes with 1000.

hypercorn -k trio fastapi_app:app
"""

from __future__ import annotations

from fastapi import FastAPI, WebSocket

import anyws

app = FastAPI()
app.add_middleware(anyws.WebSocketMiddleware)  # the line


@app.websocket("/items/{item_id}")
async def items(websocket: WebSocket, item_id: int, unit: str = "EUR") -> None:
    """Answer each quantity with a price."""
    await websocket.accept()
    while True:
        quantity = await websocket.receive_json()
        await websocket.send_json(
            {"item": item_id, "price": 3 * quantity, "unit": unit}
        )
