"""Take in a large file, and tell the client how far it is; with a page.

hypercorn -k trio upload:app

The client says `{"name": ..., "size": ...}`, then sends the file in binary messages. It
is told after each of them how much is written, and keeps no more than a megabyte under
way: so the progress that the page shows is that of the file, not of a buffer. The file
is never held in memory, at either end. A client that leaves in between, or closes with
a "cancel", leaves nothing behind.
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
LARGEST = 4 * 1024**3  # bytes of a file
OPTIONS = anyws.Options(
    max_message_bytes=256 * 1024,
    receive_buffer=4,  # what is not written yet waits at the client, for the most part
    idle_timeout=60,
)


async def announced(ws: anyws.WebSocket) -> int:
    """Receive what the client says of its file; return the size."""
    said = await ws.receive_json()
    size = said.get("size") if isinstance(said, dict) else None
    if not isinstance(size, int) or size < 0:
        raise WebSocketException(anyws.CloseCode.POLICY_VIOLATION, "no size")
    if size > LARGEST:
        raise WebSocketException(anyws.CloseCode.MESSAGE_TOO_BIG, "the file is too big")
    return size


@anyws.endpoint(options=OPTIONS)
async def upload(ws: anyws.WebSocket) -> None:
    """Take in one file."""
    await ws.accept()
    size, written, digest = await announced(ws), 0, hashlib.sha256()
    # A name of its own, gone when it is closed: where the file would go on from here.
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
