"""A test of an application, without a socket."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import pytest
from echo import app

from anyws.testing import Peer

Connect = Callable[..., AbstractAsyncContextManager[Peer]]


@pytest.mark.anyio
async def test_echo(websocket_connect: Connect) -> None:
    """The application sends back what it receives."""
    async with websocket_connect(app) as ws:
        await ws.send_text("hello")
        assert await ws.receive_text() == "hello"
