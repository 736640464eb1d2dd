"""A session: the parts of one guarded connection, put together.

This module has the block that hosts a connection, and closes it as the return or the
exception demands (law 8), and the names that the rest of the package calls. The wing's
`__init__` has the picture.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Container
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from math import inf
from typing import NoReturn, Self, TypeVar

from anyio import (
    AsyncContextManagerMixin,
    CancelScope,
    current_time,
    get_cancelled_exc_class,
)
from anyio import Event as Signal
from anyio.lowlevel import checkpoint
from starlette.websockets import WebSocketState

from .._values.closing import CloseCode, CloseInfo
from .._values.errors import ConnectionClosed
from .._values.events import Event, size_of
from .._values.options import Options
from .._values.outcomes import is_cancellation
from .._values.states import CONNECTED, CONNECTING
from .._values.statistics import Statistics
from .calls import Calls
from .channel import DirectChannel
from .connection import ChannelReceive, ChannelSend, Connection
from .draining import Draining
from .ending import Phase
from .entrance import Entrance
from .intake import Intake
from .interlude import Interlude
from .keepalive import Keepalive
from .leaving import clear, end, leave
from .observation import Observation
from .passage import Passage
from .receiver import Receiver
from .sender import Sender
from .settings import Settings
from .stage import Stage
from .tasks import Tasks
from .turns import Turns
from .upkeep import Upkeep

GuestT = TypeVar("GuestT")


class Session(AsyncContextManagerMixin):
    """One guarded connection; `receive` and `send` are an ASGI channel again.

    Args:
        receive, send: The channel.
        options: The settings; those of a block that joins override them.
        subprotocols: The subprotocols that the client has offered.
        client_state, application_state: The states that the connection is in.
        direct: The channel again, if its frames are ours.
        cap: The operator's limit of `max_message_bytes`, which no options raise.
        pings: Whether the server sends the pings that options ask for.
        upkeep: What the server's connections share, if the frames are ours; `None`: the
            block that hosts the connection has the tasks that it may need.

    Attributes:
        connection: The record that the parts share.
        receiver, sender: The user's ends of the two queues.
    """

    __slots__ = (
        "_draining",
        "_driver",
        "_interlude",
        "_passage",
        "_settings",
        "_turns",
        "connection",
        "receiver",
        "sender",
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
        cap: int | None = None,
        pings: bool = False,
        upkeep: Upkeep | None = None,
    ) -> None:
        self._settings = Settings(cap, pings=pings or direct is not None)
        options = self._settings.of_host(options)
        self.connection: Connection = Connection(
            *(receive, send, options, client_state, application_state),
            *(direct, upkeep or Upkeep()),
        )
        connection = self.connection
        intake = Intake(connection)
        self._driver: Tasks | Calls
        if direct is None:
            self._driver = Tasks(connection, intake)
        else:
            self._driver = Calls(connection, direct, alone=upkeep is None)
            direct.inbox = intake
        connection.driver = self._driver
        self._interlude: Interlude | None = None
        self._turns = Turns(connection)
        self._passage: Passage | None = None
        self._draining: Draining | None = None  # made when somebody asks
        self.receiver: Receiver = Receiver(connection, self._turns)
        self.sender: Sender = Sender(connection, self._turns, subprotocols or ())

    def __deepcopy__(self, memo: object) -> Self:
        """Return itself: a copy of an ASGI scope is of the same connection."""
        return self

    def __copy__(self) -> Self:
        """Return itself, as a deep copy does."""
        return self

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled."""
        raise TypeError(
            "an anyws session cannot be pickled: it is one connection of this process"
        )

    # The facts about the connection

    @property
    def info(self) -> CloseInfo | None:
        """How the connection ended; `None` while it is open."""
        return self.connection.ending.info

    @property
    def options(self) -> Options:
        """The settings."""
        return self.connection.options

    @property
    def keepalive(self) -> Keepalive:
        """The keepalive, and the user's pings."""
        return self.connection.keepalive

    @property
    def application_state(self) -> WebSocketState:
        """The application's state, by the events that it has sent."""
        return self.connection.application_state

    @property
    def delivered_state(self) -> WebSocketState:
        """The client's state, by the events that `receive` has returned."""
        return self.receiver.delivered_state

    @property
    def subprotocol(self) -> str | None:
        """The subprotocol that was accepted, if any."""
        return self.sender.subprotocol

    @subprotocol.setter
    def subprotocol(self, subprotocol: str | None) -> None:
        self.sender.subprotocol = subprotocol

    @property
    def closed_by_user(self) -> bool:
        """Whether the user's code closed the connection, and no rule of the options."""
        return self.connection.ending.phase is Phase.CLOSED

    @property
    def broken(self) -> bool:
        """Whether the connection is known not to have ended in order."""
        return self.connection.ending.broken

    def error(self) -> ConnectionClosed:
        """Make the error that says how the connection ended."""
        return self.connection.ending.error()

    def explains(self, exc: BaseException) -> bool:
        """Whether an exception tells of nothing but the end of this connection."""
        return self.connection.ending.explains(exc)

    # The block

    def __asynccontextmanager__(self) -> AbstractAsyncContextManager[Session]:
        """Host the connection; see `hosting`."""
        return self.hosting(self)

    @asynccontextmanager
    async def hosting(
        self, guest: GuestT, hand_over: Callable[[Exception], None] | None = None
    ) -> AsyncIterator[GuestT]:
        """Have the connection driven; close it as the return or the exception demands.

        Args:
            guest: The object that the block is given.
            hand_over: Called with an `Exception` that leaves the block, which then
                writes the queue out and closes nothing: the interlude begins, and ends
                with a call of `conclude` or `abandon`.
        """
        cancelled = get_cancelled_exc_class()
        outcome: BaseException | None = None
        connection = self.connection
        self._turns.begin()
        try:
            async with self._driver.running():
                try:
                    yield guest
                except cancelled as exc:
                    leave(connection, exc)
                    raise
                except BaseException as exc:
                    outcome = exc  # the task group would raise it in a group (law 10)
                if (
                    hand_over is not None
                    and isinstance(outcome, Exception)
                    and self._passage is None  # its task would have to be paused, too
                ):
                    self._interlude = Interlude(self._driver)
                    hand_over(outcome)
                    self._driver.pause()
                else:
                    leave(connection, outcome)
        except cancelled:
            if outcome is None:
                raise
        finally:
            if self._interlude is None:
                clear(connection)
                if connection.observation is not None:
                    self._end_observation(connection.observation)
        try:
            fault = connection.ending.fault and connection.ending.take_fault()
            defect = None if self._interlude else fault or connection.ending.defect
            if defect is not None and (outcome is None or self.explains(outcome)):
                raise defect
            if outcome is not None:
                raise outcome
        finally:
            outcome = defect = fault = None  # its traceback holds this frame

    async def conclude(self, outcome: BaseException | None) -> bool:
        """End the interlude, and close the connection unless it has ended.

        Args:
            outcome: The exception that goes on; `None`: it was handled.

        Returns:
            Whether the outcome says no more than that this connection has ended.
        """
        if self._interlude is not None:
            self.end(outcome)
            await self._interlude.wait_idle()
            self._interlude = None
        try:
            async with self.hosting(self):
                if outcome is not None:
                    raise outcome
        except BaseException as exc:
            if exc is not outcome:
                raise
        return outcome is not None and self.explains(outcome)

    def abandon(self) -> None:
        """End the interlude; what stands outside answers the peer, by the channel."""
        self._interlude = None
        clear(self.connection)
        if self.connection.observation is not None:
            self._end_observation(self.connection.observation)

    @asynccontextmanager
    async def joined(self, guest: GuestT) -> AsyncIterator[GuestT]:
        """Close on return; leave an exception to what stands outside the block."""
        try:
            yield guest
        except BaseException as exc:
            await self.leave_joined(exc)
            raise
        await self.leave_joined(None)

    async def leave_joined(self, outcome: BaseException | None) -> None:
        """Close, if a block that had joined returns; send what the block has left.

        An exception is left to what stands outside the block. The middlewares that the
        messages are to pass may end with the block.

        Raises:
            BaseException: What a wrapped `send` has raised while no task waited for it,
                unless the block is left by another exception.
        Cancellation:
            Shielded for at most `close_timeout`.
        """
        if outcome is None:
            self.end(None)
        elif is_cancellation(outcome, get_cancelled_exc_class()):
            self.connection.interrupted = True
        if self._passage is None:
            return
        await self._passage.emptied()
        if outcome is None or self.explains(outcome):
            fault = self.connection.ending.take_fault()
            if fault is not None:
                raise fault

    def starts_at(self, function: object) -> bool:
        """Whether a `receive` or `send` is the session's own or that of its channel.

        Then nothing lies between, and whatever was given that function is to use the
        session's: the channel has no other reader, and no other writer.
        """
        connection = self.connection
        return connection.stage is Stage.OVER or function in (
            self.receive,
            self.send,
            connection.receive_event,
            connection.send_event,
        )

    def adopt(self, options: Options | None) -> None:
        """Have the fields that these options name override those of the connection."""
        if options is not None:
            self._settings.adopt(self.connection, options)

    def close_by_rule(self, code: int, reason: str, *, by: float) -> None:
        """Close, unless the connection has ended. Tasks in a verb: `ConnectionClosed`.

        Args:
            code, reason: The code and reason of the closing frame.
            by: When the closing handshake is given up, by the clock of AnyIO, if
                `close_timeout` is not over before.
        """
        if self.application_state in (CONNECTING, CONNECTED):
            self.connection.close_by_rule(code, reason)
        if self.info is not None:
            self.connection.close_by(by)

    @property
    def draining(self) -> Draining:
        """Whether a drain has told this connection that it will end."""
        if self._draining is None:
            self._draining = Draining()
            if self.connection.farewell is not None:
                self._draining.begin()
        return self._draining

    def tell_of_drain(self, code: int, reason: str) -> None:
        """Tell the user's code that a drain will close the connection.

        If the code returns before that, the connection is closed with this code, as the
        peer is to connect again.
        """
        self.connection.farewell = code, reason
        if self._draining is not None:
            self._draining.begin()

    def _end_observation(self, observation: Observation) -> None:
        """Tell the observer of the end."""
        connection = self.connection
        connection.observation = None
        if connection.ending.info is not None:
            observation.over(connection.ending.info, self.statistics(), current_time())

    def end(self, outcome: BaseException | None) -> None:
        """Close as the outcome of the user's code asks, unless it has ended before.

        Before an accept, a return and a `WebSocketException` reject the client. After
        any other exception nothing is sent, and the server answers with its 500.
        """
        end(self.connection, outcome)

    # The channel again

    def receive(self) -> Awaitable[Event]:
        """Receive, when awaited, the next event; at the end, once, the disconnect.

        Raises:
            ConnectionClosed: The disconnect has been delivered already.
            BusyResourceError: Another task is receiving.
        Cancellation:
            Safe: a cancelled call loses no event; the next call returns it.
        Source: ASGI "websocket.receive".
        """
        if self._interlude is not None:
            return self._interlude.during(self.receiver.receive)
        return self.receiver.receive()

    def send(self, event: Event) -> Awaitable[None]:
        """Queue, when awaited, a message; send another event and wait for that.

        Raises:
            ConnectionClosed: The connection has ended. A close is silent then.
            RuntimeError: The event is not allowed in this state.
            TypeError, ValueError: The event must not be sent, and was not.
        Cancellation:
            All or nothing: a call that is cancelled before the event is queued has sent
            nothing and changed no state; after that the event is sent whole.
        Source: ASGI "websocket.send", ".accept", ".close", ".http.response.*".
        """
        if self._interlude is not None:
            return self._interlude.during(self.sender.send, event)
        return self.sender.send(event)

    def send_nowait(self, event: Event) -> None:
        """Queue a message now.

        Raises:
            WouldBlock: There is no room, and the overflow rule is to wait.
            ConnectionClosed: The connection has ended.
            RuntimeError: A message is not allowed in this state.
            TypeError, ValueError: The event must not be sent, and was not.
        """
        self.sender.send_nowait(event)

    def entrance(self, through: ChannelSend) -> Entrance:
        """Return where an object's messages go in whose `send` is wrapped."""
        if self._passage is None:
            self._passage = self.connection.passage = Passage(
                self.connection, self.sender, self._turns, self._driver.spawn
            )
        return Entrance(self._passage, through)

    # Beyond the channel

    async def ping(self, payload: bytes) -> float:
        """Send a ping, and wait for its pong; return the seconds between them.

        The frames of the connection must be ours.

        Raises:
            ConnectionClosed: The connection has ended.
            RuntimeError: A ping with this payload is under way.
        Cancellation:
            Safe: a ping that is not written yet is withdrawn, so that those of tasks
            that gave up do not pile up before a peer that does not read; and the pong
            of one that is written is ignored.
        """
        await self._turns.take()
        self.sender.check_open()
        connection = self.connection
        frames = connection.frames
        assert frames is not None, "the verbs have looked whether the frames are ours"
        over = Signal()
        ping = connection.keepalive.add(payload, over)
        frame = frames.ping(payload)
        connection.outbound.filled.wake()
        try:
            await over.wait()
        finally:
            if not over.is_set():
                frames.withdraw(frame)
            connection.keepalive.forget(ping)
        if ping.latency is None:
            raise self.error()
        return ping.latency

    async def wait_closed(self) -> CloseInfo:
        """Wait until the connection has ended and its closing handshake is over.

        Cancellation:
            Safe: waiting changes nothing.
        """
        connection = self.connection
        if connection.stage.reads and not connection.stranded:
            connection.read_done = connection.read_done or Signal()
            if self._interlude is not None:
                await self._interlude.during(connection.read_done.wait)
            else:
                await connection.read_done.wait()
        else:
            await checkpoint()
        return connection.ending.info or CloseInfo(CloseCode.ABNORMAL_CLOSURE)

    def watch(self, scope: CancelScope) -> None:
        """Cancel a scope when the connection ends, unless by the user's own close.

        Raises:
            ConnectionClosed: The connection has ended already.
        """
        connection = self.connection
        if connection.ending.info is not None:
            raise self.error()
        connection.ending.watchers.append(scope)
        connection.inbound.room.wake()  # the reader task waits for room no more
        if connection.frames is not None:
            connection.frames.read_on()
            if connection.deadlines.idle_at == inf and not connection.frames.paused:
                connection.await_message()  # the peer is kept waiting no more

    def unwatch(self, scope: CancelScope) -> bool:
        """Forget a scope; return whether the connection has ended meanwhile."""
        self.connection.ending.watchers.remove(scope)
        return self.connection.ending.alarmed

    def interrupt(self, takes: Callable[[Event], bool]) -> None:
        """Ask for each whole message whether it is taken, also for those that wait.

        A message that is taken counts as received and reaches no receiver. The last one
        to come is asked first.
        """
        connection = self.connection
        connection.interrupts += (takes,)
        held = connection.held
        if connection.inbound.take_first(takes) is not None:
            self.receiver.make_room()
        elif held is not None and takes(held):
            connection.counters.messages_received += 1
            connection.counters.bytes_received += size_of(held)
            if connection.observation is not None:
                inbound = connection.inbound
                connection.observation.passed(
                    "received", size_of(held), inbound.messages, inbound.dropped
                )
            connection.held = None  # `take_first` has woken the reader task
            if connection.ending.failure is not None:
                connection.hear_out()
            else:
                connection.await_message()

    def interrupt_no_more(self, takes: Callable[[Event], bool]) -> None:
        """Ask it no more."""
        connection = self.connection
        connection.interrupts = tuple(
            other for other in connection.interrupts if other != takes
        )

    @property
    def _latency(self) -> float | None:
        """The round-trip time of the last ping, or else of the last heartbeat."""
        timers, latency = self.connection.timers, self.connection.keepalive.latency
        return timers.latency if latency is None and timers is not None else latency

    def statistics(self) -> Statistics:
        """Return the current counters."""
        connection, passage = self.connection, self._passage
        return Statistics(
            messages_received=connection.counters.messages_received,
            bytes_received=connection.counters.bytes_received,
            messages_sent=connection.counters.messages_sent,
            bytes_sent=connection.counters.bytes_sent,
            receive_queued=connection.inbound.messages,
            receive_queued_bytes=connection.inbound.size,
            send_queued=connection.outbound.messages
            + (0 if passage is None else passage.messages),
            send_queued_bytes=connection.outbound.size
            + (0 if passage is None else passage.size),
            receive_dropped=connection.inbound.dropped,
            send_dropped=connection.outbound.dropped,
            latency=self._latency,
        )
