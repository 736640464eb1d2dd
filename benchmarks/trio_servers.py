"""Echo servers without ASGI, on trio: two libraries as they come, bytes over TCP."""

from __future__ import annotations

import socket
import sys

import trio
import trio_websocket
from websockets.exceptions import ConnectionClosed
from websockets.trio.server import ServerConnection, serve


async def serve_websockets(listener: trio.SocketListener) -> None:
    """Serve `websockets.trio`."""
    await serve(_echo, listeners=[listener])


async def _echo(ws: ServerConnection) -> None:
    try:
        async for message in ws:
            await ws.send(message)
    except ConnectionClosed:
        pass  # left without a closing handshake: keeps tracebacks out of the log


async def serve_trio_websocket(listener: trio.SocketListener) -> None:
    """Serve `trio-websocket`."""
    await trio_websocket.WebSocketServer(_echo_request, [listener]).run()


async def _echo_request(request: trio_websocket.WebSocketRequest) -> None:
    ws = await request.accept()
    try:
        while True:
            await ws.send_message(await ws.get_message())
    except trio_websocket.ConnectionClosed:
        pass  # which is how it says that the peer has left


async def serve_raw(listener: trio.SocketListener) -> None:
    """Serve an echo of bytes: as fast as a `SocketStream` can be."""
    await trio.serve_listeners(_echo_bytes, [listener])


async def _echo_bytes(stream: trio.SocketStream) -> None:
    async with stream:
        try:
            async for data in stream:
                await stream.send_all(data)
        except trio.BrokenResourceError:
            pass


SERVERS = {
    "raw": serve_raw,
    "trio-websocket": serve_trio_websocket,
    "websockets": serve_websockets,
}


def main() -> None:
    """Serve on the listening socket of this file descriptor."""
    name, _worker, fd = sys.argv[1:]
    trio.run(_serve, name, int(fd))


async def _serve(name: str, fd: int) -> None:
    listener = socket.socket(fileno=fd)
    await SERVERS[name](trio.SocketListener(trio.socket.from_stdlib_socket(listener)))


if __name__ == "__main__":
    main()
