"""A server in a nursery, on a free port, and a client in the same nursery."""

from __future__ import annotations

import trio

import anyws


async def echo(ws: anyws.WebSocket) -> None:
    """Serve one connection."""
    await ws.accept()
    async for message in ws:
        await ws.send_message(message)


async def main() -> str:
    """Start the server, talk to it, and stop it."""
    async with trio.open_nursery() as nursery:
        server = await nursery.start(anyws.serve(echo, "127.0.0.1", 0).run)
        async with anyws.connect(server.url) as ws:
            await ws.send_text("hello")
            answer = await ws.receive_text()
        nursery.cancel_scope.cancel()  # closes open connections with 1012
    return answer


if __name__ == "__main__":
    print(trio.run(main))
