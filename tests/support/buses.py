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
        kept: All messages, if the bus keeps them: then it drops those that it has had.
    """

    def __init__(self, *, numbers: bool = False, keeps: bool = False) -> None:
        self.backends: list[BusBackend] = []
        self.numbers = numbers or keeps
        self.kept: list[Delivery] | None = [] if keeps else None
        self.epoch = "one"
        self.batches: list[int] = []
        self.down = False
        self.held = anyio.Event()
        self.held.set()
        self._count = 0

    def send(self, publication: Publication) -> None:
        """Deliver to all that want it."""
        had = [delivery.token for delivery in self.kept or ()]
        if publication.token in had:
            return
        self._count += 1
        delivery = Delivery(
            publication.topic,
            publication.message,
            publication.key,
            publication.token,
            self.epoch if self.numbers else None,
            f"{self._count}-0" if self.numbers else None,
        )
        if self.kept is not None:
            self.kept.append(delivery)
        for backend in self.backends:
            if publication.topic in backend.topics or backend.patterns:
                backend.arrived.append(delivery)
                backend.wake.set()

    def say(self, topic: str, text: str) -> None:
        """Deliver what no hub has published."""
        self.send(Publication(topic, text))

    def forget(self, topic: str, but: int) -> None:
        """Keep only the latest messages of a topic."""
        there = [delivery for delivery in self.kept or () if delivery.topic == topic]
        self.kept = there[len(there) - but :]

    def cut(self) -> None:
        """Fail all calls, and forget what is wanted, unless messages are kept."""
        self.down = True
        for backend in self.backends:
            if self.kept is None:
                backend.topics = backend.patterns = frozenset()
            backend.wake.set()


class BusBackend:
    """One process's end of a bus."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.topics: frozenset[str] = frozenset()
        self.patterns: frozenset[str] = frozenset()
        self.arrived: list[Delivery] = []
        self.delivered: list[Delivery] = []
        self.wake = anyio.Event()
        self.silent = False  # whether what is published is lost

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
        for publication in () if self.silent else publications:
            self.bus.send(publication)

    async def want(self, topics: frozenset[str], patterns: frozenset[str]) -> None:
        """Have these topics delivered."""
        await anyio.lowlevel.checkpoint()
        self._check()
        self.topics, self.patterns = topics, patterns

    @property
    def durable(self) -> bool:
        """Whether the bus keeps messages."""
        return self.bus.kept is not None

    async def replay(
        self, topic: str, since: tuple[str, str] | None, limit: int
    ) -> Sequence[Delivery]:
        """Return what is kept of a topic, up to what has been delivered."""
        await anyio.lowlevel.checkpoint()
        self._check()
        await self.bus.held.wait()
        assert self.bus.kept is not None
        there = [d for d in self.bus.kept if d.topic == topic and d in self.delivered]
        if since is None:
            return there[-limit:]
        ids = [(d.epoch, d.id) for d in there]
        if since not in ids:
            return [Delivery(topic, None), *there[-limit:]]
        return there[ids.index(since) + 1 :][-limit:]

    async def deliveries(self) -> AsyncIterator[Delivery]:
        """Yield what arrives."""
        while True:
            self._check()
            if self.arrived:
                delivery = self.arrived.pop(0)
                self.delivered.append(delivery)
                yield delivery
            else:
                await self.wake.wait()
                self.wake = anyio.Event()
