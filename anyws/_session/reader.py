"""The reader task: it moves events out of a channel, messages into the inbound queue.

The task runs in a shielded scope of its own and ends after the block, when it has seen
the peer's answer to our closing frame or `close_timeout` is over. Messages that arrive
meanwhile are dropped. The task does not end while the peer floods: Hypercorn would leak
the socket when its own queue is full. The task does not raise, and cancels no scope
that encloses the user's code, except those of `cancel_on_disconnect()`.

The deadline of its scope stands for all deadlines of the connection. When that passes,
the pending receive is cancelled, the reader task does what is due, and the next receive
begins. ASGI servers keep the event that a cancelled receive was waiting for, except
Granian (see `Options.idle_timeout`).
"""

from __future__ import annotations

from anyio import CancelScope
from anyio import Event as Signal
from anyio.lowlevel import checkpoint

from .._values.events import Event, size_of
from .._values.states import CONNECTED, RECEIVE
from .connection import Connection
from .driving import act_in_time, begin_in_time, change_state
from .intake import Intake


class Reader:
    """Moves events inwards until the disconnect; acts when a deadline passes.

    Attributes:
        scope: The scope of the pending receive.
        paused: Whether the task is to end, and reading to go on later.
    """

    __slots__ = ("_aside", "_connection", "_intake", "paused", "scope")

    def __init__(self, connection: Connection, intake: Intake) -> None:
        self.scope = CancelScope(shield=True)
        self.paused = False
        self._connection = connection
        self._intake = intake
        self._aside: Signal | None = None  # set once no receive is pending

    async def run(self) -> None:
        """Receive until the disconnect, or until no deadline is left to wait for."""
        connection = self._connection
        if self.paused:
            return  # before it has begun; Granian loses what a cancelled receive gets
        begin_in_time(connection)
        while True:
            with self.scope:
                if self._aside is not None:
                    await checkpoint()  # the writer task sends the closing frame first
                try:
                    while not self._take(
                        connection.held or await connection.receive_event()
                    ):
                        if connection.held is not None:
                            await self._wait_for_room()
                except Exception as exc:
                    connection.lose(exc)
                break
            aside = self._aside
            if self.paused:
                if aside is not None:
                    aside.set()
                return
            if aside is not None and not aside.is_set():
                self.scope = CancelScope(deadline=self.scope.deadline, shield=True)
                aside.set()
            elif act_in_time(connection):
                break
            else:
                self.scope = CancelScope(shield=True)
                connection.driver.rearm()
        if self._aside is not None:
            self._aside.set()
        connection.reading_is_over()

    async def step_aside(self) -> None:
        """Have no receive pending: Granian holds a close back behind one."""
        if self.paused:
            return
        self._aside = Signal()
        self.scope.cancel()
        await self._aside.wait()

    def pause(self) -> None:
        """End the task, but not the reading: a later run goes on with it."""
        self.paused = True
        self.scope.cancel()

    def resume(self) -> None:
        """Let the next run go on with the reading."""
        self.paused = False
        self.scope = CancelScope(shield=True)

    def _take(self, event: Event) -> bool:
        """Take in an event, or hold it until it has room; true for the disconnect."""
        connection = self._connection
        if event["type"] != RECEIVE or connection.client_state is not CONNECTED:
            return change_state(connection, event)
        was_held = connection.held is not None
        roomy = self._intake.offer(event, size_of(event))
        connection.held = None if roomy else event
        if roomy and was_held and connection.ending.failure is not None:
            connection.hear_out()  # time in which a message was held does not count
        return False

    async def _wait_for_room(self) -> None:
        """Wait until the held message may have room, or the queue is closed."""
        connection = self._connection
        connection.deadlines.await_nothing()  # the peer waits for us, and is not idle
        connection.driver.rearm()
        if connection.ending.failure is not None and connection.read_done is not None:
            connection.read_done.set()
        await connection.inbound.room.wait()
