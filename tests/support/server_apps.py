"""The application that the tests run under Hypercorn (see servers.py).

Each handler is one way of using anyws. It notes what it saw under the name of its case
(`?case=...` in its address); `GET /notes?case=...` gives that back as JSON. `done` is
noted by what stands between the handler and the server: what would get into its log.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import os
import random
import time
import zlib
from collections import defaultdict
from typing import TYPE_CHECKING, Annotated, Any

import anyio
from anyio.lowlevel import checkpoint
from fastapi import Depends, FastAPI
from fastapi import WebSocket as PlainWebSocket
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute
from starlette.websockets import WebSocketDisconnect

from anyws import (
    CloseCode,
    ConnectionClosed,
    MessageDecodeError,
    MessageTooBig,
    MessageTypeError,
    Options,
    WebSocket,
    WebSocketMiddleware,
    endpoint,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable

    from starlette.requests import HTTPConnection, Request
    from starlette.types import ASGIApp, Receive, Scope, Send

    Handler = Callable[[WebSocket], Awaitable[None]]
    Call = Callable[[], Coroutine[Any, Any, Any]]

KIB_64 = bytes(64 * 1024)
NOTES: dict[str, list[dict[str, Any]]] = defaultdict(list)
ROUTES: list[BaseRoute] = []
beats = 0


class Boom(Exception):
    """The error that handlers raise on purpose."""


def note(connection: HTTPConnection, name: str, **fields: object) -> None:
    """Note something for the test."""
    case = connection.query_params["case"]
    NOTES[case].append({"name": name, "at": time.monotonic()} | fields)


def error_fields(exc: BaseException | None) -> dict[str, Any]:
    """Return what a test may want to know of an exception, for JSON."""
    info = getattr(exc, "info", None)
    return {
        "error": exc and type(exc).__name__,
        "bases": [base.__name__ for base in type(exc).__mro__],
        "text": str(exc),
        "code": getattr(exc, "code", None),
        "initiator": info and info.initiator,
        "clean": info and info.clean,
        "leaves": [type(leaf).__name__ for leaf in getattr(exc, "exceptions", ())],
    }


async def outcome(call: Awaitable[Any]) -> Any:
    """Return what a call returned, or the name of the exception it raised."""
    try:
        return await call
    except Exception as exc:
        return type(exc).__name__


class Watched:
    """What stands between an application and the server: it notes how it ended."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        error: BaseException | None = None
        try:
            await self.app(scope, receive, send)
        except BaseException as exc:
            error = exc
            raise
        finally:
            ws = PlainWebSocket(scope, receive, send)
            note(ws, "done", **error_fields(error))


def serve(path: str, options: Options | None = None) -> Callable[[Handler], Handler]:
    """Serve a handler at a path."""

    def decorate(handler: Handler) -> Handler:
        guarded = endpoint(options=options or Options())(handler)
        ROUTES.append(WebSocketRoute(path, Watched(guarded)))
        return handler

    return decorate


# Deadlines and cancellation, by AnyIO's means and by asyncio's own.


async def limited(way: str, seconds: float, call: Call) -> Any:
    """Await a call under a deadline set in one of several ways, or TimeoutError."""
    if way == "wait_for":
        return await asyncio.wait_for(call(), seconds)
    if way == "timeout":
        async with asyncio.timeout(seconds):
            return await call()
    result = None
    with anyio.move_on_after(seconds) as scope:
        result = await call()
    if scope.cancelled_caught:
        raise TimeoutError
    return result


async def cut(way: str, turns: int, call: Call, started: anyio.Event | None) -> bool:
    """Cancel a call after some scheduler turns; tell whether it had returned before."""
    returned = False

    async def run() -> None:
        nonlocal returned
        await call()
        returned = True

    if way == "task_cancel":
        task = asyncio.create_task(run())
        await turn(turns, started)
        for _ in range(10):
            task.cancel()
            await asyncio.sleep(0)
        with contextlib.suppress(asyncio.CancelledError):
            await task
    else:
        async with anyio.create_task_group() as tg:
            tg.start_soon(run)
            await turn(turns, started)
            tg.cancel_scope.cancel()
    return returned


async def turn(turns: int, started: anyio.Event | None) -> None:
    """Wait for an event, then for some turns of the scheduler."""
    if started is not None:
        await started.wait()
    for _ in range(turns):
        await checkpoint()


def ways() -> list[str]:
    """Return the ways to cancel that this backend has."""
    return ["scope", "task_cancel"] if on_asyncio() else ["scope"]


