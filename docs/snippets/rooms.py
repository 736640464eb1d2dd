"""Chat rooms in a FastAPI application."""

from __future__ import annotations

from fastapi import FastAPI

import anyws
from anyws.fastapi import Guarded

hub = anyws.Hub(history=100)
app = FastAPI(lifespan=hub.lifespan)


@app.websocket("/rooms/{room}")
async def chat(ws: Guarded, room: str, name: str = "somebody") -> None:
    """Send each line of a member to all members of the room."""
    await ws.accept()
    topic = f"room.{room}"
    with hub.attach(ws, topic, since=anyws.Position.OLDEST):
        with hub.presence.track(topic, name):
            async for text in ws.iter_text():
                hub.publish(topic, f"{name}: {text}")


@app.get("/rooms/{room}")
async def members(room: str) -> list[str]:
    """Return who is in the room."""
    return sorted(hub.presence.list(f"room.{room}"))
