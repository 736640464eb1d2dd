"""A backend that connects the hubs of one process."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext

import anyio
from anyio.abc import ObjectSendStream

import anyws

Deliveries = ObjectSendStream[anyws.Delivery]


class Bus:
    """The connection between all backends; here a set of streams in memory."""

    def __init__(self) -> None:
        """Begin with no hub."""
        self.hubs: set[Deliveries] = set()


class InProcess:
    """One hub's access to the bus."""

    def __init__(self, bus: Bus) -> None:
        """Take the bus."""
        self._bus = bus

    def connection(self) -> AbstractAsyncContextManager[object]:
        """Return a block, in which the hub stays for as long as it runs itself."""
        return nullcontext()

    async def publish(self, publications: Sequence[anyws.Publication]) -> None:
        """Give messages to every hub, this one included."""
        for each in publications:
            delivery = anyws.Delivery(each.topic, each.message, each.key, each.token)
            for hub in self._bus.hubs:
                await hub.send(delivery)

    async def want(self, topics: frozenset[str], patterns: frozenset[str]) -> None:
        """Ignore what the hub wants: it drops all other deliveries by itself."""
        await anyio.lowlevel.checkpoint()

    async def deliveries(self) -> AsyncIterator[anyws.Delivery]:
        """Iterate over arriving messages."""
        sender, receiver = anyio.create_memory_object_stream[anyws.Delivery](math.inf)
        self._bus.hubs.add(sender)
        try:
            async for delivery in receiver:
                yield delivery
        finally:
            self._bus.hubs.discard(sender)
            sender.close()
            receiver.close()


async def main() -> str | bytes | None:
    """Publish at one hub, and receive at another."""
    bus = Bus()
    async with anyws.Hub(backend=InProcess(bus)) as one:
        async with anyws.Hub(backend=InProcess(bus)) as two:
            with two.subscribe("news") as events:
                await anyio.wait_all_tasks_blocked()
                one.publish("news", "hello")
                return (await anext(events)).message
