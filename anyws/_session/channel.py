"""What a channel offers that takes a short way for messages."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Protocol

from .._values.events import Event


class DirectChannel(Protocol):
    """A channel of our own that takes a short way for messages.

    Its `receive` has only what is no message. It puts messages into the session's queue
    itself, by `feed`, in the task that has read them, and keeps what has no room yet.
    """

    async def receive(self) -> Event:
        """Wait for the next event that is not a message."""

    async def send(self, event: Event) -> None:
        """Send an event that is not a message."""

    async def send_messages(self, events: list[Event]) -> None:
        """Send messages in one go, and whatever else waits to be written."""

    def send_nowait(self, event: Event) -> bool:
        """Send a message without waiting; false: that cannot be done now."""

    def deliver(self) -> None:
        """Hand over, by `feed`, what had no room before."""

    def read_in_receiving_task(self) -> Awaitable[None] | None:
        """Return what the receiving task is to await, to read the transport itself.

        It is time to look at the queue after that, whether or not a message was found.
        `None`: the transport is read elsewhere, and the queue tells.
        """

    def interrupt(self) -> None:
        """Have a receiving task that reads the transport look at its queue now."""

    def part(self) -> Event | None:
        """Have the message under way come in parts; return what has come of it."""

    def skip(self) -> None:
        """Drop what is still to come of the message that comes in parts."""

    def ping(self, payload: bytes) -> None:
        """Have a ping written by the next `send_messages`."""

    @property
    def paused(self) -> bool:
        """Whether nothing is read any more, since there is no room for it."""
