"""The peer's end of the transport: its session's direct channel, without frames."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from math import inf
from typing import Any, Final

from anyio import CancelScope, sleep, sleep_forever
from anyio import Event as Signal
from anyio.lowlevel import checkpoint

from ..._session.channel import Address, Inbox
from ..._session.upkeep import Run
from ..._session.wakeup import Wakeup
from ..._values.closing import CloseInfo
from ..._values.events import FRAGMENT, INFO, Event, payload_of, size_of
from ..._values.states import CLOSE, DISCONNECT, RECEIVE, SEND
from .._server.network import (
    BUFFER_BYTES,
    NO_CODE,
    CloseFrame,
    End,
    Item,
    Message,
    PingFrame,
)
from .._server.server import Server

# Turns of the scheduler in place of a round trip of the closing frame: an application
# has that time to act before the transport ends.
_ROUND_TRIP_TURNS: Final = 10


class PeerChannel:
    """The peer's end of the transport: the direct channel of its session.

    Attributes:
        inbox: Where the messages go; set by the session that takes the channel.
        paused: Whether nothing is read because `inbox` was full.
        stalled: Whether nothing is read because the test has stalled the peer.
        half_closed: Whether the peer has ended its half of the transport.
        codeless: Whether the closing frame of the peer has no code.
        rate: Bytes that the peer reads in a second.
        peer_address: No address: there is no network.
    """

    peer_address: Address = None
    writes_at_once: bool = True

    def __init__(self, server: Server) -> None:
        self.inbox: Inbox
        self.paused: bool = False
        self.stalled: bool = False
        self.half_closed: bool = False
        self.codeless: bool = False
        self.rate: float = inf
        self._server = server
        self._down = deque[Item]()  # written by the server, and not read
        self._down_bytes = 0
        self._begun = self._delivering = False
        self._written = Wakeup()
        self._unsent = deque[Event]()  # messages that wait for room, and the close
        self._over = False  # whether the peer has read the end
        self._end: Event | None = None
        self._ended = Signal()
        self._reading = CancelScope(shield=True)
        self._closed = False  # whether the peer has sent a closing frame
        self._answer: CloseFrame | None = None  # to the closing frame of the server
        self._kind: str  # of the message that is sent in parts
        self._parts: bytearray

    # From the server

    def written(self, item: Item) -> None:
        """Take an item that the server has written."""
        self._down.append(item)
        self._down_bytes += item.size if isinstance(item, Message) else 0
        if self.rate == inf:
            self._deliver()
        self._written.wake()

    @property
    def pausing(self) -> bool:
        """Whether nothing is read, and no message waits for room."""
        return self.paused and not self._unsent

    @property
    def full(self) -> bool:
        """Whether the server has to wait before it writes more."""
        return self._down_bytes >= BUFFER_BYTES and not self._over

    def read(self) -> Run:
        """Begin to read; return what a task is to run for that."""
        self._begun = True
        self._deliver()
        return self._read_end

    async def _read_end(self) -> None:
        """Wait for the end: messages go to the inbox before it."""
        with self._reading:
            await self._ended.wait()
            assert self._end is not None
            await self.hang_up()
            self.inbox.post(self._end)

    def stop(self) -> None:
        """Read no more."""
        self._reading.cancel()

    def read_on(self) -> None:
        """Resume reading, if the session's queue has room again."""
        if self.paused:
            self._deliver()

    def _deliver(self) -> None:
        """Deliver all items to the session that it can take now."""
        if self._delivering or self.rate != inf:
            return
        self._delivering = True
        while self._down and self._deliver_one(self._down[0]):
            pass
        self._delivering = False

    def _deliver_one(self, item: Item) -> bool:
        """Deliver the first item; false if that is not possible now."""
        if not self._begun or self.stalled or self._over:
            return False
        if isinstance(item, Message):
            kind = "text" if isinstance(item.payload, str) else "bytes"
            event: Event = {"type": RECEIVE, kind: item.payload}
            self.paused = self.inbox.full
            if self.paused:
                return False
            if not self.inbox.offer(event, size_of(event)):
                self.inbox.keep(event, size_of(event))
            self.inbox.progressed(of_message=True)
            self._down_bytes -= item.size
            self._server.room.wake()
        elif isinstance(item, PingFrame):
            self.inbox.pong(item.payload)
        elif isinstance(item, CloseFrame):
            info = CloseInfo(item.code, item.reason, "peer", True)
            if item.defect is not None:
                info = CloseInfo(1002, item.defect, "local", False)
            self._answer = None if self._closed else CloseFrame(info.code, info.reason)
            self._finish(info)
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
        """Read at the rate that the test has set; runs as a task."""
        while not self._over:
            if self.rate == inf or self.stalled or not self._down:
                await self._written.wait()
                continue
            item = self._down[0]
            await sleep((item.size if isinstance(item, Message) else 0) / self.rate)
            if self._down and item is self._down[0]:
                self._deliver_one(item)

    def resume(self) -> None:
        """Read without a limit."""
        self.stalled, self.rate = False, inf
        self._deliver()
        self._written.wake()

    # From the session

    async def receive(self) -> Event:
        """Wait for ever: events go to the inbox."""
        await sleep_forever()
        raise AssertionError("unreachable")

    async def send(self, event: Event) -> None:
        """Refuse an event of the opening handshake: that is complete."""
        raise RuntimeError(f"a peer does not send {event['type']!r}")

    @property
    def has_unwritten(self) -> bool:
        """Whether messages wait for room."""
        return bool(self._unsent)

    def write(self, events: list[Event]) -> bool:
        """Send events, as far as there is room; false if some have to wait."""
        for event in events:
            if event["type"] == FRAGMENT:
                self._keep_part(event)
            else:
                self._unsent.append(event)
        events.clear()
        while self._unsent and self._has_room(self._unsent[0]):
            self._arrive(self._unsent.popleft())
        return not self._unsent

    def _has_room(self, event: Event) -> bool:
        """Whether an event can be sent now: a close gives the application a turn."""
        server = self._server
        roomy = not server.full or server.gone or self._over
        return roomy and event["type"] != CLOSE

    def _arrive(self, event: Event) -> None:
        if event["type"] == SEND:
            self._server.arrive(Message(payload_of(event)))
        elif not self._over:
            self._closed = True
            code = NO_CODE if self.codeless else event["code"]
            self._server.arrive(CloseFrame(code, event["reason"]))

    def _keep_part(self, event: Event) -> None:
        """Keep the parts of a message up to the last: ASGI has whole messages only."""
        if event["kind"] is not None:
            self._kind, self._parts = event["kind"], bytearray()
        self._parts += event["data"]
        if event["fin"]:
            data = bytes(self._parts)
            name = "text" if self._kind == "text" else "bytes"
            payload = data.decode() if self._kind == "text" else data
            self._unsent.append({"type": SEND, name: payload})

    async def flush(self) -> None:
        """Send what waits for room, and wait for that."""
        while not self.write([]):
            if self._unsent[0]["type"] == CLOSE:
                await checkpoint()
                self._arrive(self._unsent.popleft())
            else:
                await self._server.room.wait()
                self.inbox.progressed(of_message=True)

    def push(self) -> None:
        """Send what waits for room, without room."""
        while self._unsent:
            self._arrive(self._unsent.popleft())

    def send_nowait(self, event: Event) -> bool:
        """Send a message, if there is room."""
        if self._over or self._server.full or self._unsent:
            return self._over
        self._server.arrive(Message(payload_of(event)))
        return True

    def read_in_receiving_task(self) -> None:
        """Return `None`: a receiving task reads nothing, as the server delivers."""

    def interrupt(self) -> None:
        """Do nothing: no receiving task reads."""

    def limit(self, max_message_bytes: int) -> None:
        """Do nothing: no options change on the way."""

    def deflation(self, event: Event) -> None:
        """Return `None`: messages are not compressed on the way."""

    def part(self) -> None:
        """Return `None`: an application sends whole messages, and none is under way."""

    def skip(self) -> None:
        """Do nothing: no message is delivered in parts."""

    def ping(self, payload: bytes) -> None:
        """Send a ping."""
        self._server.arrive(PingFrame(payload))

    def withdraw(self, ping: bytes | None) -> None:
        """Do nothing: a ping is sent at once."""

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        """No attributes: there is no socket."""
        return {}

    def end(self, end: End) -> None:
        """End the transport from the peer's side."""
        self._server.arrive(end)

    async def hang_up(self) -> None:
        """Answer a closing frame, and end the transport, after a round trip."""
        for _ in range(_ROUND_TRIP_TURNS):
            await checkpoint()
        if self._answer is not None:
            self._server.arrive(self._answer)
        self._server.arrive(End())

    async def aclose(self) -> None:
        """End the transport."""
        self.end(End())

    def cut(self) -> CloseInfo:
        """Reset the transport; return how the connection has ended for the peer."""
        info = CloseInfo(1006, "", "network", False)
        self.end(End(reset=True))
        self._down.clear()
        self._down_bytes = 0
        if not self._over:
            self._finish(info)
        self._server.room.wake()
        return info
