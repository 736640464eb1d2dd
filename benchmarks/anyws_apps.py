"""The same echo in anyws: guarded twice (the twin, and idiomatic), and plain."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyws
from benchmarks import starlette_apps
from benchmarks.wire import BINARY_PATH

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send


@anyws.endpoint
async def echo(ws: anyws.WebSocket) -> None:
    """Echo with the very loops of `starlette_apps.echo`, in guarded mode."""
    await ws.accept()
    await _echo(ws)


@anyws.endpoint
async def iterate(ws: anyws.WebSocket) -> None:
    """Echo as the documentation has it, in guarded mode."""
    await ws.accept()
    async for message in ws:
        await ws.send_message(message)


async def plain(scope: Scope, receive: Receive, send: Send) -> None:
    """Echo with the class alone: no session, no task."""
    if scope["type"] == "lifespan":
        await starlette_apps.echo(scope, receive, send)
        return
    ws = anyws.WebSocket(scope, receive, send)
    await ws.accept()
    try:
        await _echo(ws)
    except anyws.WebSocketDisconnect:
        pass


async def _echo(ws: anyws.WebSocket) -> None:
    if ws.scope["path"] == BINARY_PATH:
        while True:
            await ws.send_bytes(await ws.receive_bytes())
    while True:
        await ws.send_text(await ws.receive_text())
