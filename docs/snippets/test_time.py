"""A test of half a minute that passes at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
import pytest
from trio.testing import MockClock

import anyws


@anyws.endpoint
async def app(ws: anyws.WebSocket) -> None:
    """Greet late."""
    await ws.accept()
    await anyio.sleep(30)
    await ws.send_text("hello")


@pytest.mark.anyio
@pytest.mark.parametrize(
    "anyio_backend", [("trio", {"clock": MockClock(autojump_threshold=0)})]
)
async def test_late(websocket_connect: Callable[..., Any]) -> None:
    """The deadline counts virtual seconds, too: 5 would be too few."""
    async with websocket_connect(app, deadline=60) as ws:
        assert await ws.receive_text() == "hello"
