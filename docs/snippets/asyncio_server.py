"""A server on asyncio, in a block: leaving it closes every connection with 1012."""

from __future__ import annotations

import asyncio

import anyws


async def echo(ws: anyws.WebSocket) -> None:
    """Serve one connection."""
    await ws.accept()
    async for message in ws:
        await ws.send_message(message)


async def main(port: int = 8000) -> None:
    """Serve until the task is cancelled, as Ctrl-C does."""
    async with anyws.serve(echo, "127.0.0.1", port) as server:
        print(server.url, flush=True)
        await server.wait_closed()


if __name__ == "__main__":
    asyncio.run(main())
