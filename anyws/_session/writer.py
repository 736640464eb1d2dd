"""The writer task: it moves events out of the outbound queue into the channel.

Only this task calls the channel's own `send`, so a cancelled call of the user's code
never reaches that (law 2): a server's `send` that is cancelled may tear a frame. The
task ends after the block, when it has sent what was queued and then the closing frame.
"""

from __future__ import annotations

from math import inf

from anyio import CancelScope

from .._values.events import Event
from .connection import Connection
from .driving import hand_over_event
from .reader import Reader


class Writer:
    """Hands the queued events to the channel, in order, and then the closing frame.

    Attributes:
        scope: The scope of the pending send.
        start: The start of a denial response, until there is a part of the body.
    """

    __slots__ = ("_connection", "_paused", "_reader", "scope", "start")

    def __init__(self, connection: Connection, reader: Reader) -> None:
        self.scope = CancelScope(shield=True)
        self.start: Event | None = None
        self._paused = False
        self._connection = connection
        self._reader = reader

    async def run(self) -> None:
        """Hand over queued events until the queue is closed and empty, then close."""
        connection = self._connection
        outbound = connection.outbound
        with self.scope:
            try:
                while outbound.held or not outbound.closed:
                    if connection.feed is not None:
                        connection.feed.refill()
                    if not outbound.held:
                        if self._paused:
                            return
                        await outbound.filled.wait()
                        continue
                    timeout = connection.options.send_timeout
                    if timeout is not None:
                        connection.await_send(timeout)
                    await hand_over_event(connection)
                    if timeout is not None:
                        connection.await_send(inf)
                if self.start is not None:  # the application has sent no body
                    await connection.send_event(self.start)
                farewell = connection.ending.closing_frame
                if farewell is not None and connection.stage.reads:
                    await self._reader.step_aside()
                    await connection.send_event(farewell)
            except Exception as exc:
                connection.lose(exc)
        connection.writing_is_over()

    def pause(self, by: float) -> None:
        """End the task once the queue is written out, and at that time at the latest.

        Writing goes on in a later run, unless what was queued took too long: then a
        message may be torn, and writing is over.
        """
        self._paused = True
        self.scope.deadline = by
        self._connection.outbound.filled.wake()

    def resume(self) -> None:
        """Let the next run go on with the writing."""
        self._paused = False
        self.scope = CancelScope(shield=True)
