"""A backend in memory, which can be cut and held up."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import anyio

from anyws import Delivery, Publication


class Bus:
    """What several backends are connected by.

    Attributes:
        backends: All backends.
        numbers: Whether messages get ids, within an epoch.
        epoch: The epoch.
        batches: How many publications each call has had.
        down: Whether calls fail.
    """

    def __init__(self, *, numbers: bool = False) -> None:
        self.backends: list[BusBackend] = []
        self.numbers = numbers
        self.epoch = "one"
        self.batches: list[int] = []
        self.down = False
        self.held = anyio.Event()
        self.held.set()
        self._count = 0

    def send(self, publication: Publication) -> None:
        """Deliver to all that want it."""
        self._count += 1
        delivery = Delivery(
            publication.topic,
            publication.message,
            publication.key,
            publication.token,
            self.epoch if self.numbers else None,
            f"{self._count}-0" if self.numbers else None,
        )
        for backend in self.backends:
            if publication.topic in backend.topics or backend.patterns:
                backend.arrived.append(delivery)
                backend.wake.set()

    def cut(self) -> None:
        """Fail all calls, and forget what is wanted."""
        self.down = True
        for backend in self.backends:
            backend.topics = backend.patterns = frozenset()
            backend.wake.set()


class BusBackend:
    """One process's end of a bus."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.topics: frozenset[str] = frozenset()
        self.patterns: frozenset[str] = frozenset()
        self.arrived: list[Delivery] = []
        self.wake = anyio.Event()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[None]:
        """Be on the bus."""
        self.bus.backends.append(self)
        yield
        self.bus.backends.remove(self)

    def _check(self) -> None:
        if self.bus.down:
            raise ConnectionError("the bus is cut")

    async def publish(self, publications: Sequence[Publication]) -> None:
        """Send all, in order."""
        await self.bus.held.wait()
        self._check()
        self.bus.batches.append(len(publications))
        for publication in publications:
            self.bus.send(publication)

    async def want(self, topics: frozenset[str], patterns: frozenset[str]) -> None:
        """Have these topics delivered."""
        await anyio.lowlevel.checkpoint()
        self._check()
        self.topics, self.patterns = topics, patterns

    async def deliveries(self) -> AsyncIterator[Delivery]:
        """Yield what arrives."""
        while True:
            self._check()
            if self.arrived:
                yield self.arrived.pop(0)
            else:
                await self.wake.wait()
                self.wake = anyio.Event()
