"""Echo servers without ASGI, on asyncio or uvloop: `websockets`, and bytes over TCP."""

from __future__ import annotations

import asyncio
import socket
import sys
from typing import cast

import uvloop
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed


async def serve_websockets(listener: socket.socket) -> None:
    """Serve `websockets.asyncio`, as it comes."""
    async with serve(_echo, sock=listener) as server:
        await server.serve_forever()


async def _echo(ws: ServerConnection) -> None:
    try:
        async for message in ws:
            await ws.send(message)
    except ConnectionClosed:
        pass  # left without a closing handshake: keeps tracebacks out of the log


async def serve_raw(listener: socket.socket) -> None:
    """Serve an echo of bytes: as fast as the event loop can be."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(_Raw, sock=listener)
    await server.serve_forever()


class _Raw(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


SERVERS = {"raw": serve_raw, "websockets": serve_websockets}


def main() -> None:
    """Serve on the listening socket of this file descriptor."""
    name, worker, fd = sys.argv[1:]
    new_event_loop = uvloop.new_event_loop if worker == "uvloop" else None
    with (
        socket.socket(fileno=int(fd)) as listener,
        asyncio.Runner(loop_factory=new_event_loop) as runner,
    ):
        runner.run(SERVERS[name](listener))


if __name__ == "__main__":
    main()
