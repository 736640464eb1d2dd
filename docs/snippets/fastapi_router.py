"""A router whose handlers are annotated with the class itself."""

from __future__ import annotations

from fastapi import FastAPI

import anyws
from anyws.fastapi import APIRouter

router = APIRouter(prefix="/api")


@router.websocket("/ws/{name}")
async def greet(ws: anyws.WebSocket, name: str) -> None:
    """Greet the client; returning closes the connection with 1000."""
    await ws.accept()
    await ws.send_text(f"hello, {name}")


app = FastAPI()
app.include_router(router)
