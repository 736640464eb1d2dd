"""The hub: topics, and who gets their messages.

The wing's `__init__` has the picture.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import AsyncIterator
from contextlib import (
    AbstractAsyncContextManager,
    ExitStack,
    asynccontextmanager,
)
from dataclasses import dataclass
from math import inf
from typing import Any, Final, Self

from anyio import (
    AsyncContextManagerMixin,
    create_task_group,
    current_time,
    from_thread,
    sleep,
)
from anyio.lowlevel import EventLoopToken, checkpoint, current_token
from starlette.websockets import WebSocket as StarletteWebSocket

from .._messages.verbs import Messaging
from .._server.drain import Drain, check_drain
from .._session.scope import session_in
from .._session.session import Session
from .._session.wakeup import Wakeup
from .._values.events import Binary
from .attachment import Attachment
from .backend import Backend, Delivery, Publication
from .dispatcher import Dispatcher
from .event import Event
from .log import Bounds, Encode, Entry
from .member import DEFAULT_BUFFER, SinceArgument, Wishes
from .position import Id, Position
from .presence import Presence
from .reading import Filter, Overflow, Reading
from .relay import Relay
from .roster import Roster
from .subscription import Subscription
from .topic import Topic
from .topic_names import HEARTBEAT, OWN, checked_topic
from .topics import Topics, Wants

# Seconds between two looks at histories for messages that are too old.
_SWEEP_SECONDS: Final = 5.0
_SWEPT_AT_ONCE: Final = 100  # topics

_NOBODY: Final[frozenset[Reading]] = frozenset()


@dataclass(frozen=True, slots=True)
class HubStatistics:
    """Counters of a hub, as they stand now.

    Attributes:
        topics: Topics that have members, or messages.
        members: Subscriptions and attachments.
        published: Messages published, or delivered by the backend.
        sent, dropped, coalesced: Messages that members have taken, that overflow rules
            have dropped, and that newer ones have replaced, in topics that are there.
    """

    topics: int
    members: int
    published: int
    sent: int
    dropped: int
    coalesced: int


class Hub(AsyncContextManagerMixin):
    """Topics, and members that get what is published in them.

    A hub runs inside `async with hub:`, for instance in the lifespan of an application.
    It may be made before, as a global, and entered again after it has ended. Members
    come and go; a member that does not read costs the others nothing.

        hub = anyws.Hub()

        @anyws.endpoint
        async def chat(ws):
            await ws.accept()
            with hub.attach(ws, "lobby"):
                async for text in ws.iter_text():
                    hub.publish("lobby", text)

    A topic is a `str`; topics need no declaration. In a pattern `*` stands for one or
    more characters that are no dot: `room.*` matches `room.1`, and not `room.1.typing`.

    All calls are made in the event loop that runs the hub; other threads have
    `publish_from_thread`.

    Args:
        history: How many messages of each topic are kept for members that come later,
            or come again (default 0).
        history_bytes: How many bytes of payload the history of a topic holds together
            (default 1 MiB).
        history_seconds: Seconds after which a message leaves the history (default 300).
        buffer_bytes: How many bytes of payload the messages of one topic hold together
            that members have not taken yet (default 16 MiB). Above that, the oldest are
            dropped, and told as a gap; a single larger message passes.
        backend: What connects this hub with those of other processes; see
            `anyws.Backend`. Without one (default) the hub serves one process.
        max_queued: How many publications may wait for the backend (default 1000); one
            more raises `HubError`.
        heartbeat: Seconds between two heartbeats for browsers (default 20.0), which go
            to connections that are attached with `encode=Event.as_json`; `None`: none.
        drain: The drain of the server: when it begins, all subscriptions end. The
            drain itself closes the connections.

    Attributes:
        presence: Who is there, in each topic.

    Raises:
        ValueError: A number has no meaning.
        TypeError: `drain` is no `Drain`, or `backend` no `Backend`.
    """

    def __init__(
        self,
        *,
        history: int = 0,
        history_bytes: int = 1024 * 1024,
        history_seconds: float = 300.0,
        buffer_bytes: int = 16 * 1024 * 1024,
        backend: Backend | None = None,
        max_queued: int = 1000,
        heartbeat: float | None = 20.0,
        drain: Drain | None = None,
    ) -> None:
        check_drain(drain)
        if heartbeat is not None:
            _check_number("heartbeat", heartbeat, (int, float), least=0.001)
        if backend is not None and not isinstance(backend, Backend):
            raise TypeError(f"{type(backend).__name__} is no anyws.Backend")
        _check_number("max_queued", max_queued, int, least=1)
        _check_number("history", history, int, least=0)
        _check_number("history_bytes", history_bytes, int, least=1)
        _check_number("buffer_bytes", buffer_bytes, int, least=1)
        _check_number("history_seconds", history_seconds, (int, float), least=0)
        self._bounds = Bounds(
            history, history_bytes if history else 0, history_seconds, buffer_bytes
        )
        self._drain = drain
        self._roster = Roster()
        self._topics = Topics(self._bounds, secrets.token_hex(8))
        self._dispatcher = Dispatcher(self._topics)
        self._published = 0
        self._backend = backend
        self._max_queued = max_queued
        self._relay: Relay | None = None
        self._excluded: dict[str, frozenset[Reading]] = {}  # by the tokens under way
        self._sweepable = Wakeup()
        self._heartbeat = heartbeat
        self._heard = Wakeup()  # woken when there is a member for heartbeats
        self._loop: tuple[EventLoopToken, int] | None = None
        self.presence: Presence = Presence(
            self._roster, self._announce, self._subscribe_own
        )

    def __asynccontextmanager__(self) -> AbstractAsyncContextManager[Self]:
        """Run the hub; see the class.

        Raises:
            RuntimeError: The hub is running already.
        """
        return self._running()

    @asynccontextmanager
    async def _running(self) -> AsyncIterator[Self]:
        self._topics = Topics(self._bounds, secrets.token_hex(8))
        self._dispatcher = Dispatcher(self._topics)
        self._loop = current_token(), threading.get_ident()
        self._roster.draining = False
        self._roster.running = True
        with ExitStack() as stack:
            stack.callback(self._roster.end)
            if self._drain is not None:
                stack.enter_context(self._drain.watched(self._roster.drain))
            outcome: BaseException | None = None
            async with create_task_group() as tasks:
                tasks.start_soon(self._dispatcher.run)
                tasks.start_soon(self._sweep)
                if self._heartbeat is not None:
                    tasks.start_soon(self._beat, self._heartbeat)
                try:
                    async with self._relaying():
                        yield self
                except Exception as exc:
                    outcome = exc  # the task group would raise it in a group
                self._roster.running = False
                self._dispatcher.close()
                await self._dispatcher.ended()
                tasks.cancel_scope.cancel()
            if outcome is not None:
                try:
                    raise outcome
                finally:
                    outcome = None

    # Publishing

    def publish(
        self,
        topic: str,
        message: str | Binary,
        *,
        exclude: Subscription
        | Attachment
        | Messaging
        | StarletteWebSocket[Any]
        | None = None,
        key: str | None = None,
    ) -> int:
        """Publish a message; it never waits, however many members there are.

        The members are told by the hub's own task, which lets the event loop turn
        between them. The first message of a topic that only patterns match costs a step
        for each member of these patterns.

        Args:
            topic: The topic; no pattern.
            message: `str` is a text message, bytes are a binary one. A `bytearray` or a
                `memoryview` is copied.
            exclude: A member, or the connection of members, that does not get it.
            key: Under the rule `"coalesce"` the message replaces an older one of the
                topic with the same key that a member has not taken.
        Returns:
            How many members want the message. Whether each gets it is for its overflow
            rule and its filter to say.
        Raises:
            HubError: The hub is not running, or too many messages wait for the backend:
                the message is not published.
            TypeError: An argument has a wrong type.
            ValueError: The topic is a pattern, empty or too long, or no text.
            UnicodeEncodeError: The text holds a lone surrogate, which is no text.
        """
        self._roster.check_open()
        topic = checked_topic(topic)
        payload, size = _checked_message(message)
        if key is not None and not isinstance(key, str):
            raise TypeError(f"key must be a str, not {type(key).__name__}")
        excluded = _NOBODY if exclude is None else self._readings_of(exclude)
        if self._relay is None:
            self._published += 1
            return self._deliver(topic, payload, size, key, excluded)
        token = f"{self._topics.epoch}-{self._published}"
        self._published += 1
        self._relay.put(Publication(topic, payload, key, token))
        if excluded:
            self._excluded[token] = excluded
        there = self._topics.by_name.get(topic)
        if there is None:
            return self.subscribers(topic)
        return len(there.readings) - len(excluded.intersection(there.readings))

    def publish_from_thread(
        self, topic: str, message: str | Binary, *, key: str | None = None
    ) -> int:
        """Publish a message from a thread that runs no event loop of the hub's.

        Waits until the event loop has published the message, and returns and raises
        what `publish` does.

        Raises:
            HubError: The hub is not running.
            RuntimeError: The thread is the one that runs the hub: call `publish`.
        """
        loop = self._loop
        self._roster.check_open()
        if loop is None:
            raise AssertionError  # never: the loop is known while the hub runs
        token, thread = loop
        if thread == threading.get_ident():
            raise RuntimeError("publish_from_thread() blocks; call publish() here")
        return from_thread.run_sync(
            lambda: self.publish(topic, message, key=key), token=token
        )

    def _deliver(
        self,
        name: str,
        message: str | bytes,
        size: int,
        key: str | None,
        excluded: frozenset[Reading],
        position: tuple[str, Id] | None = None,
    ) -> int:
        """Put a message into the log of its topic; return how many want it."""
        topics = self._topics
        topics.order += 1
        topic = topics.find(name)
        if position is None:
            message_id: Id = (topics.order,)
        else:
            epoch, message_id = position
            if topic is not None and topic.epoch != epoch:
                self._begin_epoch(topic, epoch, message_id)
        if topic is None:
            if position is None:
                topics.forgotten = message_id
            return 0
        log = topic.log
        entry = Entry(
            name,
            message,
            topic.epoch,
            message_id,
            topics.order,
            log.last,
            key=key,
            exclude=excluded,
            at=current_time(),
            size=size,
        )
        if topic.keepers and log.full:
            for reading in topic.keepers:
                reading.notice(topic)
        log.append(entry)
        topic.published += 1
        if topics.sweepable:
            self._sweepable.wake()
        self._dispatcher.add(topic)  # also without members: one may come to resume
        return len(topic.readings) - len(excluded.intersection(topic.readings))

    def _begin_epoch(self, topic: Topic, epoch: str, first: Id) -> None:
        """Have the positions of a topic be of another epoch from now on."""
        if topic.log.end:
            for reading in topic.readings:
                reading.tell_gap(topic)
        topic.epoch = epoch
        topic.log.begin_epoch(first)

    # The receiver of the relay

    @asynccontextmanager
    async def _relaying(self) -> AsyncIterator[None]:
        """Connect the hub with the others, if it has a backend."""
        if self._backend is None:
            yield
            return
        self._excluded.clear()
        relay = Relay(self._backend, self, self._max_queued)
        self._topics.changed = relay.wants_change
        async with relay.running():
            self._relay = relay
            try:
                yield
            finally:
                self._relay = None

    def wanted(self) -> Wants:
        """Return the topics and the patterns that members have named."""
        return self._topics.wanted()

    def deliver(self, delivery: Delivery) -> None:
        """Take a message or a gap from the backend."""
        if delivery.message is None:
            self._excluded.clear()  # of messages that may be lost
            self._tell_gap(delivery.topic)
            return
        excluded = self._excluded.pop(delivery.token, _NOBODY)
        position = None
        if delivery.id is not None and delivery.epoch is not None:
            position = delivery.epoch, Position.id_of(delivery.id)
        payload, size = _checked_message(delivery.message)
        name = checked_topic(delivery.topic)
        self._deliver(name, payload, size, delivery.key, excluded, position)

    def _tell_gap(self, name: str | None) -> None:
        """Tell the members of a topic, or all members, that messages may be missing."""
        names = list(self._topics.by_name) if name is None else [name]
        for topic in filter(None, map(self._topics.by_name.get, names)):
            if not topic.name.startswith(OWN):
                for reading in topic.readings:
                    reading.tell_gap(topic)
                self._dispatcher.add(topic)

    def _readings_of(self, exclude: object) -> frozenset[Reading]:
        if isinstance(exclude, Subscription | Attachment):
            return frozenset((exclude.reading,))
        return self._roster.readings_of(_session_of(exclude, "exclude"))

    # Members

    def subscribe(
        self,
        *topics: str,
        since: SinceArgument = None,
        filter: Filter | None = None,
        buffer: int = DEFAULT_BUFFER,
        overflow: Overflow = "drop_oldest",
    ) -> Subscription:
        """Return the events of topics as an async iterator, to be used in `with`.

            with hub.subscribe("news", "room.*") as events:
                async for event in events:
                    print(event.topic, event.message)

        Args:
            topics: Topics and patterns; more can be joined in the block.
            since: Where a topic goes on. A position replays what came behind it, once
                and in order, or tells a gap if some of it is no longer kept; then all
                that is kept follows. `Position.OLDEST` replays the whole history.
                Several topics take a mapping from each topic, or pattern, to its
                position. `None` (default): only what is published from now on.
            filter: Called with each event that is a message; the member gets those for
                which it returns true. It must not wait. What it raises leaves the
                iteration.
            buffer: How many messages of one topic the member may be behind (default
                256).
            overflow: What happens to a member that is further behind. `"drop_oldest"`
                (default), `"drop_newest"`: these messages are dropped, and told as a
                gap in their place. `"coalesce"`: a message replaces an older one with
                the same key, and stands in its own place; if there are too many all the
                same, the oldest are dropped, and told as a gap. `"close"`: the
                iteration raises `HubError`.
        Raises:
            TypeError, ValueError: An argument has no meaning.
        """
        wishes = Wishes(topics, since, filter, buffer, overflow)
        return Subscription(self._roster, self._topics_now, wishes)

    def attach(
        self,
        websocket: Messaging | StarletteWebSocket[Any],
        *topics: str,
        since: SinceArgument = None,
        filter: Filter | None = None,
        buffer: int = DEFAULT_BUFFER,
        overflow: Overflow = "drop_oldest",
        encode: Encode | None = None,
    ) -> Attachment:
        """Send what is published in topics to a connection, inside a `with` block.

        The connection goes on being used as before: a handler receives, and sends. No
        task is started. Messages of the hub wait in the topic until the connection has
        room for them, at most half of its `send_buffer` at a time; so a peer that does
        not read costs the others nothing, and the rule of this member decides, not
        `send_overflow`.

        Args:
            websocket: A connection in guarded mode, of either end, after `accept()`;
                FastAPI's and Starlette's class too, under `WebSocketMiddleware`.
            topics: Topics and patterns; more can be joined in the block.
            since: Where a topic goes on; see `subscribe`.
            filter: Called with each event that is a message; the member gets those for
                which it returns true. It must not wait.
            buffer: How many messages of one topic the member may be behind (default
                256).
            overflow: As for `subscribe`; but `"close"` closes the connection with 1013.
            encode: Makes the message for the peer of an event; `None` sends nothing. It
                is called once for a message, whatever the number of members that give
                the same function, and for gaps; it must not wait. Without it the peer
                gets the messages as they are, and is not told of gaps and positions.
                `Event.as_json` tells it all.
        Returns:
            A context manager. If the filter or `encode` raises an exception, the
            connection is closed with 1011, and the exception leaves the block.
        Raises:
            TypeError, ValueError: An argument has no meaning.
            RuntimeError: The connection is not in guarded mode.
        """
        wishes = Wishes(topics, since, filter, buffer, overflow)
        if encode is not None and not callable(encode):
            raise TypeError("encode must be a function of an Event")
        session = _session_of(websocket, "attach")
        own_topic = None
        if self._heartbeat is not None and encode is Event.as_json:
            own_topic = HEARTBEAT
            self._heard.wake()
        return Attachment(
            self._roster, self._topics_now, wishes, session, encode, own_topic
        )

    def _topics_now(self) -> Topics:
        """Return the topics of the hub's present life."""
        return self._topics

    def subscribers(self, topic: str) -> int:
        """Return how many members get what is published in a topic.

        Raises:
            TypeError, ValueError: The topic is no topic.
        """
        there = self._topics.by_name.get(checked_topic(topic))
        if there is not None:
            return len(there.readings)
        matching = (w for w in self._topics.patterns.values() if w.match(topic))
        return len({reading for wanted in matching for reading in wanted.readings})

    def topics(self) -> frozenset[str]:
        """Return the topics that have members, or messages that are kept."""
        names = self._topics.by_name
        return frozenset(name for name in names if not name.startswith(OWN))

    def statistics(self) -> HubStatistics:
        """Return the counters as they stand now."""
        topics = self._topics.by_name.values()
        return HubStatistics(
            topics=len(self.topics()),
            members=len(self._roster),
            published=self._published,
            sent=sum(topic.sent for topic in topics),
            dropped=sum(topic.dropped for topic in topics),
            coalesced=sum(topic.coalesced for topic in topics),
        )

    # Presence

    def _announce(self, own_topic: str, key: str) -> None:
        """Tell the watchers of a topic that a key has changed."""
        if self._roster.running and own_topic in self._topics.by_name:
            self._deliver(own_topic, key, len(key), key, _NOBODY)

    def _subscribe_own(self, own_topic: str) -> Subscription:
        wishes = Wishes((), None, None, DEFAULT_BUFFER, "coalesce")
        return Subscription(self._roster, self._topics_now, wishes, own_topic)

    # Tasks

    async def _beat(self, seconds: float) -> None:
        """Publish heartbeats as long as there are members for them."""
        message = f"{seconds:g}"
        while True:
            if HEARTBEAT not in self._topics.by_name:
                await self._heard.wait()
            await sleep(seconds)
            if HEARTBEAT in self._topics.by_name:
                self._deliver(HEARTBEAT, message, len(message), None, _NOBODY)

    async def _sweep(self) -> None:
        """Let messages leave the histories when they are too old."""
        while True:
            if not self._topics.sweepable:
                await self._sweepable.wait()
            await sleep(_SWEEP_SECONDS)
            for number, name in enumerate(list(self._topics.by_name)):
                if number % _SWEPT_AT_ONCE == 0:
                    await checkpoint()
                self._topics.sweep(name, current_time())


