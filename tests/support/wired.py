"""Frames written by hand, and the peers of channels that are made of frames.

`WiredChannel` is the twin of `channels.Channel`: what a test lets arrive goes through a
client's frames, and what the connection sends is read from the server's. So what holds
over ASGI events can be asked of the direct channel as well; and, by `DialledChannel`,
of a client whose stream leads to a server.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, Self

import anyio
import pytest
from anyio.abc import ByteStream
from anyio.lowlevel import checkpoint
from websockets.extensions import Extension

import anyws
from anyws._client.handshake import ClientHandshake
from anyws._client.url import parse_url
from anyws._frames.codec import Codec, Side
from anyws._frames.frame_channel import FrameChannel
from anyws._frames.transport import StreamTransport
from anyws._session.session import Session
from anyws._values.options import Options

from .channels import SCOPE, Channel, Event

CONT: Final = 0x0
TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA

MASK: Final = b"\x37\xfa\x21\x3d"  # the one of RFC 6455 section 5.7
LARGE: Final = 2**24


def frame(
    opcode: int,
    payload: str | bytes = b"",
    *,
    fin: bool = True,
    rsv: int = 0,
    mask: bytes | None = MASK,
) -> bytes:
    """Write one frame, valid or not; a client's unless `mask` is `None`.

    Args:
        opcode: The opcode.
        payload: The payload.
        fin: Whether it ends its message.
        rsv: The three reserved bits, as a number.
        mask: What the payload is masked with.
    """
    data = payload.encode() if isinstance(payload, str) else payload
    size, masked = len(data), 0 if mask is None else 0x80
    head = bytes([fin << 7 | rsv << 4 | opcode])
    if size < 126:
        head += bytes([masked | size])
    elif size < 2**16:
        head += bytes([masked | 126]) + size.to_bytes(2, "big")
    else:
        head += bytes([masked | 127]) + size.to_bytes(8, "big")
    if mask is None:
        return head + data
    return head + mask + bytes(byte ^ mask[n % 4] for n, byte in enumerate(data))


def framed(*messages: str | bytes) -> bytes:
    """Write messages as a client's frames, one each."""
    return b"".join(
        frame(TEXT if isinstance(message, str) else BINARY, message)
        for message in messages
    )


def closing(
    code: int | None, reason: str | bytes = b"", *, mask: bytes | None = MASK
) -> bytes:
    """Write a closing frame, a client's unless `mask` is `None`."""
    return frame(CLOSE, close_payload(code, reason), mask=mask)


def close_payload(code: int | None, reason: str | bytes = b"") -> bytes:
    """Return the payload of a closing frame."""
    data = reason.encode() if isinstance(reason, str) else reason
    return data if code is None else code.to_bytes(2, "big") + data


def frames_of(data: bytes) -> list[tuple[int, bytes]]:
    """Read a server's whole and unfragmented frames, as opcode and payload."""
    frames = []
    while data:
        opcode, size, start = data[0] & 0x0F, data[1], 2
        assert data[0] & 0x80, "a fragment"
        if size >= 126:
            start = 4 if size == 126 else 10
            size = int.from_bytes(data[2:start], "big")
        frames.append((opcode, data[start : start + size]))
        assert len(data) >= start + size, "a frame that is cut short"
        data = data[start + size :]
    return frames


def parse(codec: Codec, data: bytes) -> list[Event]:
    """Return the messages in a read, parsed in as many steps as it takes."""
    events = codec.receive(data)
    while codec.rest:
        events += codec.receive(codec.rest)
    return events


