"""Requests and responses over one connection; requests can be cancelled. With a page.

hypercorn -k trio calls:app

    {"id": 1, "call": "primes", "below": 100000}     a request
    {"id": 1, "cancel": true}                        the answer is no longer wanted
    {"id": 1, "result": 9592}                        a response, in any order
    {"id": 1, "error": "there is no call 'prime'"}   another one
    {"id": 1, "cancelled": true}                     the answer to a cancel

A task group holds the calls. When the client leaves, the group is cancelled with all of
them, as the handler is.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
from starlette.applications import Starlette
from starlette.exceptions import WebSocketException
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route, WebSocketRoute

import anyws

PAGE = Path(__file__).with_name("calls.html").read_text()
MOST = 16  # concurrent calls of one client


async def primes(request: dict[str, Any]) -> int:
    """Count the primes below a number, slowly, in steps that can be cancelled."""
    below, found, known = int(request["below"]), 0, [2]
    for number in range(2, min(below, 1_000_000)):
        if all(number % prime for prime in known if prime * prime <= number):
            found += 1
            if number < 1000:
                known.append(number)
        if number % 500 == 0:
            await anyio.sleep(0.02)
    return found


async def wait(request: dict[str, Any]) -> float:
    """Wait for some seconds."""
    seconds = float(request["seconds"])
    await anyio.sleep(seconds)
    return seconds


CALLS: dict[str, Callable[[dict[str, Any]], Awaitable[object]]] = {
    "primes": primes,
    "wait": wait,
}


async def answer(request: dict[str, Any]) -> dict[str, object]:
    """Return the response to a request."""
    call = CALLS.get(str(request.get("call")))
    if call is None:
        return {"error": f"there is no call {request.get('call')!r}"}
    try:
        return {"result": await call(request)}
    except (KeyError, ValueError, TypeError) as exc:
        return {"error": f"{type(exc).__name__}: {exc}"}


class Client:
    """The calls of one connection."""

    def __init__(self, ws: anyws.WebSocket) -> None:
        """Begin without a call."""
        self._ws = ws
        self._running: dict[int, anyio.CancelScope] = {}

    async def serve(self) -> None:
        """Take requests; raises `ConnectionClosed` when the client has left."""
        async with anyio.create_task_group() as tasks:
            while True:  # until receive_json() raises, which cancels all calls
                request = await self._ws.receive_json()
                key = request.get("id") if isinstance(request, dict) else None
                if not isinstance(key, int):
                    raise WebSocketException(1008, "a request has a number as its id")
                if request.get("cancel"):
                    if key in self._running:
                        self._running[key].cancel()
                elif key in self._running or len(self._running) == MOST:
                    await self._ws.send_json({"id": key, "error": "too many calls"})
                else:
                    self._running[key] = anyio.CancelScope()
                    tasks.start_soon(self._call, key, request)

    async def _call(self, key: int, request: dict[str, Any]) -> None:
        response: dict[str, object] = {"cancelled": True}
        try:
            with self._running[key]:
                response = await answer(request)
        finally:
            del self._running[key]
        await self._ws.send_json({"id": key, **response})


@anyws.endpoint(options=anyws.Options(max_message_bytes=4096))
async def calls(ws: anyws.WebSocket) -> None:
    """Serve one client."""
    await ws.accept()
    await Client(ws).serve()


async def page(request: Request) -> HTMLResponse:
    """Serve the page."""
    return HTMLResponse(PAGE)


app = Starlette(routes=[Route("/", page), WebSocketRoute("/ws", calls)])
