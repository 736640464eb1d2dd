"""Messages that are sent or received in parts, as they may be too large to be held."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Literal, Self, TypeAlias

from anyio import Event as Signal
from anyio.lowlevel import checkpoint
from starlette.websockets import WebSocketDisconnected

from .._session.channel import DirectChannel
from .._session.session import Session
from .._values.events import COMPRESS, FRAGMENT, MORE, Binary, payload_of

Kind: TypeAlias = Literal["text", "binary"]


class SendStream:
    """A message that is sent in parts; made by `send_stream` of a connection.

    Attributes:
        kind: `"text"` or `"binary"`.
    """

    def __init__(self, session: Session, kind: Kind, *, compress: bool = True) -> None:
        self.kind: Kind = kind
        self._compress = compress
        self._session = session
        self._last: Signal | None = None  # set once the last part has been handed over
        self._over = False

    @property
    def begun(self) -> bool:
        """Whether a part of the message has been queued."""
        return self._last is not None

    async def send(self, part: str | Binary) -> None:
        """Send a part of the message, as one fragment.

        Returns when the part is queued. A part is queued once the transport has taken
        the part before it.

        Args:
            part: `str` for a text message, bytes for a binary one.
        Raises:
            ConnectionClosed: The connection has ended.
            TypeError: The part is of the other kind.
            UnicodeEncodeError: The text contains a lone surrogate, which UTF-8 cannot
                encode.
            RuntimeError: The `send_stream` block has been left.
        Cancellation:
            All or nothing: a cancelled call has not sent the part.
        Source: RFC 6455 section 5.4.
        """
        if self._over:
            raise RuntimeError("the block has been left, and the message sent")
        await self._send(self._encoded(part), fin=False)

    def _encoded(self, part: str | Binary) -> bytes:
        if self.kind == "text" and isinstance(part, str):
            return part.encode()
        if self.kind == "binary" and isinstance(part, Binary):
            return bytes(part)
        raise TypeError(
            f"a {self.kind} message has no parts of the type {type(part).__name__}"
        )

    async def _send(self, data: bytes, *, fin: bool) -> None:
        kind = None if self.begun else self.kind
        event = {"type": FRAGMENT, "kind": kind, "data": data, "fin": fin}
        if not self._compress:
            event[COMPRESS] = False
        self._last = await self._session.sender.send_part(event, self._last)

    async def _finish(self) -> None:
        """Send the last fragment, which is empty."""
        self._over = True
        await self._send(b"", fin=True)


@asynccontextmanager
async def sending(
    session: Session, kind: Kind, *, compress: bool = True
) -> AsyncGenerator[SendStream]:
    """Send one message in the block; close the connection if it is cut short.

    Cancellation:
        All or nothing while entering waits for other senders. Later, a message of which
        a part was queued is cut short, and the connection closed with 1011.
    """
    stream = SendStream(session, kind, compress=compress)
    turn = await session.sender.begin()
    try:
        yield stream
        await stream._finish()
    except BaseException:
        if stream.begun:
            session.sender.cut_short()
        raise
    finally:
        stream._over = True
        session.sender.end(turn)


class ReceiveStream:
    """A message that is received in parts; made by `receive_stream` of a connection.

    Attributes:
        kind: `"text"` or `"binary"`.
    """

    def __init__(
        self,
        session: Session,
        direct: DirectChannel,
        first: str | bytes,
        *,
        more: bool,
    ) -> None:
        self.kind: Kind = "text" if isinstance(first, str) else "binary"
        self._session = session
        self._direct = direct
        self._first: str | bytes | None = first
        self._more = more  # whether parts are still to be taken

    def __aiter__(self) -> Self:
        """Iterate over the parts as the peer has sent them, without the empty ones."""
        return self

    async def __anext__(self) -> str | bytes:
        """Receive the next part.

        Raises:
            StopAsyncIteration: The message is over.
            ConnectionClosed: The connection has ended before the message has.
        Cancellation:
            Safe: a cancelled call loses no part; the next call returns it.
        Source: RFC 6455 section 5.4.
        """
        part, self._first = self._first, None
        while not part:
            if not self._more:
                raise StopAsyncIteration
            event = await self._session.receiver.receive_part(self._direct)
            part, self._more = payload_of(event), event[MORE]
        return part

    def _skip(self) -> None:
        """Drop the rest of the message."""
        self._first = None
        if self._more:
            self._more = False
            self._session.receiver.skip_parts(self._direct)


@asynccontextmanager
async def receiving(session: Session) -> AsyncGenerator[ReceiveStream]:
    """Receive one message in the block; drop the parts that the block does not read.

    Cancellation:
        Safe: entering loses nothing; the rest of a message that has begun is dropped.
    """
    connection = session.connection
    direct = connection.frames
    assert direct is not None, "the verbs have looked whether the frames are ours"
    if not connection.accepted:
        await checkpoint()
        raise not_accepted() if session.info is None else session.error()
    await session.receiver.begin()
    try:
        event = await session.receiver.receive_part(direct)
        stream = ReceiveStream(
            session, direct, payload_of(event), more=event.get(MORE, False)
        )
        try:
            yield stream
        finally:
            stream._skip()
    finally:
        session.receiver.end()


def not_accepted() -> WebSocketDisconnected:
    """Make the error of a verb that is called before `accept()`."""
    return WebSocketDisconnected(
        'WebSocket is not connected. Need to call "accept" first.'
    )
