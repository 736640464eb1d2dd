"""The passage: the one order in which messages pass a `send` that is wrapped (law 7).

    ws.send_nowait ─> left behind ─┐                     driven by a task of the session
                                   ├─ the passage ─> the wrapped send ─> Sender
    ws.send_text ──> waits behind ─┘                     called by the user's own task

A middleware may wrap `send`, to change what is sent, to hold it up, or to drop it.
`send_nowait` cannot wait for that, and must not go round it. So it leaves its message
here, and a task of the session, started at first use, calls the wrapped `send`. The
wrapped coroutine cannot be stepped by hand instead: on trio that ends the run. A task
in a `send*` waits behind what is here, and then calls the wrapped `send` itself, so
that an error, a cancellation and the context stay its own.

One connection has one passage, whatever objects it has and whatever wraps their `send`:
the order is the connection's. That is why the passage stands in this wing, beside the
queue whose bounds it shares and the ending that it serves. An object whose `send` is
the session's own never comes here.

Rules:

- One *turn* at a time: the call of a wrapped `send` for one message. What the wrapped
  `send` sends within the turn goes straight in, or it would wait for itself.
- Messages that are left here count against the bounds of the outbound queue until their
  turn begins.
- When the connection is closed from this end, waiting tasks raise, and the messages
  that are left still have their turn: until the last is over, the outbound queue stays
  open for them alone, and the closing frame comes behind it. A close that is sent in a
  turn drops the messages behind it, as they would come after the close, which waits for
  the closing frame.
- When the peer has left or the channel has failed, nothing is sent any more.
- The task has the context variables of the first `send_nowait`.
- An exception of a wrapped `send` that no task waits for ends the connection as if it
  had left the block, by its close code, and leaves the block when that is over
  (`Ending.fault`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextvars import ContextVar
from typing import Final, TypeAlias

from anyio import CancelScope, WouldBlock, get_cancelled_exc_class, move_on_after
from anyio import Event as Signal
from starlette.websockets import WebSocketDisconnect, WebSocketDisconnected

from .._values.errors import ConnectionClosed
from .._values.events import Event, checked_close, measured
from .._values.outcomes import ending_of, is_cancellation
from .._values.states import CLOSE
from .connection import ChannelSend, Connection
from .sender import Sender
from .turns import Turns
from .wakeup import Wakeup

Spawn: TypeAlias = Callable[..., None]
Left: TypeAlias = tuple[ChannelSend, Event, int]


class Place:
    """A place in the passage: a message that was left, or a task that waits.

    Attributes:
        left: The wrapped `send`, the message and its size; `None` for a task.
        turn: Wakes the task, when its turn has come or the connection has ended.
        outer: The place in whose turn this one was taken, in another passage.
    """

    __slots__ = ("left", "outer", "turn")

    def __init__(self, left: Left | None = None) -> None:
        self.left: Left | None = left
        self.turn: Signal | None = None
        self.outer: Place | None = None


# The place in whose turn the running code is; tasks that are started in the turn have
# it too.
_taken: Final[ContextVar[Place | None]] = ContextVar("anyws_place", default=None)


class Passage:
    """The order of the messages of one connection that pass a wrapped `send`.

    Args:
        connection, sender, turns: Those of the session.
        spawn: Starts a task of the session, of a function and its arguments.

    Attributes:
        messages: Messages that are left here, and whose turn has not begun.
        size: Bytes of payload that these messages hold together.
    """

    __slots__ = (
        "_connection",
        "_current",
        "_due",
        "_emptied",
        "_places",
        "_scope",
        "_sender",
        "_spawn",
        "_turns",
        "messages",
        "size",
    )

    def __init__(
        self, connection: Connection, sender: Sender, turns: Turns, spawn: Spawn
    ) -> None:
        self.messages: int = 0
        self.size: int = 0
        self._connection = connection
        self._sender = sender
        self._turns = turns
        self._spawn = spawn
        self._places = deque[Place]()  # those that wait, in order
        self._current: Place | None = None  # the one whose turn it is
        self._due = Wakeup()  # of the task that drives the messages
        self._scope: CancelScope | None = None  # of that task, once it was started
        self._emptied: Signal | None = None  # of the blocks that wait for that

    # Sending

    async def send(self, through: ChannelSend, event: Event) -> None:
        """Call a wrapped `send` in turn, with a message or a close.

        Raises:
            ConnectionClosed: The connection has ended. A close is silent then.
        Cancellation:
            Before the turn has come, a message is not sent; a close takes effect at
            once, and is sent behind the messages that are left here. In the turn, it
            depends on the wrapped `send`.
        """
        await self._turns.take()  # a wrapped `send` need not be a checkpoint
        if self._inside:
            await through(event)
            return
        place, closes = Place(), event["type"] == CLOSE
        try:
            if self._connection.ending.info is not None:
                raise self._connection.ending.error()
            if self._current is None and not self._places:
                self._current = place
            elif closes:
                await self._wait_to_close(place, event)
            else:
                await self._wait(place)
        except ConnectionClosed:
            if closes:
                return
            raise
        place.outer = _taken.get()
        token = _taken.set(place)
        try:
            await through(event)
        finally:
            _taken.reset(token)
            if self._current is place:
                self._next()

    async def _wait(self, place: Place) -> None:
        """Wait for a turn; raise if the connection ends before that."""
        place.turn = Signal()
        self._places.append(place)
        try:
            await place.turn.wait()
        except BaseException:
            self._withdraw(place)
            raise
        self._turns.waited()
        if self._current is not place:
            raise self._connection.ending.error()

    async def _wait_to_close(self, place: Place, event: Event) -> None:
        """Wait for a turn to close, at most `close_timeout`.

        After that there is no more time for what stands before it.
        """
        connection = self._connection
        checked_close(event, framed=connection.accepted)
        try:
            with move_on_after(connection.options.close_timeout) as patience:
                await self._wait(place)
            if patience.cancelled_caught:
                self._give_up()
        except BaseException:
            self._sender.close(event)  # unless the connection has ended
            raise

    def _withdraw(self, place: Place) -> None:
        """Give a place up, or the turn if that has just come."""
        if self._current is place:
            self._next()
        elif place in self._places:
            self._places.remove(place)

    def send_nowait(self, through: ChannelSend, event: Event) -> None:
        """Leave a message here, for the task of the session to send.

        Raises:
            WouldBlock: There is no room, and the overflow rule is to wait.
            ConnectionClosed: The connection has ended.
            RuntimeError: A message is not allowed in this state.
            TypeError, ValueError: The event must not be sent.
        """
        event, size = measured(event)
        ending = self._connection.ending
        if ending.info is not None:
            raise ending.error()
        self._sender.check_open()
        if not (self._has_room(size) or self._make_room(size)):
            return
        self._places.append(Place((through, event, size)))
        self.messages += 1
        self.size += size
        if self._scope is None:
            self._scope = CancelScope(shield=True)
            self._spawn(self._drive, self._scope)
        elif self._current is None:
            self._due.wake()

    def _has_room(self, size: int) -> bool:
        outbound = self._connection.outbound
        return outbound.has_room(size, messages=self.messages, held=self.size)

    def _make_room(self, size: int) -> bool:
        """Apply the overflow rule; false: the message is dropped."""
        connection = self._connection
        outbound, rule = connection.outbound, connection.options.send_overflow
        if rule == "wait":
            raise WouldBlock
        if rule == "close":
            raise self._sender.too_slow()
        if rule == "drop_newest":
            outbound.dropped += 1
            return False
        while not self._has_room(size):
            if outbound.messages:  # they are the older ones
                outbound.drop_oldest()
            else:
                self._drop_oldest()
        return True

    def _drop_oldest(self) -> None:
        oldest, left = next(
            (place, place.left) for place in self._places if place.left is not None
        )
        self._places.remove(oldest)
        self._forget(left)
        self._connection.outbound.dropped += 1
        if self._current is None:
            self._next()  # the first in order may be a task now

    def _forget(self, left: Left) -> None:
        """Count a message no more that was left here."""
        self.messages -= 1
        self.size -= left[2]

    # The turns

    @property
    def _inside(self) -> bool:
        """Whether the running code is called in the turn, by a wrapped `send`."""
        place = _taken.get()
        while place is not None and place is not self._current:
            place = place.outer
        return place is not None

    @property
    def admits(self) -> bool:
        """Whether the running code sends what was left before the connection ended."""
        return self._driving and self._inside and not self._connection.outbound.closed

    @property
    def _driving(self) -> bool:
        """Whether the turn is that of a message that was left."""
        return self._current is not None and self._current.left is not None

    def _next(self) -> None:
        """End the turn; give it to the first in order."""
        self._current = None
        if self._places:
            first = self._places[0]
            if first.turn is None:
                self._due.wake()
            else:
                self._current = self._places.popleft()
                first.turn.set()
        self._settle()

    def _settle(self) -> None:
        """Do what is to be done once no message is left here."""
        if self.messages or self._driving:
            return
        if self._emptied is not None:
            self._emptied.set()
            self._emptied = None
        if self._connection.ending.info is not None:
            self._connection.outbound.close()
            self._due.wake()

    async def _drive(self, scope: CancelScope) -> None:
        """Call the wrapped `send` for the messages that are left here."""
        ending = self._connection.ending
        with scope:
            while self.messages or ending.info is None:
                if self._current is not None or not self._places:
                    await self._due.wait()
                    continue
                place = self._current = self._places.popleft()
                assert place.left is not None  # a task would have been given its turn
                self._forget(place.left)
                through, event, _ = place.left
                _taken.set(place)
                try:
                    await through(event)
                except BaseException as exc:
                    if not self._failed(exc):
                        raise
                finally:
                    self._next()

    def _failed(self, exc: BaseException) -> bool:
        """End the connection by an exception that no task waits for.

        False for one that ends the task itself.
        """
        connection, cancelled = self._connection, get_cancelled_exc_class()
        ending = connection.ending
        if is_cancellation(exc, cancelled) or isinstance(exc, GeneratorExit):
            return False
        # Starlette's own class raises its own errors in place of ours.
        gone = isinstance(exc, WebSocketDisconnect | WebSocketDisconnected)
        if not (ending.explains(exc) or (gone and ending.info is not None)):
            self._drop_all()
            ending.fault = exc
            connection.close_by_rule(*ending_of(exc, cancelled))
        return True

    # The end

    async def emptied(self) -> None:
        """Wait until no message is left here; drop what is left after `close_timeout`.

        Cancellation:
            Shielded for that time.
        """
        seconds = self._connection.options.close_timeout
        with move_on_after(seconds, shield=True) as patience:
            while self.messages or self._driving:
                self._emptied = self._emptied or Signal()
                await self._emptied.wait()
        if patience.cancelled_caught:
            self._give_up()

    def close(self, *, by_user: bool) -> None:
        """Close the outbound queue behind the messages that are left here."""
        self._wake_tasks()
        if by_user and self._inside:
            self._drop_all()
            self._connection.outbound.close()
        self._connection.outbound.room.wake()
        self._settle()

    def discard(self) -> None:
        """Drop the messages that are left here: there is no peer to send them to."""
        self._drop_all()
        self._wake_tasks()
        self._settle()

    def stop(self) -> None:
        """End the task that sends the messages: nothing more will be written."""
        self._give_up()
        self.discard()

    def _give_up(self) -> None:
        """End the task that sends the messages, and drop them."""
        scope, self._scope = self._scope, None
        if scope is not None:
            scope.cancel()
        self._drop_all()
        if self._current is None:
            self._next()

    def _wake_tasks(self) -> None:
        """Wake the tasks that wait for a turn, to raise."""
        turns = [place.turn for place in self._places if place.turn is not None]
        self._places = deque(place for place in self._places if place.turn is None)
        for turn in turns:
            turn.set()

    def _drop_all(self) -> None:
        """Drop the messages that are left here."""
        self._places = deque(place for place in self._places if place.left is None)
        self.messages = self.size = 0
