"""One echo server by many hands: what the client is tested against.

    python peer_apps.py SERVER FD

listens on an inherited socket. Every server does the same: it echoes; "close CODE
REASON" has it close the connection; "/closes" says with which code the last connection
was closed by its client, as far as the server knows; "/rejected" is rejected.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from http import HTTPStatus
from typing import Any

COMMAND = "close "
MAX_BYTES = 2**24
closes: list[int] = []


def parsed(command: str) -> tuple[int, str]:
    """Return the code and reason of a command."""
    _, code, reason = command.split(" ", 2)
    return int(code), reason


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Be it by ASGI."""
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 404, "headers": []})
        await send({"type": "http.response.body", "body": b""})
        return
    if scope["type"] != "websocket":
        raise NotImplementedError(scope["type"])
    await receive()
    if scope["path"] == "/rejected":
        await send({"type": "websocket.close", "code": 1000})
        return
    subprotocol = next(iter(scope["subprotocols"]), None)
    await send({"type": "websocket.accept", "subprotocol": subprotocol})
    if scope["path"] == "/closes":
        await send({"type": "websocket.send", "text": str(closes[-1])})
    while (event := await receive())["type"] == "websocket.receive":
        text, data = event.get("text"), event.get("bytes")
        if text is not None and text.startswith(COMMAND):
            code, reason = parsed(text)
            await send({"type": "websocket.close", "code": code, "reason": reason})
            return
        if text is not None:
            await send({"type": "websocket.send", "text": text})
        else:
            await send({"type": "websocket.send", "bytes": data})
    if scope["path"] != "/closes":
        closes.append(event.get("code", 1005))


def run_uvicorn(protocol: Any, descriptor: int) -> None:
    """Be it by uvicorn."""
    import uvicorn

    uvicorn.run(
        app,
        fd=descriptor,
        ws=protocol,
        ws_max_size=MAX_BYTES,
        log_level="warning",
        lifespan="off",
    )


async def run_websockets(listener: socket.socket) -> None:
    """Be it by `websockets`."""
    from websockets.asyncio.server import ServerConnection, serve
    from websockets.exceptions import ConnectionClosed
    from websockets.http11 import Request, Response
    from websockets.typing import Subprotocol

    async def handle(connection: ServerConnection) -> None:
        assert connection.request is not None
        if connection.request.path == "/closes":
            await connection.send(str(closes[-1]))
        try:
            while True:
                message = await connection.recv()
                if isinstance(message, str) and message.startswith(COMMAND):
                    await connection.close(*parsed(message))
                    return
                await connection.send(message)
        except ConnectionClosed as exc:
            if exc.rcvd is not None and connection.request.path != "/closes":
                closes.append(exc.rcvd.code)

    def answer(connection: ServerConnection, request: Request) -> Response | None:
        if request.path == "/rejected":
            return connection.respond(HTTPStatus.FORBIDDEN, "")
        return None

    async with serve(
        handle,
        sock=listener,
        max_size=MAX_BYTES,
        subprotocols=[Subprotocol("chat")],
        select_subprotocol=lambda _, offered: next(iter(offered), None),
        process_request=answer,
    ):
        await asyncio.get_running_loop().create_future()


async def run_aiohttp(listener: socket.socket) -> None:
    """Be it by aiohttp."""
    from aiohttp import WSMsgType, web

    async def handle(request: web.Request) -> web.StreamResponse:
        if request.path == "/rejected":
            return web.Response(status=403)
        ws = web.WebSocketResponse(max_msg_size=MAX_BYTES + 1, protocols=["chat"])
        await ws.prepare(request)
        if request.path == "/closes":
            await ws.send_str(str(closes[-1]))
        async for message in ws:
            if message.type is WSMsgType.BINARY:
                await ws.send_bytes(message.data)
            elif message.data.startswith(COMMAND):
                code, reason = parsed(message.data)
                await ws.close(code=code, message=reason.encode())
                return ws
            else:
                await ws.send_str(message.data)
        if request.path != "/closes":
            closes.append(ws.close_code or 1006)
        return ws

    application = web.Application()
    application.router.add_get("/{path:.*}", handle)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.SockSite(runner, listener).start()
    await asyncio.get_running_loop().create_future()


def main() -> None:
    """Be the server that is named."""
    name, descriptor = sys.argv[1], int(sys.argv[2])
    family, _, variant = name.partition("-")
    if family == "uvicorn":
        run_uvicorn(variant, descriptor)
    else:
        serve = {"websockets": run_websockets, "aiohttp": run_aiohttp}[family]
        asyncio.run(serve(socket.socket(fileno=descriptor)))


if __name__ == "__main__":
    main()
