"""The protocols between a session, its channel and its driver.

Any pair of ASGI's `receive` and `send` is a channel. A channel of our own, a
`DirectChannel`, does more: it puts messages into the session's `Inbox` itself, in the
task that has read them, and can be asked about its frames.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, Final, Protocol, TypeAlias

from .._values.events import Event

# Host and port, the path of a unix socket, or nothing.
Address: TypeAlias = tuple[str, int] | str | None


# The largest message, in bytes of payload, that is compressed in one step.
LARGE_BYTES: Final = 256 * 1024


class Deflation(Protocol):
    """A large message that is being compressed."""

    def step(self) -> bytes | None:
        """Compress one piece; return the payload of the frame, once it is whole."""


class Driver(Protocol):
    """Carries events between the queues of a connection and its channel.

    It is all that a connection knows of how it is driven. `Tasks` and `Calls` are the
    two drivers.
    """

    def rearm(self) -> None:
        """Sleep anew: a deadline of the connection has changed."""

    def stop_reading(self) -> None:
        """End the reading: nothing that may still be received matters."""

    def stop_writing(self) -> None:
        """End the writing: there is no peer to write to."""

    def flush(self) -> None:
        """Write what is queued, as far as that is possible now, without waiting."""

    def answer(self, event: Event) -> Awaitable[None]:
        """Send, when awaited, an event of the opening handshake."""


class Unqueued(Protocol):
    """The messages that are still to pass a wrapped `send`. `Passage` holds them."""

    @property
    def admits(self) -> bool:
        """Whether the running code sends what was left before the connection ended."""

    def close(self, *, by_user: bool) -> None:
        """Close the outbound queue, behind these messages."""

    def discard(self) -> None:
        """Drop the messages."""

    def stop(self) -> None:
        """Send no more of them."""


class Feeder(Protocol):
    """Where more messages come from when the outbound queue is empty. See `Feed`."""

    def refill(self) -> None:
        """Put messages that wait elsewhere into the outbound queue."""


class Inbox(Protocol):
    """Where a channel of our own puts what it reads. `Intake` is one."""

    @property
    def full(self) -> bool:
        """Whether the channel should stop reading until `DirectChannel.read_on`."""

    @property
    def waiting(self) -> bool:
        """Whether a receiving task waits for a message."""

    def offer(self, event: Event, size: int) -> bool:
        """Take a message with `size` bytes of payload; false: there is no room."""

    def keep(self, event: Event, size: int) -> None:
        """Take a message that has no room, until `full` says to stop reading."""

    @property
    def selective(self) -> bool:
        """Whether to offer a message also where the one before had no room."""

    def post(self, event: Event) -> None:
        """Take an event that is not a message: the connect, or the disconnect."""

    def fail(self, exc: BaseException) -> None:
        """Note that nothing more will be read, because of an error."""

    def pong(self, payload: bytes) -> None:
        """Note a pong."""

    def progressed(self, *, of_message: bool) -> None:
        """Note progress, which is what shows that the peer is alive.

        Progress is: bytes were read, or bytes that had to wait were taken by the peer.
        The end of a pause of ours counts as progress, too.

        Args:
            of_message: Whether bytes of a message were among them.
        """

    def wake_writer(self, unwritten: int = 0) -> None:
        """Have the channel's frames written soon, at the end of the turn at the latest.

        Args:
            unwritten: Bytes of a message that `send_nowait` has not written.
        """

    def wake_receiver(self) -> None:
        """Have the receiving task call `part`, if it waits."""


class DirectChannel(Protocol):
    """A channel whose frames are ours.

    It puts into `inbox` what it reads, in whatever code has read it. No method but the
    two that wait may suspend the caller, or raise.

    Attributes:
        inbox: Where its messages go; set by the session that uses the channel.
        paused: Whether reading has stopped because `inbox` was full.
        writes_at_once: Whether the outlet takes bytes without being waited for, as far
            as is known. Under TLS some never do.
        peer_address: The address of the other end of the transport.
    """

    inbox: Inbox
    paused: bool
    peer_address: Address
    writes_at_once: bool

    def read(self) -> Callable[[], Coroutine[Any, Any, None]] | None:
        """Begin to read; return what a task must run for that, if a task is needed."""

    def stop(self) -> None:
        """Read no more: that task ends."""

    async def receive(self) -> Event:
        """Wait for ever: all events go to `inbox`."""

    async def send(self, event: Event) -> None:
        """Send an event of the opening handshake.

        For an accept, all that changes a state is done before this waits, if it does.

        Raises:
            OSError: The connection is broken.
        """

    def write(self, events: list[Event]) -> bool:
        """Frame events and write what the outlet takes at once; the list is cleared.

        The pings and pongs that wait to be written go with them. Returns false if bytes
        are left, or if another task is writing.
        """

    @property
    def has_unwritten(self) -> bool:
        """Whether bytes are framed that the outlet has not taken yet."""

    async def flush(self) -> None:
        """Write all that is framed, and wait for that.

        Raises:
            OSError: The connection is broken.
        """

    @property
    def pausing(self) -> bool:
        """Whether reading has stopped, and no write waits for the peer."""

    def send_nowait(self, event: Event) -> bool:
        """Write a message without waiting; false: it was not written, and must wait."""

    def read_on(self) -> None:
        """Go on reading, if `inbox` has room again."""

    def read_in_receiving_task(self) -> Awaitable[None] | None:
        """Return what the receiving task is to await, to read the transport itself.

        After that the task looks at the queue, whether or not a message was found.
        `None`: another task reads the transport, and the queue's wake-up will tell.
        """

    def interrupt(self) -> None:
        """End a read of the receiving task, so that it looks at its queue now."""

    def limit(self, max_message_bytes: int) -> None:
        """Have the next message judged by a new bound, in bytes of payload."""

    def deflation(self, event: Event) -> Deflation | None:
        """Return what compresses a message in steps; `None`: it is not compressed.

        The message is to be sent with the result under `DEFLATED`, or not at all.
        """

    def part(self) -> Event | None:
        """Have the message under way arrive in parts; return the part read so far."""

    def skip(self) -> None:
        """Drop the rest of the message that arrives in parts, as it arrives."""

    def ping(self, payload: bytes) -> bytes | None:
        """Frame a ping, which the next `write` writes; return what `withdraw` takes."""

    def withdraw(self, ping: bytes | None) -> None:
        """Do not write a ping, if it is not written yet."""

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        """AnyIO's typed attributes of the transport."""