class WiredChannel(Channel):
    """A client of the direct channel; see `channels.Channel` for what a test says.

    Attributes:
        wire: The channel under test.
        server: What its frames are made of.
        limit: The largest message that they may make.
        extensions: What the opening handshake agrees on.
        answers_pings: Whether the peer answers a ping.
        pings: When a ping was written.
        pace: Seconds that a write waits for the peer to read.
        reads: What the transport has read, and its reader not taken yet.
        writes: What was written whole.
        ends: How many times the channel told that the peer is gone.
        resumes: How many times it told that there is room again.
    """

    clean: bool | None = True  # an answer to our close is seen
    reads_ahead = True
    sends_at_once = False

    def __init__(self, *events: Event) -> None:
        super().__init__()
        self.server = Codec
        self.limit = LARGE
        self.answers_pings = True
        self.pings: list[float] = []
        self.pace = 0.0
        self._pinged = anyio.Event()
        self.extensions: list[Extension] = []
        self.reads = deque[bytes]()
        self.writes: list[bytes] = []
        self._client = Codec(Side.CLIENT, max_message_bytes=LARGE)
        self._left = False  # either end has closed
        self.ends = self.resumes = 0
        self.wire = WiredFrames(WiredOutlet(self), self._answer, self._ended)
        self.wire.post({"type": "websocket.connect"})
        self.arrive(*events)

    def arrive(self, *events: Event | str | bytes) -> None:
        """Let messages arrive, or whatever else an ASGI server might say."""
        for event in events:
            if isinstance(event, str | bytes):
                self.read(framed(event))
            else:
                self.wire.post(event)

    def read(self, *reads: bytes) -> None:
        """Read from the transport, as long as the channel wants it; empty is its end.

        It is what the engine's reading task does.
        """
        self.reads += reads
        while self.wire.unfinished or (self.reads and not self.wire.paused):
            if self.wire.unfinished:
                self.wire.receive_data(b"")
            elif data := self.reads.popleft():
                self.wire.receive_data(data)
            else:
                self.wire.receive_eof()

    def leave(self, code: int | None = 1006, reason: str | None = None) -> None:
        """Let the peer leave; with 1006, without a closing frame."""
        self._left = True
        self.read(b"" if code == 1006 else closing(code, reason or ""))

    def _ended(self) -> None:
        self.ends += 1

    def go_on_reading(self) -> None:
        """Read what the transport holds back."""
        self.resumes += 1
        self.read()

    async def write(self, data: bytes) -> bool:
        """Write, once the test lets it; tell whether it had to wait."""
        waits = self.pace > 0 or not self._open_gate.is_set()
        await anyio.sleep(self.pace)
        await self._pass_gate({"type": "bytes", "bytes": data})
        self._written(data)
        return waits

    def write_nowait(self, data: bytes) -> int:
        """Write nothing."""
        return 0

    def _written(self, data: bytes) -> None:
        self.writes.append(data)
        for event in parse(self._client, data):
            kind = "text" if event["bytes"] is None else "bytes"
            self.sent.append({"type": "websocket.send", kind: event[kind]})
        info, answer = self._client.info, self._client.take()
        if info is not None and not self._left:
            self._left = True
            end = {"type": "websocket.close", "code": info.code, "reason": info.reason}
            self.sent.append(end)
            if self.answers:
                self.read(answer)
        elif info is None and answer:  # to a ping
            self.pings.append(anyio.current_time())
            self._pinged.set()
            self._pinged = anyio.Event()
            if self.answers_pings:
                self.read(answer)

    async def pinged(self) -> None:
        """Wait for the next ping."""
        await self._pinged.wait()

    async def _answer(self, event: Event) -> None:
        if event["type"] != "websocket.accept":
            await self._pass_gate(event)
        elif self.error is not None:
            raise self.error
        self.sent.append(event)
        if event["type"] == "websocket.accept":
            wire = self.server(
                Side.SERVER, max_message_bytes=self.limit, extensions=self.extensions
            )
            self.wire.open(wire)
        elif event["type"] == "websocket.close" and self.answers:
            self.leave()

    @property
    def unread(self) -> int:
        """How many reads the transport holds back."""
        return len(self.reads)

    @property
    def frames(self) -> list[tuple[int, bytes]]:
        """The frames that were written whole."""
        return frames_of(b"".join(self.writes))

    def websocket(self, **options: Any) -> anyws.WebSocket:
        """Return a WebSocket on this channel."""
        return WiredWebSocket(self.wire, Options(**options))


