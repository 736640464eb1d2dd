"""The driver of a connection: a reader task and a writer task.

ASGI's `receive` and `send` wait, so a task waits in each. Both tasks run in shielded
scopes of their own, in the task group of the block that hosts the session. They can be
paused: then they end, the connection does not, and another task group may start them
again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from math import inf
from typing import Any

from anyio import create_task_group, current_time
from anyio.abc import TaskGroup
from anyio.lowlevel import checkpoint

from .._values.events import Event
from .._values.states import RESPONSE_START
from .connection import Connection
from .driving import first_deadline
from .intake import Intake
from .reader import Reader
from .writer import Writer


class Tasks:
    """The reader task and the writer task of a connection.

    Attributes:
        group: What the tasks run in; `None` before, and once all of them have ended.
    """

    __slots__ = ("_connection", "_reader", "_writer", "group")

    def __init__(self, connection: Connection, intake: Intake) -> None:
        self._connection = connection
        self._reader = Reader(connection, intake)
        self._writer = Writer(connection, self._reader)
        self.group: TaskGroup | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the tasks in a group of this block, which is left when both have ended.

        The group raises an exception that leaves the block in a group of exceptions.
        """
        try:
            async with create_task_group() as group:
                self._start(group)
                yield
        finally:
            self.group = None

    def _start(self, group: TaskGroup) -> None:
        """Start both tasks, or those of them that were paused."""
        self.group = group
        stage = self._connection.stage
        if self._reader.paused:
            self._reader.resume()
            self._writer.resume()
            self.rearm()
        if stage.reads:
            group.start_soon(self._reader.run)
        if stage.writes:
            group.start_soon(self._writer.run)

    def pause(self) -> None:
        """Have both tasks end, the writer task once the queue is written out."""
        self._reader.pause()
        self._writer.pause(current_time() + self._connection.options.close_timeout)

    def spawn(
        self, function: Callable[..., Coroutine[Any, Any, None]], *args: Any
    ) -> None:
        """Start another task of the session, which ends when the block is left."""
        assert self.group is not None, "the block was not entered"
        self.group.start_soon(function, *args)

    def rearm(self) -> None:
        """Sleep anew: a deadline of the connection has changed."""
        self._reader.scope.deadline = first_deadline(self._connection)
        if self._connection.deadlines.close_at != inf:
            self._writer.scope.deadline = self._connection.deadlines.close_at

    def flush(self) -> None:
        """Do nothing: only the writer task writes."""

    def answer(self, event: Event) -> Awaitable[None]:
        """Queue an event of the opening handshake; wait, when awaited, for the send.

        The start of a denial response goes out together with the first part of its
        body. The oldest class of uvicorn, which is its `--ws auto` before 0.50, answers
        with the body that is there when the event loop turns.
        """
        writer, outbound = self._writer, self._connection.outbound
        if event["type"] == RESPONSE_START:
            writer.start = event
            return checkpoint()
        if writer.start is not None:
            outbound.put_event(writer.start)
            writer.start = None
        return outbound.put_event(event).wait()

    def stop_reading(self) -> None:
        """End the reading: nothing that may still be received matters."""
        self._reader.scope.cancel()

    def stop_writing(self) -> None:
        """End the writing: there is no peer to write to."""
        self._writer.scope.cancel()
