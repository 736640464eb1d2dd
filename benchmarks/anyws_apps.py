"""The same echo in anyws: guarded twice (the twin, and idiomatic), and plain."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyws
from benchmarks import starlette_apps

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send


@anyws.endpoint
async def text(ws: anyws.WebSocket) -> None:
    """Echo with the very loop of `starlette_apps.text`, in guarded mode."""
    await ws.accept()
    while True:
        await ws.send_text(await ws.receive_text())


@anyws.endpoint
async def iterate(ws: anyws.WebSocket) -> None:
    """Echo as the documentation has it, in guarded mode."""
    await ws.accept()
    async for message in ws:
        await ws.send_message(message)


async def plain(scope: Scope, receive: Receive, send: Send) -> None:
    """Echo with the class alone: no session, no task."""
    if scope["type"] == "lifespan":
        await starlette_apps.text(scope, receive, send)
        return
    ws = anyws.WebSocket(scope, receive, send)
    await ws.accept()
    try:
        while True:
            await ws.send_text(await ws.receive_text())
    except anyws.WebSocketDisconnect:
        pass
