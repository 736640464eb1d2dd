"""Messages from an HTTP route, from a background task and from a thread."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from fastapi import FastAPI

import anyws
from anyws.fastapi import Guarded

PACE = 1.0  # seconds

hub = anyws.Hub()


async def tick() -> None:
    """Publish the time, again and again, for as long as the application runs."""
    while True:
        hub.publish("news", f"tick {anyio.current_time():.0f}")
        await anyio.sleep(PACE)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Run the hub, and a task beside it."""
    async with hub, anyio.create_task_group() as tasks:
        tasks.start_soon(tick)
        yield
        tasks.cancel_scope.cancel()


app = FastAPI(lifespan=lifespan)


@app.websocket("/news")
async def news(ws: Guarded) -> None:
    """Send the news to one client until it leaves."""
    await ws.accept()
    with hub.attach(ws, "news"):
        await ws.wait_closed()


@app.post("/news")
async def post(text: str) -> int:
    """Publish from an HTTP route; return how many clients want it."""
    return hub.publish("news", text)


@app.post("/from-a-thread")
def post_from_a_thread(text: str) -> int:
    """Publish from a route that is not async, which FastAPI runs in a thread."""
    return hub.publish_from_thread("news", text)
