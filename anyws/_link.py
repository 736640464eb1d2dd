"""The two tasks of a guarded connection.

A channel is a pair `receive() -> event`, `send(event)`. The reader task moves what
comes out of it into a bounded buffer, the writer task moves what is in another bounded
buffer into it. The user's code meets the buffers only, so that a cancelled call of the
user's never reaches the channel: a server's `send` that is cancelled tears frames.

Both tasks run in shielded scopes of their own and end after the block: the writer when
it has sent what was queued and the closing frame, the reader when it has seen the
peer's answer or `close_timeout` is over. It discards what else comes meanwhile, and
does not leave in the midst of a flood: that leaks sockets on Hypercorn when its queue
is full. The host only waits for the tasks, since AnyIO's shield does not stop native
asyncio cancellation. Neither task raises, and neither cancels a scope that encloses the
user's code, those of `cancel_on_disconnect()` excepted.

When and how the connection ends is in `_lifetime`.
"""

from __future__ import annotations

from math import inf
from typing import Final

from anyio import CancelScope, current_time
from anyio import Event as Signal
from anyio.lowlevel import checkpoint
from starlette.websockets import WebSocketState

from ._buffer import Item
from ._close import CloseCode
from ._direct import DirectChannel
from ._errors import MessageTooBig
from ._events import MORE, Event, size_of
from ._lifetime import LULL, Lifetime
from ._states import (
    CONNECTED,
    CONNECTING,
    DISCONNECT,
    DISCONNECTED,
    RECEIVE,
    RESPONSE,
    Role,
    next_state,
)

# So many messages that were queued in one turn of the scheduler are a burst. What it
# brings in the next turns goes out in the same write, up to these messages and bytes.
_BURST: Final = 8
_WRITE_MESSAGES: Final = 64
_WRITE_BYTES: Final = 16 * 1024


