"""The same echo in FastAPI: under the middleware, and by `Guarded`."""

from __future__ import annotations

from fastapi import FastAPI, WebSocket

import anyws
from anyws.fastapi import Guarded  # noqa: TC001  # FastAPI reads it at run time
from benchmarks.addition_apps import echo

middleware = FastAPI()
middleware.add_middleware(anyws.WebSocketMiddleware)
guarded = FastAPI()


@middleware.websocket("/")
async def under_middleware(websocket: WebSocket) -> None:
    """Echo by FastAPI's own class."""
    await echo(websocket)


@guarded.websocket("/")
async def injected(ws: Guarded) -> None:
    """Echo by the guarded class, without the middleware."""
    await echo(ws)
