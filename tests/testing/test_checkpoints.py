"""Every call of the application under test is a checkpoint, whatever comes of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import anyio
import pytest

from anyws import HandshakeError
from anyws.testing import ApplicationStillRunning, DeadlineExceeded, connect
from anyws.testing._server.dialects import DIALECTS

from .test_connect import ACCEPT, Raw

CLOSE = {"type": "websocket.close"}
MESSAGE = {"type": "websocket.send", "text": "late"}

Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]

by_server = pytest.mark.parametrize("server", DIALECTS)


async def accept(receive: Receive, send: Send) -> None:
    """Accept, and be open."""
    await send(ACCEPT)


async def wait(receive: Receive, send: Send) -> None:
    """Leave the handshake unanswered."""


async def close(receive: Receive, send: Send) -> None:
    """Accept, and close."""
    await send(ACCEPT)
    await send(CLOSE)


async def reject(receive: Receive, send: Send) -> None:
    """Reject the handshake."""
    await send(CLOSE)


async def hear_out(receive: Receive, send: Send) -> None:
    """Accept, and receive up to the disconnect."""
    await send(ACCEPT)
    while (await receive())["type"] != "websocket.disconnect":
        pass


PHASES = {"open": accept, "waiting": wait, "closed": close, "rejected": reject}
PHASES |= {"gone": hear_out, "lost": hear_out}

EVENTS: dict[str, Any] = {
    "message": MESSAGE,
    "no payload": {"type": "websocket.send"},
    "no text": {"type": "websocket.send", "text": None},
    "accept": ACCEPT,
    "close": CLOSE,
    "unknown": {"type": "websocket.unknown"},
}


@by_server
@pytest.mark.parametrize("phase", PHASES)
async def test_a_call_delivers_a_cancellation(server: str, phase: str) -> None:
    """A cancel that is there already comes before the error of any call."""
    caught: dict[str, bool] = {}

    @Raw
    async def app(receive: Any, send: Any, saw: list[Any]) -> None:
        await PHASES[phase](receive, send)
        for name, event in EVENTS.items():
            with anyio.CancelScope() as scope:
                scope.cancel()
                await send(event)
            caught[f"send {name}"] = scope.cancelled_caught
        with anyio.CancelScope() as scope:
            scope.cancel()
            await receive()
        caught["receive"] = scope.cancelled_caught

    with suppress(HandshakeError):  # of a handshake that is not accepted
        async with connect(app, server=server) as ws:
            if phase == "lost":
                ws.abort()

    names = [*(f"send {name}" for name in EVENTS), "receive"]
    assert caught == dict.fromkeys(names, True)


@by_server
@pytest.mark.parametrize("phase", PHASES)
async def test_an_application_that_swallows_errors_can_be_ended(
    server: str, phase: str
) -> None:
    """A loop of sends that swallows what they raise is cancelled at the deadline."""

    @Raw
    async def app(receive: Any, send: Any, saw: list[Any]) -> None:
        await PHASES[phase](receive, send)
        while True:
            with suppress(Exception):
                await send(MESSAGE)

    expected = (ApplicationStillRunning, DeadlineExceeded, HandshakeError)
    with pytest.raises(expected):
        async with connect(app, server=server, deadline=0.1) as ws:
            if phase == "lost":
                ws.abort()


@by_server
async def test_an_application_that_swallows_the_end_can_be_ended(server: str) -> None:
    """A loop of receives that goes on behind the disconnect is cancelled, too."""

    @Raw
    async def app(receive: Any, send: Any, saw: list[Any]) -> None:
        await send(ACCEPT)
        while True:
            with suppress(Exception):
                await receive()

    with pytest.raises(ApplicationStillRunning):
        async with connect(app, server=server, deadline=0.1):
            pass
