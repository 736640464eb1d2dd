"""Both ends of a connection, ours, over streams of every kind.

The end under test is the near one, a client or a server by turns; the far one obeys it
(see obedient.py). Where Hypercorn is at the far end, in a process of its own, the near
one is a client.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, Final, Self, TypeAlias

import anyio
import trustme
from anyio.abc import ByteStream
from anyio.lowlevel import checkpoint
from anyio.streams.tls import TLSStream
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.http11 import Request
from websockets.server import ServerProtocol

import anyws
from anyws._messages.verbs import Messaging
from anyws._values.options import Options

from .obedient import Boom, Far
from .wired import CLOSE, frame

End: TypeAlias = anyws.WebSocket | anyws.ClientWebSocket

HOST: Final = "127.0.0.1"
KINDS: Final = ("memory", "tcp", "tls", "unix")
GONE: Final = (
    anyio.EndOfStream,
    anyio.BrokenResourceError,
    anyio.ClosedResourceError,
    OSError,
)


# Streams


class Pipe(ByteStream):
    """One end of a connection in memory, which holds `capacity` bytes each way."""

    capacity = 2**16

    def __init__(self) -> None:
        self._held = bytearray()  # to be read here
        self._finished = False  # nothing more will come
        self._closed = False
        self._changed = anyio.Event()
        self._peer = self

    @classmethod
    def pair(cls) -> tuple[Self, Self]:
        """Return both ends."""
        one, other = cls(), cls()
        one._peer, other._peer = other, one
        return one, other

    def _change(self) -> None:
        for end in (self, self._peer):
            end._changed.set()
            end._changed = anyio.Event()

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """Read."""
        await checkpoint()
        while not (self._held or self._finished or self._closed):
            await self._changed.wait()
        if self._closed:
            raise anyio.ClosedResourceError
        if not self._held:
            raise anyio.EndOfStream
        data = bytes(self._held[:max_bytes])
        del self._held[:max_bytes]
        self._change()
        return data

    async def send(self, item: bytes) -> None:
        """Write."""
        await checkpoint()
        peer = self._peer
        while item:
            if self._closed:
                raise anyio.ClosedResourceError
            if peer._closed:
                raise anyio.BrokenResourceError
            if room := self.capacity - len(peer._held):
                peer._held += item[:room]
                item = item[room:]
                self._change()
            else:
                await self._changed.wait()

    async def send_eof(self) -> None:
        """End our half."""
        self._peer._finished = True
        self._change()
        await checkpoint()

    async def aclose(self) -> None:
        """Close."""
        self._closed = self._peer._finished = True
        self._change()
        await checkpoint()


@cache
def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return what TLS needs at the server's end, and at the client's."""
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(HOST).configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return server, client


class Listener:
    """Where a server waits for one connection of a kind.

    Attributes:
        url: The URL of a WebSocket there.
        arguments: What else `connect` needs to get there.
    """

    def __init__(self, kind: str, url: str, arguments: dict[str, Any]) -> None:
        self.kind, self.url, self.arguments = kind, url, arguments
        self.accept: Callable[[], Any]  # wait for the connection

    def connect(self, **arguments: Any) -> Any:
        """Connect to it."""
        return anyws.connect(self.url, **self.arguments, **arguments)


@asynccontextmanager
async def listening(kind: str, folder: Path) -> AsyncIterator[Listener]:
    """Listen, for connections of a kind."""
    if kind == "memory":
        near, far = Pipe.pair()
        listener = Listener(kind, "ws://memory/", {"stream": near})

        async def give() -> ByteStream:
            return far

        listener.accept = give
        yield listener
        return
    if kind == "unix":
        path = str(folder / "socket")
        sockets: Any = await anyio.create_unix_listener(path)
        listener = Listener(kind, "ws://unix/", {"unix_path": path})
        listener.accept = sockets.accept
    else:
        sockets = await anyio.create_tcp_listener(local_host=HOST)
        port = sockets.extra(anyio.abc.SocketAttribute.local_port)
        listener = Listener(kind, f"ws://{HOST}:{port}/", {})
        listener.accept = sockets.listeners[0].accept
    if kind == "tls":
        server, client = contexts()
        listener.url = listener.url.replace("ws:", "wss:")
        listener.arguments["ssl_context"] = client
        plain = listener.accept

        async def wrapped() -> ByteStream:
            return await TLSStream.wrap(
                await plain(),
                server_side=True,
                ssl_context=server,
                standard_compatible=False,
            )

        listener.accept = wrapped
    async with sockets:
        yield listener


# A server's end


async def asked(stream: ByteStream) -> ServerProtocol:
    """Read a client's opening handshake, and have the answer to it."""
    protocol = ServerProtocol(extensions=[ServerPerMessageDeflateFactory()])
    while not (requests := protocol.events_received()):
        protocol.receive_data(await stream.receive())
    [request] = requests
    assert isinstance(request, Request)
    protocol.send_response(protocol.accept(request))
    return protocol


@asynccontextmanager
async def served(stream: ByteStream, **options: Any) -> AsyncIterator[anyws.WebSocket]:
    """Accept the WebSocket that a stream brings; the server's end of it."""
    async with anyws.accept_stream(stream, options=Options(**options)) as ws:
        await ws.accept()
        yield ws


