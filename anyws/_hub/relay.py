"""The hub's side of a backend: a bounded queue out, deliveries in, wanted topics.

Three tasks call the backend, each one method: one publishes what has come into the
queue meanwhile in one call, one repeats the wanted topics whenever they have changed,
and one reads the deliveries. Where a call fails, the relay tells a gap in all topics,
waits, with delays that grow, and goes on; nothing is repeated but the wanted topics.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, Protocol

from anyio import create_task_group, move_on_after, sleep
from anyio.lowlevel import checkpoint

from .._session.wakeup import Wakeup
from .._values.errors import HubError
from .backend import Backend, Delivery, Publication
from .topics import Wants

# How many publications one call takes, and seconds before a call that has failed is
# tried again: the first time, and at most.
_AT_ONCE: Final = 100
_FIRST_DELAY: Final = 0.05
_LONGEST_DELAY: Final = 5.0

# Seconds for which a hub that ends goes on to publish what is queued.
_FAREWELL_SECONDS: Final = 1.0

_LOGGER: Final = logging.getLogger("anyws.hub")


class Receiver(Protocol):
    """What a relay asks of its hub."""

    def wanted(self) -> Wants:
        """Return the topics and the patterns that members have named."""

    def deliver(self, delivery: Delivery) -> None:
        """Take a message or a gap."""


class Relay:
    """The hub's side of a backend.

    Args:
        backend: The backend.
        receiver: The hub.
        max_queued: Publications that may wait for the backend.
    """

    def __init__(self, backend: Backend, receiver: Receiver, max_queued: int) -> None:
        self._backend = backend
        self._receiver = receiver
        self._max_queued = max_queued
        self._queue = deque[Publication]()
        self._queued = Wakeup()
        self._published = Wakeup()
        self._publishing = False
        self._changed = Wakeup()
        self._stale = True  # whether the backend does not know what is wanted now
        self._told_down = False

    def put(self, publication: Publication) -> None:
        """Queue a publication.

        Raises:
            HubError: The queue is full. The message is not published.
        """
        if len(self._queue) >= self._max_queued:
            raise HubError(
                f"{self._max_queued} messages wait for the backend already; "
                "this one is not published"
            )
        self._queue.append(publication)
        self._queued.wake()

    def wants_change(self) -> None:
        """Take note that members may want other topics now."""
        self._stale = True
        self._changed.wake()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Connect the backend while the block runs."""
        async with self._backend.connection(), create_task_group() as tasks:
            for call in (self._publish, self._want, self._deliver):
                tasks.start_soon(self._persist, call)
            yield
            with move_on_after(_FAREWELL_SECONDS):
                while self._queue or self._publishing:
                    await self._published.wait()
            tasks.cancel_scope.cancel()

    async def _persist(self, call: Callable[[], Awaitable[None]]) -> None:
        """Call again and again, after failures with growing delays."""
        delay = _FIRST_DELAY
        while True:
            try:
                await call()
                delay = _FIRST_DELAY
                await checkpoint()
            except Exception as exc:
                self._lost(exc)
                await sleep(delay)
                delay = min(2 * delay, _LONGEST_DELAY)

    def _lost(self, exc: Exception) -> None:
        """Tell all members that messages may be missing; repeat what is wanted."""
        if not self._told_down:
            self._told_down = True
            _LOGGER.warning("the backend cannot be reached: %r", exc)
        self._receiver.deliver(Delivery(None, None))
        self.wants_change()

    async def _publish(self) -> None:
        while not self._queue:
            await self._queued.wait()
        count = min(len(self._queue), _AT_ONCE)
        publications = [self._queue.popleft() for _ in range(count)]
        self._publishing = True
        try:
            await self._backend.publish(publications)
            self._told_down = False
        finally:
            self._publishing = False
            self._published.wake()

    async def _want(self) -> None:
        while not self._stale:
            await self._changed.wait()
        self._stale = False
        try:
            await self._backend.want(*self._receiver.wanted())
        except BaseException:
            self._stale = True
            raise

    async def _deliver(self) -> None:
        async for delivery in self._backend.deliveries():
            self._receiver.deliver(delivery)
        raise ConnectionError("the deliveries have ended")