class WiredFrames(FrameChannel):
    """Frames that may have something to say before a session listens."""

    __slots__ = ("_early",)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._early: list[Event] = []

    def post(self, event: Event) -> None:
        """Give the session an event, at once or when it begins."""
        if hasattr(self, "inbox"):
            super().post(event)
        else:
            self._early.append(event)

    async def receive(self) -> Event:
        """Return what came before there is a session."""
        await checkpoint()
        return self._early.pop(0) if self._early else await super().receive()

    def read(self) -> None:
        """Give the session what came before it."""
        while self._early:
            self.inbox.post(self._early.pop(0))


class WiredOutlet:
    """Where a wired channel's frames are written.

    Attributes:
        sends_at_once: As the channel has it.
        extra_attributes: None.
    """

    extra_attributes: Mapping[Any, Callable[[], Any]] = {}

    def __init__(self, channel: WiredChannel) -> None:
        self.sends_at_once = channel.sends_at_once
        self._channel = channel

    async def send_all(self, data: bytes) -> bool:
        """Write; tell whether it had to wait."""
        return await self._channel.write(data)

    def send_nowait(self, data: bytes) -> int:
        """Write what can be written now."""
        return self._channel.write_nowait(data)

    def resume(self) -> None:
        """Go on reading."""
        self._channel.go_on_reading()


class EagerChannel(WiredChannel):
    """One whose transport writes at once what it can, and has the rest waited for.

    Attributes:
        most: How many bytes it can write at once.
    """

    sends_at_once = True
    most = LARGE

    def write_nowait(self, data: bytes) -> int:
        """Write as much as can be."""
        if self.error is not None or not self._open_gate.is_set():
            return 0
        self._written(data[: self.most])
        return min(self.most, len(data))


class WiredWebSocket(anyws.WebSocket):
    """A WebSocket whose own session has the direct channel."""

    def __init__(self, wire: FrameChannel, options: Options) -> None:
        super().__init__(dict(SCOPE), wire.receive, wire.send, options=options)
        self._wire = wire

    def __asynccontextmanager__(self) -> AbstractAsyncContextManager[Self]:
        """Guard the connection."""
        if self._entered or self._plain_info is not None:
            return super().__asynccontextmanager__()  # which refuses
        session = Session(
            self._receive,
            self._send,
            self._options,
            subprotocols=self._offered,
            client_state=self.client_state,
            application_state=self.application_state,
            direct=self._wire,
        )
        session.subprotocol = self.subprotocol
        self._receive, self._send = session.receive, session.send
        self._join(session)
        return session.hosting(self)


class DialledChannel(Channel):
    """A server, and a client of ours that has reached it by a stream in memory.

    To the law it is a channel like the others, once it is accepted: to accept, which a
    client does not, does nothing.

    Attributes:
        reads: What the stream has for the client, and the client not taken yet.
        answers_pings: Whether the server answers a ping.
        pings: When a ping was written.
        pace: Seconds that a write waits for the server to read.
        ended: Whether the client has ended its half of the stream.
        stream_closed: Whether it has closed the stream.
    """

    clean: bool | None = True
    has_handshake = False
    reads_ahead = True

    def __init__(self, *events: Event) -> None:
        super().__init__()
        self.reads = deque[bytes | Exception]()
        self.answers_pings = True
        self.pings: list[float] = []
        self.pace = 0.0
        self.ended = self.stream_closed = False
        self._server = Codec(Side.SERVER, max_message_bytes=LARGE)
        self._left = False  # either end has closed
        self.arrive(*events)

    def arrive(self, *events: Event | str | bytes) -> None:
        """Let messages arrive."""
        for event in events:
            assert isinstance(event, str | bytes), "a server sends no events"
            opcode = TEXT if isinstance(event, str) else BINARY
            self.read(frame(opcode, event, mask=None))

    def fail(self) -> None:
        """Let the next read fail."""
        self.read(anyio.BrokenResourceError())

    def read(self, *reads: bytes | Exception) -> None:
        """Let the client read, or fail to; empty is the end of the stream."""
        self.reads += reads
        self._arrived.set()

    def leave(self, code: int | None = 1006, reason: str | None = None) -> None:
        """Let the server leave; with 1006, without a closing frame."""
        self._left = True
        if code != 1006:
            self.read(frame(CLOSE, close_payload(code, reason or ""), mask=None))
        self.read(b"")

    def written(self, data: bytes) -> None:
        """Take what the client has written."""
        for event in parse(self._server, data):
            kind = "text" if event["bytes"] is None else "bytes"
            self.sent.append({"type": "websocket.send", kind: event[kind]})
        info, answer = self._server.info, self._server.take()
        if info is None and answer:  # to a ping
            self.pings.append(anyio.current_time())
            if self.answers_pings:
                self.read(answer)
        elif info is not None and not self._left:
            self._left = True
            end = {"type": "websocket.close", "code": info.code, "reason": info.reason}
            self.sent.append(end)
            if self.answers:
                self.read(answer, b"")

    async def take(self) -> bytes:
        """Return what there is to read, once there is something."""
        await checkpoint()
        while not self.reads:
            self._arrived = anyio.Event()
            await self._arrived.wait()
        read = self.reads[0]
        if isinstance(read, Exception):
            raise read
        if not read:
            raise anyio.EndOfStream
        self.reads.popleft()
        return read

    @property
    def unread(self) -> int:
        """How many reads the stream holds back."""
        return sum(map(bool, self.reads))

    def websocket(self, **options: Any) -> anyws.WebSocket:
        """Return the client's WebSocket."""
        opening = ClientHandshake(parse_url("ws://memory"), compression=None)
        transport = StreamTransport(MemoryStream(self))
        client: Any = Dialled._over(transport, opening, Options(**options))
        return client  # type: ignore[no-any-return]  # the suites' name for its verbs