class RawServer:
    """A server that writes exact frames, once it has accepted.

    Attributes:
        stream: The connection to the client.
        received: What has come from the client, and was not looked at.
    """

    def __init__(self, stream: ByteStream) -> None:
        self.stream = stream
        self.received = bytearray()
        self._turn = anyio.Lock()

    @classmethod
    async def accept(
        cls, listener: Listener, *, compression: bool = False, trailing: bytes = b""
    ) -> Self:
        """Accept a client, and send more bytes in one go with that."""
        stream = await listener.accept()
        protocol = await asked(stream)
        assert bool(protocol.extensions) is compression
        await stream.send(b"".join(protocol.data_to_send()) + trailing)
        return cls(stream)

    async def send(self, *data: bytes) -> None:
        """Write; in vain if the client has gone."""
        with suppress(*GONE):
            async with self._turn:
                await self.stream.send(b"".join(data))

    async def receive(self) -> tuple[int, bytes] | None:
        """Return the client's next frame, as opcode and payload; `None` at the end."""
        found = await self.receive_fragment()
        return None if found is None else (found[0], found[2])

    async def receive_fragment(self) -> tuple[int, bool, bytes] | None:
        """Return the next frame, and between the two whether it ends its message."""
        while (frame := self._take_frame()) is None:
            try:
                self.received += await self.stream.receive()
            except GONE:
                return None
        return frame

    def _take_frame(self) -> tuple[int, bool, bytes] | None:
        data = self.received
        if len(data) < 2:
            return None
        size, start = data[1] & 0x7F, 2
        if size >= 126:
            start = 4 if size == 126 else 10
            size = int.from_bytes(data[2:start], "big")
        end = start + 4 + size
        if len(data) < end:
            return None
        assert data[1] & 0x80, "a client masks"
        mask, opcode = bytes(data[start : start + 4]), data[0] & 0x0F
        fin = bool(data[0] & 0x80)
        payload = bytes(b ^ mask[n % 4] for n, b in enumerate(data[start + 4 : end]))
        del data[:end]
        return opcode, fin, payload

    async def until_close(self) -> tuple[list[tuple[int, bytes]], int | None]:
        """Return the frames up to the closing one, and its code; `None`: none came."""
        frames = list[tuple[int, bytes]]()
        while (frame := await self.receive()) is not None:
            if frame[0] == 8:
                return frames, int.from_bytes(frame[1][:2], "big") or 1005
            frames.append(frame)
        return frames, None

    async def answer_close(self) -> tuple[int, str]:
        """Take a closing frame, answer it, and end; return what is in it."""
        received = await self.receive()
        assert received is not None
        opcode, payload = received
        assert opcode == CLOSE, received
        await self.send(frame(CLOSE, payload, mask=None))
        await self.stream.aclose()
        return int.from_bytes(payload[:2], "big"), payload[2:].decode()

    async def drain(self) -> None:
        """Read until the client has gone."""
        with suppress(*GONE):
            while True:
                await self.stream.receive()


# Both


class Ends:
    """Both ends of one connection: the near one is the test's, the far one obeys.

    Attributes:
        role: Which end the near one is.
        far: What the far one has to tell; in another process, nothing.
        tells: Whether it does.
    """

    def __init__(self, role: str, listener: Listener, *, tells: bool) -> None:
        self.role, self.tells = role, tells
        self.far = Far()
        self._listener = listener

    @asynccontextmanager
    async def near(self, **options: Any) -> AsyncIterator[Messaging]:
        """Connect both; the block is the near one's, and closes it."""
        error: BaseException | None = None
        async with anyio.create_task_group() as tasks:
            if self.tells:
                tasks.start_soon(self._obey)
            try:
                async with self._end(self.role, **options) as ws:
                    yield ws
            except anyio.get_cancelled_exc_class():
                raise
            except BaseException as exc:
                error = exc  # past the task group
        if error is not None:
            raise error

    async def _obey(self) -> None:
        with anyio.CancelScope(shield=True), suppress(Boom):
            role = "server" if self.role == "client" else "client"
            async with self._end(role) as ws:
                await self.far.obey(ws)
            self.far.info = ws.close_info

    @asynccontextmanager
    async def _end(self, role: str, **options: Any) -> AsyncIterator[End]:
        listener = self._listener
        if role == "client":
            async with listener.connect(options=Options(**options)) as ws:
                yield ws
        else:
            async with served(await listener.accept(), **options) as ws:
                yield ws


@asynccontextmanager
async def opened(
    kind: str,
    folder: Path,
    *,
    compression: bool = False,
    trailing: bytes = b"",
    **options: Any,
) -> AsyncIterator[tuple[anyws.ClientWebSocket, RawServer]]:
    """Connect a client to a server of raw frames; it is yet to be entered."""
    compress: Any = "deflate" if compression else None
    async with listening(kind, folder) as listener:
        connector = listener.connect(compression=compress, options=Options(**options))
        servers = list[RawServer]()

        async def accept() -> None:
            server = await RawServer.accept(
                listener, compression=compression, trailing=trailing
            )
            servers.append(server)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(accept)
            ws: anyws.ClientWebSocket = await connector.open()
        [server] = servers
        try:
            yield ws, server
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.aclose_forcefully(server.stream)


@asynccontextmanager
async def raw(
    kind: str, folder: Path, **options: Any
) -> AsyncIterator[tuple[anyws.ClientWebSocket, RawServer]]:
    """Connect a client to a server of raw frames; the block is the client's."""
    async with opened(kind, folder, **options) as (ws, server):
        async with ws:
            yield ws, server
