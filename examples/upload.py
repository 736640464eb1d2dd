"""Receive a large file, and report the progress to the client. With a page.

hypercorn -k trio upload:app

The client sends `{"name": ..., "size": ...}`, and then the file in binary messages.
After each message, the server says how much is written, and the client keeps at most a
megabyte under way. So the page shows the progress of the file, not of a buffer. Neither
end holds the whole file in memory. If a client leaves early, or closes with a "cancel",
nothing is left behind.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import anyio
from starlette.applications import Starlette
from starlette.exceptions import WebSocketException
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route, WebSocketRoute

import anyws

PAGE = Path(__file__).with_name("upload.html").read_text()
LARGEST = 4 * 1024**3  # bytes, the largest file
OPTIONS = anyws.Options(
    max_message_bytes=256 * 1024,
    receive_buffer=4,  # most unwritten data waits at the client
    idle_timeout=60,
)


async def announced(ws: anyws.WebSocket) -> int:
    """Receive the description of the file; return its size."""
    said = await ws.receive_json()
    size = said.get("size") if isinstance(said, dict) else None
    if not isinstance(size, int) or size < 0:
        raise WebSocketException(anyws.CloseCode.POLICY_VIOLATION, "no size")
    if size > LARGEST:
        raise WebSocketException(anyws.CloseCode.MESSAGE_TOO_BIG, "the file is too big")
    return size


@anyws.endpoint(options=OPTIONS)
async def upload(ws: anyws.WebSocket) -> None:
    """Receive one file."""
    await ws.accept()
    size, written, digest = await announced(ws), 0, hashlib.sha256()
    # A temporary file, gone when it is closed; a real application would keep it.
    async with anyio.TemporaryFile() as file:
        while written < size:
            part = await ws.receive_bytes()
            await file.write(part)
            digest.update(part)
            written += len(part)
            await ws.send_json({"written": written})
    if written > size:
        raise WebSocketException(anyws.CloseCode.POLICY_VIOLATION, "more than was said")
    await ws.send_json({"sha256": digest.hexdigest()})


async def page(request: Request) -> HTMLResponse:
    """Serve the page."""
    return HTMLResponse(PAGE)


app = Starlette(routes=[Route("/", page), WebSocketRoute("/ws", upload)])
