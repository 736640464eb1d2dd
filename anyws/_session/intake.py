"""Where received messages enter the inbound queue, by the rules of the options.

All messages come by here: the reader task offers those that a foreign channel delivers,
and a channel of our own offers those that it finds in what was read. The two differ in
what follows when the queue has no room. The reader task holds the message and waits for
room, so the server slows the peer down. A channel of our own has the message kept and
reads on to the second mark of the queue, so that pings and the peer's closing frame are
seen, and only then stops reading.
"""

from __future__ import annotations

from math import inf

from anyio import current_time

from .._values.closing import CloseCode
from .._values.errors import MessageTooBig
from .._values.events import MORE, Event
from .._values.states import RESPONSE
from .connection import Connection


class Intake:
    """Puts messages into the inbound queue, by the options."""

    __slots__ = ("_connection",)

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def offer(self, event: Event, size: int) -> bool:
        """Take a message, by the overflow rule if need be; false: there is no room."""
        connection = self._connection
        inbound, limit = connection.inbound, connection.options.max_message_bytes
        connection.bursting = False
        if inbound.closed or connection.application_state is RESPONSE:
            self._discard()
        elif size > limit and event is not connection.held:
            reason = f"over {limit} bytes"
            connection.close_by_rule(CloseCode.MESSAGE_TOO_BIG, reason, MessageTooBig)
        elif inbound.put_nowait(event, size) or self._overflow(event, size):
            connection.counters.messages_received += 1
            connection.counters.bytes_received += size
            if connection.deadlines.quiet_limit is not None:
                connection.await_message()
        else:
            return False
        return True

    def _discard(self) -> None:
        """Drop a message that will not be read; stay as long as the peer floods.

        The task of stock Hypercorn that reads the socket waits for room in its queue.
        If the session stopped receiving then, Hypercorn would leak the connection.
        """
        connection = self._connection
        if connection.ending.ours and connection.frames is None:
            connection.deadlines.flooded(current_time())

    def _overflow(self, event: Event, size: int) -> bool:
        """Apply the overflow rule to a full queue; false: the message has to wait."""
        connection = self._connection
        inbound, rule = connection.inbound, connection.options.receive_overflow
        if MORE in event or inbound.has_parts:
            return False  # a message that lacks a part would be another message
        if inbound.put_by_rule(event, size, rule):
            return True
        if rule == "close":
            reason = "too many unread messages"
            connection.close_by_rule(CloseCode.POLICY_VIOLATION, reason)
            return True
        if connection.ending.watchers and connection.frames is None:
            # `cancel_on_disconnect()` must see the disconnect, which is behind this.
            return inbound.put_by_rule(event, size, "drop_newest")
        return False

    def keep(self, event: Event, size: int) -> None:
        """Take a message that our own channel has found, and that has no room."""
        connection = self._connection
        inbound, counters = connection.inbound, connection.counters
        counters.messages_received += 1
        counters.bytes_received += size
        if not self._drops:
            inbound.put_ahead(event, size)
            if connection.ending.failure is None:
                # The full queue keeps the peer waiting, so the peer is not idle.
                connection.deadlines.await_nothing()
            return
        if inbound.crowded:
            inbound.dropped += 1  # as in `_overflow`: reading never stops
        else:
            inbound.put_ahead(event, size)
        connection.await_message()  # reading never pauses

    @property
    def _drops(self) -> bool:
        """Whether the end of the connection matters more than what overflows.

        Not amid a message that comes in parts: with a gap in it, it is none.
        """
        connection = self._connection
        return bool(connection.ending.watchers) and not connection.inbound.has_parts

    @property
    def full(self) -> bool:
        """Whether our own channel should stop reading until the queue has room."""
        inbound = self._connection.inbound
        return inbound.crowded and not inbound.closed and not self._drops

    # What else a channel of our own tells

    @property
    def waiting(self) -> bool:
        """Whether a receiving task waits for a message."""
        return self._connection.receiving and self._connection.inbound.blocked

    def pong(self, payload: bytes) -> None:
        """Take note of a pong."""
        if self._connection.keepalive.answered(payload):
            self._connection.start_beating()

    def progressed(self, *, of_message: bool) -> None:
        """Take note of progress, as far as a deadline waits for it."""
        connection = self._connection
        if connection.keepalive.awaited:
            connection.keepalive.progressed()
        if of_message and connection.deadlines.idle_at != inf:
            connection.await_message()

    def wake_writer(self, unwritten: int = 0) -> None:
        """Have the writer task write the channel's own frames, or the rest of one."""
        outbound = self._connection.outbound
        outbound.unwritten += unwritten
        outbound.filled.wake()

    def wake_receiver(self) -> None:
        """Have the receiving task look at the message under way."""
        self._connection.inbound.filled.wake()
