"""The same echo without and with what may be added to it; see additions.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

import anyws

if TYPE_CHECKING:
    from anyws import ConnectionSummary, ObservedConnection


class Said(msgspec.Struct):
    """A message."""

    text: str


class Counting:
    """An observer that counts messages and bytes."""

    def __init__(self) -> None:
        self.messages = self.bytes = self.open = 0

    def opened(self, connection: ObservedConnection) -> None:
        """Count it."""
        self.open += 1

    def message(
        self, connection: ObservedConnection, direction: str, size: int
    ) -> None:
        """Count it, and its bytes."""
        self.messages += 1
        self.bytes += size

    def dropped(
        self, connection: ObservedConnection, direction: str, count: int
    ) -> None:
        """Count nothing."""

    def closed(
        self, connection: ObservedConnection, summary: ConnectionSummary
    ) -> None:
        """Count it no more."""
        self.open -= 1


async def echo(ws: Any) -> None:
    """Echo text."""
    await ws.accept()
    while True:
        await ws.send_text(await ws.receive_text())


untyped = anyws.endpoint(echo)
observed = anyws.endpoint(options=anyws.Options(observer=Counting()))(echo)


@anyws.endpoint
async def typed(ws: anyws.WebSocket) -> None:
    """Echo messages of a type."""
    await ws.accept()
    messages = ws.typed(Said)
    while True:
        await messages.send(await messages.receive())
