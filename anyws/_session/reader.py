"""The task that moves what comes out of a channel into a session's inbound queue.

It runs in a shielded scope of its own and ends after the block, when it has seen the
peer's answer to our closing frame or `close_timeout` is over. It discards what else
comes meanwhile, and does not leave in the midst of a flood: that leaks sockets on
Hypercorn when its queue is full. It does not raise, and cancels no scope that encloses
the user's code, those of `cancel_on_disconnect()` excepted.
"""

from __future__ import annotations

from math import inf

from anyio import CancelScope, current_time
from anyio import Event as Signal
from anyio.lowlevel import checkpoint

from .._values.closing import CloseCode
from .._values.errors import MessageTooBig
from .._values.events import MORE, Event, size_of
from .._values.states import (
    CONNECTED,
    CONNECTING,
    DISCONNECT,
    DISCONNECTED,
    RECEIVE,
    RESPONSE,
    Role,
    next_state,
)
from .connection import Connection
from .deadlines import Verdict


class Reader:
    """Moves events inwards until the disconnect; acts when a deadline passes."""

    __slots__ = ("_aside", "_connection")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._aside: Signal | None = None  # it has stepped back

    async def run(self) -> None:
        """Be the task."""
        connection = self._connection
        connection.await_message()
        if connection.accepted:
            connection.start_beating()
        while True:
            with connection.read_scope:
                if self._aside is not None:
                    await checkpoint()  # the closing frame goes first
                await self._take_in()
                break
            if self._time_is_up():
                break
            connection.read_scope = CancelScope(
                deadline=connection.next_deadline, shield=True
            )
            if self._aside is not None:
                self._aside.set()
        connection.reading = False
        if self._aside is not None:
            self._aside.set()
        connection.close_inbound()
        if connection.read_done is not None:
            connection.read_done.set()

    async def step_back(self) -> None:
        """Have no receive pending: Granian holds a close behind one."""
        self._aside = Signal()
        self._connection.read_scope.cancel()
        await self._aside.wait()

    def _time_is_up(self) -> bool:
        """Act on a deadline; true if there is no more reading after it."""
        connection, now = self._connection, current_time()
        if connection.stopped:
            return True
        if now >= connection.keepalive.beat_at:
            connection.beat()
        match connection.deadlines.judge(now):
            case Verdict.UNHEARD:
                return True
            case Verdict.UNANSWERED:
                connection.ending.learn_whether_clean(False)
                return True
            case Verdict.STUCK:
                cause = TimeoutError("the server took no message within send_timeout")
                connection.lose(cause, clean=False)
                connection.write_scope.cancel()
            case Verdict.SILENT if connection.ending.failure is not None:
                return True
            case Verdict.SILENT:
                connection.close_by_rule(CloseCode.GOING_AWAY, "idle timeout")
        return False

    async def _take_in(self) -> None:
        connection = self._connection
        try:
            while True:
                if connection.held is None:
                    connection.held = await connection.receive_event()
                kind = connection.held["type"]
                if kind != RECEIVE or connection.client_state is not CONNECTED:
                    if self._change(connection.held, kind):
                        return
                elif not self._deliver(connection.held, size_of(connection.held)):
                    await self._wait_for_room(connection.held)
                connection.held = None
        except Exception as exc:
            connection.lose(exc)

    def _change(self, event: Event, kind: str) -> bool:
        """Pass on what changes the client's state; true for its end."""
        connection = self._connection
        if kind == DISCONNECT:  # before a connect, too
            connection.peer_left(event)
            connection.client_state = DISCONNECTED
            return True
        connection.client_state = next_state(Role.CLIENT, connection.client_state, kind)
        connection.inbound.put_handshake(event)
        return False

    def feed(self, event: Event, size: int) -> bool:
        """Take a message from the frames; false: there is no room yet."""
        connection = self._connection
        connection.bursting = False
        if connection.client_state is not CONNECTING and self._deliver(event, size):
            return True
        if connection.ending.failure is None:  # these may be its last words
            connection.deadlines.idle_at = inf  # it is we who keep the peer waiting
        return False

    def _deliver(self, event: Event, size: int) -> bool:
        """Put a message into the queue, by the options; false: it is full."""
        connection = self._connection
        state = connection.application_state
        if (
            connection.leaving or state is DISCONNECTED or state is RESPONSE
        ):  # nobody reads
            self._discard()
            return True
        if size > connection.options.max_message_bytes:
            reason = f"over {connection.options.max_message_bytes} bytes"
            connection.close_by_rule(CloseCode.MESSAGE_TOO_BIG, reason, MessageTooBig)
        elif not connection.inbound.put_nowait(event, size) and not self._overflow(
            event, size
        ):
            return False
        connection.messages_received += 1
        connection.bytes_received += size
        if connection.deadlines.quiet_limit is not None:
            connection.await_message()
        return True

    def _discard(self) -> None:
        """Let a message go that nobody will read; do not leave in the midst of a flood.

        Stock Hypercorn waits for room in its queue inside the task that reads the
        socket: to leave it there would leak the connection.
        """
        connection = self._connection
        if connection.ending.ours and connection.frames is None:
            connection.deadlines.flooded(current_time())

    def _overflow(self, event: Event, size: int) -> bool:
        """Apply the overflow rule to a full queue; false: wait for room."""
        connection = self._connection
        rule = connection.options.receive_overflow
        if MORE in event or connection.inbound.has_parts:
            return False  # a message with a gap in it is none
        if rule == "drop_oldest":
            connection.inbound.put_by_dropping(event, size)
        elif rule == "close":
            reason = "too many unread messages"
            connection.close_by_rule(CloseCode.POLICY_VIOLATION, reason)
        elif connection.ending.watchers:  # in there, the disconnect must be reached
            connection.inbound.dropped += 1
        else:
            return False
        return True

    async def _wait_for_room(self, event: Event) -> None:
        """Deliver a message once it has room, or is not wanted any more."""
        connection = self._connection
        connection.deadlines.await_nothing()  # it is we who keep the peer waiting
        connection.read_scope.deadline = connection.next_deadline
        if connection.ending.failure is not None and connection.read_done is not None:
            connection.read_done.set()
        await connection.inbound.room.wait()
        while not self._deliver(event, size_of(event)):
            await connection.inbound.room.wait()
        if connection.ending.failure is not None:
            connection.hear_out()
        else:
            connection.await_message()
