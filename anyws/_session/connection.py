"""The record that the parts of a session share: a channel, two queues, an ending."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from logging import INFO as INFO_LEVEL
from math import inf
from random import uniform
from typing import Any, Final, TypeAlias

from anyio import (
    BrokenResourceError,
    ClosedResourceError,
    EndOfStream,
    current_time,
)
from anyio import Event as Signal
from starlette.websockets import WebSocketDisconnect, WebSocketState

from .._values.closing import CloseCode, CloseInfo
from .._values.errors import ConnectionClosed, MessageTooBig
from .._values.events import INFO, Event, info_of
from .._values.observer import ObservedConnection
from .._values.options import DEFAULTS, Options
from .._values.states import CLOSE, CONNECTED, SEND, Role, next_state
from .channel import DirectChannel, Driver, Feeder, Unqueued
from .deadlines import Deadlines
from .ending import Cause, Ending
from .keepalive import KEEPALIVE, Beat, Keepalive
from .observation import LOGGER, Observation
from .pace import Pace
from .queue import MessageQueue
from .stage import TRANSITIONS, Stage, Step
from .stopwatch import stopwatch
from .timers import Timers
from .upkeep import Upkeep

ChannelReceive: TypeAlias = Callable[[], Awaitable[Event]]
ChannelSend: TypeAlias = Callable[[Any], Awaitable[None]]

# The exceptions by which a channel says that the peer is gone. Some servers raise a
# plain RuntimeError for it.
_GONE: Final = (
    OSError,
    RuntimeError,
    WebSocketDisconnect,
    BrokenResourceError,
    ClosedResourceError,
    EndOfStream,
)

# Seconds of silence after which a channel that has failed is read no more. Until then
# it may deliver the disconnect that says why.
_LAST_WORDS: Final = 0.5


class Counters:
    """How many messages have passed a connection, and bytes of their payload."""

    __slots__ = (
        "bytes_received",
        "bytes_sent",
        "messages_received",
        "messages_sent",
    )

    def __init__(self) -> None:
        self.messages_received: int = 0
        self.bytes_received: int = 0
        self.messages_sent: int = 0
        self.bytes_sent: int = 0


class Connection:
    """The record that the parts of a session share.

    It does not know how it is driven. `driver` carries events between the two queues
    and the channel; the connection tells it when a deadline has changed, and when
    nothing is left to read or to write.

    Attributes:
        receive_event, send_event: The channel.
        frames: The channel again, where its frames are ours; else `None`.
        feed: Messages that wait elsewhere for room in `outbound`; `None` if there never
            were any.
        driver: Carries the events.
        options: The settings.
        inbound: Messages that were received and not yet read by the user's code.
        outbound: Events that the user's code has sent and the channel not yet taken.
        passage: Messages that are still to pass a wrapped `send` before they get there;
            `None` if none ever was.
        opening: The "websocket.connect", until the user's code receives it.
        client_state: The client's state, by the events that the channel has delivered.
        application_state: The application's state, by what the user's code has sent or
            by how it has ended.
        accepted: Whether an accept has completed the opening handshake.
        stage: What is over: the block, the writing, the reading.
        ending: How and why the connection has ended, if it has.
        deadlines, keepalive: What is due, and when.
        observation: What is kept for the observer, and for the log; `None`: nothing.
        scope: The ASGI scope, until it is known whether the connection is observed.
        url: At a client, the URL as the log may show it; `None` at a server.
        pace: How fast messages may come; `None`: without a limit.
        timers: The lifetime and the heartbeats; `None`: the options name neither.
        counters: How many messages and bytes have passed.
        interrupts: The functions that are called for each message before it enters the
            queue, the last one first; each says whether it takes the message
            (`cancel_on`).
        held: The message that the reader task has received from a foreign channel and
            that has no room in `inbound` yet.
        receiving: Whether a task is receiving.
        farewell: The code and reason of a drain that has announced the end.
        interrupted: Whether a block that had only joined the session was cancelled.
        upkeep: What the connections of a server share; it counts the turns.
        wrote_in: The turn in which a message was written within its `send`. The next
            ones of that turn are queued, to go out in one write.
        streaming: Set when the message that is being sent in parts is over; `None`
            while none is.
        read_done, written_done: Set when reading or writing is over; `None` unless a
            task waits for that.
    """

    __slots__ = (
        "_begun",
        "accepted",
        "application_state",
        "client_state",
        "counters",
        "deadlines",
        "driver",
        "ending",
        "farewell",
        "feed",
        "frames",
        "held",
        "inbound",
        "interrupted",
        "interrupts",
        "keepalive",
        "observation",
        "opening",
        "options",
        "outbound",
        "pace",
        "passage",
        "read_done",
        "receive_event",
        "receiving",
        "scope",
        "send_event",
        "stage",
        "streaming",
        "timers",
        "upkeep",
        "url",
        "written_done",
        "wrote_in",
    )

    def __init__(
        self,
        receive: ChannelReceive,
        send: ChannelSend,
        options: Options | None,
        client_state: WebSocketState,
        application_state: WebSocketState,
        frames: DirectChannel | None,
        upkeep: Upkeep,
    ) -> None:
        options = DEFAULTS if options is None else options
        self.options: Options = options
        self.receive_event: ChannelReceive = receive
        self.send_event: ChannelSend = send
        self.frames: DirectChannel | None = frames
        self.feed: Feeder | None = None
        self.driver: Driver
        self.inbound: MessageQueue = MessageQueue(
            options.receive_buffer, options.max_message_bytes
        )
        self.outbound: MessageQueue = MessageQueue(
            options.send_buffer, options.send_buffer_bytes
        )
        self.passage: Unqueued | None = None
        self.opening: Event | None = None
        self.client_state: WebSocketState = client_state
        self.application_state: WebSocketState = application_state
        self.accepted: bool = application_state is CONNECTED
        self.stage: Stage = Stage.OPEN
        self.ending: Ending = Ending()
        self.deadlines: Deadlines = Deadlines(
            options.idle_timeout, options.close_timeout
        )
        self.keepalive: Keepalive = Keepalive(current_time, stopwatch())
        self.pace: Pace | None = None
        self.timers: Timers | None = None
        self.limit(options, options)
        self._begun = False  # the opening handshake is complete
        self.observation: Observation | None = None
        self.scope: Mapping[str, Any] | None = None
        self.url: str | None = None
        self.counters: Counters = Counters()
        self.interrupts: tuple[Callable[[Event], bool], ...] = ()
        self.held: Event | None = None
        self.receiving: bool = False
        self.interrupted: bool = False
        self.farewell: tuple[int, str] | None = None
        self.upkeep: Upkeep = upkeep
        self.wrote_in: int = -1
        self.streaming: Signal | None = None
        self.read_done: Signal | None = None
        self.written_done: Signal | None = None

    # The events that end the connection

    def wake_all(self) -> None:
        """Wake the tasks that wait for a pong, or for their turn to send in parts."""
        self.keepalive.end()
        if self.streaming is not None:
            self.streaming.set()

    def close(
        self,
        code: int,
        reason: str,
        cause: Cause = Cause.USER,
        error: type[ConnectionClosed] | None = None,
    ) -> None:
        """Close from this end: the writer task sends the queue and a closing frame."""
        if cause is Cause.USER:
            state = next_state(Role.APPLICATION, self.application_state, CLOSE)
            self.application_state = state
        self.ending.end(cause, CloseInfo(int(code), reason, "local"), error)
        self.inbound.close()
        if self.passage is None:
            self.outbound.close()
        else:  # behind the messages that are still to pass a `send`
            self.passage.close(by_user=cause is Cause.USER)
        self.deadlines.close_by(current_time() + self.options.close_timeout)
        self.driver.rearm()
        if self.frames is not None:
            self.wake_all()
            self.frames.interrupt()
            self.frames.read_on()  # unread messages stand before the peer's answer

    def close_by_rule(
        self, code: int, reason: str, error: type[ConnectionClosed] | None = None
    ) -> None:
        """Close because of a rule: an option, a drain, a message cut short."""
        if self.ending.info is None:
            self.close(code, reason, Cause.RULE, error)

    def lose(self, failure: BaseException, clean: bool | None = None) -> None:
        """Note that the channel has failed.

        The reader task goes on for a while, as the disconnect may still say why.
        """
        info = CloseInfo(CloseCode.ABNORMAL_CLOSURE, "", "network", clean)
        defect = self.stage.reads and not isinstance(failure, _GONE)
        self.ending.fail(failure, info, defect=defect)
        self.wake_all()
        self.outbound.discard()
        if self.passage is not None:
            self.passage.discard()
        self.deadlines.quiet_limit = _LAST_WORDS
        if not self.stranded:
            self.hear_out()
        elif self.read_done is not None:
            self.read_done.set()

    def peer_left(self, event: Event) -> None:
        """Note that the channel has delivered the disconnect."""
        info, ending = info_of(event), self.ending
        too_big = info.code == CloseCode.MESSAGE_TOO_BIG and info.initiator == "local"
        error = MessageTooBig if too_big and self.frames is not None else None
        ending.explain(info, error)
        if ending.phase.ours and INFO in event:
            ending.learn_whether_clean(info.clean)
        self.outbound.discard()
        if self.passage is not None:
            self.passage.discard()
        if self.frames is not None:
            self.wake_all()

    # Lifetime, heartbeats and pace

    def begin(self) -> None:
        """Take note, once, that the opening handshake is complete."""
        if self._begun or not self.accepted:
            return
        self._begun = True
        self.start_timers()
        observer = self.options.observer
        if observer is not None or LOGGER.isEnabledFor(INFO_LEVEL):
            view = ObservedConnection(self.scope, self.url)
            self.observation = Observation(observer, view, current_time())
        self.scope = None  # it holds the session, which holds this

    def limit(self, options: Options, before: Options) -> None:
        """Begin anew to keep what options say of pace, lifetime and heartbeats.

        A lifetime that is the same as before goes on.
        """
        rate, timers = options.rate_limit, self.timers
        self.pace = None if rate is None else Pace(*rate)
        timed = options.max_lifetime is not None or options.heartbeat is not None
        self.timers = Timers() if timed else None
        same = options.max_lifetime == before.max_lifetime
        if same and timers is not None and self.timers is not None:
            self.timers.expires_at = timers.expires_at

    def start_timers(self) -> None:
        """Let the lifetime and the interval to the first heartbeat begin."""
        timers, options = self.timers, self.options
        if timers is None or not self.accepted or self.ending.info is not None:
            return
        now, lifetime = current_time(), options.max_lifetime
        if timers.expires_at == inf and lifetime is not None:
            timers.expires_at = now + lifetime * uniform(0.9, 1)
        if timers.beat_at == inf and options.heartbeat is not None:
            timers.beat_at = now + options.heartbeat.interval
        self.driver.rearm()

    def tick(self, now: float) -> None:
        """Close a connection that is too old; send a heartbeat, or miss the answer."""
        timers, heartbeat = self.timers, self.options.heartbeat
        if timers is None:
            return
        received = self.counters.bytes_received
        if self.ending.info is not None:
            self.timers = None
        elif now >= timers.expires_at:
            self.close_by_rule(CloseCode.GOING_AWAY, "maximum lifetime")
        elif heartbeat is None or now < timers.beat_at:
            pass
        elif not timers.awaited:
            if self.streaming is not None:  # no message between fragments
                timers.postpone(now)
            else:
                size = len(heartbeat.message.encode())
                self.outbound.put_ahead({"type": SEND, "text": heartbeat.message}, size)
                timers.sent(now, heartbeat.timeout, received)
        elif timers.late(now, heartbeat.timeout, received):
            self.close_by_rule(CloseCode.INTERNAL_ERROR, "heartbeat timeout")

    # The events that move the stage

    def reading_is_over(self) -> None:
        """Note that nothing more will be read."""
        self.stage = TRANSITIONS[self.stage][Step.READ]
        if not self.inbound.closed:
            self.inbound.close()
        if self.frames is not None:
            self.frames.interrupt()
        if self.read_done is not None:
            self.read_done.set()

    def writing_is_over(self) -> None:
        """Note that nothing more will be written."""
        self.stage = TRANSITIONS[self.stage][Step.WRITTEN]
        if self.outbound.held or not self.outbound.closed:
            self.outbound.discard()
        if self.passage is not None:
            self.passage.stop()
        if self.written_done is not None:
            self.written_done.set()
        if self.stage is Stage.LINGERING:
            self._linger()

    def code_has_left(self) -> None:
        """Note that the user's code has left the block."""
        self.stage = TRANSITIONS[self.stage][Step.LEAVE]
        if self.stage is Stage.LINGERING:
            self._linger()

    def _linger(self) -> None:
        """Wait for the peer's answer to our closing frame, or end the reading."""
        if self.answer_awaited:
            self.deadlines.await_answer(current_time())
            self.driver.rearm()
        else:
            self.driver.stop_reading()

    @property
    def answer_awaited(self) -> bool:
        """Whether a closing frame of the peer is still to answer ours."""
        return self.accepted and self.ending.ours and not self.ending.explained

    @property
    def answering(self) -> bool:
        """Whether a closing frame that the channel itself makes may be unwritten."""
        info = self.ending.info
        network = info is None or info.initiator == "network"
        return self.frames is not None and not network

    @property
    def stranded(self) -> bool:
        """Whether the channel has failed while a message of it still has no room."""
        return self.ending.failure is not None and self.held is not None

    # The deadlines

    def close_by(self, at: float) -> None:
        """Have the closing handshake end at this time, at the latest."""
        self.deadlines.close_by(at)
        self.driver.rearm()

    def await_message(self) -> None:
        """Start to count the seconds without a message."""
        if self.deadlines.quiet_limit is not None and (
            self.accepted or self.ending.failure is not None
        ):
            self.deadlines.await_message(current_time())
            self.driver.rearm()

    def limit_silence(self, seconds: float | None) -> None:
        """Count the seconds without a message anew, up to another limit.

        A peer that a full queue keeps waiting is not silent; nor is a channel that has
        failed bound by `idle_timeout`.
        """
        if self.ending.failure is not None:
            return
        deadlines = self.deadlines
        before, deadlines.quiet_limit = deadlines.quiet_limit, seconds
        stopped = self.accepted and before is not None and deadlines.idle_at == inf
        full = self.held is not None or (self.frames is not None and self.inbound.full)
        if seconds is None:
            deadlines.idle_at = inf
        elif not (stopped or full):
            self.await_message()

    def hear_out(self) -> None:
        """Limit the time for which a channel that has failed is still read."""
        self.deadlines.heard_until = current_time() + self.options.close_timeout
        self.await_message()

    def await_send(self, timeout: float) -> None:
        """Let `send_timeout` begin; with infinite seconds, end it."""
        self.deadlines.await_send(current_time() + timeout)
        self.driver.rearm()

    # The keepalive, where this package writes the pings

    def start_beating(self) -> None:
        """Let the interval to the next ping begin."""
        self.begin()
        if self.frames is not None and self.ending.info is None:
            self.keepalive.rest(self.options.ping_interval)
            self.driver.rearm()

    def beat(self, now: float) -> None:
        """Send a ping if one is due; close if the last one was not answered."""
        frames, keepalive = self.frames, self.keepalive
        timeout = self.options.ping_timeout
        if frames is None or self.ending.info is not None:
            keepalive.cancel()
            return
        match keepalive.judge(now, timeout, pausing=frames.pausing):
            case Beat.DUE:
                keepalive.sent(timeout)
                frames.ping(KEEPALIVE)
                self.outbound.filled.wake()
            case Beat.LOST:
                self.close_by_rule(CloseCode.INTERNAL_ERROR, "keepalive ping timeout")