def _check_number(
    name: str, value: object, types: type | tuple[type, ...], *, least: float
) -> None:
    if (
        not isinstance(value, types)
        or isinstance(value, bool)
        or not least <= value < inf  # type: ignore[operator]  # it is a number
    ):
        raise ValueError(f"{name} must be a number of at least {least}, not {value!r}")


def _checked_message(message: object) -> tuple[str | bytes, int]:
    """Return a message and the size of its payload in bytes."""
    if isinstance(message, str):
        return message, len(message) if message.isascii() else len(message.encode())
    if isinstance(message, Binary):
        data = bytes(message)
        return data, len(data)
    raise TypeError(f"a message is str or bytes, not {type(message).__name__}")


def _session_of(websocket: object, what: str) -> Session:
    """Return the session of a connection in guarded mode.

    Raises:
        TypeError: It is no connection.
        RuntimeError: It is not in guarded mode.
    """
    if isinstance(websocket, Messaging):
        return websocket._guarded(what)
    if not isinstance(websocket, StarletteWebSocket):
        raise TypeError(f"{what} takes a WebSocket, not {type(websocket).__name__}")
    session = session_in(websocket.scope)
    if session is None:
        raise RuntimeError(
            f"{what} needs the guarded mode: add anyws.WebSocketMiddleware"
        )
    return session
