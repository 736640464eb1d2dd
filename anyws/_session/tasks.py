"""The driver of a connection: a reader task and a writer task.

ASGI's `receive` and `send` wait, so a task waits in each. Both tasks run in shielded
scopes of their own, in the task group of the block that hosts the session.
"""

from __future__ import annotations

from math import inf

from anyio.abc import TaskGroup

from .connection import Connection
from .intake import Intake
from .reader import Reader
from .writer import Writer


class Tasks:
    """The reader task and the writer task of a connection."""

    __slots__ = ("_connection", "_reader", "_writer")

    def __init__(self, connection: Connection, intake: Intake) -> None:
        self._connection = connection
        self._reader = Reader(connection, intake)
        self._writer = Writer(connection, self._reader)

    def start(self, group: TaskGroup) -> None:
        """Start both tasks."""
        group.start_soon(self._reader.run)
        group.start_soon(self._writer.run)

    def rearm(self) -> None:
        """Sleep anew: a deadline of the connection has changed."""
        connection = self._connection
        deadlines = connection.deadlines
        first = min(deadlines.next, connection.keepalive.beat_at)
        if connection.timers is not None:
            first = min(first, connection.timers.next)
        self._reader.scope.deadline = first
        if deadlines.close_at != inf:
            self._writer.scope.deadline = deadlines.close_at

    def stop_reading(self) -> None:
        """End the reading: nothing that may still be received matters."""
        self._reader.scope.cancel()

    def stop_writing(self) -> None:
        """End the writing: there is no peer to write to."""
        self._writer.scope.cancel()
