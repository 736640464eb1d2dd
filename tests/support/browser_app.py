"""A page, a WebSocket for pages of the same origin, and one for those with a token."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route, WebSocketRoute

import anyws


async def page(request: Request) -> Response:
    """Show nothing; the test runs the scripts."""
    return HTMLResponse("<!doctype html><title>page</title>")


@anyws.endpoint(allowed_origins="same-origin")
async def same(ws: anyws.WebSocket) -> None:
    """Wait for the page to leave."""
    await ws.accept()
    async for _ in ws:
        pass


@anyws.endpoint
async def token(ws: anyws.WebSocket) -> None:
    """Serve who has the token."""
    if ws.bearer_token() != "s3cret":
        await ws.reject(401)
        return
    await ws.accept()
    async for _ in ws:
        pass


@anyws.endpoint(options=anyws.Options(heartbeat=anyws.Heartbeat(0.1, timeout=60)))
async def beating(ws: anyws.WebSocket) -> None:
    """Tell the page, whenever it asks, whether its answers have come."""
    await ws.accept()
    async for _ in ws:
        await ws.send_json(ws.statistics().latency is not None)


app = Starlette(
    routes=[
        Route("/", page),
        WebSocketRoute("/same", same),
        WebSocketRoute("/token", token),
        WebSocketRoute("/beating", beating),
    ]
)
