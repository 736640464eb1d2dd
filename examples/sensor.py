"""A server in a nursery, beside the task that feeds it: ported from trio-websocket.

python sensor.py [--port 8000]

    trio_websocket                                here
    nursery.start(serve_websocket, handler, ...)  nursery.start(serve(handler, ...).run)
    ws = await request.accept()                   await ws.accept()
    await ws.get_message(), ws.send_message()     ws.receive_text(), ws.send_text()
    except ConnectionClosed: pass                 not needed: it is no error
    nursery.cancel_scope.cancel()                 the same, and each client sees 1012

A client names the sensor that it wants, and then gets each of its values. A client that
does not read loses old values, and does not affect the others.
"""

from __future__ import annotations

import argparse
import random
import signal
from collections import defaultdict

import trio

import anyws

subscribers: defaultdict[str, set[anyws.WebSocket]] = defaultdict(set)


@anyws.endpoint(
    options=anyws.Options(send_overflow="drop_oldest", max_message_bytes=100)
)
async def subscribe(ws: anyws.WebSocket) -> None:
    """Serve one client."""
    await ws.accept()
    sensor = await ws.receive_text()
    subscribers[sensor].add(ws)
    try:
        await ws.wait_closed()
    finally:
        subscribers[sensor].discard(ws)


async def measure(sensor: str) -> None:
    """Send the values of a sensor to its subscribers, for ever."""
    while True:
        value = f"{sensor}: {random.gauss(20, 2):.1f}"
        for ws in subscribers[sensor]:
            try:
                ws.send_nowait(value)
            except anyws.ConnectionClosed:
                pass  # its handler will notice
        await trio.sleep(0.1)


async def main() -> None:
    """Run the sensors and the server until a signal."""
    parser = argparse.ArgumentParser(description="Values of sensors.")
    parser.add_argument("--port", type=int, default=8000)
    port: int = parser.parse_args().port
    async with trio.open_nursery() as nursery:
        for sensor in ("cellar", "roof"):
            nursery.start_soon(measure, sensor)
        server = await nursery.start(anyws.serve(subscribe, "127.0.0.1", port).run)
        print(f"{server.url}; Ctrl-C stops it", flush=True)
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async for _ in signals:
                nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)