def on_asyncio() -> bool:
    """Tell whether the server runs on asyncio (uvloop included)."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


# Endings.


@serve("/echo")
async def echo(ws: WebSocket) -> None:
    """Send back what comes."""
    await ws.accept()
    while True:
        await ws.send_message(await ws.receive_message())


@serve("/ticker")
async def ticker(ws: WebSocket) -> None:
    """Only send."""
    await ws.accept()
    try:
        while True:
            await ws.send_text("tick")
            await anyio.sleep(0.02)
    except ConnectionClosed as exc:
        note(ws, "closed", **error_fields(exc))
        raise


@serve("/hot")
async def hot(ws: WebSocket) -> None:
    """Send as fast as can be."""
    await ws.accept()
    try:
        while True:
            await ws.send_text("x" * 100)
    except ConnectionClosed as exc:
        note(ws, "closed", **error_fields(exc))
        raise


@serve("/guarded-work")
async def guarded_work(ws: WebSocket) -> None:
    """Do something that has nothing to do with the connection."""
    await ws.accept()
    with ws.cancel_on_disconnect():
        await ws.send_text("working")
        await anyio.sleep_forever()


@serve("/group")
async def group(ws: WebSocket) -> None:
    """Receive and send in two tasks of the handler's own."""
    await ws.accept()

    async def receive() -> None:
        while True:
            await ws.receive_text()

    async def send() -> None:
        while True:
            await ws.send_text("tick")
            await anyio.sleep(0.02)

    async with anyio.create_task_group() as tg:
        tg.start_soon(receive)
        tg.start_soon(send)


@serve("/return")
async def return_after_one(ws: WebSocket) -> None:
    """Return after one message."""
    await ws.accept()
    await ws.receive_text()


@serve("/boom")
async def boom(ws: WebSocket) -> None:
    """Raise after one message, before accepting if asked to."""
    if "early" in ws.query_params:
        raise Boom(ws.query_params["case"])
    await ws.accept()
    await ws.receive_text()
    raise Boom(ws.query_params["case"])


