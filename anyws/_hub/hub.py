"""The hub: topics, and the members that get their messages.

The wing's `__init__` has the picture.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from typing import Any, Self

from anyio import AsyncContextManagerMixin, from_thread
from anyio.lowlevel import EventLoopToken, current_token
from starlette.websockets import WebSocket as StarletteWebSocket

from .._messages.verbs import Messaging
from .._server.drain import Drain, check_drain
from .._values.events import Binary
from .arguments import check_number, checked_message, session_of
from .attachment import Attachment
from .backend import Backend
from .event import Event
from .life import NOBODY, Life
from .log import Bounds, Encode
from .member import DEFAULT_BUFFER, SinceArgument, Wishes
from .presence import Presence
from .reading import Filter, Overflow, Reading
from .roster import Roster
from .statistics import HubStatistics
from .subscription import Subscription
from .topic_names import OWN, checked_topic


class Hub(AsyncContextManagerMixin):
    """Topics, and members that get the messages published in them.

    A hub runs inside `async with hub:`; `hub.lifespan` is that block as the lifespan of
    a FastAPI or Starlette application. A hub can be created earlier, for instance as a
    global, and can be entered again after it has ended. Members come and go, and a
    member that does not read does not affect the others.

        hub = anyws.Hub()

        @anyws.endpoint
        async def chat(ws):
            await ws.accept()
            with hub.attach(ws, "lobby"):
                async for text in ws.iter_text():
                    hub.publish("lobby", text)

    A topic is a `str`, and needs no declaration. In a pattern, `*` stands for one or
    more characters other than a dot: `room.*` matches `room.1`, but not
    `room.1.typing`.

    Call all methods in the event loop that runs the hub, except `publish_from_thread`,
    which is for other threads.

    Args:
        history: How many messages of each topic are kept for members that join later,
            or rejoin (default 0).
        history_bytes: How many bytes of payload the history of a topic holds together
            (default 1 MiB).
        history_seconds: Seconds after which a message leaves the history (default 300).
        buffer_bytes: How many bytes of payload the messages of one topic that members
            have not taken yet hold together (default 16 MiB). Above that, the oldest
            are dropped, and a gap takes their place; a single larger message passes.
        backend: The backend that connects this hub with those of other processes; see
            `anyws.Backend`. Without one (default) the hub serves one process.
        max_queued: How many publications may wait for the backend (default 1000); one
            more raises `HubError`.
        presence_seconds: With a backend, seconds after which the presences of a process
            that was killed count as gone (default 20.0). Each hub sends four heartbeats
            in that time.
        heartbeat: Seconds between two heartbeats for browsers (default 20.0), which go
            to connections that are attached with `encode=Event.as_json`; `None`: none.
        drain: The drain of the server: when it begins, all subscriptions end. The
            drain itself closes the connections.

    Attributes:
        presence: The `Presence` of this hub: the keys that are present in each topic.

    Raises:
        ValueError: A number is invalid.
        TypeError: `drain` is not a `Drain`, or `backend` is not a `Backend`.
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
        presence_seconds: float = 20.0,
        heartbeat: float | None = 20.0,
        drain: Drain | None = None,
    ) -> None:
        check_drain(drain)
        if heartbeat is not None:
            check_number("heartbeat", heartbeat, (int, float), least=0.001)
        if backend is not None and not isinstance(backend, Backend):
            raise TypeError(f"{type(backend).__name__} is not an anyws.Backend")
        check_number("max_queued", max_queued, int, least=1)
        check_number("presence_seconds", presence_seconds, (int, float), least=0.1)
        check_number("history", history, int, least=0)
        check_number("history_bytes", history_bytes, int, least=1)
        check_number("buffer_bytes", buffer_bytes, int, least=1)
        check_number("history_seconds", history_seconds, (int, float), least=0)
        self._bounds = Bounds(
            history, history_bytes if history else 0, history_seconds, buffer_bytes
        )
        self._heartbeat = heartbeat
        self._backend = backend
        self._max_queued = max_queued
        self._drain = drain
        self._loop: tuple[EventLoopToken, int] | None = None
        self._presence_seconds = presence_seconds
        self._roster = Roster()
        self.presence: Presence = Presence(
            self._roster, self._announce, self._subscribe_own
        )
        self._life = self._new_life()
        self._roster.topics = self._life.topics

    def __asynccontextmanager__(self) -> AbstractAsyncContextManager[Self]:
        """Run the hub; see the class.

        Raises:
            RuntimeError: The hub is running already.
        """
        return self._running()

    def _new_life(self) -> Life:
        return Life(
            self._bounds,
            self._heartbeat,
            self._backend,
            self._max_queued,
            self.presence,
            self._presence_seconds,
        )

    @asynccontextmanager
    async def _running(self) -> AsyncIterator[Self]:
        life = self._life = self._new_life()
        self._loop = current_token(), threading.get_ident()
        self._roster.topics = life.topics
        self._roster.draining = False
        self._roster.running = True
        outcome: Exception | None = None
        with ExitStack() as stack:
            stack.callback(self._roster.end)
            if self._drain is not None:
                stack.enter_context(self._drain.watched(self._roster.drain))
            async with life.running():
                try:
                    yield self
                except Exception as exc:
                    outcome = exc  # a task group would raise it in a group
                self._roster.running = False
        if outcome is not None:
            try:
                raise outcome
            finally:
                outcome = None  # its traceback holds this frame

    @asynccontextmanager
    async def lifespan(self, app: object) -> AsyncIterator[None]:
        """Run the hub as the lifespan of an application: `FastAPI(lifespan=...)`.

        Args:
            app: The application; it is ignored.
        Raises:
            RuntimeError: The hub is running already.
        Cancellation:
            Entering is not a checkpoint. Leaving first gives all messages to the
            members, and with a backend publishes the queued messages, for at most a
            second.
        Source: ASGI "lifespan".
        """
        async with self:
            yield

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

        The hub's own task gives the message to the members, and lets other tasks run in
        between. The first message of a topic that only patterns match costs a step for
        each member of these patterns.

        Args:
            topic: The topic, not a pattern.
            message: `str` for a text message, bytes for a binary one. A `bytearray` or
                a `memoryview` is copied.
            exclude: A member that does not get the message, or a connection whose
                members do not get it.
            key: For members with the rule `"coalesce"`: the message replaces an older
                one of the topic with the same key, if the member has not taken that
                yet.
        Returns:
            The number of members that want the message. The overflow rule and the
            filter of each member decide whether it gets it.
        Raises:
            HubError: The hub is not running, or too many messages wait for the backend:
                the message is not published.
            TypeError: An argument has a wrong type.
            ValueError: The topic is a pattern, empty, too long, or not valid text.
            UnicodeEncodeError: The text contains a lone surrogate, which UTF-8 cannot
                encode.
        """
        self._roster.check_open()
        topic = checked_topic(topic)
        payload, size = checked_message(message)
        if key is not None and not isinstance(key, str):
            raise TypeError(f"key must be a str, not {type(key).__name__}")
        excluded = NOBODY if exclude is None else self._readings_of(exclude)
        return self._life.publish(topic, payload, size, key, excluded)

    def publish_from_thread(
        self, topic: str, message: str | Binary, *, key: str | None = None
    ) -> int:
        """Publish a message from a thread other than the one that runs the hub.

        Waits until the event loop has published the message. Returns and raises the
        same as `publish`.

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

    def _readings_of(self, exclude: object) -> frozenset[Reading]:
        if isinstance(exclude, Subscription | Attachment):
            return frozenset((exclude.reading,))
        return self._roster.readings_of(session_of(exclude, "exclude"))

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
            since: Where a topic begins. A position replays the messages after it, once
                and in order. If some of them are no longer kept, a gap comes first, and
                then all that are kept. `Position.OLDEST` replays the whole history. For
                several topics, use a mapping from each topic or pattern to its
                position. `None` (default): only messages that are published from now
                on. A backend that keeps messages replays at most the newest 1000 of a
                topic.
            filter: Called with each event that is a message; the member gets those for
                which it returns true. It must not wait. If it raises, the iteration
                raises that exception.
            buffer: How many messages of one topic the member may be behind (default
                256), of those that the filter lets pass.
            overflow: What happens to a member that is further behind. `"drop_oldest"`
                (default), `"drop_newest"`: these messages are dropped, and a gap takes
                their place. `"coalesce"`: a message replaces an older one with the same
                key, and keeps its own place; if there are still too many, the oldest
                are dropped, and a gap takes their place. `"close"`: the iteration
                raises `HubError`.
        Raises:
            TypeError, ValueError: An argument is invalid.
        """
        wishes = Wishes(topics, since, filter, buffer, overflow)
        return Subscription(self._roster, wishes)

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
        """Send the messages of topics to a connection, inside a `with` block.

        The handler goes on receiving and sending as before. No task is started.
        Messages of the hub wait in the topic until the connection has room for them.
        They take at most half of its `send_buffer` at a time. So a peer that does not
        read does not affect the others, and the rule of this member applies, not
        `send_overflow`.

        Args:
            websocket: A connection in guarded mode, of either end, after `accept()`;
                FastAPI's and Starlette's class too, under `WebSocketMiddleware`.
            topics: Topics and patterns; more can be joined in the block.
            since: Where a topic begins; see `subscribe`.
            filter: Called with each event that is a message; the member gets those for
                which it returns true. It must not wait.
            buffer: How many messages of one topic the member may be behind (default
                256), of those that the filter lets pass.
            overflow: As for `subscribe`; but `"close"` closes the connection with 1013.
            encode: A function that turns an event into the message for the peer; if it
                returns `None`, nothing is sent. It is called for gaps, and once for
                each message, even if several members use the same function. It must not
                wait. Without it, the peer gets the messages unchanged, and learns
                nothing about gaps and positions. `Event.as_json` includes all of this.
        Returns:
            A context manager. If the filter or `encode` raises an exception, the
            connection is closed with 1011, and the exception leaves the block.
        Raises:
            TypeError, ValueError: An argument is invalid.
            RuntimeError: The connection is not in guarded mode.
        """
        wishes = Wishes(topics, since, filter, buffer, overflow)
        if encode is not None and not callable(encode):
            raise TypeError("encode must be a function of an Event")
        session = session_of(websocket, "attach")
        own_topic = None
        if encode is Event.as_json:
            own_topic = self._life.expect_heartbeats()
        return Attachment(self._roster, wishes, session, encode, own_topic)

    def subscribers(self, topic: str) -> int:
        """Return how many members get the messages of a topic.

        Raises:
            TypeError, ValueError: The topic is not a valid topic.
        """
        return len(self._life.topics.readers_of(checked_topic(topic)))

    def topics(self) -> frozenset[str]:
        """Return the topics that have members, or messages that are kept."""
        names = self._life.topics.by_name
        return frozenset(name for name in names if not name.startswith(OWN))

    def statistics(self, topic: str | None = None) -> HubStatistics:
        """Return the counters of the hub, or of one topic, at one moment.

        The counters of a topic start again after a time without members and messages.

        Raises:
            TypeError, ValueError: The topic is not a valid topic.
        """
        there = self._life.topics.by_name
        if topic is None:
            topics = [there[name] for name in self.topics()]
            members, published = len(self._roster), self._life.published
        else:
            found = there.get(checked_topic(topic))
            topics = [] if found is None else [found]
            members = sum(len(one.readings) for one in topics)
            published = sum(one.published for one in topics)
        return HubStatistics.of(topics, members, published)

    # Presence

    def _announce(self, own_topic: str, key: str) -> None:
        """Tell the watchers of a topic that a key has changed."""
        if self._roster.running and own_topic in self._life.topics.by_name:
            self._life.append(own_topic, key, len(key), key)

    def _subscribe_own(self, own_topic: str) -> Subscription:
        wishes = Wishes((), None, None, DEFAULT_BUFFER, "coalesce")
        return Subscription(self._roster, wishes, own_topic)
