"""The peer: a client whose server is in memory, with the faults of real peers."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, Self, TypeVar

from anyio import move_on_after

from ..._client.websocket import ClientWebSocket, HandshakeResponse
from ..._values.closing import CloseInfo
from ..._values.events import Event, payload_of
from ..._values.options import Options
from .._errors import DeadlineExceeded
from .._server.history import History
from .._server.network import Answer, End, Message, checked
from .._server.server import Server
from .pipe import PeerChannel

# Messages that the peer reads ahead of the test: enough that no application has to
# wait, unless the test stalls the peer.
_UNREAD_MESSAGES: Final = 1024

T = TypeVar("T")


class Peer(ClientWebSocket):
    """The client of an application under test; made by `connect`.

    It is a `ClientWebSocket`, with all its methods and promises. A method that waits
    for the application waits until the deadline at most; then it raises
    `DeadlineExceeded`, which shows the last events. Only the parts of `send_stream()`
    and `receive_stream()` have no deadline. The peer reads all that the application
    sends, unless the test calls `stall()` or `slow()`; the network between the two
    holds 64 KiB in each direction.

    Attributes:
        response: The application's answer to the opening handshake.
        subprotocol: The subprotocol that the application chose, or `None`.
    """

    def __init__(
        self,
        channel: PeerChannel,
        server: Server,
        answer: Answer,
        history: History,
        deadline: float,
        start_soon: Callable[..., object],
        shut_down: Callable[[], object],
    ) -> None:
        super().__init__(
            channel,
            HandshakeResponse(answer.status, answer.headers),
            answer.subprotocol,
            Options(
                receive_buffer=_UNREAD_MESSAGES,
                close_timeout=min(deadline, 1e9),
                ping_interval=None,
            ),
        )
        self._pipe = channel
        self._server = server
        self._history = history
        self._deadline = deadline
        self._start_soon = start_soon
        self._shut_down = shut_down
        self._trickles = False

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        """Stay connected while the block runs; close as the block ends."""
        async with super().__asynccontextmanager__():
            try:
                yield self
            finally:
                if self._pipe.stalled or self._pipe.half_closed:
                    self.abort()  # there will be no closing handshake
                self._pipe.resume()

    # The verbs, with deadlines

    async def _in_time(self, what: str, call: Awaitable[T]) -> T:
        __tracebackhide__ = True
        with move_on_after(self._deadline):
            return await call
        raise DeadlineExceeded(
            f"no {what} within {self._deadline} s (deadline=): {self._history.report()}"
        )

    async def _next(self) -> Event:
        __tracebackhide__ = True
        return await self._in_time("message", super()._next())

    async def send(self, message: Event) -> None:
        """Send an ASGI event: `websocket.send` or `websocket.close`.

        Raises:
            ConnectionClosed: The connection has ended.
            TypeError, ValueError: The event must not be sent, and was not.
            DeadlineExceeded: The application does not read.
        Cancellation:
            All or nothing.
        Source: ASGI "websocket.send", ".close".
        """
        __tracebackhide__ = True
        await self._in_time("room for a message", super().send(message))

    async def close(self, code: int | None = 1000, reason: str | None = None) -> None:
        """Close the connection.

        Does nothing if it was closed before, by either side. Does not wait for the
        other end's answer; leaving the block does.

        Args:
            code: 1000-1003, 1007-1014 or 3000-4999; or `None`, as in a browser's
                `close()`: the closing frame has no code, and an application gets 1005.
            reason: The close reason, cut at a character to 123 bytes of UTF-8.
        Raises:
            ValueError: No closing frame may carry the code.
            TypeError: The code is not an int.
            DeadlineExceeded: The application does not read.
        Cancellation:
            Once it has begun, the closing frame is still sent.
        """
        codeless = code is None and self.close_info is None
        self._pipe.codeless = codeless
        try:
            await super().close(1000 if code is None else code, reason)
        finally:
            self._pipe.codeless = codeless and self.close_info is not None

    async def wait_closed(self) -> CloseInfo:
        """Wait until the connection has ended and its closing handshake is over.

        Raises:
            DeadlineExceeded: The connection has not ended.
        Cancellation:
            Safe: waiting changes nothing.
        """
        __tracebackhide__ = True
        return await self._in_time("end of the connection", super().wait_closed())

    async def ping(self, data: bytes = b"") -> float:
        """Send a ping and wait for its pong; return the seconds between them.

        Raises:
            ConnectionClosed: The connection has ended.
            DeadlineExceeded: The server does not read as far as the ping.
            ValueError: The payload has more than 125 bytes.
            TypeError: The payload is not bytes.
            RuntimeError: A ping with this payload is under way.
        Cancellation:
            Safe: the ping is sent all the same, and its pong ignored.
        """
        __tracebackhide__ = True
        return await self._in_time("pong", super().ping(data))

    # The faults of a peer

    def abort(self) -> None:
        """Cut the connection without a closing frame, as a reset of TCP does.

        Messages that were sent before arrive. For the peer the connection has ended
        with 1006.
        """
        session = self._guarded("abort")
        self._push()
        info = self._pipe.cut()
        if session.info is None:
            session.connection.lose(
                ConnectionAbortedError("the test has cut it"), info.clean
            )

    def send_eof(self) -> None:
        """End the sending half of the connection without a closing frame (a FIN)."""
        self._push()
        self._pipe.half_closed = True
        self._pipe.end(End())

    def stall(self) -> None:
        """Read nothing more; leaving the block then cuts the connection."""
        self._pipe.stalled = True

    def slow(self, bytes_per_second: float) -> None:
        """Read only this many bytes per second, on AnyIO's clock."""
        if not bytes_per_second > 0:
            raise ValueError(f"bytes_per_second must be above 0: {bytes_per_second!r}")
        self._pipe.rate = bytes_per_second
        if not self._trickles and self._left_at is None:
            self._trickles = True
            self._start_soon(self._pipe.trickle)

    def resume(self) -> None:
        """Read without a limit again, after `stall()` or `slow()`."""
        self._pipe.resume()

    def flood(self, count: int, message: str | bytes = "flood") -> None:
        """Send a message `count` times at once, even if the application does not read.

        The messages pass the buffers in which `send_message()` waits for room.
        """
        if count < 0:
            raise ValueError(f"count must not be negative: {count}")
        flooded = checked(message)
        self._push()
        for _ in range(count):
            self._server.arrive(flooded)

    def ignore_pings(self) -> None:
        """Let the server's keepalive fail, as if the peer had answered no ping in time.

        The effect depends on the server: uvicorn and the engine of `anyws.hypercorn`
        close with 1011; the other servers send no pings, or do not check the answers.
        """
        self._push()
        self._server.give_up()

    def shut_down_server(self) -> None:
        """Stop the server, as SIGTERM does; the effect depends on the server."""
        if self._left_at is None:
            self._shut_down()

    def _push(self) -> None:
        """Send all messages that wait for room: a fault comes after them."""
        self._pipe.push()
        for event, _, _ in self._guarded("a fault").connection.outbound.take_messages():
            self._server.arrive(Message(payload_of(event)))

    def explains(self, exc: BaseException) -> bool:
        """Whether an exception only tells of the end of this connection."""
        return self._session is not None and self._session.explains(exc)
