"""A client's WebSocket connection."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol, Self

from anyio import AsyncContextManagerMixin, current_time, get_cancelled_exc_class
from starlette.datastructures import Headers

from .._frames.codec import Codec, Side
from .._frames.transport import StreamTransport
from .._messages.connection_end import outside
from .._messages.verbs import Messaging
from .._session.channel import DirectChannel
from .._session.session import Session
from .._values.closing import CloseInfo
from .._values.events import Event, check_event
from .._values.options import Options
from .._values.states import CLOSE, CONNECTED, DISCONNECT
from .client_channel import ClientChannel
from .handshake import ClientHandshake
from .interruption import interrupted
from .url import shown


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
        url: str | None = None,
        reconnects: bool = False,
    ) -> None:
        self.response: HandshakeResponse = response
        self.subprotocol: str | None = subprotocol
        self._session: Session | None = None
        self._channel = channel
        self._options = options
        self._url = url  # for the log, so without user, password and query
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
            *(channel, response, opening.subprotocol, options),
            url=shown(opening.url),
            reconnects=reconnects,
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
        session.connection.url = self._url
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
        """Close the connection, unless a block was entered: the block closes it."""
        if self._session is None:
            await self._channel.aclose()

    # Sending, receiving, closing

    def _guarded(self, name: str) -> Session:
        """Return the session; raise RuntimeError if the block was never entered."""
        if self._session is None:
            raise outside(name)
        return self._session

    def _framed(self, name: str) -> Session:
        """Return the session: the frames of a client are always ours."""
        return self._guarded(name)

    def _frames(self) -> DirectChannel:
        """Return the channel, which is there before the block is entered."""
        return self._channel

    def _check_direct(self, name: str, session: Session) -> None:
        """Do nothing: no middleware stands between a client and its session."""

    @property
    def latency(self) -> float | None:
        """Round-trip time in seconds of the last ping that was answered, or `None`.

        The keepalive's pings count: see `Options.ping_interval`.
        """
        return None if self._session is None else super().latency

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
        """How the connection ended, once that is known; `None` while it is open."""
        return None if self._session is None else self._session.info
