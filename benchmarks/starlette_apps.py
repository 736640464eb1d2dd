"""The echo that is the yardstick: Starlette's own class, bare, under ASGI."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.websockets import WebSocket, WebSocketDisconnect

from benchmarks.wire import BINARY_PATH

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Echo text, or bytes at `BINARY_PATH`."""
    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
        return
    ws = WebSocket(scope, receive, send)
    await ws.accept()
    try:
        if scope["path"] == BINARY_PATH:
            while True:
                await ws.send_bytes(await ws.receive_bytes())
        while True:
            await ws.send_text(await ws.receive_text())
    except WebSocketDisconnect:
        pass  # outside the loop: costs nothing, keeps tracebacks out of the log


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        event = await receive()
        kind = event["type"].removeprefix("lifespan.")
        await send({"type": f"lifespan.{kind}.complete"})
        if kind == "shutdown":
            return
