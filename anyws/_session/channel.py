"""What a session and its channel ask of each other.

Any pair of ASGI's `receive` and `send` is a channel. A channel of our own does more: it
hands over messages itself, where they are read, and can be asked about its frames.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Protocol

from .._values.events import Event


class Driver(Protocol):
    """Carries events between the queues of a connection and its channel.

    A connection knows by this alone that it is driven: by the two tasks of `Tasks`.
    """

    def rearm(self) -> None:
        """Take note that a deadline of the connection has changed."""

    def stop_reading(self) -> None:
        """Read no more: nothing that is still to come matters."""

    def stop_writing(self) -> None:
        """Write no more: there is no peer to write to."""


class Inbox(Protocol):
    """What a channel of our own hands over to its session."""

    @property
    def full(self) -> bool:
        """Whether the channel should read no more, until `DirectChannel.read_on`."""

    @property
    def waiting(self) -> bool:
        """Whether a task waits for a message."""

    def offer(self, event: Event, size: int) -> bool:
        """Take a message of so many bytes of payload; false: it has no room."""

    def keep(self, event: Event, size: int) -> None:
        """Take a message that has no room; `full` says when that should have an end."""

    def pong(self, payload: bytes) -> None:
        """Take note of a pong."""

    def wake_writer(self) -> None:
        """Have `send_messages` called: the channel has frames of its own to write."""

    def wake_receiver(self) -> None:
        """Have the receiving task ask for `part`."""


class DirectChannel(Protocol):
    """A channel whose frames are ours: it takes a short way for messages.

    Attributes:
        inbox: Where its messages go; set by the session that takes the channel.
        paused: Whether nothing is read, as `inbox` was full.
    """

    inbox: Inbox
    paused: bool

    async def receive(self) -> Event:
        """Wait for the next event that is no message: those go to `inbox`."""

    async def send(self, event: Event) -> None:
        """Send an event that is no message."""

    async def send_messages(self, events: list[Event]) -> None:
        """Send messages in one go, and whatever else waits to be written."""

    def send_nowait(self, event: Event) -> bool:
        """Send a message without waiting; false: that cannot be done now."""

    def read_on(self) -> None:
        """Go on reading, if `inbox` has room again."""

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
