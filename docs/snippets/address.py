"""The address of a client, directly and behind a proxy."""

from __future__ import annotations

from fastapi import FastAPI
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from anyws.fastapi import Guarded

app = FastAPI()
# Believes `X-Forwarded-For` and `X-Forwarded-Proto` only from these addresses.
app.add_middleware(ProxyHeadersMiddleware, trusted_hosts=["127.0.0.1", "10.0.0.0/8"])


@app.websocket("/ws")
async def whoami(ws: Guarded) -> None:
    """Tell the client its address."""
    await ws.accept()
    await ws.send_text(ws.client.host if ws.client else "unknown")
