"""A server that shuts down properly on Ctrl-C and SIGTERM."""

from __future__ import annotations

import signal

import trio

import anyws


async def echo(ws: anyws.WebSocket) -> None:
    """Serve one connection."""
    await ws.accept()
    async for message in ws:
        await ws.send_message(message)


async def main(port: int = 8000) -> None:
    """Serve until a signal comes; then close open connections with 1012."""
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with anyws.serve(echo, "127.0.0.1", port) as server:
            print(server.url, flush=True)
            await anext(signals)


if __name__ == "__main__":
    trio.run(main)
