"""Limits for the whole application, and stricter ones for one route."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, FastAPI

import anyws
from anyws.fastapi import Guarded, guarded

app = FastAPI()
app.add_middleware(
    anyws.WebSocketMiddleware,
    options=anyws.Options(
        max_message_bytes=64 * 1024,  # closes with 1009
        max_lifetime=3600,  # closes with 1001, after an hour at most
        max_connections_per=anyws.ConnectionLimit(5),  # answers 429 before the accept
    ),
)

Small = Annotated[
    anyws.WebSocket,
    Depends(
        guarded(
            options=anyws.Options(
                max_message_bytes=100,
                rate_limit=(20, 1.0),  # 20 messages per second
                rate_overflow="close",  # with 1008; or "wait", "drop"
                idle_timeout=60,  # closes with 1001
            )
        )
    ),
]


@app.websocket("/large")
async def large(ws: Guarded) -> None:
    """Take messages of up to 64 KiB."""
    await ws.accept()
    async for message in ws:
        await ws.send_text(str(len(message)))


@app.websocket("/small")
async def small(ws: Small) -> None:
    """Take messages of up to 100 bytes."""
    await ws.accept()
    async for message in ws:
        await ws.send_text(str(len(message)))
