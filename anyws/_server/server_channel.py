"""The frames of a server's connection, and the reading of the transport below them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from anyio import CancelScope, sleep

from .._frames.codec import Codec, Side
from .._frames.frame_channel import FrameChannel
from .._frames.transport import Transport, Turn
from .._frames.transport_channel import TransportChannel
from .._session.session import Session
from .._values.events import Event


class ServerChannel(FrameChannel):
    """The frames of a server's connection. Its maker hands over what is read."""

    answers_late = True

    __slots__ = ()

    def begin(
        self, session: Session, extensions: list[Any], answer: bytes = b""
    ) -> None:
        """Begin with the frames: the application has accepted.

        Args:
            session: The connection's session.
            extensions: Those that the opening handshake has agreed on.
            answer: The bytes of the answer, if they go out before the first frame.
        """
        codec = Codec(
            Side.SERVER,
            max_message_bytes=session.options.max_message_bytes,
            extensions=extensions,
        )
        self.open(codec, answer=answer)

    def write_rest(self) -> bool:
        """Write all that is framed, if the outlet takes it at once; else return false.

        What it has not taken is kept, for `flush`.
        """
        if self._codec is None or self._flushing:
            return False
        rest = self._unwritten + self._codec.take()
        self._unwritten = rest[self.outlet.send_nowait(rest) :] if rest else rest
        return not self._unwritten


class StreamChannel(TransportChannel[Transport], ServerChannel):
    """The frames of a server's connection over a transport, which it reads.

    The event loop reads the transport in callbacks of its own where it can. Everywhere
    else the session's reader task does, whenever it asks for the next event.

    Args:
        transport: The transport.
        answer: Sends an event of the opening handshake.
        ended: Called once, when the peer has closed, left or broken the protocol.
    """

    __slots__ = ("_first_read", "_read_by_event_loop", "_turn")

    def __init__(
        self,
        transport: Transport,
        answer: Callable[[Event], Awaitable[None]],
        ended: Callable[[], None],
    ) -> None:
        super().__init__(transport, answer, ended)
        self._turn = Turn(self)
        self._read_by_event_loop = False
        self._first_read: CancelScope | None = None  # of a read before the accept

    @property
    def _by_event_loop(self) -> bool:
        return self._read_by_event_loop

    def read(self, early: bytes) -> None:
        """Begin to read: the bytes behind the request's head first."""
        if early:
            self.receive_data(early)
        self._read_by_event_loop = self._transport.read_to(self)

    def begin(
        self, session: Session, extensions: list[Any], answer: bytes = b""
    ) -> None:
        """Begin with the frames; have the reader task see an end that came early."""
        super().begin(session, extensions, answer)
        if self._events and self._first_read is not None:
            self._first_read.cancel()

    # Called by the reader task

    async def _read_once(self) -> None:
        """Read once; take it in for one turn, and leave the rest to the next one."""
        turn, data = self._turn, b""
        if not self.unfinished:
            received = await self._receive()
            if received is None:
                return
            if not received:
                self.receive_eof()
                return
            data = received
        if turn.take(data) and turn.over:
            await sleep(turn.pause)

    async def _receive(self) -> bytes | None:
        """Read; before the accept, `None` if there is an event to return."""
        if self._codec is not None:
            return await self._transport.receive()
        with CancelScope() as self._first_read:
            return await self._transport.receive()
        return None

    def _resume_reading(self) -> None:
        super()._resume_reading()
        self._arrived.wake()
