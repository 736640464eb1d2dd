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
from .._values.states import CONNECTED, RESPONSE, SEND
from .connection import Connection
from .driving import change_state


class Intake:
    """Puts messages into the inbound queue, by the options."""

    __slots__ = ("_connection",)

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def offer(self, event: Event, size: int) -> bool:
        """Take a message, by the overflow rule if need be; false: there is no room."""
        connection = self._connection
        inbound, limit = connection.inbound, connection.options.max_message_bytes
        if inbound.closed or connection.application_state is RESPONSE:
            self._discard()
        # A held message was judged when it came, by the bound of that time (law 14).
        elif size > limit and event is not connection.held:
            reason = f"over {limit} bytes"
            connection.close_by_rule(CloseCode.MESSAGE_TOO_BIG, reason, MessageTooBig)
        # The first of these that takes the message keeps the others from it: neither a
        # heartbeat nor a message for an interrupt takes room in the queue.
        elif (
            (connection.timers is not None and self._beats(event))
            or (connection.interrupts and self._interrupted(event))
            or (connection.pace is not None and self._too_fast(event))
            or inbound.put_nowait(event, size)
            or self._overflow(event, size)
        ):
            connection.counters.messages_received += 1
            connection.counters.bytes_received += size
            observation = connection.observation
            if observation is not None and not event.get(MORE):
                count, drops = inbound.messages, inbound.dropped
                observation.passed("received", size, count, drops)
            if connection.deadlines.quiet_limit is not None:
                connection.await_message()
        else:
            return False
        return True

    def _interrupted(self, event: Event) -> bool:
        """Whether one of the interrupts takes a message, which no receiver then sees.

        A message that is held was asked about when it came; a part is no message.
        """
        connection = self._connection
        if event is connection.held or MORE in event:
            return False
        return any(takes(event) for takes in reversed(connection.interrupts))

    def _beats(self, event: Event) -> bool:
        """Whether a message is a heartbeat, which is answered, or answers one of ours.

        An answer that has no room, or would come between fragments, is left out: the
        peer sees by what else is sent that this end lives.
        """
        connection, text = self._connection, event.get("text")
        heartbeat, timers = connection.options.heartbeat, connection.timers
        if heartbeat is None or timers is None or MORE in event:
            return False
        if text == heartbeat.answer:
            timers.answered(current_time(), heartbeat.interval)
            connection.driver.rearm()
        elif text == heartbeat.message:
            if (
                connection.streaming is None
                and connection.application_state is CONNECTED
            ):
                answer, size = heartbeat.answer, len(heartbeat.answer.encode())
                connection.outbound.put_nowait({"type": SEND, "text": answer}, size)
        else:
            return False
        return True

    def _too_fast(self, event: Event) -> bool:
        """Apply the options to a message beyond the rate; false: let it in.

        If the rule is to wait, the receiver does that. A message in parts counts at its
        last part.
        """
        connection = self._connection
        pace, rule = connection.pace, connection.options.rate_overflow
        if pace is None or rule == "wait" or event is connection.held:
            return False
        if event.get(MORE):
            return False
        now = current_time()
        if not pace.delay(now):
            pace.count(now)
            return False
        if rule == "close":
            reason = "messages come too fast"
            connection.close_by_rule(CloseCode.POLICY_VIOLATION, reason)
            return True
        if MORE in event:
            return False
        connection.inbound.dropped += 1
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
        if connection.observation is not None and not event.get(MORE):
            count, drops = inbound.messages + 1, inbound.dropped
            connection.observation.passed("received", size, count, drops)
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
    def selective(self) -> bool:
        """Whether a message that has no room may be taken by something else."""
        connection = self._connection
        return bool(connection.timers or connection.interrupts or connection.pace)

    @property
    def _drops(self) -> bool:
        """Whether the end of the connection matters more than what overflows.

        Not amid a message that comes in parts, which would be useless with a gap.
        """
        connection = self._connection
        return bool(connection.ending.watchers) and not connection.inbound.has_parts

    @property
    def full(self) -> bool:
        """Whether our own channel should stop reading until the queue has room."""
        inbound = self._connection.inbound
        return inbound.crowded and not inbound.closed and not self._drops

    # Other calls of a channel of our own

    def post(self, event: Event) -> None:
        """Take an event that is not a message: the connect, or the disconnect."""
        connection = self._connection
        try:
            over = connection.stage.reads and change_state(connection, event)
        except RuntimeError as exc:
            self.fail(exc)
        else:
            if over:
                connection.driver.stop_reading()

    def fail(self, exc: BaseException) -> None:
        """Note that nothing more will be read, because of an error."""
        connection = self._connection
        if connection.stage.reads:
            connection.lose(exc)
            connection.driver.stop_reading()

    @property
    def waiting(self) -> bool:
        """Whether a receiving task waits for a message."""
        return self._connection.receiving and self._connection.inbound.blocked

    def pong(self, payload: bytes) -> None:
        """Note a pong."""
        if self._connection.keepalive.answered(payload):
            self._connection.start_beating()

    def progressed(self, *, of_message: bool) -> None:
        """Note progress, as far as a deadline waits for it."""
        connection = self._connection
        connection.upkeep.turn += 1
        if connection.keepalive.awaited:
            connection.keepalive.progressed()
        if of_message and connection.deadlines.idle_at != inf:
            connection.await_message()

    def wake_writer(self, unwritten: int = 0) -> None:
        """Have the channel's own frames written soon, or the rest of one."""
        outbound = self._connection.outbound
        outbound.unwritten += unwritten
        outbound.filled.wake()

    def wake_receiver(self) -> None:
        """Have the receiving task look at the message under way."""
        self._connection.inbound.filled.wake()
