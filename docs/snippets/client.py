"""A client, on either backend."""

from __future__ import annotations

import sys

import anyio

import anyws


async def main(url: str) -> str:
    """Send a message, and return the answer."""
    async with anyws.connect(url) as ws:
        await ws.send_text("hello")
        with anyio.fail_after(5):
            return await ws.receive_text()


if __name__ == "__main__":
    print(anyio.run(main, sys.argv[1], backend="asyncio"))
