"""One channel, its two queues, and how it ends: what the tasks of a session share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

from anyio import (
    BrokenResourceError,
    CancelScope,
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
from .channel import DirectChannel
from .deadlines import LULL, Deadlines
from .ending import Cause, Ending
from .keepalive import KEEPALIVE, Keepalive
from .queue import MessageQueue

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


class Connection:
    """What the reader, the writer and the user's code have in common.

    Attributes:
        receive_event, send_event: The channel.
        frames: The same, where the frames are ours.
        inbound, outbound: Events on their way.
        client_state, application_state: What has passed the channel.
        accepted: Whether the opening handshake was completed by an accept.
        reading, writing: Whether the two tasks are at work.
        held: What the reader has received, and not delivered yet.
        leaving: Whether the block has been left.
        stopped: Whether there is nothing left to read for.
        bursting: Whether a message was sent at once, so that the next ones are queued.
        streaming: Set when the message that is being sent in parts is over.
        read_done, written_done: Set when the tasks end, if anybody waits for it.
    """

    __slots__ = (
        "accepted",
        "application_state",
        "bursting",
        "bytes_received",
        "bytes_sent",
        "client_state",
        "deadlines",
        "ending",
        "frames",
        "held",
        "inbound",
        "keepalive",
        "leaving",
        "messages_received",
        "messages_sent",
        "options",
        "outbound",
        "read_done",
        "read_scope",
        "reading",
        "receive_event",
        "send_event",
        "stopped",
        "streaming",
        "write_scope",
        "writing",
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
        self.inbound = MessageQueue(options.receive_buffer, options.max_message_bytes)
        self.outbound = MessageQueue(options.send_buffer, options.send_buffer_bytes)
        self.client_state: WebSocketState = client_state
        self.application_state: WebSocketState = application_state
        self.accepted = application_state is CONNECTED
        self.ending = Ending()
        self.deadlines = Deadlines(options.idle_timeout, options.close_timeout)
        self.keepalive = Keepalive()
        self.read_scope = CancelScope(shield=True)
        self.write_scope = CancelScope(shield=True)
        self.reading = self.writing = True
        self.leaving = self.stopped = self.bursting = False
        self.held: Event | None = None
        self.streaming: Signal | None = None
        self.read_done: Signal | None = None
        self.written_done: Signal | None = None
        self.messages_received = self.bytes_received = 0
        self.messages_sent = self.bytes_sent = 0

    # The ends

    def wake_all(self) -> None:
        """Let nobody wait for what will not come any more."""
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
        self.application_state = next_state(
            Role.APPLICATION, self.application_state, CLOSE
        )
        self.ending.end(cause, CloseInfo(int(code), reason, "local"), error)
        self.wake_all()
        self.close_inbound()
        self.outbound.close()
        self.close_by(current_time() + self.options.close_timeout)
        if self.frames is not None:
            self.frames.deliver()  # nobody will read it: the answer is behind it

    def close_by_rule(
        self, code: int, reason: str, error: type[ConnectionClosed] | None = None
    ) -> None:
        """End the connection because one of the options says so."""
        if self.ending.info is None:
            self.close(code, reason, Cause.RULE, error)

    def lose(self, failure: BaseException, clean: bool | None = None) -> None:
        """The channel has failed. The reader goes on for a while: it may learn why."""
        info = CloseInfo(CloseCode.ABNORMAL_CLOSURE, "", "network", clean)
        defect = self.reading and not isinstance(failure, _GONE)
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
        info = info_of(event)
        too_big = info.code == CloseCode.MESSAGE_TOO_BIG and info.initiator == "local"
        error = MessageTooBig if too_big and self.frames is not None else None
        self.ending.explain(info, error)
        if self.ending.ours and INFO in event:
            self.ending.learn_whether_clean(info.clean)
        self.wake_all()
        self.outbound.discard()

    def settle(self) -> None:
        """After block and writer, only the answer to our closing frame is awaited."""
        if not self.leaving or self.writing:
            return
        if not self.ending.ours or self.ending.explained or not self.accepted:
            self.stopped = True
            self.read_scope.cancel()
        else:
            self.deadlines.await_answer(current_time())
            self._set_deadlines()

    def close_inbound(self) -> None:
        """Let nothing more in; who receives learns of it."""
        self.inbound.close()
        if self.frames is not None:
            self.frames.interrupt()

    @property
    def answering(self) -> bool:
        """Whether the closing frame that answers the peer may be on its way."""
        info = self.ending.info
        network = info is None or info.initiator == "network"
        return self.frames is not None and not network

    @property
    def stranded(self) -> bool:
        """Whether the reader can learn no more, as the user's code does not read."""
        return self.ending.failure is not None and self.held is not None

    # The deadlines

    @property
    def next_deadline(self) -> float:
        """When the reader has something to do but read."""
        return min(self.deadlines.next, self.keepalive.beat_at)

    def _set_deadlines(self) -> None:
        self.write_scope.deadline = self.deadlines.close_at
        self.read_scope.deadline = self.next_deadline

    def close_by(self, at: float) -> None:
        """Have the closing handshake end, at the latest."""
        self.deadlines.close_by(at)
        self._set_deadlines()

    def await_message(self) -> None:
        """Start to count the seconds without a message."""
        if self.deadlines.quiet_limit is not None and (
            self.accepted or self.ending.failure is not None
        ):
            self.deadlines.await_message(current_time())
            self.read_scope.deadline = self.next_deadline

    def hear_out(self) -> None:
        """Start to count the seconds for which a channel that has failed is read on."""
        self.deadlines.heard_until = current_time() + self.options.close_timeout
        self.await_message()

    def await_send(self, timeout: float) -> None:
        """Start to count the seconds of a send; or end it, if they are infinite."""
        self.deadlines.await_send(current_time() + timeout)
        self.read_scope.deadline = self.next_deadline

    # The keepalive, where pings are ours to send

    def start_beating(self) -> None:
        """Let the interval to the next ping begin."""
        if self.frames is not None and self.ending.info is None:
            self.keepalive.rest(self.options.ping_interval)
            self.read_scope.deadline = self.next_deadline

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
