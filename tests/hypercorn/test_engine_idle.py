"""The keep-alive time of a connection of the engine's."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import anyio
from anyio.abc import SocketStream
from hypercorn.config import Config
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute

import anyws
import anyws.hypercorn

HOST = "127.0.0.1"
REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


async def hello(_: Request) -> PlainTextResponse:
    """Answer a plain request."""
    return PlainTextResponse("hello")


@anyws.endpoint
async def echo(ws: anyws.WebSocket) -> None:
    """Echo."""
    await ws.accept()
    async for message in ws:
        await ws.send_message(message)


app = Starlette(routes=[Route("/", hello), WebSocketRoute("/ws", echo)])


@asynccontextmanager
async def served(seconds: float) -> AsyncIterator[tuple[int, Callable[[], None]]]:
    """Serve with this keep-alive time; give the port, and what ends the worker."""
    listener = socket.create_server((HOST, 0))
    port: int = listener.getsockname()[1]
    config = Config()
    config.bind = [f"fd://{listener.detach()}"]  # which the server closes
    config.keep_alive_timeout = seconds
    config.errorlog = config.accesslog = None
    stop = anyio.Event()
    serve: Any = partial(anyws.hypercorn.serve, shutdown_trigger=stop.wait)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(serve, app, config)
        yield port, stop.set
        stop.set()


async def connected(port: int, data: bytes = b"") -> SocketStream:
    """Connect; send a request, if there is one, and read the answer."""
    stream = await anyio.connect_tcp(HOST, port)
    if data:
        await stream.send(data)
        while not (await stream.receive()).endswith(b"hello"):
            pass
    return stream


async def over(stream: SocketStream) -> None:
    """Wait for the end of a connection."""
    try:
        while await stream.receive():
            pass
    except (anyio.EndOfStream, anyio.BrokenResourceError):
        await stream.aclose()


async def test_an_idle_connection_is_closed() -> None:
    """Before its first request and after its last one, but no WebSocket is."""
    async with served(0.2) as (port, _):
        silent = await connected(port)
        async with anyws.connect(f"ws://{HOST}:{port}/ws") as ws:
            await over(silent)
            await over(await connected(port, REQUEST))
            await ws.send_text("hello")
            assert await ws.receive_text() == "hello"


async def test_a_worker_that_ends_closes_what_is_idle() -> None:
    """However long the keep-alive time is."""
    async with served(1000) as (port, stop):
        streams = [await connected(port), await connected(port, REQUEST)]
        stop()
        for stream in streams:
            await over(stream)
