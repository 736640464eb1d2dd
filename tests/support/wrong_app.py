"""A handler on FastAPI's own router that is annotated with our class."""

from __future__ import annotations

from fastapi import FastAPI

import anyws

app = FastAPI()


@app.websocket("/ws")
async def handler(ws: anyws.WebSocket) -> None:
    """Get FastAPI's class."""
    await ws.accept()
