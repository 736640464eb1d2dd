"""Rooms across several processes and machines, with Redis."""

from __future__ import annotations

import os

from fastapi import FastAPI

import anyws
from anyws.fastapi import Guarded
from anyws.redis import RedisBackend

backend = RedisBackend(os.environ.get("REDIS", "redis://localhost"), durable=True)
hub = anyws.Hub(backend=backend)
app = FastAPI(lifespan=hub.lifespan)


@app.websocket("/rooms/{room}")
async def chat(ws: Guarded, room: str, name: str = "somebody") -> None:
    """Send each line of a member to all members of the room, in every process."""
    await ws.accept()
    topic = f"room.{room}"
    with hub.attach(ws, topic, since=anyws.Position.OLDEST):
        with hub.presence.track(topic, name):
            async for text in ws.iter_text():
                hub.publish(topic, f"{name}: {text}")
