"""A counter that all clients share: ported from the asyncio server of websockets.

python counter.py [--port 8000]

    websockets                                      here
    async with websockets.serve(handler, ...)       async with anyws.serve(handler, ...)
    handler(ws) of a connection that is open        await ws.accept() is the first line
    async for message in ws                         the same
    except ConnectionClosed: pass                   not needed: it is no error
    websockets.broadcast(clients, text)             ws.send_nowait(text) for each
    process_request=, returning a response          return before ws.accept(): a 403
    await server.wait_closed()                      the same, or anything else

A client sends `plus` or `minus`. All clients get the value, and the number of clients.
"""

from __future__ import annotations

import argparse
import json

import anyio

import anyws

clients: set[anyws.WebSocket] = set()
value = 0


def tell_all() -> None:
    """Send the state to every client, without waiting for any."""
    state = json.dumps({"value": value, "clients": len(clients)})
    for client in clients:
        try:
            client.send_nowait(state)
        except (anyws.ConnectionClosed, anyio.WouldBlock):
            pass  # it is leaving, or does not read


async def counter(ws: anyws.WebSocket) -> None:
    """Serve one client."""
    global value
    if ws.url.path != "/counter":
        return
    await ws.accept()
    clients.add(ws)
    try:
        tell_all()
        async for message in ws:
            value += {"plus": 1, "minus": -1}.get(str(message), 0)
            tell_all()
    finally:
        clients.discard(ws)
        tell_all()


async def main() -> None:
    """Serve until Ctrl-C."""
    parser = argparse.ArgumentParser(description="A counter for everybody.")
    parser.add_argument("--port", type=int, default=8000)
    port: int = parser.parse_args().port
    async with anyws.serve(counter, "127.0.0.1", port) as server:
        print(f"{server.url}/counter; Ctrl-C stops it", flush=True)
        await server.wait_closed()


if __name__ == "__main__":
    try:
        anyio.run(main)
    except KeyboardInterrupt:
        pass
