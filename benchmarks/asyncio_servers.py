"""Echo servers on asyncio or uvloop: libraries as they come, and bytes over TCP."""

from __future__ import annotations

import asyncio
import socket
import sys
from typing import Any, cast

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


async def serve_aiohttp(listener: socket.socket) -> None:
    """Serve `aiohttp`, without its access log."""
    from aiohttp import web

    async def handle(request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        async for message in ws:
            if message.type is web.WSMsgType.TEXT:
                await ws.send_str(message.data)
            else:
                await ws.send_bytes(message.data)
        return ws

    app = web.Application()
    app.router.add_get("/{path:.*}", handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.SockSite(runner, listener).start()
    await asyncio.Event().wait()


async def serve_picows(listener: socket.socket) -> None:
    """Serve `picows`: a parser and a transport in C."""
    from picows import (
        WSFrame,
        WSListener,
        WSMsgType,
        WSTransport,
        WSUpgradeRequest,
        ws_create_server,
    )

    class Echo(WSListener):
        def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
            if frame.msg_type == WSMsgType.CLOSE:
                transport.send_close(frame.get_close_code())
                transport.disconnect()
            else:
                transport.send(frame.msg_type, frame.get_payload_as_bytes())

    def make(request: WSUpgradeRequest) -> WSListener:
        return Echo()

    server = await ws_create_server(make, sock=listener)
    await server.serve_forever()


async def serve_granian(listener: socket.socket) -> None:
    """Serve Starlette by granian, in this process; by private names, for the socket."""
    from granian._granian import SocketHolder
    from granian.constants import Interfaces
    from granian.server.embed import Server

    from benchmarks.starlette_apps import echo

    class Granian(Server):
        def _init_shared_socket(self) -> None:
            socket_holder: Any = SocketHolder  # whose types lack its arguments
            self._ssp: Any = None
            self._shd = socket_holder(listener.fileno(), False, 128)

    await Granian(echo, interface=Interfaces.ASGI, log_enabled=False).serve()


SERVERS = {
    "aiohttp": serve_aiohttp,
    "granian+starlette": serve_granian,
    "picows": serve_picows,
    "raw": serve_raw,
    "websockets": serve_websockets,
}


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
