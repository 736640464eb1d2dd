"""A plain FastAPI application with one additional line.

The middleware guards every WebSocket of the application, which goes on using FastAPI's
own class: a send raises when the client has gone, a closed tab leaves no traceback, and
a return closes with 1000.

hypercorn -k trio fastapi_app:app
"""

from __future__ import annotations

from fastapi import FastAPI, WebSocket

import anyws

app = FastAPI()
app.add_middleware(anyws.WebSocketMiddleware)  # this line


@app.websocket("/items/{item_id}")
async def items(websocket: WebSocket, item_id: int, unit: str = "EUR") -> None:
    """Answer each quantity with a price."""
    await websocket.accept()
    while True:
        quantity = await websocket.receive_json()
        await websocket.send_json(
            {"item": item_id, "price": 3 * quantity, "unit": unit}
        )
