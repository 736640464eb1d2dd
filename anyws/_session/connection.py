"""One channel, its two queues, and how it ends: what the tasks of a session share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
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
from .._values.options import DEFAULTS, Options
from .._values.states import CLOSE, CONNECTED, Role, next_state
from .channel import DirectChannel, Driver
from .deadlines import LULL, Deadlines
from .ending import Cause, Ending
from .keepalive import KEEPALIVE, Keepalive
from .queue import MessageQueue
from .stage import TRANSITIONS, Stage, Step
from .stopwatch import stopwatch

ChannelReceive: TypeAlias = Callable[[], Awaitable[Event]]
ChannelSend: TypeAlias = Callable[[Any], Awaitable[None]]

# What a channel raises once the peer is gone; servers use RuntimeError for it too.
_GONE: Final = (
    OSError,
    RuntimeError,
    WebSocketDisconnect,
    BrokenResourceError,
    ClosedResourceError,
    EndOfStream,
)

# Seconds of silence in which a channel that has failed may still tell why.
_LAST_WORDS: Final = 0.5


class Counters:
    """What has passed a connection: messages, and bytes of their payload."""

    __slots__ = (
        "bytes_received",
        "bytes_sent",
        "messages_received",
        "messages_sent",
    )

    def __init__(self) -> None:
        self.messages_received = self.bytes_received = 0
        self.messages_sent = self.bytes_sent = 0


class Connection:
    """The record that the parts of a session share.

    It does not know how it is driven: `driver` carries events between the two queues
    and the channel, and is told when a deadline changes or nothing is left to do.

    Attributes:
        receive_event, send_event: The channel.
        frames: The same, where the frames are ours.
        driver: What carries the events.
        options: The settings.
        inbound, outbound: Events on their way.
        opening: The "websocket.connect", until the user's code receives it.
        client_state: By what has come out of the channel.
        application_state: By what the user's code has sent, or has ended with.
        accepted: Whether the opening handshake was completed by an accept.
        stage: How far the connection has come.
        ending: How it ended, if it has.
        deadlines, keepalive: What is due, and when.
        counters: What has passed.
        held: A message that was read from a foreign channel and has no room yet.
        receiving: Whether a task is receiving.
        bursting: Whether a message was sent at once, so that the next ones are queued.
        in_hand: Messages taken from `outbound` and not yet handed to the channel.
        streaming: Set when the message that is being sent in parts is over.
        read_done, written_done: Set when reading or writing is over, if a task waits
            for it.
    """

    __slots__ = (
        "accepted",
        "application_state",
        "bursting",
        "client_state",
        "counters",
        "deadlines",
        "driver",
        "ending",
        "frames",
        "held",
        "in_hand",
        "inbound",
        "keepalive",
        "opening",
        "options",
        "outbound",
        "read_done",
        "receive_event",
        "receiving",
        "send_event",
        "stage",
        "streaming",
        "written_done",
    )

    def __init__(
        self,
        receive: ChannelReceive,
        send: ChannelSend,
        options: Options | None,
        client_state: WebSocketState,
        application_state: WebSocketState,
        frames: DirectChannel | None,
    ) -> None:
        options = DEFAULTS if options is None else options
        self.options = options
        self.receive_event, self.send_event = receive, send
        self.frames = frames
        self.driver: Driver
        self.inbound = MessageQueue(options.receive_buffer, options.max_message_bytes)
        self.outbound = MessageQueue(options.send_buffer, options.send_buffer_bytes)
        self.opening: Event | None = None
        self.client_state: WebSocketState = client_state
        self.application_state: WebSocketState = application_state
        self.accepted = application_state is CONNECTED
        self.stage: Stage = Stage.OPEN
        self.ending = Ending()
        self.deadlines = Deadlines(options.idle_timeout, options.close_timeout)
        self.keepalive = Keepalive(current_time, stopwatch())
        self.counters = Counters()
        self.held: Event | None = None
        self.receiving = self.bursting = False
        self.in_hand = 0
        self.streaming: Signal | None = None
        self.read_done: Signal | None = None
        self.written_done: Signal | None = None

    # The ends

    def wake_all(self) -> None:
        """Let no task wait for what will not come: an answer to a ping, its turn."""
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
        """End the connection from our side: the writer sends the rest and the close."""
        if cause is Cause.USER:
            state = next_state(Role.APPLICATION, self.application_state, CLOSE)
            self.application_state = state
        self.ending.end(cause, CloseInfo(int(code), reason, "local"), error)
        self.inbound.close()
        self.outbound.close()
        self.deadlines.close_by(current_time() + self.options.close_timeout)
        self.driver.rearm()
        if self.frames is not None:
            self.wake_all()
            self.frames.interrupt()
            self.frames.read_on()  # the peer's answer is behind what nothing will read

    def close_by_rule(
        self, code: int, reason: str, error: type[ConnectionClosed] | None = None
    ) -> None:
        """End the connection because one of the options says so."""
        if self.ending.info is None:
            self.close(code, reason, Cause.RULE, error)

    def lose(self, failure: BaseException, clean: bool | None = None) -> None:
        """The channel has failed. The reader goes on for a while: it may learn why."""
        info = CloseInfo(CloseCode.ABNORMAL_CLOSURE, "", "network", clean)
        defect = self.stage.reads and not isinstance(failure, _GONE)
        self.ending.fail(failure, info, defect=defect)
        self.wake_all()
        self.outbound.discard()
        self.deadlines.quiet_limit = _LAST_WORDS
        if not self.stranded:
            self.hear_out()
        elif self.read_done is not None:
            self.read_done.set()

    def peer_left(self, event: Event) -> None:
        """The channel has delivered the disconnect."""
        info, ending = info_of(event), self.ending
        too_big = info.code == CloseCode.MESSAGE_TOO_BIG and info.initiator == "local"
        error = MessageTooBig if too_big and self.frames is not None else None
        ending.explain(info, error)
        if ending.phase.ours and INFO in event:
            ending.learn_whether_clean(info.clean)
        self.outbound.discard()
        if self.frames is not None:
            self.wake_all()

    # What comes to an end

    def reading_is_over(self) -> None:
        """Take note that nothing more will be read."""
        self.stage = TRANSITIONS[self.stage][Step.READ]
        self.inbound.close()
        if self.frames is not None:
            self.frames.interrupt()
        if self.read_done is not None:
            self.read_done.set()

    def writing_is_over(self) -> None:
        """Take note that nothing more will be written."""
        self.stage = TRANSITIONS[self.stage][Step.WRITTEN]
        if self.outbound.held or not self.outbound.closed:
            self.outbound.discard()
        if self.written_done is not None:
            self.written_done.set()
        if self.stage is Stage.LINGERING:
            self._linger()

    def code_has_left(self) -> None:
        """Take note that the user's code has left the block."""
        self.stage = TRANSITIONS[self.stage][Step.LEAVE]
        if self.stage is Stage.LINGERING:
            self._linger()

    def _linger(self) -> None:
        """Wait for the peer's answer, if there is to be one."""
        if self.answer_awaited:
            self.deadlines.await_answer(current_time())
            self.driver.rearm()
        else:
            self.driver.stop_reading()

    @property
    def answer_awaited(self) -> bool:
        """Whether the peer is to answer our closing frame."""
        return self.accepted and self.ending.ours and not self.ending.explained

    @property
    def answering(self) -> bool:
        """Whether the closing frame that answers the peer may be on its way."""
        info = self.ending.info
        network = info is None or info.initiator == "network"
        return self.frames is not None and not network

    @property
    def stranded(self) -> bool:
        """Whether the channel has failed, and what it said last is not read."""
        return self.ending.failure is not None and self.held is not None

    # The deadlines

    def close_by(self, at: float) -> None:
        """Have the closing handshake end, at the latest."""
        self.deadlines.close_by(at)
        self.driver.rearm()

    def await_message(self) -> None:
        """Start to count the seconds without a message."""
        if self.deadlines.quiet_limit is not None and (
            self.accepted or self.ending.failure is not None
        ):
            self.deadlines.await_message(current_time())
            self.driver.rearm()

    def hear_out(self) -> None:
        """Start to count the seconds for which a channel that has failed is read on."""
        self.deadlines.heard_until = current_time() + self.options.close_timeout
        self.await_message()

    def await_send(self, timeout: float) -> None:
        """Start to count the seconds of a send; or end it, if they are infinite."""
        self.deadlines.await_send(current_time() + timeout)
        self.driver.rearm()

    # The keepalive, where pings are ours to send

    def start_beating(self) -> None:
        """Let the interval to the next ping begin."""
        if self.frames is not None and self.ending.info is None:
            self.keepalive.rest(self.options.ping_interval)
            self.driver.rearm()

    def beat(self) -> None:
        """Send a ping, or find that the last one was not answered."""
        frames, keepalive = self.frames, self.keepalive
        timeout = self.options.ping_timeout
        if frames is None or self.ending.info is not None:
            keepalive.cancel()
        elif not keepalive.awaited:
            keepalive.sent(timeout)
            frames.ping(KEEPALIVE)
            self.outbound.filled.wake()
        elif frames.paused:  # it is we who do not read
            keepalive.postpone(timeout)
        elif keepalive.late(LULL):
            self.close_by_rule(CloseCode.INTERNAL_ERROR, "keepalive ping timeout")
