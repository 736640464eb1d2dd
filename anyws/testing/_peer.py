"""The peer: a client whose server is in memory, and what can be wrong with it."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from math import inf

from anyio import Event as Signal
from anyio import current_time, move_on_after, sleep

from .._buffer import Wakeup
from .._client import ClientWebSocket, HandshakeResponse
from .._close import CloseInfo
from .._events import FRAGMENT, INFO, Event, payload_of, size_of
from .._fragments import ReceiveStream, receiving
from .._options import Options
from .._session import Session
from .._states import CONNECTED, DISCONNECT, RECEIVE, SEND
from ._errors import DeadlineExceeded
from ._history import History
from ._network import BUFFER_BYTES, Answer, Close, End, Item, Message, Ping
from ._server import Server

# A test's peer reads all that comes, unless it is told otherwise.
_UNREAD_MESSAGES = 1024


class PeerChannel:
    """The peer's end of the transport: the direct channel of its session.

    Attributes:
        session: The peer's; until it is there, what comes is kept.
        stalled: Whether the peer reads nothing.
        half_closed: Whether it has ended its half of the transport.
        rate: Bytes that it reads in a second.
    """

    paused = False

    def __init__(self, server: Server) -> None:
        self.session: Session | None = None
        self.stalled = self.half_closed = False
        self.rate = inf
        self._server = server
        self._down = deque[Item]()
        self._down_bytes = 0
        self._delivering = False
        self._written = Wakeup()
        self._over = False
        self._end: Event | None = None
        self._ended = Signal()
        self._closed = False  # by us
        self._kind: str
        self._parts: bytearray

    # What the server has written

    def written(self, item: Item) -> None:
        """Take what the server has written."""
        self._down.append(item)
        self._down_bytes += item.size if isinstance(item, Message) else 0
        if self.rate == inf:
            self.deliver()
        self._written.wake()

    @property
    def full(self) -> bool:
        """Whether the server has to wait with what it writes."""
        return self._down_bytes >= BUFFER_BYTES and not self._over

    def deliver(self) -> None:
        """Hand on what can be handed on now."""
        if self._delivering or self.rate != inf:
            return
        self._delivering = True
        while self._down and self._deliver_one(self._down[0]):
            pass
        self._delivering = False

    def _deliver_one(self, item: Item) -> bool:
        session = self.session
        if session is None or self.stalled or self._over:
            return False
        if isinstance(item, Message):
            kind = "text" if isinstance(item.payload, str) else "bytes"
            event: Event = {"type": RECEIVE, kind: item.payload}
            if not session.feed(event, size_of(event)):
                return False
            self._down_bytes -= item.size
            self._server.room.ring()
        elif isinstance(item, Ping):
            session.pong(item.payload)
        elif isinstance(item, Close):
            if not self._closed:
                self._server.arrive(item)
            self._finish(CloseInfo(item.code, item.reason, "peer", True))
        else:
            self._finish(CloseInfo(1006, "", "network", False))
        self._down.popleft()
        return True

    def _finish(self, info: CloseInfo) -> None:
        self._over = True
        code, reason = info.code, info.reason
        self._end = {"type": DISCONNECT, "code": code, "reason": reason, INFO: info}
        self._ended.set()

    async def trickle(self) -> None:
        """Read at the rate that the test has set."""
        while not self._over:
            if self.rate == inf or self.stalled or not self._down:
                await self._written.wait()
                continue
            item = self._down[0]
            await sleep((item.size if isinstance(item, Message) else 0) / self.rate)
            if self._down and item is self._down[0]:
                self._deliver_one(item)

    def resume(self) -> None:
        """Read as fast as can be."""
        self.stalled, self.rate = False, inf
        self.deliver()
        self._written.wake()

    # What the session writes

    async def receive(self) -> Event:
        """Wait for the end: the messages go another way."""
        await self._ended.wait()
        assert self._end is not None
        return self._end

    async def send(self, event: Event) -> None:
        """Send the closing frame, or a part of a message."""
        if event["type"] == FRAGMENT:
            await self._send_part(event)
        elif not self._over:
            self._closed = True
            self._server.arrive(Close(event["code"], event["reason"]))

    async def _send_part(self, event: Event) -> None:
        """Keep the parts until the last one: an application gets whole messages."""
        if event["kind"] is not None:
            self._kind, self._parts = event["kind"], bytearray()
        self._parts += event["data"]
        if event["fin"]:
            data = bytes(self._parts)
            name = "text" if self._kind == "text" else "bytes"
            payload = data.decode() if self._kind == "text" else data
            await self.send_messages([{"type": SEND, name: payload}])

    async def send_messages(self, events: list[Event]) -> None:
        """Send messages, and wait for room."""
        for event in events:
            while self._server.full and not (self._server.gone or self._over):
                await self._server.room.wait()
            self.send_nowait(event)

    def send_nowait(self, event: Event) -> bool:
        """Send a message, if there is room."""
        if self._over or self._server.full:
            return self._over
        self._server.arrive(Message(payload_of(event)))
        return True

    def part(self) -> None:
        """There are no messages in parts: an application sends them whole."""

    def skip(self) -> None:
        """Likewise."""

    def ping(self, payload: bytes) -> None:
        """Send a ping."""
        self._server.arrive(Ping(payload))

    def end(self, end: End) -> None:
        """End the transport from our side."""
        if not self._server.gone:
            self._server.arrive(end)

    def cut(self) -> CloseInfo:
        """Reset the transport."""
        info = CloseInfo(1006, "", "network", False)
        self.end(End(reset=True))
        self._down.clear()
        self._down_bytes = 0
        if not self._over:
            self._finish(info)
        self._server.room.ring()
        return info


class Peer(ClientWebSocket):
    """The client of an application under test; made by `connect`.

    It is a `ClientWebSocket`, with its verbs and what they promise; what waits for the
    application waits for the deadline at most, and then raises `DeadlineExceeded`,
    which shows what has happened. It reads all that the application sends, unless it is
    told to `stall()`; the network between them holds 64 KiB in each direction.

    Attributes:
        response: What the application answered the opening handshake with.
        subprotocol: The one that it chose, or `None`.
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
        self.response = HandshakeResponse(answer.status, answer.headers)
        self.subprotocol = answer.subprotocol
        self._session: Session | None = None
        self._pipe = channel
        self._server = server
        self._history = history
        self._deadline = deadline
        self._start_soon = start_soon
        self._shut_down = shut_down
        self._trickles = False
        self._opened_at = current_time()
        self._left_at: float | None = None

    @asynccontextmanager
    async def hosting(self) -> AsyncGenerator[Peer]:
        """Be connected while the block runs; close by what leaves it."""
        channel = self._pipe
        session = channel.session = self._session = Session(
            channel.receive,
            channel.send,
            Options(
                receive_buffer=_UNREAD_MESSAGES,
                close_timeout=min(self._deadline, 1e9),
                ping_interval=None,
            ),
            client_state=CONNECTED,
            application_state=CONNECTED,
            direct=channel,
        )
        session.subprotocol = self.subprotocol
        channel.deliver()
        try:
            async with session.hosting(self):
                try:
                    yield self
                finally:
                    if channel.stalled or channel.half_closed:
                        self.abort()  # there will be no closing handshake
                    channel.resume()
        finally:
            self._left_at = current_time()
            channel.end(End())

    # The verbs, in time

    @contextmanager
    def _within_deadline(self, what: str) -> Iterator[None]:
        with move_on_after(self._deadline) as scope:
            yield
        if scope.cancelled_caught:
            raise DeadlineExceeded(
                f"no {what} within {self._deadline} s: {self._history.report()}"
            )

    async def _next(self) -> Event:
        with self._within_deadline("message"):
            return await super()._next()

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
        with self._within_deadline("room for a message"):
            await super().send(message)

    async def wait_closed(self) -> CloseInfo:
        """Wait until the connection has ended and its closing handshake is over.

        Raises:
            DeadlineExceeded: It has not ended.
        Cancellation:
            Safe: waiting changes nothing.
        """
        with self._within_deadline("end of the connection"):
            return await super().wait_closed()

    async def ping(self, data: bytes = b"") -> float:
        """Send a ping and wait for its pong; as `ClientWebSocket.ping`.

        Raises:
            DeadlineExceeded: The server does not read as far as the ping.
        Cancellation:
            Safe: the ping is sent all the same, and its pong ignored.
        """
        with self._within_deadline("pong"):
            return await super().ping(data)

    def receive_stream(self) -> AbstractAsyncContextManager[ReceiveStream]:
        """Receive the next message in one part, as an application sends it whole.

        Raises:
            ConnectionClosed: On entry: the connection has ended.
            BusyResourceError: On entry: another task is receiving.
        Cancellation:
            Safe: entering loses nothing.
        """
        return receiving(self._guarded("receive_stream"), self._pipe)

    # What can be wrong with a peer

    def abort(self) -> None:
        """Cut the connection without a word, as a reset of TCP does.

        What was sent before is on its way, and arrives. Here the connection has ended
        with 1006.
        """
        session = self._guarded("abort")
        self._push()
        info = self._pipe.cut()
        if session.info is None:
            session._lose(ConnectionAbortedError("the test has cut it"), info.clean)

    def send_eof(self) -> None:
        """End the sending half of the connection without a closing frame (a FIN)."""
        self._push()
        self._pipe.half_closed = True
        self._pipe.end(End())

    def stall(self) -> None:
        """Read nothing more. Leaving the block then cuts the connection."""
        self._pipe.stalled = True

    def slow(self, bytes_per_second: float) -> None:
        """Read only so many bytes a second, by AnyIO's clock."""
        if not bytes_per_second > 0:
            raise ValueError(f"bytes_per_second must be above 0: {bytes_per_second!r}")
        self._pipe.rate = bytes_per_second
        if not self._trickles:
            self._trickles = True
            self._start_soon(self._pipe.trickle)

    def resume(self) -> None:
        """Read as fast as can be again, after `stall()` or `slow()`."""
        self._pipe.resume()

    def flood(self, count: int, message: str | bytes = "flood") -> None:
        """Send a message so many times at once, whether the application reads or not.

        It is sent past the buffers that `send_message()` waits for.
        """
        self._push()
        for _ in range(count):
            self._server.arrive(Message(message))

    def shut_down_server(self) -> None:
        """Tell the server to stop, as SIGTERM does; what follows is its dialect's."""
        self._shut_down()

    def _push(self) -> None:
        """Have what was sent before be on its way."""
        for event, _, _ in self._guarded("a fault")._outbound.take_messages():
            self._server.arrive(Message(payload_of(event)))

    def explains(self, exc: BaseException) -> bool:
        """Whether an exception tells of nothing but the end of this connection."""
        return self._session is not None and self._session.explains(exc)
