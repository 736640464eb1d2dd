"""A byte stream between two tasks of one process: no socket, and no system call."""

from __future__ import annotations

from typing import Final, Self

from anyio import BrokenResourceError, ClosedResourceError, EndOfStream
from anyio.abc import ByteStream
from anyio.lowlevel import checkpoint

from .._session.wakeup import Wakeup

# Bytes that one direction holds. A task that sends more waits until the peer reads.
CAPACITY_BYTES: Final = 64 * 1024


class _Pipe:
    """The bytes of one direction.

    Attributes:
        held: Bytes that were sent and not yet received.
        ended: Whether nothing more will be sent.
        abandoned: Whether nothing more will be received.
        news: Wakes the task that receives.
        room: Wakes the task that sends.
    """

    __slots__ = ("abandoned", "ended", "held", "news", "room")

    def __init__(self) -> None:
        self.held = bytearray()
        self.ended = False
        self.abandoned = False
        self.news = Wakeup()
        self.room = Wakeup()

    def end(self) -> None:
        """Take nothing more; the task that receives learns of it behind the bytes."""
        self.ended = True
        self.news.wake()
        self.room.wake()

    def abandon(self) -> None:
        """Drop all bytes; the task that sends learns of it."""
        self.abandoned = True
        self.held.clear()
        self.news.wake()
        self.room.wake()


class MemoryStream(ByteStream):
    """One end of a connection inside this process.

    One task at a time may receive, and one may send.
    """

    def __init__(self, incoming: _Pipe, outgoing: _Pipe) -> None:
        self._incoming = incoming
        self._outgoing = outgoing

    @classmethod
    def pair(cls) -> tuple[Self, Self]:
        """Return the two ends of a new connection."""
        there, back = _Pipe(), _Pipe()
        return cls(back, there), cls(there, back)

    async def receive(self, max_bytes: int = CAPACITY_BYTES) -> bytes:
        """Wait for bytes.

        Raises:
            EndOfStream: The peer has ended its half, and all bytes were received.
            ClosedResourceError: This end is closed.
        Cancellation:
            Safe: no bytes are lost.
        """
        pipe = self._incoming
        await checkpoint()
        while not pipe.held:
            if pipe.abandoned:
                raise ClosedResourceError
            if pipe.ended:
                raise EndOfStream
            await pipe.news.wait()
        data = bytes(pipe.held[:max_bytes])
        del pipe.held[:max_bytes]
        pipe.room.wake()
        return data

    async def send(self, item: bytes) -> None:
        """Send bytes; wait as long as the peer does not read.

        Raises:
            BrokenResourceError: The peer has closed its end.
            ClosedResourceError: This end is closed, or its half has ended.
        Cancellation:
            Some, all or none of the bytes are sent.
        """
        pipe, at = self._outgoing, 0
        await checkpoint()
        while True:
            if pipe.ended:
                raise ClosedResourceError
            if pipe.abandoned:
                raise BrokenResourceError
            room = CAPACITY_BYTES - len(pipe.held)
            pipe.held += item[at : at + room]
            pipe.news.wake()
            at += room
            if at >= len(item):
                return
            await pipe.room.wait()

    async def send_eof(self) -> None:
        """End our half: the peer's end receives `EndOfStream` behind the bytes."""
        self._outgoing.end()
        await checkpoint()

    async def aclose(self) -> None:
        """Close this end: the peer receives what was sent, and sends in vain."""
        self._outgoing.end()
        self._incoming.abandon()
        await checkpoint()
