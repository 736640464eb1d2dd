# pyright: strict
"""A FastAPI application with typed messages, and a page that documents them.

hypercorn -k trio fastapi_typed:app     then open http://127.0.0.1:8000/asyncapi

It needs the extras `fastapi` and `msgspec`. Each handler gets the guarded class through
its annotation, and has the types of its messages in its signature. Everything else is
FastAPI's: dependencies, security, exception handlers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from typing import Annotated, Never

import anyio
import fastapi
import msgspec
from fastapi import Depends, FastAPI, Header, Query, Security
from fastapi.security import APIKeyHeader
from pydantic import BaseModel, Field

import anyws
from anyws.fastapi import APIRouter, Guarded, Typed, add_asyncapi, guarded, typed


class Bid(msgspec.Struct, tag="bid"):
    """An offer for what is up for auction."""

    amount: Annotated[int, msgspec.Meta(gt=0, description="In cents.")]


class Leave(msgspec.Struct, tag="leave"):
    """The end of one's part in the auction."""


class Highest(msgspec.Struct, tag="highest"):
    """The highest bid so far."""

    amount: int
    bidder: str


class Invalid(msgspec.Struct, tag="invalid"):
    """The answer to a message that is none of those above."""

    error: str


class Tick(BaseModel):
    """The time that is left."""

    seconds: int = Field(ge=0)


class Counts:
    """An observer of all connections."""

    def __init__(self) -> None:
        """Begin to count."""
        self.codes: Counter[int] = Counter()

    def opened(self, connection: anyws.ObservedConnection) -> None:
        """Count nothing."""

    def message(
        self, connection: anyws.ObservedConnection, direction: str, size: int
    ) -> None:
        """Count nothing."""

    def dropped(
        self, connection: anyws.ObservedConnection, direction: str, count: int
    ) -> None:
        """Count nothing."""

    def closed(
        self,
        connection: anyws.ObservedConnection,
        summary: anyws.ConnectionSummary,
    ) -> None:
        """Count the end by its code."""
        self.codes[summary.info.code] += 1


class AuctionOver(Exception):
    """No more bids are taken."""


counts = Counts()
router = APIRouter(prefix="/auctions/{auction}")
highest: dict[str, Highest] = {}
watching: Counter[str] = Counter()


async def watched(auction: str) -> AsyncIterator[str]:
    """Count the spectators while the connection lasts."""
    watching[auction] += 1
    try:
        yield auction
    finally:
        watching[auction] -= 1


async def bidder(
    key: Annotated[str, Security(APIKeyHeader(name="x-key", description="Yours."))],
    x_name: Annotated[str, Header(description="As the others see it.")] = "somebody",
) -> str:
    """Return the name of the bidder."""
    if key == "stolen":
        raise fastapi.WebSocketException(1008, "the key is not valid")
    return x_name


def answer_to(error: anyws.MessageDecodeError) -> Invalid:
    """Say what is wrong with a message."""
    return Invalid(str(error))


Bids = Annotated[
    anyws.TypedMessages[Bid | Leave, Highest | Invalid],
    Depends(typed(Bid | Leave, Highest | Invalid, on_invalid=answer_to)),
]
Brief = Annotated[
    anyws.WebSocket, Depends(guarded(options=anyws.Options(max_message_bytes=1024)))
]


@router.websocket("/bids")
async def bids(
    ws: Brief,
    messages: Bids,
    auction: Annotated[str, Depends(watched)],
    name: Annotated[str, Depends(bidder)],
) -> None:
    """Take bids, and answer each with the highest one."""
    await ws.accept()
    async for message in messages:
        if isinstance(message, Leave):
            return
        if auction == "over":
            raise AuctionOver
        if auction not in highest or message.amount > highest[auction].amount:
            highest[auction] = Highest(message.amount, name)
        await messages.send(highest[auction])


@router.websocket("/time")
async def time(
    ws: anyws.WebSocket,
    messages: Typed[Never, Tick],
    auction: Annotated[str, Depends(watched)],
    start: Annotated[int, Query(ge=0, le=3600, description="In seconds.")] = 60,
) -> None:
    """Count down, unless the client sends anything."""
    await ws.accept()
    with ws.cancel_on(lambda _: True) as interruption, ws.cancel_on_disconnect():
        for seconds in range(start, -1, -1):
            await messages.send(Tick(seconds=seconds))
            await anyio.sleep(1)
    if interruption.interrupted:
        await ws.close(anyws.CloseCode.POLICY_VIOLATION, "nothing may be sent here")


app = FastAPI(title="Auctions", version="1.0")
app.add_middleware(
    anyws.WebSocketMiddleware, options=anyws.Options(observer=counts, idle_timeout=60)
)
app.include_router(router)
add_asyncapi(app)


@app.exception_handler(AuctionOver)
async def over(websocket: fastapi.WebSocket, error: AuctionOver) -> None:
    """Close with a code of the application's own."""
    await websocket.close(4010, "the auction is over")


@app.websocket("/echo")
async def echo(ws: Guarded) -> None:
    """Send every message back."""
    await ws.accept()
    async for message in ws:
        await ws.send_message(message)
