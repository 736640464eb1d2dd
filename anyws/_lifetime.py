"""How long a connection lasts: its ends and its deadlines.

All deadlines (idle, send, close, keepalive) meet in the scope of the reader's pending
receive, and it is the reader who acts on them. So a server's `send` that cannot be
cancelled, as Hypercorn's on trio, does not keep a deadline from being noticed.

`info` is the one mark of the end: it is set at once, by whoever ends the connection.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from math import inf
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

from ._buffer import Buffer
from ._close import CloseCode, CloseInfo
from ._direct import DirectChannel
from ._errors import ConnectionClosed, MessageTooBig
from ._events import INFO, Event, info_of
from ._options import Options
from ._pings import KEEPALIVE, Pings
from ._states import CLOSE, CONNECTED, CONNECTING, Role, next_state

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

# Seconds of silence that end a flood, and that a deadline is given when it has passed:
# the event loop may have been held up, and what came in time be about to arrive.
LULL: Final = 0.03

# How many times the wait for the peer's answer a flood may last.
_FLOOD_FACTOR: Final = 10

# Seconds of silence in which a channel that has failed may still tell why.
_LAST_WORDS: Final = 0.5

_DEFAULTS: Final = Options()


class Lifetime:
    """One channel, its two buffers, and when and how the connection over it ends.

    Attributes:
        info: How the connection ended; `None` while it is open.
        client_state, application_state: What has passed the channel.
        options: The settings.
        pings: Where the frames are ours to send.
    """

    # An object of so many attributes would carry a dict of 1.5 KiB.
    __slots__ = (
        "_accepted",
        "_alarmed",
        "_aside",
        "_bursting",
        "_cause",
        "_channel_receive",
        "_channel_send",
        "_close_at",
        "_direct",
        "_error",
        "_farewell",
        "_fault",
        "_flood_until",
        "_gathering",
        "_heard_until",
        "_held",
        "_idle_at",
        "_inbound",
        "_infos",
        "_leaving",
        "_linger",
        "_lost",
        "_outbound",
        "_quiet_limit",
        "_read_done",
        "_read_scope",
        "_reading",
        "_received",
        "_received_bytes",
        "_sent",
        "_sent_bytes",
        "_stopped",
        "_streaming",
        "_stuck_at",
        "_suspect",
        "_watchers",
        "_write_done",
        "_write_scope",
        "_writing",
        "application_state",
        "client_state",
        "info",
        "options",
        "pings",
    )

    def __init__(
        self,
        receive: ChannelReceive,
        send: ChannelSend,
        options: Options | None = None,
        *,
        client_state: WebSocketState = CONNECTING,
        application_state: WebSocketState = CONNECTING,
        direct: DirectChannel | None = None,
    ) -> None:
        options = _DEFAULTS if options is None else options
        self.options: Options = options
        self.info: CloseInfo | None = None
        self.pings: Pings = Pings()
        self.client_state: WebSocketState = client_state
        self.application_state: WebSocketState = application_state
        self._channel_receive = receive
        self._channel_send = send
        self._direct = direct
        self._inbound = Buffer(options.receive_buffer, options.max_message_bytes)
        self._outbound = Buffer(options.send_buffer, options.send_buffer_bytes)
        self._received = self._received_bytes = self._sent = self._sent_bytes = 0
        # The end
        self._accepted = application_state is CONNECTED
        self._farewell: Event | None = None  # our closing frame
        self._lost = False  # the channel has failed
        self._alarmed = False  # it ended, and not by the user's own close
        self._infos: tuple[CloseInfo, ...] = ()  # all that `info` has been
        self._cause: BaseException | None = None  # why it ended
        self._error: type[ConnectionClosed] = ConnectionClosed
        self._fault: BaseException | None = None  # a defect that the user must hear of
        self._watchers: list[CancelScope] = []
        # The tasks
        self._read_scope = CancelScope(shield=True)
        self._write_scope = CancelScope(shield=True)
        self._idle_at = self._stuck_at = self._close_at = self._flood_until = inf
        self._heard_until = inf  # once the channel has failed
        self._quiet_limit = options.idle_timeout  # seconds
        self._suspect = False  # a deadline has passed, and is looked at once more
        self._held: Event | None = None  # received, not delivered yet
        self._leaving = False  # the block has been left
        self._linger = options.close_timeout  # seconds without an answer to our close
        self._aside: Signal | None = None  # the reader has stepped back
        self._stopped = False  # there is nothing left to read for
        self._reading = self._writing = True
        self._bursting = False  # a message was sent at once; the next ones are queued
        self._streaming: Signal | None = None  # a message is sent in parts, until then
        self._gathering = False  # the writer has messages that are not framed yet
        self._read_done: Signal | None = None
        self._write_done: Signal | None = None

    # The ends

    def _end_as(self, info: CloseInfo) -> None:
        self.info = info
        self._infos += (info,)
        self.pings.end()
        if self._streaming is not None:
            self._streaming.set()

    def _close(self, code: int, reason: str) -> None:
        """End the connection from our side: the writer sends the rest and the close."""
        self.application_state = next_state(
            Role.APPLICATION, self.application_state, CLOSE
        )
        self._end_as(CloseInfo(int(code), reason, "local"))
        self._farewell = {"type": CLOSE, "code": int(code), "reason": reason}
        self._close_inbound()
        self._outbound.close()
        self._close_by(current_time() + self.options.close_timeout)
        if self._direct is not None:
            self._direct.deliver()  # nobody will read it: the answer is behind it

    def _close_by_rule(
        self, code: int, reason: str, error: type[ConnectionClosed] = ConnectionClosed
    ) -> None:
        """End the connection because one of the options says so."""
        if self.info is not None:
            return
        self._alarm()
        self._error = error
        self._close(code, reason)

    def _lose(self, cause: BaseException, clean: bool | None = None) -> None:
        """The channel has failed. The reader goes on for a while: it may learn why."""
        self._lost = True
        if self.info is None:
            self._end_as(CloseInfo(CloseCode.ABNORMAL_CLOSURE, "", "network", clean))
            self._cause = cause
            self._alarm()
        if self._reading and not isinstance(cause, _GONE):
            self._fault = cause
        self._outbound.discard()
        self._quiet_limit = _LAST_WORDS
        if not self._stranded:
            self._hear_out()
        elif self._read_done is not None:
            self._read_done.set()

    def _peer_left(self, event: Event) -> None:
        """The channel has delivered the disconnect, which explains a failed send."""
        self._fault = None
        if self._farewell is None:
            self._end_as(info_of(event))
            if (
                self._direct is not None
                and info_of(event).code == CloseCode.MESSAGE_TOO_BIG
                and info_of(event).initiator == "local"
            ):
                self._error = MessageTooBig
            self._alarm()
        elif INFO in event and self.info is not None:
            self._end_as(replace(self.info, clean=info_of(event).clean))
        self._outbound.discard()

    def _alarm(self) -> None:
        """Cancel the blocks that end with the connection, before any waiter wakes."""
        self._alarmed = True
        for scope in self._watchers:
            scope.cancel()

    def _settle(self) -> None:
        """After block and writer, only the answer to our closing frame is awaited."""
        if not self._leaving or self._writing:
            return
        explained = self._lost and self._fault is None
        if self._farewell is None or explained or not self._accepted:
            self._stopped = True
            self._read_scope.cancel()
        else:
            self._close_by(current_time() + self._linger)
            self._flood_until = current_time() + _FLOOD_FACTOR * self._linger

    @property
    def _answering(self) -> bool:
        """Whether the closing frame that answers the peer may be on its way."""
        network = self.info is None or self.info.initiator == "network"
        return self._direct is not None and not network

    @property
    def _stranded(self) -> bool:
        """Whether the reader can learn no more, as the user's code does not read."""
        return self._lost and self._held is not None

    def _close_inbound(self) -> None:
        """Let nothing more in; who receives learns of it."""
        self._inbound.close()
        if self._direct is not None:
            self._direct.interrupt()

    def wake_writer(self) -> None:
        """Have the writer call the direct channel: it has bytes of its own to write."""
        self._outbound.filled.wake()

    # The deadlines

    def _next_deadline(self) -> float:
        return min(self._idle_at, self._stuck_at, self._close_at, self.pings.beat_at)

    def _close_by(self, at: float) -> None:
        self._close_at = min(at, self._close_at)
        self._write_scope.deadline = self._close_at
        self._read_scope.deadline = self._next_deadline()

    def _await_message(self) -> None:
        """Start to count the seconds without a message."""
        if self._quiet_limit is not None and (self._accepted or self._lost):
            self._suspect = False
            at = current_time() + self._quiet_limit
            self._idle_at = min(at, self._heard_until)
            self._read_scope.deadline = self._next_deadline()

    def _hear_out(self) -> None:
        """Start to count the seconds for which a channel that has failed is read on."""
        self._heard_until = current_time() + self.options.close_timeout
        self._await_message()

    def _await_send(self, timeout: float) -> None:
        """Start to count the seconds of a send; or end it, if they are infinite."""
        self._suspect = False
        self._stuck_at = current_time() + timeout
        self._read_scope.deadline = self._next_deadline()

    def _time_is_up(self) -> bool:
        """Act on a deadline; true if there is no more reading after it."""
        now = current_time()
        if self._stopped or now >= self._heard_until:
            return True
        if now >= self._close_at:
            return self._give_up()
        if now >= self.pings.beat_at:
            self._beat()
        if now < min(self._idle_at, self._stuck_at):
            return False
        if not self._suspect:
            self._suspect = True
            self._idle_at = max(self._idle_at, now + LULL)
            self._stuck_at = max(self._stuck_at, now + LULL)
        elif now >= self._stuck_at:
            self._stuck_at = inf
            cause = TimeoutError("the server took no message within send_timeout")
            self._lose(cause, clean=False)
            self._write_scope.cancel()
        elif self._lost:
            return True
        else:
            self._idle_at = inf
            self._close_by_rule(CloseCode.GOING_AWAY, "idle timeout")
        return False

    def _give_up(self) -> bool:
        """Nothing more will be heard of the peer."""
        if self.info is not None:
            self._end_as(replace(self.info, clean=False))
        return True

    # The keepalive, where pings are ours to send

    def _start_beating(self) -> None:
        if self._direct is not None and self.info is None:
            self.pings.rest(self.options.ping_interval)
            self._read_scope.deadline = self._next_deadline()

    def _beat(self) -> None:
        """Send a ping, or find that the last one was not answered."""
        direct, pings = self._direct, self.pings
        timeout = self.options.ping_timeout
        if direct is None or self.info is not None:
            pings.beat_at = inf
        elif not pings.awaited:
            pings.sent(timeout)
            direct.ping(KEEPALIVE)
            self.wake_writer()
        elif direct.paused:  # it is we who do not read
            pings.beat_at = current_time() + (timeout or 0)
        elif pings.late(LULL):
            self._close_by_rule(CloseCode.INTERNAL_ERROR, "keepalive ping timeout")

    def pong(self, payload: bytes) -> None:
        """Take note of a pong."""
        if self.pings.answered(payload):
            self._start_beating()
