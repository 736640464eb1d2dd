"""The law: what holds for the user's code over any channel of ASGI events.

The ends and the deadlines are in `_lifetime`, the tasks in `_link`; here is what the
user's code calls, and the block that ends the connection by what leaves it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Container
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final, TypeVar

from anyio import (
    AsyncContextManagerMixin,
    BusyResourceError,
    CancelScope,
    EndOfStream,
    Lock,
    Semaphore,
    WouldBlock,
    create_task_group,
    current_time,
    get_cancelled_exc_class,
)
from anyio import Event as Signal
from anyio.lowlevel import RunVar, checkpoint
from starlette.exceptions import WebSocketException
from starlette.websockets import (
    WebSocketDisconnect,
    WebSocketDisconnected,
    WebSocketState,
)

from ._close import CloseCode, CloseInfo
from ._direct import DirectChannel
from ._endings import ending_of, is_cancellation, leaves_of
from ._errors import ConnectionClosed
from ._events import Event, disconnect_of, measured, outgoing
from ._lifetime import ChannelReceive, ChannelSend
from ._link import Link
from ._options import Options
from ._states import (
    ACCEPT,
    CLOSE,
    CONNECTED,
    CONNECTING,
    DISCONNECTED,
    SEND,
    Role,
    event_of,
    next_state,
)
from ._statistics import Statistics

GuestT = TypeVar("GuestT")

# Where an ASGI scope's extensions hold the session that its events pass through.
EXTENSION: Final = "anyws.session"

# A full checkpoint at least every so many calls that did not wait: only a turn of the
# scheduler lets deadlines fire, native cancellation arrive and other tasks run.
_CALLS_PER_TURN: Final = 32

# A semaphore that never runs out does what AnyIO's `checkpoint_if_cancelled` does for
# half the price: that one finds out anew, at every call, which event loop is running.
_passes: Final[RunVar[Semaphore]] = RunVar("anyws_passes")
_ENOUGH: Final = 2**62

# Seconds that a cancelled host waits for the peer's answer to the closing frame: a
# server that is shutting down has already stopped reading.
_CANCELLED_LINGER: Final = 1.0


class Session(Link, AsyncContextManagerMixin):
    """One guarded connection; `receive` and `send` are an ASGI channel again.

    Attributes:
        delivered_state: The client's state, by what `receive` has returned.
        subprotocol: The one accepted, if any.
    """

    __slots__ = (
        "_adopts",
        "_calls",
        "_passes",
        "_receiving",
        "_send_turn",
        "_senders_waiting",
        "_subprotocols",
        "delivered_state",
        "subprotocol",
    )

    def __init__(
        self,
        receive: ChannelReceive,
        send: ChannelSend,
        options: Options | None = None,
        *,
        subprotocols: Container[str] | None = None,
        client_state: WebSocketState = CONNECTING,
        application_state: WebSocketState = CONNECTING,
        direct: DirectChannel | None = None,
        adopts: bool = False,
    ) -> None:
        super().__init__(
            receive,
            send,
            options,
            client_state=client_state,
            application_state=application_state,
            direct=direct,
        )
        self._adopts = adopts
        self.delivered_state: WebSocketState = client_state
        self.subprotocol: str | None = None
        self._subprotocols = subprotocols or ()
        self._send_turn: Lock | None = None
        self._senders_waiting = 0
        self._receiving = False
        self._calls = 0  # since the last turn of the scheduler
        self._passes: Semaphore  # of the event loop that hosts it

    # The block

    def __asynccontextmanager__(self) -> AbstractAsyncContextManager[Session]:
        """Host the connection."""
        return self.hosting(self)

    @asynccontextmanager
    async def hosting(self, guest: GuestT) -> AsyncIterator[GuestT]:
        """Run the two tasks; end the connection by what leaves the block."""
        cancelled = get_cancelled_exc_class()
        outcome: BaseException | None = None
        self._passes = _passes_here()
        try:
            async with create_task_group() as tasks:
                tasks.start_soon(self._read)
                tasks.start_soon(self._write)
                try:
                    yield guest
                except cancelled as exc:
                    self._leave(exc)
                    raise
                except BaseException as exc:
                    outcome = exc  # past the task group, which would make a group of it
                self._leave(outcome)
        except cancelled:
            if outcome is None:
                raise
        finally:
            self._inbound.discard()
            if self.info is None:  # rejected
                self._end_as(CloseInfo(CloseCode.ABNORMAL_CLOSURE, "", "local"))
        try:
            if self._fault is not None and (outcome is None or self.explains(outcome)):
                raise self._fault
            if outcome is not None:
                raise outcome
        finally:
            outcome = None  # its traceback holds this frame

    @asynccontextmanager
    async def joined(self, guest: GuestT) -> AsyncIterator[GuestT]:
        """End the connection by what leaves the block; its host waits for that."""
        try:
            yield guest
        except BaseException as exc:
            self.end(exc)
            raise
        self.end(None)

    def adopt(self, options: Options | None) -> None:
        """Let the options of who joins hold, if those of the host were a default."""
        if options is None or not self._adopts:
            return
        self._adopts = False
        self.options = options
        self._inbound.resize(options.receive_buffer, options.max_message_bytes)
        self._outbound.resize(options.send_buffer, options.send_buffer_bytes)
        self._quiet_limit = options.idle_timeout
        if self._accepted:
            self._await_message()
            self._start_beating()

    def close_by_rule(self, code: int, reason: str, *, by: float) -> None:
        """Close, unless that is done; who waits or sends meets `ConnectionClosed`.

        Args:
            code, reason: Of the closing frame.
            by: When the closing handshake is given up, by the clock of AnyIO; and not
                later than `close_timeout` says.
        """
        if self.application_state in (CONNECTING, CONNECTED):
            self._close_by_rule(code, reason)
        if self.info is not None:
            self._close_by(by)

    def _leave(self, outcome: BaseException | None) -> None:
        """End the connection by what left the user's code; the tasks do the rest."""
        self.end(outcome)
        self._leaving = True
        if is_cancellation(outcome, get_cancelled_exc_class()):
            self._linger = min(_CANCELLED_LINGER, self._linger)
        self._outbound.close()
        self._close_by(current_time() + self.options.close_timeout)
        if self._lost or not (self._reading or self._answering):
            self._write_scope.cancel()  # nobody is left to write to
        self._settle()

    def end(self, outcome: BaseException | None) -> None:
        """Close as the outcome of the user's code asks, if that is still to be done."""
        if self.info is not None:
            return
        rejects = outcome is None or isinstance(outcome, WebSocketException)
        if self.application_state is CONNECTED or (
            self.application_state is CONNECTING and rejects
        ):
            self._close(*ending_of(outcome, get_cancelled_exc_class()))

    def explains(self, exc: BaseException) -> bool:
        """Whether an exception tells of nothing but the end of this connection."""
        return all(map(self._explains_leaf, leaves_of(exc)))

    def _explains_leaf(self, exc: BaseException) -> bool:
        if isinstance(exc, ConnectionClosed):
            return any(exc.info is info for info in self._infos)
        # What Starlette's own class makes of our error.
        gone = isinstance(exc, WebSocketDisconnect | WebSocketDisconnected)
        return gone and self._alarmed

    @property
    def closed_by_user(self) -> bool:
        """Whether the user's code closed the connection, and no rule of the options."""
        return self._farewell is not None and not self._alarmed

    @property
    def broken(self) -> bool:
        """Whether the connection is known not to have ended in order."""
        if self._farewell is not None and self._alarmed:
            return True
        return self.info is not None and self.info.clean is False

    def error(self) -> ConnectionClosed:
        """Make the error that says how the connection ended."""
        error = self._error(self.info or CloseInfo(CloseCode.ABNORMAL_CLOSURE))
        error.__cause__ = self._cause
        return error

    # The channel again

    async def receive(self) -> Event:
        """Receive the next event; at the end, once, a `websocket.disconnect`.

        Raises:
            ConnectionClosed: The disconnect has been delivered already.
            BusyResourceError: Another task is receiving.
        Cancellation:
            Safe: a cancelled call loses nothing.
        Source: ASGI "websocket.receive".
        """
        if self._receiving:
            await self._wait_for_receiver()
        self._receiving = True
        try:
            if self._direct is not None and self._inbound.empty:
                self._direct.deliver()
            if self._inbound.blocked:
                self._calls = 0
                while self._inbound.blocked:
                    await self._filled()
            else:
                await self._turn()
            event, _, receipt = self._inbound.take_nowait()
            if receipt is not None:
                self.delivered_state = CONNECTED
            return event
        except EndOfStream:
            return self._disconnect()
        finally:
            self._receiving = False

    @property
    def waiting(self) -> bool:
        """Whether a task waits for a message."""
        return self._receiving and self._inbound.blocked

    def _filled(self) -> Awaitable[None]:
        """Wait, when awaited, for something to take; it is time to look again then."""
        fetched = None if self._direct is None else self._direct.fetch()
        return self._inbound.filled.wait() if fetched is None else fetched

    async def _wait_for_receiver(self) -> None:
        """Give a receiver a turn to let go: on asyncio one just cancelled needs it."""
        await checkpoint()
        if self._receiving:
            raise BusyResourceError("receiving from")

    def _disconnect(self) -> Event:
        if self.delivered_state is not CONNECTED or self.info is None:
            raise self.error()
        self.delivered_state = DISCONNECTED
        return disconnect_of(self.info)

    async def send(self, event: Event) -> None:
        """Queue a message, or send another event and wait until that is done.

        Raises:
            ConnectionClosed: The connection has ended. A close is silent then.
            RuntimeError: The event is not allowed in this state.
            TypeError, ValueError: The event must not be sent, and was not.
        Cancellation:
            All or nothing: cancelled before it is queued, it is not sent and the state
            is unchanged; after that it is sent whole.
        Source: ASGI "websocket.send", ".accept", ".close", ".http.response.*".
        """
        await self._turn()
        kind = event["type"]
        if kind == SEND:
            event, size = measured(event)
            if not self._put(event, size):
                await self._put_in_turn(event, size)
        elif kind == CLOSE:
            await self._send_close(event)
        else:
            await self._send_handshake(event)

    def send_nowait(self, event: Event) -> None:
        """Queue a message now.

        Raises:
            WouldBlock: There is no room, and the overflow rule is to wait.
            ConnectionClosed, RuntimeError, TypeError, ValueError: As `send`.
        """
        if not self._put(*measured(event)):
            raise WouldBlock

    def _put(self, event: Event, size: int) -> bool:
        """Queue a message, by the overflow rule if need be; false: it has to wait."""
        if self.info is not None or self.application_state is not CONNECTED:
            self._check_open()
        if self._senders_waiting:
            return False  # behind them
        return (
            self._send_at_once(event, size)
            or self._outbound.put_nowait(event, size)
            or self._overflow_out(event, size)
        )

    def _check_open(self) -> None:
        if self.info is not None:
            raise self.error()
        next_state(Role.APPLICATION, self.application_state, SEND)

    def _overflow_out(self, event: Event, size: int) -> bool:
        """Apply the overflow rule to a full buffer; false: wait for room."""
        rule = self.options.send_overflow
        if rule == "drop_newest":
            self._outbound.dropped += 1
        elif rule == "drop_oldest":
            self._outbound.put_by_dropping(event, size)
        elif rule == "close":
            self._close_by_rule(CloseCode.TRY_AGAIN_LATER, "the peer reads too slowly")
            raise self.error()
        else:
            return False
        return True

    async def _put_in_turn(self, event: Event, size: int) -> None:
        """Wait for room, first come first served, and queue a message."""
        self._calls = 0
        self._senders_waiting += 1
        self._send_turn = self._send_turn or Lock(fast_acquire=True)
        try:
            async with self._send_turn:
                await self._wait_for_stream()
                while not self._outbound.put_nowait(event, size):
                    await self._outbound.room.wait()
                    self._check_open()
        finally:
            self._senders_waiting -= 1

    async def _wait_for_stream(self) -> None:
        """Wait until no message is being sent in parts; raise if that is in vain."""
        while self._streaming is not None and self.info is None:
            await self._streaming.wait()
        self._check_open()

    async def _send_handshake(self, event: Event) -> None:
        """Queue an accept or a part of a denial response; wait until it is sent."""
        if self.info is not None:
            raise self.error()
        state = next_state(Role.APPLICATION, self.application_state, event_of(event))
        event = outgoing(event, self._subprotocols)
        self.application_state = state
        if event["type"] == ACCEPT:
            self._accepted = True
            self.subprotocol = event["subprotocol"]
            self._await_message()
            self._start_beating()
        await self._outbound.put_handshake(event).wait()
        if self._fault is not None:
            fault, self._fault = self._fault, None
            raise fault
        if self._lost:
            raise self.error()

    async def _send_close(self, event: Event) -> None:
        """Close, unless that is done; wait until the closing frame is sent."""
        if self.info is None and self.application_state is not DISCONNECTED:
            event = outgoing(event, accepted=self._accepted)
            self._close(event["code"], event["reason"])
            if self._writing:
                self._write_done = Signal()
                await self._write_done.wait()

    def _turn(self) -> Awaitable[None]:
        """Be a checkpoint; every so often, one that gives the scheduler its turn."""
        self._calls += 1
        if self._calls < _CALLS_PER_TURN:
            return self._passes.acquire()
        return self._full_turn()

    async def _full_turn(self) -> None:
        self._calls = 0
        await checkpoint()
        self._bursting = False

    # Beyond the channel

    def wake_receiver(self) -> None:
        """Have the receiver look at the direct channel."""
        self._inbound.filled.wake()

    async def ping(self, payload: bytes) -> float:
        """Send a ping, and wait for its pong; return the seconds between them.

        Raises:
            ConnectionClosed: The connection has ended.
            RuntimeError: The frames are not ours to send, or a ping with this payload
                is under way.
        Cancellation:
            Safe: the ping is sent all the same, and its pong ignored.
        """
        await self._turn()
        self._check_open()
        if self._direct is None:
            raise RuntimeError("this server sends its own pings, and does not tell")
        ping = self.pings.add(payload)
        self._direct.ping(payload)
        self.wake_writer()
        try:
            await ping.over.wait()
        finally:
            self.pings.forget(payload)
        if ping.latency is None:
            raise self.error()
        return ping.latency

    async def wait_closed(self) -> CloseInfo:
        """Wait until the connection has ended and its closing handshake is over.

        Cancellation:
            Safe: waiting changes nothing.
        """
        if self._reading and not self._stranded:
            self._read_done = self._read_done or Signal()
            await self._read_done.wait()
        else:
            await checkpoint()
        return self.info or CloseInfo(CloseCode.ABNORMAL_CLOSURE)

    def watch(self, scope: CancelScope) -> None:
        """Cancel a scope when the connection ends, unless by the user's own close."""
        if self.info is not None:
            raise self.error()
        self._watchers.append(scope)
        self._inbound.room.wake()  # from now on the reader does not wait for room
        if self._direct is not None:
            self._direct.deliver()

    def unwatch(self, scope: CancelScope) -> bool:
        """Let go of a scope; return whether the connection has ended meanwhile."""
        self._watchers.remove(scope)
        return self._alarmed

    def statistics(self) -> Statistics:
        """Return the counters as they stand now."""
        return Statistics(
            messages_received=self._received,
            bytes_received=self._received_bytes,
            messages_sent=self._sent,
            bytes_sent=self._sent_bytes,
            receive_queued=self._inbound.messages,
            receive_queued_bytes=self._inbound.size,
            send_queued=self._outbound.messages,
            send_queued_bytes=self._outbound.size,
            receive_dropped=self._inbound.dropped,
            send_dropped=self._outbound.dropped,
            latency=self.pings.latency,
        )


def _passes_here() -> Semaphore:
    """Return the semaphore of the event loop that is running."""
    try:
        return _passes.get()
    except LookupError:
        passes = Semaphore(_ENOUGH, fast_acquire=True)
        _passes.set(passes)
        return passes