class MemoryStream(ByteStream):
    """The client's end of a `DialledChannel`."""

    def __init__(self, channel: DialledChannel) -> None:
        self._channel = channel

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """Read."""
        return await self._channel.take()

    async def send(self, item: bytes) -> None:
        """Write."""
        await anyio.sleep(self._channel.pace)
        await self._channel._pass_gate({"type": "bytes", "bytes": item})
        self._channel.written(item)

    async def send_eof(self) -> None:
        """End our half."""
        self._channel.ended = True

    async def aclose(self) -> None:
        """Close."""
        self._channel.stream_closed = True


class Dialled(anyws.ClientWebSocket):
    """A client's WebSocket with what the law's suites ask of a server's besides."""

    async def accept(self, subprotocol: str | None = None) -> None:
        """Do nothing: it is connected."""
        await checkpoint()

    async def receive(self) -> Event:
        """Receive an ASGI event."""
        return await self._guarded("receive").receive()

    @property
    def client_state(self) -> anyws.WebSocketState:
        """The peer's state, by what was received."""
        return self._guarded("client_state").delivered_state

    @property
    def application_state(self) -> anyws.WebSocketState:
        """Our own state, by what was sent."""
        return self._guarded("application_state").application_state


def session_of(
    channel: WiredChannel, *, cap: int | None = None, **options: Any
) -> Session:
    """Return a session, as a server hosts it."""
    wire = channel.wire
    session = Session(wire.receive, wire.send, Options(**options), direct=wire, cap=cap)
    return session


async def accept(session: Session) -> None:
    """Complete the opening handshake."""
    assert (await session.receive())["type"] == "websocket.connect"
    await session.send({"type": "websocket.accept"})


# A law suite's `channel` is each of these by turns.
CHANNELS: Final = [
    pytest.param(Channel, id="asgi"),
    pytest.param(WiredChannel, id="wired"),
    pytest.param(EagerChannel, id="eager"),
    pytest.param(DialledChannel, id="dialled"),
]
SERVED: Final = CHANNELS[:3]


def asgi_only(reason: str) -> pytest.MarkDecorator:
    """Let a test have the ASGI channel only, for a reason that its reader will ask."""
    assert reason
    return pytest.mark.parametrize("channel", CHANNELS[:1], indirect=True)


def server_only(reason: str) -> pytest.MarkDecorator:
    """Let a test have the channels only that a server has, for a reason."""
    assert reason
    return pytest.mark.parametrize("channel", SERVED, indirect=True)


def queueing_only(reason: str) -> pytest.MarkDecorator:
    """Let a test have the channels only that write nothing at once, for a reason."""
    assert reason
    queueing = [CHANNELS[n] for n in (0, 1, 3)]
    return pytest.mark.parametrize("channel", queueing, indirect=True)
