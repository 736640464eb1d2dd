"""Messages in parts: what is too large to be held whole."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Literal, Self, TypeAlias

from anyio import EndOfStream, Lock
from anyio import Event as Signal

from ._close import CloseCode
from ._direct import DirectChannel
from ._events import FRAGMENT, MORE, Binary, Event, payload_of, size_of
from ._session import Session
from ._states import DISCONNECTED

Kind: TypeAlias = Literal["text", "binary"]


class FragmentSession(Session):
    """A session whose frames are ours, and so may be fragments."""

    __slots__ = ()

    async def begin_sending(self) -> Signal:
        """Wait for our turn to send a message in parts; nobody sends until it is over.

        Returns:
            What `end_sending` is to be called with.
        """
        await self._turn()
        self._check_open()
        self._senders_waiting += 1  # so nobody goes past `_wait_for_stream`
        self._send_turn = self._send_turn or Lock(fast_acquire=True)
        try:
            async with self._send_turn:
                await self._wait_for_stream()
                self._streaming = Signal()
                return self._streaming
        except BaseException:
            self._senders_waiting -= 1
            raise

    def end_sending(self, turn: Signal) -> None:
        """Let others send."""
        self._senders_waiting -= 1
        self._streaming = None
        turn.set()

    async def send_part(self, event: Event, after: Signal | None) -> Signal:
        """Queue a fragment once the one before it has been handed over."""
        await self._turn()
        if after is not None:
            await after.wait()
        self._check_open()
        self._sent += event["fin"]
        self._sent_bytes += len(event["data"])
        return self._outbound.put_handshake(event)

    def cut_short(self) -> None:
        """Close, as a message that has begun will not be sent whole."""
        self._close_by_rule(CloseCode.INTERNAL_ERROR, "a message was cut short")

    async def begin_receiving(self) -> None:
        """Become the one receiver, until `end_receiving`."""
        await self._turn()
        if self._receiving:
            await self._wait_for_receiver()
        self._receiving = True

    def end_receiving(self) -> None:
        """Let others receive."""
        self._receiving = False

    async def receive_part(self, direct: DirectChannel) -> Event:
        """Receive a message, or the next part of one: that comes with `MORE`."""
        await self._turn()
        try:
            while True:
                if self._inbound.empty:
                    direct.deliver()
                if not self._inbound.blocked:
                    event, _, _ = self._inbound.take_nowait()
                    self._received -= event.get(MORE, False)  # the last one counts
                    return event
                first = direct.part()
                if first is not None:
                    self._received_bytes += size_of(first)
                    return first
                await self._filled()
        except EndOfStream:
            self.delivered_state = DISCONNECTED
            raise self.error() from None

    def skip_parts(self, direct: DirectChannel) -> None:
        """Drop what has come, and will come, of a message that nobody reads on."""
        direct.skip()
        direct.deliver()
        while self._inbound.has_parts:
            event, _, _ = self._inbound.take_nowait()
            self._received -= event[MORE]
            direct.deliver()


class SendStream:
    """A message that is sent in parts; made by `ClientWebSocket.send_stream`.

    Attributes:
        kind: `"text"` or `"binary"`.
    """

    def __init__(self, session: FragmentSession, kind: Kind) -> None:
        self.kind: Kind = kind
        self._session = session
        self._last: Signal | None = None  # set once the last part has been handed over
        self._over = False

    @property
    def begun(self) -> bool:
        """Whether a part of the message has been queued."""
        return self._last is not None

    async def send(self, part: str | Binary) -> None:
        """Send a part of the message, as one fragment.

        Returns when it is queued, which waits for the part before it to be taken.

        Args:
            part: `str` for a text message, bytes for a binary one.
        Raises:
            ConnectionClosed: The connection has ended.
            TypeError: The part is of the other kind.
            UnicodeEncodeError: A lone surrogate is no text.
            RuntimeError: The block has been left.
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
        self._last = await self._session.send_part(event, self._last)

    async def _finish(self) -> None:
        """Send the last fragment, which is empty."""
        self._over = True
        await self._send(b"", fin=True)


@asynccontextmanager
async def sending(session: FragmentSession, kind: Kind) -> AsyncGenerator[SendStream]:
    """Send one message in the block; close the connection if it is not sent whole."""
    stream = SendStream(session, kind)
    turn = await session.begin_sending()
    try:
        yield stream
        await stream._finish()
    except BaseException:
        if stream.begun:
            session.cut_short()
        raise
    finally:
        stream._over = True
        session.end_sending(turn)


class ReceiveStream:
    """A message that is received in parts; made by `ClientWebSocket.receive_stream`.

    Attributes:
        kind: `"text"` or `"binary"`.
    """

    def __init__(
        self,
        session: FragmentSession,
        direct: DirectChannel,
        first: str | bytes,
        *,
        more: bool,
    ) -> None:
        self.kind: Kind = "text" if isinstance(first, str) else "binary"
        self._session = session
        self._direct = direct
        self._first: str | bytes | None = first
        self._more = more  # parts that have not been taken

    def __aiter__(self) -> Self:
        """Iterate over the parts, as the peer has sent them, less the empty ones."""
        return self

    async def __anext__(self) -> str | bytes:
        """Receive the next part.

        Raises:
            ConnectionClosed: The connection has ended before the message.
        Cancellation:
            Safe: a cancelled call loses no part; the next call returns it.
        Source: RFC 6455 section 5.4.
        """
        part, self._first = self._first, None
        while not part:
            if not self._more:
                raise StopAsyncIteration
            event = await self._session.receive_part(self._direct)
            part, self._more = payload_of(event), event[MORE]
        return part

    def _skip(self) -> None:
        """Drop the rest."""
        self._first = None
        if self._more:
            self._more = False
            self._session.skip_parts(self._direct)


@asynccontextmanager
async def receiving(
    session: FragmentSession, direct: DirectChannel
) -> AsyncGenerator[ReceiveStream]:
    """Receive one message in the block; what is not read of it is dropped."""
    await session.begin_receiving()
    try:
        event = await session.receive_part(direct)
        stream = ReceiveStream(
            session, direct, payload_of(event), more=event.get(MORE, False)
        )
        try:
            yield stream
        finally:
            stream._skip()
    finally:
        session.end_receiving()
