"""Chat rooms, and the page to use them. Open it in two tabs.

python chat.py [--worker trio|asyncio] [--port 8000]

A room is a topic of a hub. A member gets the history on entry, and goes on where it was
when its connection was lost. One that does not read costs the others nothing, and is
shown as slow.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import anyio
from hypercorn.config import Config
from starlette.applications import Starlette
from starlette.exceptions import WebSocketException
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route, WebSocketRoute

import anyws
import anyws.hypercorn
from anyws import Event, Position

PAGE = Path(__file__).with_name("chat.html").read_text()
SLOW = 20  # lines that a slow member is behind

hub = anyws.Hub(history=200, history_seconds=3600)
# The members of each room, with their names; and the names of those that are slow.
members: defaultdict[str, dict[anyws.Attachment, str]] = defaultdict(dict)
slow: defaultdict[str, set[str]] = defaultdict(set)


def tell(room: str, **what: object) -> None:
    """Add a line to a room."""
    hub.publish(f"room.{room}", json.dumps(what))


def show_people(room: str) -> None:
    """Tell a room who is there. The list replaces those that were not read yet."""
    names = sorted(hub.presence.list(f"room.{room}"))
    people = [{"name": name, "slow": name in slow[room]} for name in names]
    hub.publish(f"people.{room}", json.dumps({"people": people}), key="people")


@contextmanager
def present(room: str, name: str, member: anyws.Attachment) -> Iterator[None]:
    """Be in a room; several connections of one name are one person."""
    topic = f"room.{room}"
    if name not in hub.presence.list(topic):
        tell(room, note=f"{name} has come")
    try:
        with hub.presence.track(topic, name):
            members[room][member] = name
            show_people(room)
            yield
    finally:
        del members[room][member]
        if name not in hub.presence.list(topic):
            tell(room, note=f"{name} has gone")
        show_people(room)
        if not members[room]:
            del members[room], slow[room]


@anyws.endpoint(options=anyws.Options(max_message_bytes=8192))
async def chat(ws: anyws.WebSocket) -> None:
    """Serve one member: lines since its last visit, new ones, and who is there."""
    await ws.accept()
    room = ws.path_params["room"]
    name = ws.query_params.get("name", "").strip()[:40] or "somebody"
    lines, people = f"room.{room}", f"people.{room}"
    try:
        since = Position.from_json(ws.query_params.get("since"), lines)
        member = hub.attach(
            ws, lines, people, since=since, overflow="coalesce", encode=Event.as_json
        )
    except ValueError as exc:
        raise WebSocketException(1008, str(exc)) from exc
    with member, present(room, name, member):
        async for text in ws.iter_text():
            tell(room, name=name, text=text)


async def watch_the_slow() -> None:
    """Show who is slow, every second."""
    while True:
        await anyio.sleep(1)
        for room, there in members.items():
            now = {n for m, n in there.items() if m.statistics().lag >= SLOW}
            if now != slow[room]:
                slow[room] = now
                show_people(room)


async def page(request: Request) -> HTMLResponse:
    """Serve the page."""
    return HTMLResponse(PAGE)


@asynccontextmanager
async def lifespan(_: Starlette) -> AsyncIterator[None]:
    """Run the hub while the application runs."""
    async with hub, anyio.create_task_group() as tasks:
        tasks.start_soon(watch_the_slow)
        print(getattr(app.state, "greeting", ""), flush=True)  # it listens by now
        yield
        tasks.cancel_scope.cancel()


app = Starlette(
    routes=[
        Route("/", page),
        Route("/anyws.js", anyws.browser_client),
        WebSocketRoute("/ws/{room}", chat),
    ],
    lifespan=lifespan,
)


def main() -> None:
    """Serve the chat."""
    parser = argparse.ArgumentParser(description="Chat rooms under Hypercorn.")
    parser.add_argument("--worker", choices=["trio", "asyncio"], default="trio")
    parser.add_argument("--port", type=int, default=8000)
    arguments = parser.parse_args()
    config = Config()
    config.loglevel = "WARNING"
    address = f"127.0.0.1:{arguments.port}"
    app.state.greeting = (
        f"Chat on {arguments.worker}: open http://{address}/ in two tabs. "
        "Ctrl-C stops it."
    )
    try:
        anyws.hypercorn.run(app, config, backend=arguments.worker, bind=address)
    except OSError as exc:
        sys.exit(f"{exc}; --port chooses another port")


if __name__ == "__main__":
    main()
