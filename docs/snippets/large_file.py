"""Messages in parts: neither end holds a whole one."""

from __future__ import annotations

from pathlib import Path

import anyio

import anyws


async def upload(url: str, path: Path) -> None:
    """Send a file as one binary message, 64 KiB at a time."""
    async with anyws.connect(url) as ws:
        async with ws.send_stream("binary") as message:
            async with await anyio.open_file(path, "rb") as file:
                while part := await file.read(65536):
                    await message.send(part)
        await ws.receive_text()  # the server has received it


async def download(url: str, path: Path) -> int:
    """Write one binary message to a file, part by part; return its length."""
    length = 0
    async with anyws.connect(url) as ws, ws.receive_stream() as message:
        async with await anyio.open_file(path, "wb") as file:
            async for part in message:
                length += await file.write(
                    bytes(part, "utf-8") if isinstance(part, str) else part
                )
    return length
