"""The sending end of the user's code: it puts into the outbound queue.

A message enters the queue in one step, without an await, after all that may fail or be
cancelled. So a cancelled send is all or nothing (law 2). Tasks that wait for room take
turns by a lock, first come, first served, and no later message goes past them (law 7).
"""

from __future__ import annotations

from collections.abc import Container

from anyio import Event as Signal
from anyio import Lock, WouldBlock
from anyio.lowlevel import checkpoint

from .._values.closing import CloseCode
from .._values.errors import ConnectionClosed
from .._values.events import (
    DEFLATED,
    Event,
    body_left,
    check_event,
    checked_close,
    has_responses,
    measured,
    outgoing,
)
from .._values.states import (
    ACCEPT,
    CLOSE,
    CONNECTED,
    DISCONNECTED,
    RESPONSE_START,
    SEND,
    Role,
    event_of,
    next_state,
)
from .channel import LARGE_BYTES, Deflation, DirectChannel
from .connection import Connection
from .turns import Turns
from .unsent_response import UnsentResponse


class Sender:
    """The user's end of the outbound queue.

    Attributes:
        subprotocol: The subprotocol that was accepted, if any.
    """

    __slots__ = (
        "_body_left",
        "_connection",
        "_late",
        "_offered",
        "_turn",
        "_turns",
        "_waiting",
        "subprotocol",
    )

    def __init__(
        self,
        connection: Connection,
        turns: Turns,
        offered: Container[str],
    ) -> None:
        self.subprotocol: str | None = None
        self._connection = connection
        self._turns = turns
        self._offered = offered
        self._body_left: int | None = None  # of a denial response, if it is known
        self._late: UnsentResponse | None = None
        self._turn: Lock | None = None  # first come, first served
        self._waiting = 0  # how many tasks wait for room, or send in parts

    async def send(self, event: Event) -> None:
        """Queue a message, or send another event and wait until that is done.

        Raises:
            TypeError: The argument is not an event, or has no type; an application
                without our `WebSocket` may send such a thing.
        """
        await self._turns.take()
        try:
            kind = event["type"]
        except (LookupError, TypeError):
            check_event(event)
            raise
        if kind == SEND:
            event, size = measured(event)
            if size > LARGE_BYTES and self._connection.frames is not None:
                await self._put_large(event, size, self._connection.frames)
            elif not self._put(event, size):
                await self._put_in_turn(event, size)
        elif kind == CLOSE:
            sent = self.close(event)
            if sent is not None:
                await sent.wait()
        else:
            await self._send_handshake(event)

    def send_nowait(self, event: Event) -> None:
        """Queue a message now; raise WouldBlock if there is no room."""
        if not self._put(*measured(event)):
            raise WouldBlock

    def _put(self, event: Event, size: int) -> bool:
        """Queue a message, by the overflow rule if need be; false: it has to wait."""
        connection = self._connection
        if (
            connection.ending.info is not None
            or connection.application_state is not CONNECTED
        ):
            self.check_open()
        if self._waiting:
            return False  # its place is behind those that wait
        outbound = connection.outbound
        if (
            connection.frames is not None
            and connection.wrote_in != connection.upkeep.turn
            and not connection.inbound.held
            and not outbound.held
            and connection.frames.send_nowait(event)
        ):
            # The message is alone: none waits in either direction, and it is the first
            # in this turn of the scheduler. It was written here and now. The next ones
            # are queued until the turn is over, so that a burst goes out in one write.
            connection.wrote_in = connection.upkeep.turn
            connection.counters.messages_sent += 1
            connection.counters.bytes_sent += size
            if connection.observation is not None:
                connection.observation.passed("sent", size, 0, outbound.dropped)
            return True
        if outbound.put_nowait(event, size):
            return True
        connection.driver.flush()  # it is full only if the kernel takes no more
        return outbound.put_nowait(event, size) or self._overflow(event, size)

    def check_open(self) -> None:
        """Raise unless a message can be sent.

        Raises:
            ConnectionClosed: The connection has ended.
            RuntimeError: A message is not allowed in this state.
        """
        connection = self._connection
        if connection.passage is not None and connection.passage.admits:
            return
        if connection.ending.info is not None:
            raise connection.ending.error()
        next_state(Role.APPLICATION, connection.application_state, SEND)

    def _overflow(self, event: Event, size: int) -> bool:
        """Apply the overflow rule to a full queue; false: the message has to wait.

        Raises:
            ConnectionClosed: The rule is to close the connection.
        """
        connection = self._connection
        rule = connection.options.send_overflow
        if connection.ending.info is not None:
            return False  # a message that was accepted before the end
        if rule == "close":
            raise self.too_slow()
        return connection.outbound.put_by_rule(event, size, rule)

    def too_slow(self) -> ConnectionClosed:
        """Close with 1013, as the overflow rule says; return the error to raise."""
        reason = "the peer reads too slowly"
        self._connection.close_by_rule(CloseCode.TRY_AGAIN_LATER, reason)
        return self._connection.ending.error()

    @property
    def busy(self) -> bool:
        """Whether tasks wait for room, or a message is being sent in parts."""
        return self._waiting > 0

    def _no_longer_waits(self) -> None:
        """Note that a task waits no more; the feed may have waited for that."""
        self._waiting -= 1
        if self._connection.feed is not None:
            self._connection.outbound.filled.wake()  # the driver refills

    async def _put_in_turn(
        self, event: Event, size: int, deflation: Deflation | None = None
    ) -> None:
        """Wait for room, first come, first served, and queue a message."""
        connection = self._connection
        self._turns.waited()
        self._waiting += 1
        self._turn = self._turn or Lock(fast_acquire=True)
        try:
            async with self._turn:
                await self._wait_for_stream()
                if deflation is not None:
                    event = {**event, DEFLATED: await self._deflated(deflation)}
                    outbound = connection.outbound
                    if outbound.put_nowait(event, size) or self._overflow(event, size):
                        return
                while not connection.outbound.put_nowait(event, size):
                    await connection.outbound.room.wait()
                    self.check_open()
        finally:
            self._no_longer_waits()

    async def _deflated(self, deflation: Deflation) -> bytes:
        """Compress a message, and let others have their turn between two steps."""
        while (payload := deflation.step()) is None:
            await checkpoint()
            self.check_open()
        return payload

    async def _put_large(self, event: Event, size: int, frames: DirectChannel) -> None:
        """Queue a message; if it is compressed, that is done first, in steps.

        Later messages wait meanwhile. Cancelled between two steps, it is not sent.
        """
        self.check_open()
        deflation = frames.deflation(event)
        if deflation is not None:
            await self._put_in_turn(event, size, deflation)
        elif not self._put(event, size):
            await self._put_in_turn(event, size)

    async def _wait_for_stream(self) -> None:
        """Wait until no message is being sent in parts; raise if none can be sent."""
        connection = self._connection
        while connection.streaming is not None and connection.ending.info is None:
            await connection.streaming.wait()
        self.check_open()

    async def _send_handshake(self, event: Event) -> None:
        """Queue an accept or a part of a denial response; wait until it is sent."""
        connection = self._connection
        if connection.ending.info is not None:
            raise connection.ending.error()
        kind = event_of(event)
        if self._late is not None or (
            kind == RESPONSE_START and self._cannot_be_answered
        ):
            await self._close_instead(event)
            return
        state = next_state(Role.APPLICATION, connection.application_state, kind)
        event = outgoing(event, self._offered)
        self._body_left = body_left(event, self._body_left)
        # Up to here each line may refuse the event, and has changed no state (law 11).
        connection.application_state = state
        if kind == ACCEPT:
            connection.accepted = True
            self.subprotocol = event["subprotocol"]
            connection.await_message()
            connection.start_beating()
        await connection.driver.answer(event)
        defect = connection.ending.take_defect()
        if defect is not None:
            raise defect
        if connection.ending.failure is not None:
            raise connection.ending.error()

    @property
    def _cannot_be_answered(self) -> bool:
        """Whether it is too late for a response, or the server sends none."""
        connection = self._connection
        if connection.application_state is CONNECTED:
            return True
        return connection.scope is not None and not has_responses(connection.scope)

    async def _close_instead(self, event: Event) -> None:
        """Take a part of a response that cannot be sent; close once it is whole."""
        event = outgoing(event)
        if self._late is None:
            self._late = UnsentResponse(event)
        elif self._late.add(event):
            late, self._late = self._late, None
            sent = self.close(late.close())
            if sent is not None:
                await sent.wait()

    def close(self, event: Event) -> Signal | None:
        """Close, unless the connection has ended; return a signal of the last write.

        The signal is set once the closing frame is sent, or will never be; `None`:
        there is nothing to wait for.
        """
        connection = self._connection
        if (
            connection.ending.info is not None
            or connection.application_state is DISCONNECTED
        ):
            return None
        event = checked_close(event, framed=connection.accepted)
        connection.close(event["code"], event["reason"])
        connection.driver.flush()
        if connection.stage.writes:
            connection.written_done = Signal()
        return connection.written_done

    # Messages in parts

    async def begin(self) -> Signal:
        """Wait for the turn to send a message in parts; no other is sent until `end`.

        Returns:
            The turn, which `end` takes back.
        """
        await self._turns.take()
        self.check_open()
        self._waiting += 1  # so that no message is queued past `_wait_for_stream`
        self._turn = self._turn or Lock(fast_acquire=True)
        try:
            async with self._turn:
                await self._wait_for_stream()
                over = self._connection.streaming = Signal()
                return over
        except BaseException:
            self._no_longer_waits()
            raise

    def end(self, turn: Signal) -> None:
        """Let other tasks send again."""
        self._no_longer_waits()
        self._connection.streaming = None
        turn.set()

    async def send_part(self, event: Event, after: Signal | None) -> Signal:
        """Queue a fragment once the channel has taken the one before it."""
        await self._turns.take()
        if after is not None:
            await after.wait()
        self.check_open()
        connection = self._connection
        connection.counters.messages_sent += event["fin"]
        connection.counters.bytes_sent += len(event["data"])
        if event["fin"] and connection.observation is not None:
            drops = connection.outbound.dropped
            connection.observation.passed("sent", len(event["data"]), 0, drops)
        return connection.outbound.put_event(event)

    def cut_short(self) -> None:
        """Close with 1011, as a message that has begun will not be sent whole."""
        reason = "a message was cut short"
        self._connection.close_by_rule(CloseCode.INTERNAL_ERROR, reason)
