"""The same with models of pydantic, and an answer to invalid messages."""

from __future__ import annotations

from pydantic import BaseModel

import anyws


class Order(BaseModel):
    """An order of the client."""

    item: str
    quantity: int


class Reply(BaseModel):
    """The answer to the client."""

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
