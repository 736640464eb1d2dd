"""Servers that send one message to all their members, as each library would have it.

python -m benchmarks.fan_out_servers NAME WORKER FD

Whatever a member sends goes to all members, itself included.
"""

from __future__ import annotations

import socket
import sys
from typing import Any

import anyio

# The workers of AnyIO, and the options of their backends.
WORKERS: dict[str, tuple[str, dict[str, Any]]] = {
    "asyncio": ("asyncio", {}),
    "uvloop": ("asyncio", {"use_uvloop": True}),
    "trio": ("trio", {}),
}


async def hub(listener: socket.socket, worker: str, *, deflate: bool) -> None:
    """`anyws.Hub`, under the engine."""
    from hypercorn.config import Config

    import anyws
    from anyws.hypercorn import serve

    topics = anyws.Hub()

    @anyws.endpoint
    async def app(ws: anyws.WebSocket) -> None:
        await ws.accept()
        with topics.attach(ws, "all"):
            async for message in ws:
                topics.publish("all", message)

    config = Config()
    config.loglevel = "ERROR"
    config.backlog = 1024
    config.websocket_permessage_deflate = deflate  # type: ignore[attr-defined]  # a setting of the engine's
    async with topics:
        await serve(app, config, bind=f"fd://{listener.detach()}")


async def broadcast(listener: socket.socket, worker: str, *, deflate: bool) -> None:
    """The broadcast of `websockets`."""
    compression = "deflate" if deflate else None
    if worker == "trio":
        await _broadcast_trio(listener, compression)
        return
    from websockets.asyncio.server import ServerConnection, serve
    from websockets.asyncio.server import broadcast as send

    members: set[ServerConnection] = set()

    async def handler(ws: ServerConnection) -> None:
        members.add(ws)
        try:
            async for message in ws:
                send(members, message)
        finally:
            members.remove(ws)

    async with serve(handler, sock=listener, compression=compression) as server:
        await server.serve_forever()


async def _broadcast_trio(listener: socket.socket, compression: Any) -> None:
    import trio
    from websockets.trio.server import ServerConnection, serve
    from websockets.trio.server import broadcast as send

    members: set[ServerConnection] = set()

    async def handler(ws: ServerConnection) -> None:
        members.add(ws)
        try:
            async for message in ws:
                await send(members, message)
        finally:
            members.remove(ws)

    listener.setblocking(False)
    listeners = [trio.SocketListener(trio.socket.from_stdlib_socket(listener))]
    await serve(handler, listeners=listeners, compression=compression)


async def manager(listener: socket.socket, worker: str, *, deflate: bool) -> None:
    """The ConnectionManager of FastAPI's documentation."""
    from benchmarks.fan_out_manager import app

    if worker == "trio":
        import hypercorn.trio
        from hypercorn.config import Config

        config = Config()
        config.loglevel = "ERROR"
        config.backlog = 1024
        config.bind = [f"fd://{listener.detach()}"]
        await hypercorn.trio.serve(app, config)  # type: ignore[arg-type]  # its own types of ASGI
        return
    import uvicorn

    settings = uvicorn.Config(
        app, log_level="error", ws_per_message_deflate=deflate, lifespan="off"
    )
    await uvicorn.Server(settings).serve(sockets=[listener])


SERVERS = {"hub": hub, "broadcast": broadcast, "manager": manager}


def main() -> None:
    """Serve until the process is ended."""
    name, worker, deflate, fd = sys.argv[1:]
    listener = socket.socket(fileno=int(fd))
    backend, options = WORKERS[worker]

    async def run() -> None:
        await SERVERS[name](listener, worker, deflate=deflate == "deflate")

    anyio.run(run, backend=backend, backend_options=options)


if __name__ == "__main__":
    main()
