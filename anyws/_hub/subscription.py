"""A member that iterates: the events of its topics, one after the other."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from anyio import BusyResourceError
from anyio.lowlevel import checkpoint

from .._session.wakeup import Wakeup
from .._values.errors import HubError
from .event import Event
from .log import Entry
from .member import Membership, SinceArgument, TopicMember, Wishes
from .roster import Roster


class Subscription(TopicMember):
    """The events of topics, as an async iterator; `Hub.subscribe` makes it.

    Use it in a `with` block, which never waits. No message is missed after the block is
    entered, and leaving it in any way leaves the topics. One task iterates at a time.

    The iteration ends when the hub ends or begins to drain, after all messages that
    were published before.
    """

    __slots__ = ("_iterating", "_over", "_used", "_wakeup")

    def __init__(
        self,
        roster: Roster,
        wishes: Wishes,
        own_topic: str | None = None,
    ) -> None:
        super().__init__(roster, Membership(roster, wishes, self, own_topic))
        self._wakeup = Wakeup()
        self._iterating = False
        self._used = False
        self._over = False

    def __enter__(self) -> Self:
        """Join the topics.

        Raises:
            RuntimeError: The subscription has been entered before.
            HubError: The hub is not running.
        """
        if self._used:
            raise RuntimeError("a subscription cannot be entered twice")
        self._roster.check_open()
        self._roster.enter(self)
        self._used = True
        self._membership.enter()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave the topics."""
        self._roster.leave(self)
        self._membership.leave_all()
        self._over = True
        self._wakeup.wake()

    def __aiter__(self) -> Self:
        """Iterate over the events."""
        return self

    async def __anext__(self) -> Event:
        """Wait for the next event: a message, or a gap.

        Raises:
            StopAsyncIteration: The hub has ended, or drains, and all was read.
            HubError: The subscription was too slow, and its rule is `"close"`.
            RuntimeError: The call is outside of the `with` block.
            BusyResourceError: Another task is iterating.
            Exception: The exception that the filter has raised.
        Cancellation:
            Safe: a cancelled call loses no event; the next call returns it.
        """
        if not self._used:
            raise RuntimeError("iterate inside 'with hub.subscribe(...)'")
        if self._iterating:
            raise BusyResourceError("iterating over")
        self._iterating = True
        try:
            await checkpoint()
            while True:
                event = self._next()
                if event is not None:
                    return event
                await self._wakeup.wait()
        finally:
            self._iterating = False

    def _next(self) -> Event | None:
        reading = self._membership.reading
        entry = reading.take() if self._membership.entered else None
        if reading.error is not None:
            raise reading.error
        if reading.overrun:
            self._membership.leave_all()
            raise HubError("the subscription was too slow, and is closed")
        if entry is not None:
            return entry.event
        if self._over:
            raise StopAsyncIteration
        return None

    def join(self, *topics: str, since: SinceArgument = None) -> None:
        """Join more topics or patterns.

        Args:
            topics: Topics and patterns; those that were joined before are ignored.
            since: Where they begin; see `Hub.subscribe`.
        Raises:
            RuntimeError: The call is outside of the `with` block.
            TypeError, ValueError: A name or a position is invalid; nothing has
                changed.
        """
        self._membership.join(topics, since)

    # The taker of the reading

    def wake(self) -> None:
        """Wake the task that iterates."""
        self._wakeup.wake()

    def take_now(self, entry: Entry) -> bool:
        """Take nothing now: a task that iterates does."""
        return False

    # For the hub

    @property
    def session(self) -> None:
        """No connection belongs to a subscription."""
        return

    def end(self) -> None:
        """Have the iteration end once all was read."""
        self._over = True
        self._wakeup.wake()
