"""The hub's side of a backend: a bounded queue out, deliveries in, wanted topics.

Four tasks call the backend, each one method: one publishes what has come into the queue
meanwhile in one call, one repeats the wanted topics whenever they have changed, one
reads the deliveries, and one asks for what members have missed. Where a call fails, the
relay waits, with delays that grow, and goes on.

A message is published when the backend has been told of all that was wanted when it was
queued: a member gets what its own hub publishes after it has come.

A backend that is not durable may lose messages when a call fails. So the relay tells a
gap in all topics when it has begun to fail, and once more when it works again: members
that have come meanwhile may have missed something, too.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from random import uniform
from typing import Final, Protocol

from anyio import create_task_group, move_on_after, sleep
from anyio.lowlevel import checkpoint

from .._session.wakeup import SharedWakeup, Wakeup
from .._values.errors import HubError
from .backend import Backend, Delivery, DurableBackend, Publication
from .topics import Wants

# How many publications one call takes, and seconds before a call that has failed is
# tried again: the first time, and at most.
_AT_ONCE: Final = 100
_FIRST_DELAY: Final = 0.05
_LONGEST_DELAY: Final = 2.0

# Seconds for which a hub that ends goes on to publish what is queued.
_FAREWELL_SECONDS: Final = 1.0

_LOGGER: Final = logging.getLogger("anyws.hub")


class Receiver(Protocol):
    """The hub, as its relay sees it."""

    def wanted(self) -> Wants:
        """Return the topics and the patterns that members have named."""

    def deliver(self, delivery: Delivery) -> None:
        """Take a message or a gap."""


@dataclass(frozen=True, slots=True)
class Question:
    """The request of a member for messages of a topic that the backend keeps.

    Attributes:
        topic: The topic.
        since: The epoch and the id of its position; `None`: before everything.
        limit: How many messages it gets at most.
        wanted: Tells whether the member still wants it.
        answer: Called with what the backend returns.
    """

    topic: str
    since: tuple[str, str] | None
    limit: int
    wanted: Callable[[], bool]
    answer: Callable[[Sequence[Delivery]], None]


class Relay:
    """The hub's side of a backend.

    Args:
        backend: The backend.
        receiver: The hub.
        max_queued: Publications that may wait for the backend.

    Attributes:
        durable: The backend, if it keeps messages.
    """

    def __init__(self, backend: Backend, receiver: Receiver, max_queued: int) -> None:
        self._backend = backend
        keeps = isinstance(backend, DurableBackend) and backend.durable
        self.durable: DurableBackend | None = None
        if keeps and isinstance(backend, DurableBackend):
            self.durable = backend
        self._receiver = receiver
        self._max_queued = max_queued
        self._queue = deque[tuple[Publication, int]]()
        self._queued = Wakeup()
        self._published = Wakeup()
        self._publishing = False
        self._wishes = 1  # how often what is wanted has changed
        self._told = 0  # up to which of these changes the backend was told
        self._changed = Wakeup()
        self._wants_told = SharedWakeup()
        self._questions = deque[Question]()
        self._asked = Wakeup()
        self._failing = False

    def put(self, publication: Publication) -> None:
        """Queue a publication.

        Raises:
            HubError: The queue is full. The message is not published.
        """
        if self.full:
            raise HubError(
                f"{self._max_queued} messages wait for the backend already; "
                "this one is not published"
            )
        self._queue.append((publication, self._wishes))
        self._queued.wake()

    @property
    def full(self) -> bool:
        """Whether no more publications can be queued."""
        return len(self._queue) >= self._max_queued

    @property
    def idle(self) -> bool:
        """Whether nothing waits to be published."""
        return not (self._queue or self._publishing)

    def wants_change(self) -> None:
        """Note that members may want other topics now."""
        self._wishes += 1
        self._changed.wake()

    def ask(self, question: Question) -> None:
        """Ask a durable backend for what a member has missed."""
        self._questions.append(question)
        self._asked.wake()

    def connection(self) -> AbstractAsyncContextManager[object]:
        """Return the block of the backend, in which `running` is used."""
        return self._backend.connection()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Call the backend while the block runs."""
        async with create_task_group() as tasks:
            for call in (self._publish, self._want, self._deliver):
                tasks.start_soon(self._persist, call)
            if self.durable is not None:
                tasks.start_soon(self._persist, self._replay)
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
                self._failed(exc)
                await sleep(delay * uniform(0.5, 1.0))
                delay = min(2 * delay, _LONGEST_DELAY)

    def _failed(self, exc: Exception) -> None:
        """Tell all members that messages may be missing; repeat what is wanted."""
        if not self._failing:
            self._failing = True
            _LOGGER.warning("the backend cannot be reached: %r", exc)
            if self.durable is None:
                self._receiver.deliver(Delivery(None, None))
        self.wants_change()

    def _works(self) -> None:
        """Report a gap once more when the backend works again."""
        if self._failing:
            self._failing = False
            _LOGGER.warning("the backend works again")
            if self.durable is None:
                self._receiver.deliver(Delivery(None, None))

    async def _publish(self) -> None:
        while not self._queue:
            await self._queued.wait()
        count = min(len(self._queue), _AT_ONCE)
        wishes = self._queue[count - 1][1]
        while self._told < wishes:
            await self._wants_told.wait()
        publications = [self._queue[n][0] for n in range(count)]
        if self.durable is None:
            self._drop(count)
        self._publishing = True
        try:
            await self._backend.publish(publications)
            if self.durable is not None:
                self._drop(count)
        finally:
            self._publishing = False
            self._published.wake()

    def _drop(self, count: int) -> None:
        for _ in range(count):
            self._queue.popleft()

    async def _want(self) -> None:
        while self._told == self._wishes:
            await self._changed.wait()
        wishes = self._wishes
        try:
            await self._backend.want(*self._receiver.wanted())
            self._works()
        except Exception:
            # Messages that are not kept may be lost now. Kept ones wait, as a member of
            # this hub would miss it without a gap.
            if self.durable is None:
                self._wants_are_told(wishes)
            raise
        self._wants_are_told(wishes)

    def _wants_are_told(self, wishes: int) -> None:
        self._told = wishes
        self._wants_told.wake()

    async def _deliver(self) -> None:
        async for delivery in self._backend.deliveries():
            self._receiver.deliver(delivery)
        raise ConnectionError("the deliveries have ended")

    async def _replay(self) -> None:
        while not self._questions:
            await self._asked.wait()
        question = self._questions[0]
        wishes = self._wishes
        while self._told < wishes:
            await self._wants_told.wait()
        if not question.wanted():
            self._questions.popleft()
        elif self.durable is not None:
            missed = await self.durable.replay(
                question.topic, question.since, question.limit
            )
            self._questions.popleft()
            question.answer(missed)
