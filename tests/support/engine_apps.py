"""The applications that the tests run under `anyws.hypercorn` (see servers.py).

Most handlers are served twice: under `/starlette` by Starlette's own class, which knows
nothing of anyws, and under `/anyws` by an endpoint. What they saw is noted, as in
server_apps.py; what they see while the server ends goes to its log.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
from collections import defaultdict
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import anyio
from anyio.streams.tls import TLSAttribute
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

import anyws

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from starlette.requests import Request
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from . import server_apps as base

    Handler = Callable[[WebSocket], Awaitable[None]]
else:
    import server_apps as base  # a server runs this file as a module of the top level

KIB_64 = bytes(64 * 1024)
ROUTES: list[BaseRoute] = []
note = base.note
released: dict[str, anyio.Event] = defaultdict(anyio.Event)


def serve(
    path: str, options: anyws.Options | None = None
) -> Callable[[Handler], Handler]:
    """Serve a handler twice, with Starlette's class and with ours."""

    def decorate(handler: Handler) -> Handler:
        ROUTES.append(WebSocketRoute(f"/starlette{path}", handler))
        ours = anyws.endpoint(options=options)(handler)
        ROUTES.append(WebSocketRoute(f"/anyws{path}", ours))
        return handler

    return decorate


def end(exc: WebSocketDisconnect) -> dict[str, Any]:
    """Return what an exception tells of the end of a connection, for JSON."""
    info = getattr(exc, "info", None)
    return {
        "error": type(exc).__name__,
        "code": exc.code,
        "reason": exc.reason,
        "initiator": info and info.initiator,
        "clean": info and info.clean,
    }


def log(name: str, **fields: object) -> None:
    """Write a line of JSON to the server's log."""
    sys.stderr.write(json.dumps({"name": name, "pid": os.getpid()} | fields) + "\n")


# Endings.


@serve("/echo")
async def echo(ws: WebSocket) -> None:
    """Send back what comes."""
    try:
        await ws.accept()
        while (event := await ws.receive())["type"] == "websocket.receive":
            await ws.send({**event, "type": "websocket.send"})
    except WebSocketDisconnect as exc:
        note(ws, "closed", **end(exc))
        raise
    note(ws, "closed", code=event["code"], reason=event.get("reason"))


@serve("/transport")
async def transport(ws: WebSocket) -> None:
    """Note what is known of the transport."""
    await ws.accept()
    tls = ws.scope["extensions"].get("tls", {})
    ours = ws if isinstance(ws, anyws.WebSocket) else None
    note(
        ws,
        "transport",
        extension=tls.get("tls_version"),
        version=ours and ours.extra(TLSAttribute.tls_version, None),
        certificate=ours and ours.extra(TLSAttribute.peer_certificate, None),
    )


serve("/deflated", anyws.Options(compression=anyws.Deflate(server_max_window_bits=9)))(
    echo
)


@serve("/careless")
async def careless(ws: WebSocket) -> None:
    """Send back text, and catch nothing."""
    await ws.accept()
    while True:
        await ws.send_text(await ws.receive_text())


@serve("/receiver")
async def receiver(ws: WebSocket) -> None:
    """Receive until that raises."""
    await ws.accept()
    try:
        while True:
            note(ws, "received", size=len(await ws.receive_text()))
    except WebSocketDisconnect as exc:
        note(ws, "closed", **end(exc))
        raise


@serve("/ticker")
async def ticker(ws: WebSocket) -> None:
    """Only send, until that raises; then read what is left."""
    await ws.accept()
    try:
        while True:
            await ws.send_text("tick")
            await anyio.sleep(0.02)
    except WebSocketDisconnect as exc:
        note(ws, "closed", **end(exc))
    left: list[Message] = []
    with contextlib.suppress(WebSocketDisconnect):
        while not left or left[-1]["type"] == "websocket.receive":
            left.append(await ws.receive())
    texts = [event["text"] for event in left if event["type"] == "websocket.receive"]
    last = left[-1] if left else {}
    note(ws, "read", texts=texts, code=last.get("code"), reason=last.get("reason"))


