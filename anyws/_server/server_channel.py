"""The frames of a server's connection, and the reading of the transport below them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from anyio import sleep

from .._frames.codec import Codec, Side
from .._frames.frame_channel import FrameChannel
from .._frames.transport import Transport, Turn
from .._frames.transport_channel import TransportChannel
from .._session.session import Session
from .._session.upkeep import Run
from .._values.events import Event


class ServerChannel(FrameChannel):
    """The frames of a server's connection. Its maker hands over what is read."""

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


class StreamChannel(TransportChannel[Transport], ServerChannel):
    """The frames of a server's connection over a transport, which it reads.

    The event loop reads the transport in callbacks of its own where it can. Everywhere
    else a reader task does.

    Args:
        transport: The transport.
        answer: Sends an event of the opening handshake.
        ended: Called once, when the peer has closed, left or broken the protocol.

    Attributes:
        early: The bytes that have come behind the request's head; set before `read`.
    """

    __slots__ = ("_turn", "early")

    def __init__(
        self,
        transport: Transport,
        answer: Callable[[Event], Awaitable[None]],
        ended: Callable[[], None],
    ) -> None:
        super().__init__(transport, answer, ended)
        self._turn = Turn(self)
        self.early = b""

    def read(self) -> Run | None:
        """Begin to read: the bytes behind the request's head first."""
        early, self.early = self.early, b""
        if early:
            self.receive_data(early)
        return super().read()

    async def _read_once(self) -> None:
        """Read once; take it in for one turn, and leave the rest to the next one."""
        turn, data = self._turn, b""
        if not self.unfinished:
            data = await self._transport.receive()
            if not data:
                self.receive_eof()
                return
        if turn.take(data) and turn.over:
            await sleep(turn.pause)

    def _resume_reading(self) -> None:
        super()._resume_reading()
        self._arrived.wake()
