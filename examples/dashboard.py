"""A dashboard: a handler that only sends, until its client leaves. With a page.

hypercorn -k trio dashboard:app

The readings come from a greenhouse that does not exist. A client that does not read
gets only the newest reading when it reads again: one message is kept for it, and a
newer one replaces that.
"""

from __future__ import annotations

import math
import random
import time
from pathlib import Path

import anyio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route, WebSocketRoute

import anyws

PAGE = Path(__file__).with_name("dashboard.html").read_text()
PERIOD = 1.0  # seconds between two readings
NEWEST = anyws.Options(send_buffer=1, send_overflow="drop_oldest")


def reading() -> dict[str, float]:
    """Return a reading; here, values that go up and down."""
    now = time.time()
    return {
        "time": now,
        "temperature": round(21 + 4 * math.sin(now / 30) + random.gauss(0, 0.3), 1),
        "humidity": round(62 + 9 * math.cos(now / 45) + random.gauss(0, 1)),
        "light": round(max(0, 480 + 300 * math.sin(now / 60) + random.gauss(0, 15))),
        "carbon dioxide": round(640 + 120 * math.sin(now / 20) + random.gauss(0, 10)),
    }


@anyws.endpoint(options=NEWEST)
async def dashboard(ws: anyws.WebSocket) -> None:
    """Send a reading every second. The block is cancelled when the client leaves."""
    await ws.accept()
    with ws.cancel_on_disconnect():
        while True:
            await ws.send_json(reading())
            await anyio.sleep(PERIOD)


async def page(request: Request) -> HTMLResponse:
    """Serve the page."""
    return HTMLResponse(PAGE)


app = Starlette(routes=[Route("/", page), WebSocketRoute("/ws", dashboard)])
