"""The clients that are compared, under the same loads, as a user would write them."""

from __future__ import annotations

import cProfile
import json
import os
import pstats
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import anyio

import anyws

MESSAGE: Final = "a message of thirty-two bytes..."
DEPTH: Final = 256  # messages in flight in the pipelined load
WARM_UP: Final = 0.15  # seconds

Send = Callable[[str], Awaitable[Any]]
Receive = Callable[[], Awaitable[Any]]
Verbs = tuple[Send, Receive]


@asynccontextmanager
async def _anyws(url: str) -> AsyncIterator[Verbs]:
    async with anyws.connect(url, compression=None) as ws:
        yield ws.send_text, ws.receive_text


@asynccontextmanager
async def _websockets_trio(url: str) -> AsyncIterator[Verbs]:
    from websockets.trio.client import connect

    async with connect(url, compression=None) as ws:
        yield ws.send, ws.recv


@asynccontextmanager
async def _websockets_asyncio(url: str) -> AsyncIterator[Verbs]:
    from websockets.asyncio.client import connect

    async with connect(url, compression=None) as ws:
        yield ws.send, ws.recv


@asynccontextmanager
async def _trio_websocket(url: str) -> AsyncIterator[Verbs]:
    from trio_websocket import open_websocket_url

    async with open_websocket_url(url) as ws:
        yield ws.send_message, ws.get_message


@asynccontextmanager
async def _aiohttp(url: str) -> AsyncIterator[Verbs]:
    import aiohttp

    async with aiohttp.ClientSession() as session, session.ws_connect(url) as ws:
        yield ws.send_str, ws.receive_str


@dataclass(frozen=True)
class Client:
    """A client, and where it runs."""

    title: str
    connect: dict[str, Callable[[str], AbstractAsyncContextManager[Verbs]]]

    @property
    def workers(self) -> tuple[str, ...]:
        """The event loops that it runs on."""
        families = {"trio": ("trio",), "asyncio": ("asyncio", "uvloop")}
        return tuple(name for family in self.connect for name in families[family])

    def title_on(self, worker: str) -> str:
        """Return the title under this event loop."""
        return self.title.format(family="trio" if worker == "trio" else "asyncio")


CLIENTS: Final = {
    "anyws": Client("anyws", {"trio": _anyws, "asyncio": _anyws}),
    "websockets": Client(
        "websockets.{family}",
        {"trio": _websockets_trio, "asyncio": _websockets_asyncio},
    ),
    "trio-websocket": Client("trio-websocket", {"trio": _trio_websocket}),
    "aiohttp": Client("aiohttp", {"asyncio": _aiohttp}),
}


async def _ping_pong(verbs: Verbs, deadline: float) -> int:
    send, receive = verbs
    count, clock = 0, time.monotonic
    while clock() < deadline:
        await send(MESSAGE)
        await receive()
        count += 1
    return count


async def _pipelined(verbs: Verbs, deadline: float) -> int:
    """One task sends, one receives, with `DEPTH` messages between them."""
    send, receive = verbs
    sent = received = 0
    over = False
    room = anyio.Event()

    async def sender() -> None:
        nonlocal sent, room, over
        while time.monotonic() < deadline:
            if sent - received >= DEPTH:
                room = anyio.Event()
                await room.wait()
            await send(MESSAGE)
            sent += 1
        over, sent = True, sent + 1
        await send(MESSAGE)  # whose answer is the last

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(sender)
        while not over or received < sent:
            await receive()
            received += 1
            if sent - received <= DEPTH // 2:
                room.set()
    return received


CELLS: Final[dict[str, Callable[[Verbs, float], Awaitable[int]]]] = {
    "ping-pong": _ping_pong,
    "pipelined": _pipelined,
}


async def _measure(name: str, worker: str, cell: str, url: str, seconds: float) -> None:
    connect = CLIENTS[name].connect["trio" if worker == "trio" else "asyncio"]
    async with connect(url) as verbs:
        await CELLS[cell](verbs, time.monotonic() + min(WARM_UP, seconds))
        started, cpu = time.monotonic(), time.process_time()
        count = await CELLS[cell](verbs, started + seconds)
        result = {
            "count": count,
            "seconds": time.monotonic() - started,
            "cpu": time.process_time() - cpu,
        }
    print(json.dumps(result))


def main() -> None:
    """Run one client: its name, event loop, cell, the URL, seconds, and its core."""
    name, worker, cell, url, seconds, core, *profile = sys.argv[1:]
    if core != "None":
        os.sched_setaffinity(0, {int(core)})
    profiler = cProfile.Profile() if profile else None
    if profiler is not None:
        profiler.enable()
    anyio.run(
        partial(_measure, name, worker, cell, url, float(seconds)),
        backend="trio" if worker == "trio" else "asyncio",
        backend_options={} if worker == "trio" else {"use_uvloop": worker == "uvloop"},
    )
    if profiler is not None:
        profiler.disable()
        pstats.Stats(profiler).sort_stats("tottime").print_stats(40)


if __name__ == "__main__":
    main()
