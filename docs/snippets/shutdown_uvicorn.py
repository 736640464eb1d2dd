"""uvicorn, with a drain that begins before its own shutdown."""

from __future__ import annotations

import socket

import uvicorn

import anyws

drain = anyws.Drain()


@anyws.endpoint(drain=drain)
async def app(ws: anyws.WebSocket) -> None:
    """Send every message back."""
    await ws.accept()
    async for message in ws:
        await ws.send_message(message)


class Server(uvicorn.Server):
    """A uvicorn server that drains the WebSockets first."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drain, then shut down."""
        await drain.aclose()
        await super().shutdown(sockets)


if __name__ == "__main__":
    Server(uvicorn.Config(app)).run()