@serve("/flood")
async def flood(ws: WebSocket) -> None:
    """Send as much as can be, until that raises."""
    await ws.accept()
    try:
        while True:
            await ws.send_bytes(KIB_64)
    except WebSocketDisconnect as exc:
        note(ws, "closed", **end(exc))
        raise


@serve("/close")
async def close(ws: WebSocket) -> None:
    """Close after one message."""
    await ws.accept()
    await ws.receive_text()
    await ws.close(4321, "ciao")


@serve("/return")
async def return_after_one(ws: WebSocket) -> None:
    """Return after one message."""
    await ws.accept()
    await ws.receive_text()


@serve("/boom")
async def boom(ws: WebSocket) -> None:
    """Raise after one message, before accepting if asked to."""
    if "early" not in ws.query_params:
        await ws.accept()
        await ws.receive_text()
    raise base.Boom(ws.query_params["case"])


@serve("/unsent")
async def unsent(ws: WebSocket) -> None:
    """Tell how much the kernel is to hold unsent for the client, by its port."""
    await ws.accept()
    port = int(ws.query_params["port"])
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # it is no socket, or not connected
            with socket.socket(fileno=os.dup(int(name))) as found:
                if found.family == socket.AF_INET and found.getpeername()[1] == port:
                    option = socket.TCP_NOTSENT_LOWAT
                    size = found.getsockopt(socket.IPPROTO_TCP, option)
                    await ws.send_text(str(size))


@serve("/reject")
async def reject(ws: WebSocket) -> None:
    """Return without accepting."""
    note(ws, "called")


@serve("/deny")
async def deny(ws: WebSocket) -> None:
    """Answer with a response of one's own."""
    response = PlainTextResponse("not you", 401, {"x-why": "because"})
    await ws.send_denial_response(response)


# Messages.


@serve("/limited", anyws.Options(max_message_bytes=1_000_000))
async def limited(ws: WebSocket) -> None:
    """Receive until that raises; ours has a limit of its own."""
    await receiver(ws)


@serve("/deaf")
async def deaf(ws: WebSocket) -> None:
    """Read nothing before the test says so, then everything."""
    await ws.accept()
    await released[ws.query_params["case"]].wait()
    numbers: list[int] = []
    try:
        while True:
            numbers.append(int.from_bytes((await ws.receive_bytes())[:4]))
    except WebSocketDisconnect as exc:
        whole = numbers == list(range(len(numbers)))
        note(ws, "closed", count=len(numbers), whole=whole, **end(exc))
        raise


@serve("/held")
async def held(ws: WebSocket) -> None:
    """Accept when the test says so."""
    note(ws, "called")
    await released[ws.query_params["case"]].wait()
    await echo(ws)


@serve("/chosen")
async def chosen(ws: WebSocket) -> None:
    """Accept with a subprotocol."""
    await ws.accept(ws.query_params["subprotocol"])
    await ws.send_text(ws.query_params["subprotocol"])


@anyws.endpoint
async def latency(ws: anyws.WebSocket) -> None:
    """Tell the round-trip time whenever it is asked for."""
    await ws.accept()
    async for _ in ws:
        await ws.send_json(ws.statistics().latency)


class Unoffered:
    """Accept with a subprotocol that was not offered, by bare ASGI events."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        ws = WebSocket(scope, receive, send)
        await receive()
        try:
            await send({"type": "websocket.accept", "subprotocol": "not-offered"})
        except Exception as exc:
            note(ws, "refused", error=type(exc).__name__)
            raise base.Boom(ws.query_params["case"]) from exc


# The server leaves.


@serve("/process")
async def process(ws: WebSocket) -> None:
    """Tell which process this is, and log how the connection ended."""
    await ws.accept()
    await ws.send_text(str(os.getpid()))
    try:
        while True:
            await ws.send_text(await ws.receive_text())
    except WebSocketDisconnect as exc:
        log("closed", case=ws.query_params["case"], **end(exc))


@serve("/sleeper")
async def sleeper(ws: WebSocket) -> None:
    """Sleep for ever, and log how that ended."""
    await ws.accept()
    await ws.send_text("asleep")
    try:
        await anyio.sleep_forever()
    except BaseException as exc:
        log("woken", error=type(exc).__name__)
        raise


# Frameworks that know nothing of anyws.

plain = FastAPI()


@plain.websocket("/echo")
async def plain_echo(websocket: WebSocket) -> None:
    """Send back what comes, as FastAPI's own documentation does."""
    await careless(websocket)