class Leaves:
    """Raise inside the block, nested in a task group of the user's if asked to."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with WebSocket(scope, receive, send) as ws:
            await ws.accept()
            if "nested" not in ws.query_params:
                raise Boom(ws.query_params["case"])
            async with anyio.create_task_group() as tg:
                tg.start_soon(ws.receive_text)
                raise Boom(ws.query_params["case"])


@serve("/late")
async def late(ws: WebSocket) -> None:
    """Read what had arrived when the peer has already left."""
    await ws.accept()
    await ws.wait_closed()
    sent = await outcome(ws.send_text("too late"))
    received = [await outcome(ws.receive_text()) for _ in range(7)]
    iterated = [message async for message in ws]
    note(ws, "read", sent=sent, received=received, iterated=iterated)


@serve("/close")
async def close(ws: WebSocket) -> None:
    """Close in every way, one after the other, before or after the peer does."""
    await ws.accept()
    if ws.query_params["first"] == "peer":
        await ws.wait_closed()
    try:
        await ws.close(4000, "first")
        await ws.close()
        await ws.aclose()
        note(ws, "closed", send=await outcome(ws.send_text("x")))
    finally:
        await ws.close(4001)


@serve("/reason")
async def reason(ws: WebSocket) -> None:
    """Close with a reason that no frame can carry."""
    await ws.accept()
    reasons: dict[str, Any] = {"long": "é" * 200, "list": [{"loc": ["x" * 200]}]}
    await ws.close(CloseCode.POLICY_VIOLATION, reasons[ws.query_params["kind"]])


@serve("/unoffered")
async def unoffered(ws: WebSocket) -> None:
    """Choose a subprotocol that the client did not offer."""
    try:
        await ws.accept(subprotocol="not-offered")
    except ValueError as exc:
        note(ws, "refused", **error_fields(exc))
        if "caught" not in ws.query_params:
            raise Boom(ws.query_params["case"]) from exc
    await ws.accept()
    await ws.send_text("accepted")


# Receiving.


@serve("/two-receivers")
async def two_receivers(ws: WebSocket) -> None:
    """Receive in two tasks."""
    await ws.accept()
    got: list[str] = []

    async def receive() -> None:
        try:
            got.append(await ws.receive_text())
        except anyio.BusyResourceError as exc:
            note(ws, "busy", **error_fields(exc))

    async with anyio.create_task_group() as tg:
        tg.start_soon(receive)
        tg.start_soon(receive)
    note(ws, "received", got=got, then=await ws.receive_text())


@serve("/types")
async def types(ws: WebSocket) -> None:
    """Receive messages of the wrong kind, and go on."""
    await ws.accept()
    for call in (ws.receive_text, ws.receive_bytes, ws.receive_json):
        try:
            await call()
        except (MessageTypeError, MessageDecodeError) as exc:
            note(ws, call.__name__, **error_fields(exc))
    await ws.send_text(await ws.receive_text())


@serve("/too-big", Options(max_message_bytes=1000))
async def too_big(ws: WebSocket) -> None:
    """Receive messages up to a size."""
    await ws.accept()
    try:
        while True:
            note(ws, "received", size=len((await ws.receive_text()).encode()))
    except MessageTooBig as exc:
        note(ws, "too-big", **error_fields(exc))
        raise


# Cancellation.


@serve("/race")
async def race(ws: WebSocket) -> None:
    """Receive under deadlines that expire as messages arrive."""
    way, got, missed = ws.query_params["way"], [], 0
    await ws.accept()
    while True:
        try:
            text = await limited(way, 0.0015, ws.receive_text)
        except TimeoutError:
            missed += 1
            continue
        if text == "end":
            break
        got.append(int(text))
    note(ws, "raced", got=got, missed=missed)


@serve("/senders")
async def senders(ws: WebSocket) -> None:
    """Send from 64 tasks, each send being cancelled after some turns."""
    await ws.accept()
    sent: list[str] = []
    cancelled: list[str] = []

    async def sender(number: int) -> None:
        rng = random.Random(number)
        words = [rng.randbytes(3).hex() for _ in range(200)]
        for n in range(20):
            name = f"{number}:{n}"
            body = " ".join(rng.choices(words, k=rng.randrange(1000)))
            text = f"{name}:{zlib.crc32(body.encode())}:{body}"
            call = functools.partial(ws.send_text, text)
            way = rng.choice(ways())
            returned = await cut(way, rng.randrange(40), call, None)
            (sent if returned else cancelled).append(name)

    async with anyio.create_task_group() as tg:
        for number in range(64):
            tg.start_soon(sender, number)
    note(ws, "sent", sent=sent, cancelled=cancelled)
    await ws.send_text("end")
    await ws.wait_closed()


@serve("/stalled")
async def stalled(ws: WebSocket) -> None:
    """Send for a second to a peer that may not read, then go on."""
    await ws.accept()
    begin = time.monotonic()
    with anyio.move_on_after(1) as scope:
        while True:
            await ws.send_bytes(KIB_64)
    took = time.monotonic() - begin
    note(ws, "moved-on", took=took, cancelled=scope.cancelled_caught)
    note(ws, "went-on", received=await ws.receive_text())


async def hot_with_deadline(ws: WebSocket) -> None:
    """Send as fast as can be, for a hundredth of a second."""
    await ws.accept()

    async def loop() -> None:
        while True:
            await ws.send_text("x")

    begin = time.monotonic()
    with contextlib.suppress(TimeoutError):
        await limited(ws.query_params["way"], 0.01, loop)
    note(ws, "moved-on", took=time.monotonic() - begin)


serve("/hot-deadline/wait")(hot_with_deadline)
serve("/hot-deadline/drop_newest", Options(send_overflow="drop_newest"))(
    hot_with_deadline
)


@serve("/receive-again")
async def receive_again(ws: WebSocket) -> None:
    """Cancel a receive and call the next one at once."""
    await ws.accept()
    cancelled = [not await cut(way, 3, ws.receive_text, None) for way in ways()]
    if on_asyncio():
        task = asyncio.create_task(ws.receive_text())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
    note(ws, "cancelled", cancelled=cancelled)
    note(ws, "received", text=await ws.receive_text())


class Interrupted:
    """Cancel the block of a session inside or while it is being left."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        ws = WebSocket(scope, receive, send)
        query = ws.query_params
        way, where, after = query["way"], query["where"], int(query["after"])
        leaving = anyio.Event()

        async def block() -> None:
            async with ws:
                await ws.accept()
                for _ in range(8 if where == "queued" else 0):
                    await ws.send_bytes(KIB_64)
                leaving.set()
                if where == "inside":
                    await anyio.sleep_forever()

        async def watch() -> None:
            if way in ways():
                await turn(after + 5, leaving)
            else:
                await anyio.sleep(after / 100 + 0.05)
            note(ws, "interrupted")

        async with anyio.create_task_group() as tg:
            tg.start_soon(watch)
            if way in ways():
                await cut(way, after, block, leaving)
            else:
                with contextlib.suppress(TimeoutError):
                    await limited(way, after / 100, block)


# Limits.


@serve("/full/close", Options(receive_buffer=4, receive_overflow="close"))
@serve("/full/drop_oldest", Options(receive_buffer=4, receive_overflow="drop_oldest"))
async def full_inbound(ws: WebSocket) -> None:
    """Read nothing until the end of the connection."""
    await ws.accept()
    info = await ws.wait_closed()
    received = [await outcome(ws.receive_text()) for _ in range(5)]
    note(ws, "closed", code=info.code, initiator=info.initiator, received=received)


