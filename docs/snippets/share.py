"""One connection and several tasks: many may send, one receives."""

from __future__ import annotations

import anyio
from anyio.abc import ObjectReceiveStream

import anyws


async def send_ticks(ws: anyws.WebSocket) -> None:
    """Send a message at intervals."""
    for number in range(3):
        await ws.send_text(f"tick {number}")
        await anyio.sleep(0.01)


async def work(ws: anyws.WebSocket, jobs: ObjectReceiveStream[str | bytes]) -> None:
    """Do the jobs that the receiving task passes on."""
    async with jobs:
        async for job in jobs:
            await ws.send_text(f"done: {job!s}")


@anyws.endpoint
async def app(ws: anyws.WebSocket) -> None:
    """Receive in one task, and pass the messages on to two others."""
    await ws.accept()
    sender, receiver = anyio.create_memory_object_stream[str | bytes](16)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(send_ticks, ws)
        for _ in range(2):
            tasks.start_soon(work, ws, receiver.clone())
        receiver.close()
        async with sender:
            async for message in ws:
                await sender.send(message)