class Link(Lifetime):
    """The tasks between a channel and the two buffers of its connection."""

    __slots__ = ()

    client_state: WebSocketState  # said once more, as it is set here too

    # The writer

    async def _write(self) -> None:
        """Hand over what is queued, in order, and then the closing frame."""
        with self._write_scope:
            try:
                await self._hand_over()
                if self._farewell is not None and self._reading:
                    if self._direct is None:
                        await self._pause_reading()
                    await self._channel_send(self._farewell)
            except Exception as exc:
                self._lose(exc)
        self._writing = False
        self._outbound.discard()
        if self._write_done is not None:
            self._write_done.set()
        self._settle()

    async def _pause_reading(self) -> None:
        """Let the reader step back: Granian holds a close behind a receive."""
        self._aside = Signal()
        self._read_scope.cancel()
        await self._aside.wait()

    async def _hand_over(self) -> None:
        outbound, direct = self._outbound, self._direct
        woken = direct is not None  # by what came about before this task did
        while woken or not (outbound.empty and outbound.closed):
            if outbound.empty and not woken:
                await outbound.filled.wait()
                if direct is None:
                    continue
            woken = False
            timeout = self.options.send_timeout
            if timeout is not None:
                self._await_send(timeout)
            if direct is None or outbound.event_first:
                await self._hand_over_event()
            else:
                await self._hand_over_messages(direct)
            if timeout is not None:
                self._await_send(inf)

    async def _hand_over_event(self) -> None:
        event, size, receipt = self._outbound.take_nowait()
        try:
            await self._channel_send(event)
        finally:
            if receipt is not None:
                receipt.set()
        if receipt is None:
            self._sent += 1
            self._sent_bytes += size

    async def _hand_over_messages(self, direct: DirectChannel) -> None:
        """Hand over the messages that come first, in one go; without any, its own."""
        items = self._outbound.take_messages()
        self._bursting = False
        if len(items) >= _BURST:
            await self._gather(items)
        await direct.send_messages([item[0] for item in items])
        self._sent += len(items)
        self._sent_bytes += sum([item[1] for item in items])

    async def _gather(self, items: list[Item]) -> None:
        """Add what a burst brings in the next turns: a write costs more than these."""
        fresh, size = items, 0
        self._gathering = True
        while len(fresh) >= _BURST and len(items) < _WRITE_MESSAGES:
            size += sum([item[1] for item in fresh])
            if size >= _WRITE_BYTES:
                break
            await checkpoint()
            fresh = self._outbound.take_messages()
            items += fresh
        self._gathering = False

    def _send_at_once(self, event: Event, size: int) -> bool:
        """Send a message that is alone: one hand-over less. False: queue it.

        It is alone if none waits, in either direction, and if it is the first since the
        last turn of the scheduler that we know of: those of a burst go in one write.
        """
        direct = self._direct
        if (
            direct is None
            or self._bursting
            or self._gathering
            or not (self._outbound.empty and self._inbound.empty)
            or not direct.send_nowait(event)
        ):
            return False
        self._bursting = True
        self._sent += 1
        self._sent_bytes += size
        return True

    # The reader

    async def _read(self) -> None:
        """Move events inwards until the disconnect; act when a deadline passes."""
        self._await_message()
        if self._accepted:
            self._start_beating()
        while True:
            with self._read_scope:
                if self._aside is not None:
                    await checkpoint()  # the closing frame goes first
                await self._take_in()
                break
            if self._time_is_up():
                break
            deadline = self._next_deadline()
            self._read_scope = CancelScope(deadline=deadline, shield=True)
            if self._aside is not None:
                self._aside.set()
        self._reading = False
        if self._aside is not None:
            self._aside.set()
        self._close_inbound()
        if self._read_done is not None:
            self._read_done.set()

    async def _take_in(self) -> None:
        try:
            while True:
                if self._held is None:
                    self._held = await self._channel_receive()
                kind = self._held["type"]
                if kind != RECEIVE or self.client_state is not CONNECTED:
                    if self._change(self._held, kind):
                        return
                elif not self._deliver(self._held, size_of(self._held)):
                    await self._wait_for_room(self._held)
                self._held = None
        except Exception as exc:
            self._lose(exc)

    def _change(self, event: Event, kind: str) -> bool:
        """Pass on what changes the client's state; true for its end."""
        if kind == DISCONNECT:  # before a connect, too
            self._peer_left(event)
            self.client_state = DISCONNECTED
            return True
        self.client_state = next_state(Role.CLIENT, self.client_state, kind)
        self._inbound.put_handshake(event)
        return False

    def feed(self, event: Event, size: int) -> bool:
        """Take a message from the direct channel; false: there is no room yet."""
        self._bursting = False
        if self.client_state is not CONNECTING and self._deliver(event, size):
            return True
        if not self._lost:  # these may be its last words
            self._idle_at = inf  # it is we who keep the peer waiting
        return False

    def _deliver(self, event: Event, size: int) -> bool:
        """Put a message into the inbound buffer, by the options; false: it is full."""
        state = self.application_state
        if self._leaving or state is DISCONNECTED or state is RESPONSE:  # nobody reads
            self._discard()
            return True
        if size > self.options.max_message_bytes:
            reason = f"over {self.options.max_message_bytes} bytes"
            self._close_by_rule(CloseCode.MESSAGE_TOO_BIG, reason, MessageTooBig)
        elif not self._inbound.put_nowait(event, size) and not self._overflow(
            event, size
        ):
            return False
        self._received += 1
        self._received_bytes += size
        if self._quiet_limit is not None:
            self._await_message()
        return True

    def _discard(self) -> None:
        """Let a message go that nobody will read; do not leave in the midst of a flood.

        Stock Hypercorn waits for room in its queue inside the task that reads the
        socket: to leave it there would leak the connection.
        """
        if self._farewell is not None and self._direct is None:
            lull = max(self._close_at, current_time() + LULL)
            self._close_at = min(lull, self._flood_until)

    def _overflow(self, event: Event, size: int) -> bool:
        """Apply the overflow rule to a full buffer; false: wait for room."""
        rule = self.options.receive_overflow
        if MORE in event or self._inbound.has_parts:
            return False  # a message with a gap in it is none
        if rule == "drop_oldest":
            self._inbound.put_by_dropping(event, size)
        elif rule == "close":
            reason = "too many unread messages"
            self._close_by_rule(CloseCode.POLICY_VIOLATION, reason)
        elif self._watchers:  # in there, the disconnect must be reached
            self._inbound.dropped += 1
        else:
            return False
        return True

    async def _wait_for_room(self, event: Event) -> None:
        """Deliver a message once it has room, or is not wanted any more."""
        # It is we who keep the peer waiting.
        self._idle_at = self._heard_until = inf
        self._read_scope.deadline = self._next_deadline()
        if self._lost and self._read_done is not None:
            self._read_done.set()
        await self._inbound.room.wait()
        while not self._deliver(event, size_of(event)):
            await self._inbound.room.wait()
        if self._lost:
            self._hear_out()
        else:
            self._await_message()