class Recorded:
    """Note the disconnect that an application receives."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def received() -> Message:
            event = await receive()
            if event["type"] == "websocket.disconnect":
                ws = WebSocket(scope, receive, send)
                note(ws, "event", code=event["code"], reason=event.get("reason"))
            return event

        await self.app(scope, received, send)


def quart_app(path: str, maker: Callable[[str], Any]) -> ASGIApp:
    """Return an application of Quart's: an echo that notes its end."""
    websocket: Any = import_module("quart").websocket
    left: Any = import_module("quart.wrappers.base").ClientDisconnectedError
    app = maker("engine_apps")

    def closed() -> None:
        base.NOTES[websocket.args["case"]].append({"name": "closed"})

    async def serve() -> None:
        try:
            while True:
                await websocket.send(await websocket.receive())
        except anyio.get_cancelled_exc_class():  # all that Quart tells its handlers
            closed()
            raise
        except left:  # what they may be told on trio; there is no code in it either
            closed()

    app.websocket(path)(serve)
    result: ASGIApp = app
    return result


def quart_asyncio_app() -> ASGIApp:
    """Return one for asyncio, which is all that Quart itself runs on."""
    return quart_app("/quart/echo", import_module("quart").Quart)


def quart_trio_app() -> ASGIApp:
    """Return one for trio, by the class that Quart's authors have for it."""
    return quart_app("/quart_trio/echo", import_module("quart_trio").QuartTrio)


def litestar_app() -> ASGIApp:
    """Return an application of Litestar's: an echo that notes its end."""
    litestar: Any = import_module("litestar")

    async def serve(socket: Any) -> None:
        await socket.accept()
        try:
            while True:
                await socket.send_text(await socket.receive_text())
        except import_module("litestar.exceptions").WebSocketDisconnect as exc:
            fields = {"name": "closed", "code": exc.code, "detail": exc.detail}
            base.NOTES[socket.query_params["case"]].append(fields)

    serve.__annotations__ = {"socket": litestar.WebSocket, "return": None}
    result: ASGIApp = litestar.Litestar([litestar.websocket("/litestar/echo")(serve)])
    return result


# The applications.


async def unwilling(scope: Scope, receive: Receive, send: Send) -> None:
    """Fail to start."""
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "not today"})


async def release(request: Request) -> JSONResponse:
    """Let a handler go on."""
    released[request.query_params["case"]].set()
    return JSONResponse(None)


@contextlib.asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    """Log that the application was shut down."""
    async with base.lifespan(app):
        yield
    log("lifespan")


ours = [
    Route("/release", release),
    WebSocketRoute("/latency", latency),
    WebSocketRoute("/unoffered-event", Unoffered()),
    Mount("/fastapi", Recorded(plain)),
]
app = Starlette(routes=[*ROUTES, *ours, *base.app.routes], lifespan=lifespan)


def with_frameworks() -> Starlette:
    """Return the application, and beside it those of what frameworks there are."""
    others = {
        "quart": quart_asyncio_app,
        "quart_trio": quart_trio_app,
        "litestar": litestar_app,
    }
    routes: list[BaseRoute] = [
        WebSocketRoute(f"/{name}/echo", Recorded(make()))
        for name, make in others.items()
        if find_spec(name) is not None
    ]
    return Starlette(routes=[*routes, *app.routes], lifespan=lifespan)
