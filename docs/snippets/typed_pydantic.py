"""The same by models of pydantic, with an answer to what is invalid."""

from __future__ import annotations

from pydantic import BaseModel

import anyws


class Order(BaseModel):
    """What a client sends."""

    item: str
    quantity: int


class Reply(BaseModel):
    """What the client gets."""

    text: str


def complain(error: anyws.MessageDecodeError) -> Reply:
    """Answer an invalid message; the connection goes on."""
    return Reply(text=f"invalid: {error}")


@anyws.endpoint
async def app(ws: anyws.WebSocket) -> None:
    """Take orders."""
    await ws.accept()
    messages = ws.typed(Order, Reply, on_invalid=complain)
    async for order in messages:
        await messages.send(Reply(text=f"{order.quantity} of {order.item}"))
