"""Chat rooms, and the page to use them. Open it in two tabs.

python chat.py [--worker trio|asyncio] [--port 8000]

A room is a topic of a hub. A member gets the history on entry, and resumes where it was
after its connection was lost. A member that does not read does not affect the others,
and is shown as slow. chat_processes.py runs the same chat in two processes.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

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
SLOW = 20  # a member this many lines behind is slow


def backend() -> anyws.Backend | None:
    """Return the Redis server that CHAT_REDIS names: it connects several processes."""
    url = os.environ.get("CHAT_REDIS")
    if url is None:
        return None
    from anyws.redis import RedisBackend

    return RedisBackend(url, durable=True)


hub = anyws.Hub(history=200, history_seconds=3600, backend=backend())
# Lists of who is there, which each process makes for its own members.
lists = anyws.Hub(history=1, heartbeat=None)
# The members of each room in this process, and what is known of each.
members: defaultdict[str, dict[anyws.Attachment, Any]] = defaultdict(dict)


def tell(room: str, **what: object) -> None:
    """Add a line to a room."""
    hub.publish(f"room.{room}", json.dumps(what))


async def show_people(room: str) -> None:
    """Tell the members of a room who is there, as long as there are members here."""
    topic = f"room.{room}"

    def show() -> None:
        there = sorted(hub.presence.list(topic).items())
        people = [{"name": name, "slow": any(slow)} for name, slow in there]
        # The list replaces one that was not read yet.
        lists.publish(f"people.{room}", json.dumps({"people": people}), key="people")

    with hub.presence.watch(topic) as changes:
        show()
        async for _ in changes:
            show()
            if room not in members:
                break


@contextmanager
def present(room: str, name: str, member: anyws.Attachment) -> Iterator[None]:
    """Be in a room; several connections of one name are one person."""
    topic = f"room.{room}"
    if name not in hub.presence.list(topic):
        tell(room, note=f"{name} has come")
    try:
        with hub.presence.track(topic, name, False) as tracked:
            if room not in members:
                app.state.tasks.start_soon(show_people, room)
            members[room][member] = tracked
            try:
                yield
            finally:
                del members[room][member]
                if not members[room]:
                    del members[room]
    finally:
        if name not in hub.presence.list(topic):
            tell(room, note=f"{name} has gone")


@anyws.endpoint(options=anyws.Options(max_message_bytes=8192))
async def chat(ws: anyws.WebSocket) -> None:
    """Serve one member: lines since its last visit, new ones, and who is there."""
    await ws.accept()
    room = ws.path_params["room"]
    name = ws.query_params.get("name", "").strip()[:40] or "somebody"
    lines = f"room.{room}"
    try:
        since = Position.from_json(ws.query_params.get("since"), lines)
        member = hub.attach(ws, lines, since=since, encode=Event.as_json)
    except ValueError as exc:
        raise WebSocketException(1008, str(exc)) from exc
    people = lists.attach(
        ws,
        f"people.{room}",
        since=Position.OLDEST,
        overflow="coalesce",
        encode=Event.as_json,
    )
    with member, people, present(room, name, member):
        async for text in ws.iter_text():
            tell(room, name=name, text=text)


async def watch_the_slow() -> None:
    """Show who is slow, every second."""
    slow: set[anyws.Attachment] = set()
    while True:
        await anyio.sleep(1)
        for there in members.values():
            for member, tracked in there.items():
                is_slow = member.statistics().lag >= SLOW
                if is_slow != (member in slow):
                    (slow.add if is_slow else slow.discard)(member)
                    tracked.update(is_slow)
        slow &= {member for there in members.values() for member in there}


async def page(request: Request) -> HTMLResponse:
    """Serve the page."""
    return HTMLResponse(PAGE)


@asynccontextmanager
async def lifespan(_: Starlette) -> AsyncIterator[None]:
    """Run the hub while the application runs."""
    async with hub, lists, anyio.create_task_group() as tasks:
        app.state.tasks = tasks
        tasks.start_soon(watch_the_slow)
        print(getattr(app.state, "greeting", ""), flush=True)  # the server listens now
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
