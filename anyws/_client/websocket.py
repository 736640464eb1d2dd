"""A client's WebSocket connection."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from secrets import token_bytes
from typing import Any, Literal, Protocol, Self

from anyio import AsyncContextManagerMixin, current_time, get_cancelled_exc_class
from starlette.datastructures import Headers

from .._frames.codec import Codec, Side
from .._frames.transport import StreamTransport
from .._messages.parts import (
    ReceiveStream,
    SendStream,
    receiving,
    sending,
)
from .._messages.verbs import Messaging, outside
from .._session.channel import DirectChannel
from .._session.session import Session
from .._values.closing import CloseInfo
from .._values.events import Binary, Event, check_event
from .._values.options import Options
from .._values.states import CLOSE, CONNECTED, DISCONNECT
from .client_channel import ClientChannel
from .handshake import ClientHandshake
from .interruption import interrupted


@dataclass(frozen=True, slots=True)
class HandshakeResponse:
    """The server's answer to the opening handshake.

    Attributes:
        status: The HTTP status, which is 101.
        headers: The headers; names are not case-sensitive.
    """

    status: int
    headers: Headers


class Connection(DirectChannel, Protocol):
    """The channel of a client, whose opening handshake is complete."""

    def read(self) -> None:
        """Begin to read; called once, when the block is entered."""

    async def aclose(self) -> None:
        """Close the transport; does not raise."""


class ClientWebSocket(Messaging, AsyncContextManagerMixin):
    """One WebSocket connection of a client; made by `anyws.connect`.

    It has the methods of the server's `WebSocket`, and keeps the same promises inside
    `async with`: a cancelled receive loses no message; a cancelled send is all or
    nothing; a send raises once the connection has ended; buffers are bounded. Leaving
    the block closes the connection: with 1000 after a return, 1011 after an exception,
    1012 after a cancellation, 1001 after Ctrl-C.

    `async with connect(...)` enters it. In an `async for` loop over `connect(...)` the
    body has to enter it: a connection that is not entered is closed at the loop's next
    turn, or after a `break` only when it is garbage-collected.

    Attributes:
        response: The server's answer to the opening handshake.
        subprotocol: The subprotocol that the server chose, or `None`.
    """

    def __init__(
        self,
        channel: Connection,
        response: HandshakeResponse,
        subprotocol: str | None,
        options: Options,
        *,
        reconnects: bool = False,
    ) -> None:
        self.response: HandshakeResponse = response
        self.subprotocol: str | None = subprotocol
        self._session: Session | None = None
        self._channel = channel
        self._options = options
        self._reconnects = reconnects
        self._opened_at = current_time()
        self._left_at: float | None = None

    @classmethod
    def _over(
        cls,
        transport: StreamTransport,
        opening: ClientHandshake,
        options: Options,
        *,
        reconnects: bool = False,
    ) -> Self:
        """Return the connection that an opening handshake has opened on a transport."""
        channel = ClientChannel(transport, opening.rest)
        codec = Codec(
            Side.CLIENT,
            max_message_bytes=options.max_message_bytes,
            extensions=opening.extensions,
        )
        channel.open(codec)
        response = HandshakeResponse(opening.status, opening.headers)
        return cls(
            channel, response, opening.subprotocol, options, reconnects=reconnects
        )

    # The block

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        """Guard the connection with a session, and close it when the block is left.

        Raises:
            RuntimeError: The connection has been entered before.
        """
        if self._session is not None:
            raise RuntimeError("a WebSocket cannot be entered twice")
        channel = self._channel
        session = self._session = Session(
            channel.receive,
            channel.send,
            self._options,
            client_state=CONNECTED,
            application_state=CONNECTED,
            direct=channel,
        )
        session.subprotocol = self.subprotocol
        channel.read()
        try:
            async with session.hosting(self):
                try:
                    yield self
                except get_cancelled_exc_class():
                    if interrupted():
                        session.end(KeyboardInterrupt())
                    raise
        except BaseException as exc:
            if not (self._reconnects and session.explains(exc)):
                raise
        finally:
            self._left_at = current_time()
            await channel.aclose()

    @property
    def lasted(self) -> float:
        """Seconds that the connection lasted, or has been open until now."""
        now = current_time() if self._left_at is None else self._left_at
        return now - self._opened_at

    async def _discard(self) -> None:
        """Close the connection, if no block was entered, which would have closed it."""
        if self._session is None:
            await self._channel.aclose()

    # Sending, receiving, closing

    def _guarded(self, name: str) -> Session:
        """Return the session; raise RuntimeError if the block was never entered."""
        if self._session is None:
            raise outside(name)
        return self._session

    async def _next(self) -> Event:
        session = self._guarded("a receive")
        event = await session.receive()
        if event["type"] == DISCONNECT:
            raise session.error()
        return event

    async def send(self, message: Any) -> None:
        """Send an ASGI event: `websocket.send` or `websocket.close`.

        Raises:
            ConnectionClosed: The connection has ended.
            TypeError, ValueError: The event must not be sent, and was not.
            RuntimeError: The block was not entered.
        Cancellation:
            All or nothing.
        Source: ASGI "websocket.send", ".close".
        """
        if type(message) is not dict or "type" not in message:
            check_event(message)
        await self._guarded("a send").send(message)

    async def close(self, code: int = 1000, reason: str | None = None) -> None:
        """Close the connection.

        Does nothing if either end has closed it before. Does not wait for the server's
        closing frame; leaving the block does.

        Args:
            code: 1000-1003, 1007-1014 or 3000-4999.
            reason: Cut at a character to 123 bytes of UTF-8.
        Raises:
            ValueError: No closing frame may carry the code.
            TypeError: The code is not an int.
            RuntimeError: The block was not entered.
        Cancellation:
            Once the call has begun, the closing frame is sent, cancelled or not.
        Source: RFC 6455 section 7.
        """
        await self.send({"type": CLOSE, "code": code, "reason": reason or ""})

    @property
    def close_info(self) -> CloseInfo | None:
        """How the connection ended, set at once; `None` while it is open."""
        return None if self._session is None else self._session.info

    async def ping(self, data: bytes = b"") -> float:
        """Send a ping and wait for its pong.

        While the receive buffer is full, nothing is read, not even the pong; this
        method waits for as long.

        Args:
            data: The ping's payload, at most 125 bytes. In place of an empty one a
                random one is sent, so that pings under way can be told apart.
        Returns:
            The round-trip time, in seconds.
        Raises:
            ConnectionClosed: The connection has ended, or ended before the pong came.
            ValueError: The payload is over 125 bytes.
            TypeError: The payload is not bytes.
            RuntimeError: A ping with this payload is under way; or the block was not
                entered.
        Cancellation:
            Safe: the ping is sent all the same, and its pong is ignored.
        Source: RFC 6455 sections 5.5.2 and 5.5.3.
        """
        if not isinstance(data, Binary):
            raise TypeError(f"a ping carries bytes, not {type(data).__name__}")
        if len(data) > 125:
            raise ValueError(f"a ping carries at most 125 bytes, not {len(data)}")
        return await self._guarded("ping").ping(bytes(data) or token_bytes(4))

    def send_stream(
        self, kind: Literal["text", "binary"]
    ) -> AbstractAsyncContextManager[SendStream]:
        """Send one message in parts, as fragments, in an `async with` block.

            async with ws.send_stream("binary") as out:
                async for part in file:
                    await out.send(part)

        Leaving the block ends the message. Until then every other send waits, while
        pings are still sent and answered. So a `ws.send_text()` inside the block waits
        for ever: use `out.send()`. If an exception or a cancellation leaves the block,
        the message cannot be taken back: the connection is closed with 1011, unless no
        part has been sent yet.

        Args:
            kind: `"text"` or `"binary"`.
        Raises:
            ConnectionClosed: On entry or leaving: the connection has ended, and the
                message was not sent whole.
            ValueError: The kind is neither of the two.
            RuntimeError: The connection's block was not entered.
        Cancellation:
            All or nothing while entering waits for other senders; then as above.
        Source: RFC 6455 section 5.4.
        """
        if kind not in ("text", "binary"):
            raise ValueError(f"kind is 'text' or 'binary', not {kind!r}")
        return sending(self._guarded("send_stream"), kind)

    def receive_stream(self) -> AbstractAsyncContextManager[ReceiveStream]:
        """Receive the next message in parts, as it comes, in an `async with` block.

            async with ws.receive_stream() as message:
                async for part in message:
                    await file.write(part)

        Entering waits for the message to begin. Each frame of the peer is one part; all
        that arrived before the block was entered is one part, too. The message has no
        limit of size; a part's limit is `max_message_bytes`. When the block is left
        before the end of the message, the rest is dropped as it arrives. Until then no
        other task can receive.

        Raises:
            ConnectionClosed: On entry or in the loop: the connection has ended.
            BusyResourceError: On entry: another task is receiving.
            RuntimeError: The connection's block was not entered.
        Cancellation:
            Safe: cancelled on entry, no message is lost; cancelled in the block, the
            rest of the message is dropped.
        Source: RFC 6455 section 5.4.
        """
        return receiving(self._guarded("receive_stream"), self._channel)

    @property
    def latency(self) -> float | None:
        """Round-trip time in seconds of the last ping that was answered, or `None`.

        The keepalive's pings count: see `Options.ping_interval`.
        """
        return None if self._session is None else self._session.keepalive.latency