@serve("/stuck/close", Options(send_buffer=4, send_overflow="close"))
@serve("/stuck/drop_oldest", Options(send_buffer=4, send_overflow="drop_oldest"))
@serve("/stuck/drop_newest", Options(send_buffer=4, send_overflow="drop_newest"))
async def full_outbound(ws: WebSocket) -> None:
    """Send more than the buffers hold, then wait for a word of the peer."""
    await ws.accept()
    try:
        with anyio.fail_after(5):
            for n in range(100):
                await ws.send_bytes(n.to_bytes(2) + KIB_64)
    except ConnectionClosed as exc:
        note(ws, "sent", **error_fields(exc))
        raise
    note(ws, "sent", error=None)
    await ws.receive_text()


@serve("/idle", Options(idle_timeout=0.4))
async def idle(ws: WebSocket) -> None:
    """Wait for messages, but not for ever."""
    await ws.accept()
    try:
        while True:
            note(ws, "received", text=await ws.receive_text())
    except ConnectionClosed as exc:
        note(ws, "closed", **error_fields(exc))


@serve("/send-timeout", Options(send_timeout=0.5))
async def send_timeout(ws: WebSocket) -> None:
    """Send to a peer that does not read, with a limit set by the options."""
    await ws.accept()
    begin = time.monotonic()
    try:
        while True:
            await ws.send_bytes(KIB_64)
    except ConnectionClosed as exc:
        note(ws, "closed", took=time.monotonic() - begin, **error_fields(exc))
        raise


# A FastAPI application that knows nothing of anyws, behind the middleware.

plain = FastAPI()


async def accepted(websocket: PlainWebSocket) -> None:
    """Accept before the endpoint is entered."""
    await websocket.accept()


@plain.websocket("/validated")
async def validated(websocket: PlainWebSocket, number: int) -> None:
    """Take a number from the query."""
    raise AssertionError(f"not reached with {number}")


@plain.websocket("/validated-late")
async def validated_late(
    websocket: PlainWebSocket, number: int, _: Annotated[None, Depends(accepted)]
) -> None:
    """Take a number from the query, after the connection was accepted."""
    raise AssertionError(f"not reached with {number}")


@plain.websocket("/ticker")
async def plain_ticker(websocket: PlainWebSocket) -> None:
    """Only send."""
    await websocket.accept()
    try:
        while True:
            await websocket.send_text("tick")
            await anyio.sleep(0.02)
    except WebSocketDisconnect as exc:
        note(websocket, "closed", **error_fields(exc))
        raise


@plain.websocket("/return")
async def plain_return(websocket: PlainWebSocket) -> None:
    """Return after one message."""
    await websocket.accept()
    await websocket.receive_text()


# What the tests ask of the process itself.


async def notes(request: Request) -> JSONResponse:
    """Return the notes of a case."""
    return JSONResponse(NOTES[request.query_params["case"]])


async def stats(_: Request) -> JSONResponse:
    """Return the tasks, the heartbeats and the objects of anyws that are alive."""
    if on_asyncio():
        tasks = len(asyncio.all_tasks())
    else:
        import trio

        tasks = trio.lowlevel.current_statistics().tasks_living
    return JSONResponse({"pid": os.getpid(), "tasks": tasks, "beats": beats})


async def objects(_: Request) -> JSONResponse:
    """Return how many objects of classes of anyws there are after a collection."""
    gc.collect()
    return JSONResponse({"anyws": sum(map(is_ours, gc.get_objects()))})


def is_ours(thing: object) -> bool:
    """Tell whether a thing is an instance of a class of anyws."""
    # Not every class has a string there.
    return str(type(thing).__module__).partition(".")[0] == "anyws"


async def beat() -> None:
    """Show that the event loop turns."""
    global beats
    while True:
        await anyio.sleep(0.01)
        beats += 1


@contextlib.asynccontextmanager
async def lifespan(_: Starlette) -> AsyncIterator[None]:
    """Let the heart beat while the server runs."""
    async with anyio.create_task_group() as tg:
        tg.start_soon(beat)
        yield
        tg.cancel_scope.cancel()


def extra_routes() -> Iterable[BaseRoute]:
    """Return the routes that are not single handlers."""
    yield Route("/notes", notes)
    yield Route("/stats", stats)
    yield Route("/objects", objects)
    yield WebSocketRoute("/leaves", Watched(Leaves()))
    yield WebSocketRoute("/interrupted", Watched(Interrupted()))
    yield Mount("/plain", Watched(WebSocketMiddleware(plain)))


app = Starlette(routes=[*ROUTES, *extra_routes()], lifespan=lifespan)
