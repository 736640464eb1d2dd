"""Only pages of our own sites may connect."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, FastAPI

import anyws
from anyws.fastapi import guarded

OURS = ["https://example.org", "https://*.example.org"]

# For every route:
app = FastAPI()
app.add_middleware(anyws.WebSocketMiddleware, allowed_origins=OURS)

# For one route:
OwnPage = Annotated[
    anyws.WebSocket, Depends(guarded(allowed_origins="https://admin.example.org"))
]


@app.websocket("/admin")
async def admin(ws: OwnPage) -> None:
    """Greet the page."""
    await ws.accept()
    await ws.send_text("welcome")
