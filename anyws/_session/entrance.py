"""The way of one object's messages into the passage of its connection."""

from __future__ import annotations

from collections.abc import Awaitable

from .._values.events import Event
from .connection import ChannelSend
from .passage import Passage


class Entrance:
    """Where the messages of one object go in whose `send` is wrapped.

    Args:
        passage: That of the connection.
        through: The wrapped `send`.
    """

    __slots__ = ("_passage", "_through")

    def __init__(self, passage: Passage, through: ChannelSend) -> None:
        self._passage = passage
        self._through = through

    def send(self, event: Event) -> Awaitable[None]:
        """Send, when awaited, a message or a close; see `Passage.send`."""
        return self._passage.send(self._through, event)

    def send_nowait(self, event: Event) -> None:
        """Leave a message in the passage; see `Passage.send_nowait`."""
        self._passage.send_nowait(self._through, event)
