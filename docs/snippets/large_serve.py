"""A large file in many messages, sent no faster than the client reads."""

from __future__ import annotations

from pathlib import Path

import anyio

import anyws

FILE = Path(__file__)


@anyws.endpoint(options=anyws.Options(send_timeout=60))
async def app(ws: anyws.WebSocket) -> None:
    """Send a file, 64 KiB at a time, and close with 1000."""
    await ws.accept()
    async with await anyio.open_file(FILE, "rb") as file:
        while part := await file.read(65536):
            await ws.send_bytes(part)
