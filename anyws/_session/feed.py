"""Messages of a connection that wait elsewhere until the connection has room for them.

A message to many connections stands in one log, and each connection has a place in it.
The log is a *source* of the connection: the feed takes the next message from there when
the outbound queue is empty, and at no other time. So a connection that is slow holds a
few messages in its queue and falls behind in the log, where the log's rules decide.

No task waits for a source. The source calls `pump` when it has something new; the
driver calls `refill` when all that was queued is written.
"""

from __future__ import annotations

from typing import Final, Protocol

from .._values.closing import CloseCode
from .._values.shared import SharedMessage
from .connection import Connection
from .sender import Sender

# How many bytes of payload a refill moves to the outbound queue, if they are more than
# one message.
_REFILL_BYTES: Final = 64 * 1024


class Source(Protocol):
    """Where messages wait for a connection."""

    def peek(self) -> SharedMessage | None:
        """Return the next message, without taking it; `None`: there is none."""

    def advance(self) -> None:
        """Take the message that `peek` has returned."""


class Feed:
    """The sources of one connection, and the way from them to the peer."""

    __slots__ = ("_connection", "_sender", "_sources")

    def __init__(self, connection: Connection, sender: Sender) -> None:
        self._connection = connection
        self._sender = sender
        self._sources: tuple[Source, ...] = ()

    @classmethod
    def of(cls, connection: Connection, sender: Sender) -> Feed:
        """Return the feed of a connection; make it for its first source."""
        feed = connection.feed
        if not isinstance(feed, Feed):
            connection.feed = feed = Feed(connection, sender)
        return feed

    def add(self, source: Source) -> None:
        """Take messages from a source from now on.

        Raises:
            ConnectionClosed: The connection has ended.
            RuntimeError: No message is allowed yet: `accept()` comes first.
        """
        self._sender.check_open()
        self._sources += (source,)

    def remove(self, source: Source) -> None:
        """Take nothing more from a source."""
        self._sources = tuple(each for each in self._sources if each is not source)

    @property
    def ended(self) -> bool:
        """Whether the connection has ended, so that nothing more is taken."""
        return self._connection.ending.info is not None

    def close(self, reason: str) -> None:
        """Close with 1013, unless the connection has ended: the peer is too slow."""
        self._connection.close_by_rule(CloseCode.TRY_AGAIN_LATER, reason)

    def fail(self, reason: str) -> None:
        """Close with 1011, unless the connection has ended: a source has failed."""
        self._connection.close_by_rule(CloseCode.INTERNAL_ERROR, reason)

    def pump(self) -> None:
        """Send what the sources have, as far as the connection has room now.

        Where the frames are ours, they are written within this call.
        """
        if not self._idle:
            return  # the driver will call `refill`
        first = self._first()
        if first is None:
            return
        source, message = first
        if self.write(message):
            self._advance(source)
            if self._first() is None:
                return
        self.refill()
        # Now, not when the turn is over: the caller knows how long its turn has lasted.
        self._connection.driver.flush()

    def write(self, message: SharedMessage) -> bool:
        """Write a message within this call; false: it has to come by way of `peek`.

        The source must have nothing before it.
        """
        connection = self._connection
        frames = connection.frames
        if not self._idle or frames is None or not frames.send_nowait(message.event):
            return False
        connection.counters.messages_sent += 1
        connection.counters.bytes_sent += message.size
        return True

    def refill(self) -> None:
        """Move messages to the outbound queue, if it is empty and no sender waits.

        A half of the queue is left for the senders of the user's code.
        """
        if not self._idle:
            return
        connection = self._connection
        outbound, direct = connection.outbound, connection.frames is not None
        room = max(1, connection.options.send_buffer // 2)
        while room and outbound.size < _REFILL_BYTES:
            first = self._first()
            if first is None:
                return
            source, message = first
            event = message.event if direct else dict(message.plain)
            if not outbound.put_nowait(event, message.size):
                return
            self._advance(source)
            room -= 1

    @property
    def _idle(self) -> bool:
        """Whether the outbound queue is empty, open, and awaited by no sender."""
        outbound = self._connection.outbound
        return not (outbound.held or outbound.closed or self._sender.busy)

    def _first(self) -> tuple[Source, SharedMessage] | None:
        """Return the first source that has a message, and that message."""
        for source in self._sources:  # one that fails removes itself
            message = source.peek()
            if message is not None:
                return source, message
        return None

    def _advance(self, source: Source) -> None:
        """Take a message from a source, which then stands last: each has its turn."""
        source.advance()
        if len(self._sources) > 1:
            self.remove(source)
            self._sources += (source,)
