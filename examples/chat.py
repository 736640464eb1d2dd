"""Chat rooms, and the page to use them. Open it in two tabs.

python chat.py [--worker trio|asyncio] [--port 8000]

Each member has a bounded buffer, and the oldest lines are dropped from a full one: a
member who does not read costs the others nothing.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from hypercorn.config import Config
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route, WebSocketRoute

import anyws
import anyws.hypercorn

PAGE = """<!doctype html>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Chat</title>
<style>
  body { font: 16px system-ui, sans-serif; max-width: 36rem; margin: 2rem auto;
         padding: 0 1rem }
  #lines { border: 1px solid #bbb; height: 20rem; overflow-y: auto; padding: .5rem;
           margin: 1rem 0 }
  #state { color: #666 }
  input { font: inherit; padding: .3rem }
  #text { width: 70% }
</style>
<h1>Chat</h1>
<form id="enter">
  <input id="name" placeholder="your name" required autofocus>
  <input id="room" placeholder="room" value="lobby" required>
  <button>Enter</button>
</form>
<div id="lines" role="log"></div>
<form id="say"><input id="text" autocomplete="off" placeholder="say something" disabled>
<button>Send</button></form>
<p id="state">not connected</p>
<script>
  const $ = id => document.getElementById(id)
  let socket
  $("enter").onsubmit = event => {
    event.preventDefault()
    if (socket) socket.close()
    const scheme = location.protocol === "https:" ? "wss" : "ws"
    const room = encodeURIComponent($("room").value)
    const name = encodeURIComponent($("name").value)
    const opened = new WebSocket(`${scheme}://${location.host}/ws/${room}?name=${name}`)
    socket = opened
    opened.onopen = () => {
      $("state").textContent = "connected"
      $("text").disabled = false
      $("text").focus()
    }
    opened.onmessage = message => {
      const line = document.createElement("div")
      line.textContent = message.data
      $("lines").append(line)
      $("lines").scrollTop = $("lines").scrollHeight
    }
    opened.onclose = ({code, reason}) => {
      if (socket !== opened) return
      $("state").textContent = `closed: ${code} ${reason}`.trim()
      $("text").disabled = true
    }
  }
  $("say").onsubmit = event => {
    event.preventDefault()
    if ($("text").value) socket.send($("text").value)
    $("text").value = ""
  }
</script>
"""

rooms: defaultdict[str, set[anyws.WebSocket]] = defaultdict(set)


def announce(room: str, line: str) -> None:
    """Send a line to everybody in a room, without waiting for anybody."""
    for member in rooms[room]:
        try:
            member.send_nowait(line)
        except anyws.ConnectionClosed:
            pass  # its own handler is about to learn of it


@anyws.endpoint(
    options=anyws.Options(send_overflow="drop_oldest", max_message_bytes=4096)
)
async def chat(ws: anyws.WebSocket) -> None:
    """Serve one member."""
    room = ws.path_params["room"]
    name = ws.query_params.get("name") or "somebody"
    await ws.accept()
    rooms[room].add(ws)
    try:
        announce(room, f"* {name} has come")
        async for text in ws.iter_text():
            announce(room, f"{name}: {text}")
    finally:
        rooms[room].discard(ws)
        announce(room, f"* {name} has gone")
        if not rooms[room]:
            del rooms[room]


async def page(request: Request) -> HTMLResponse:
    """Serve the page."""
    return HTMLResponse(PAGE)


app = Starlette(routes=[Route("/", page), WebSocketRoute("/ws/{room}", chat)])


def main() -> None:
    """Serve the chat."""
    parser = argparse.ArgumentParser(description="Chat rooms under Hypercorn.")
    parser.add_argument("--worker", choices=["trio", "asyncio"], default="trio")
    parser.add_argument("--port", type=int, default=8000)
    arguments = parser.parse_args()
    config = Config()
    config.loglevel = "WARNING"
    address = f"127.0.0.1:{arguments.port}"
    greeting = f"Chat on {arguments.worker}: open http://{address}/ in two tabs."

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        print(greeting, "Ctrl-C stops it.", flush=True)  # it listens by now
        yield

    app.router.lifespan_context = lifespan
    try:
        anyws.hypercorn.run(app, config, backend=arguments.worker, bind=address)
    except OSError as exc:
        sys.exit(f"{exc}; --port chooses another port")


if __name__ == "__main__":
    main()
