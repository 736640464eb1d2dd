"""A client: the same connection from the other end."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from secrets import token_bytes
from typing import Any, Literal, Protocol, Self

from anyio import AsyncContextManagerMixin, current_time
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


@dataclass(frozen=True, slots=True)
class HandshakeResponse:
    """What the server answered the opening handshake with.

    Attributes:
        status: The HTTP status, which is 101.
        headers: The headers; names are not case-sensitive.
    """

    status: int
    headers: Headers


class Connection(DirectChannel, Protocol):
    """The channel of a client: an opening handshake is behind it."""

    def read(self) -> None:
        """Begin to read."""

    async def aclose(self) -> None:
        """Close the transport; does not raise."""


class ClientWebSocket(Messaging, AsyncContextManagerMixin):
    """One WebSocket connection of a client; made by `anyws.connect`.

    It has the verbs of the server's `WebSocket`, and what it promises inside `async
    with`: cancelled receives lose nothing, cancelled sends are all or nothing, sends
    tell the truth, buffers are bounded, and leaving the block closes the connection by
    what left it: 1000 for a return, 1011 for an exception, 1012 for a cancellation.

    `connect` used as a block enters it; `connect` used as a loop leaves that to you:
    what is not entered is closed by the loop's next turn, or only once it is collected.

    Attributes:
        response: What the server answered the opening handshake with.
        subprotocol: The one that it chose, or `None`.
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
        """Return the client's end of what an opening handshake has opened."""
        channel = ClientChannel(transport, opening.rest)
        codec = Codec(
            Side.CLIENT,
            max_message_bytes=options.max_message_bytes,
            extensions=opening.extensions,
        )
        channel.open(codec, compressed=bool(opening.extensions))
        response = HandshakeResponse(opening.status, opening.headers)
        return cls(
            channel, response, opening.subprotocol, options, reconnects=reconnects
        )

    # The block

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        """Guard the connection; see the class."""
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
                yield self
        except BaseException as exc:
            if not (self._reconnects and session.explains(exc)):
                raise
        finally:
            self._left_at = current_time()
            await channel.aclose()

    @property
    def lasted(self) -> float:
        """Seconds that the connection has lasted, or has been open by now."""
        now = current_time() if self._left_at is None else self._left_at
        return now - self._opened_at

    async def _discard(self) -> None:
        """Close the connection, if it was never entered."""
        if self._session is None:
            await self._channel.aclose()

    # The verbs

    def _guarded(self, name: str) -> Session:
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
        Cancellation:
            All or nothing.
        Source: ASGI "websocket.send", ".close".
        """
        if type(message) is not dict or "type" not in message:
            check_event(message)
        await self._guarded("a send").send(message)

    async def close(self, code: int = 1000, reason: str | None = None) -> None:
        """Close the connection.

        Silent when it was closed before, by either side. Does not wait for the peer's
        answer; leaving the block does.

        Args:
            code: 1000-1003, 1007-1014 or 3000-4999.
            reason: Cut at a character to 123 bytes of UTF-8.
        Raises:
            ValueError: No closing frame may carry the code.
            TypeError: The code is no int.
        Cancellation:
            Once it has begun, the closing frame is sent all the same.
        Source: RFC 6455 section 7.
        """
        await self.send({"type": CLOSE, "code": code, "reason": reason or ""})

    @property
    def close_info(self) -> CloseInfo | None:
        """How the connection ended, set at once; `None` while it is open."""
        return None if self._session is None else self._session.info

    async def ping(self, data: bytes = b"") -> float:
        """Send a ping and wait for its pong.

        While a full receive buffer stops the reading, the pong is not read either, and
        this waits for as long.

        Args:
            data: The ping's payload, at most 125 bytes; if it is empty, one is made, so
                that pings under way can be told apart.
        Returns:
            The round-trip time, in seconds.
        Raises:
            ConnectionClosed: The connection has ended, or ended meanwhile.
            ValueError: The payload is over 125 bytes.
            TypeError: It is no bytes.
            RuntimeError: A ping with this payload is under way.
        Cancellation:
            Safe: the ping is sent all the same, and its pong ignored.
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

        Other senders wait until the block is left; pings and the peer's are answered
        meanwhile. A `send` of your own inside the block waits for its end too, so for
        ever. Leaving the block ends the message. If an exception or a cancellation
        leaves it, the message cannot be taken back: the connection is closed with 1011,
        unless no part has been sent yet.

        Args:
            kind: `"text"` or `"binary"`.
        Raises:
            ConnectionClosed: On entry or leaving: the connection has ended, and the
                message was not sent whole.
            ValueError: The kind is neither.
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

        Entering waits for the message to begin. The parts are those that the peer has
        made: a message in one frame is one part, but for those of which something has
        come before the block was entered. Its size has no limit; a part's is
        `max_message_bytes`. What is left of it when the block is left is dropped as it
        comes. Nobody else can receive meanwhile.

        Raises:
            ConnectionClosed: On entry or in the loop: the connection has ended.
            BusyResourceError: On entry: another task is receiving.
        Cancellation:
            Safe: entering loses nothing; what is left of a message is dropped.
        Source: RFC 6455 section 5.4.
        """
        return receiving(self._guarded("receive_stream"), self._channel)

    @property
    def latency(self) -> float | None:
        """Round-trip time (seconds) of the last ping that was answered, if any was.

        The keepalive's pings count: see `Options.ping_interval`.
        """
        return None if self._session is None else self._session.keepalive.latency
