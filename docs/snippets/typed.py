"""Messages of declared types, validated when they are decoded."""

from __future__ import annotations

import msgspec

import anyws


class Add(msgspec.Struct, tag="add"):
    """A request of the client."""

    left: int
    right: int


class Stop(msgspec.Struct, tag="stop"):
    """The client wants to stop."""


class Sum(msgspec.Struct):
    """The answer to the client."""

    value: int


@anyws.endpoint
async def app(ws: anyws.WebSocket) -> None:
    """Add numbers; an invalid message closes the connection with 1007."""
    await ws.accept()
    messages = ws.typed(Add | Stop, Sum, on_invalid=1007)
    async for message in messages:
        if isinstance(message, Stop):
            return
        await messages.send(Sum(message.left + message.right))
