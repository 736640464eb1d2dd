"""Four things to do about a client that reads too slowly."""

from __future__ import annotations

import anyio

import anyws


@anyws.endpoint
async def give_up(ws: anyws.WebSocket) -> None:
    """Wait for room, but not for ever: any send can be timed out."""
    await ws.accept()
    while True:
        with anyio.move_on_after(10) as scope:
            await ws.send_text("x" * 10_000)
        if scope.cancelled_caught:  # nothing of that message was sent
            await ws.close(1013, "too slow")
            return


@anyws.endpoint(options=anyws.Options(send_overflow="drop_oldest", send_buffer=4))
async def newest_only(ws: anyws.WebSocket) -> None:
    """Drop old values for new ones; `send_text` never waits for room."""
    await ws.accept()
    for value in range(1000):
        await ws.send_text(str(value))
    print("dropped:", ws.statistics().send_dropped)


@anyws.endpoint(options=anyws.Options(send_overflow="close"))
async def close_it(ws: anyws.WebSocket) -> None:
    """Have the connection closed with 1013 when 16 messages wait."""
    await ws.accept()
    while True:
        await ws.send_text("x" * 10_000)


@anyws.endpoint
async def adapt(ws: anyws.WebSocket) -> None:
    """Look at the queued messages, and send less."""
    await ws.accept()
    for step in range(100):
        if ws.statistics().send_queued < 8 or step % 10 == 0:
            await ws.send_text(f"frame {step}")
        await anyio.sleep(0.01)
