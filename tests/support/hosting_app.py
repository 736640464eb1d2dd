"""FastAPI applications with blocks in dependencies and exception handlers.

`/plain` has no middleware, so the first block hosts the session, or the engine does;
`/hosted` has it, and `/mounted` is `/plain` once more, one application further in.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Annotated, Any

from fastapi import Depends, FastAPI, WebSocket, WebSocketException

import anyws


class Failure(Exception):
    """What the endpoint raises; the query says what the handler does."""


async def guarded(websocket: WebSocket) -> AsyncIterator[anyws.WebSocket]:
    """Guard the connection."""
    given = (websocket.scope, websocket.receive, websocket.send)
    async with anyws.WebSocket[Any](*given) as ws:
        yield ws


Guarded = Annotated[anyws.WebSocket, Depends(guarded)]
AlsoGuarded = Annotated[anyws.WebSocket, Depends(guarded, use_cache=False)]


async def fails(ws: Guarded, again: AlsoGuarded) -> None:
    """Accept, send, and raise."""
    await ws.accept()
    await again.send_text("last")
    raise Failure


async def fails_early(ws: Guarded) -> None:
    """Raise before an accept."""
    raise Failure


async def fails_for_a_policy(ws: Guarded) -> None:
    """Raise an exception that has a handler already."""
    await ws.accept()
    await ws.send_text("last")
    raise WebSocketException(4008, "no")


async def returns(ws: Guarded) -> None:
    """Accept, send, and return."""
    await ws.accept()
    await ws.send_text("last")


async def shares(websocket: WebSocket, ws: Guarded, again: AlsoGuarded) -> None:
    """Receive and send by each of three objects."""
    await websocket.accept()
    for each in (websocket, ws, again):
        await each.send_text(await each.receive_text())


async def careless(ws: Guarded) -> None:
    """Send back what comes, and catch nothing."""
    await ws.accept()
    while True:
        await ws.send_text(await ws.receive_text())


async def handle(websocket: WebSocket, exc: Exception) -> None:
    """Do what the query says."""
    match websocket.query_params.get("handler"):
        case "closes":
            await websocket.close(4029, "too many")
        case "accepts":
            await websocket.accept()
            await websocket.send_text("last")
            await websocket.close(4029, "too many")
        case "raises":
            raise ValueError("the handler's own") from exc
        case "raises a policy":
            raise WebSocketException(4030, "policy") from exc


def make() -> FastAPI:
    """Make an application of all endpoints."""
    made = FastAPI()
    endpoints: list[Callable[..., Awaitable[None]]] = [
        *(fails, fails_early, fails_for_a_policy, returns, shares, careless)
    ]
    for endpoint in endpoints:
        made.websocket(f"/{endpoint.__name__}")(endpoint)
    made.add_exception_handler(Failure, handle)
    return made


app = FastAPI()
hosted = make()
hosted.add_middleware(anyws.WebSocketMiddleware)
middle = FastAPI()
middle.mount("/", make())
app.mount("/plain", make())
app.mount("/hosted", hosted)
app.mount("/mounted", middle)
