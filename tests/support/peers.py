"""Servers that a test scripts, for the client to connect to, in the test's own loop."""

from __future__ import annotations

import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import anyio
import trustme
from anyio.abc import (
    ByteReceiveStream,
    ByteStream,
    ObjectReceiveStream,
    SocketAttribute,
)
from anyio.lowlevel import checkpoint
from anyio.streams.stapled import MultiListener, StapledByteStream
from anyio.streams.tls import TLSStream
from websockets.http11 import Request
from websockets.streams import StreamReader
from websockets.utils import accept_key

from anyws._frames.codec import Codec, Side

from .wired import parse

HOST: Final = "127.0.0.1"

BROKEN: Final = (
    anyio.EndOfStream,
    anyio.BrokenResourceError,
    anyio.ClosedResourceError,
    OSError,
)


class Visit:
    """One connection, from the server's end.

    Attributes:
        stream: The connection.
        request: The request, once it was read.
    """

    def __init__(self, stream: ByteStream) -> None:
        self.stream = stream
        self.request: Request
        self._reader = StreamReader()

    async def read_request(self) -> Request:
        """Read the opening handshake's request."""
        reader = self._reader
        parser = Request.parse(reader.read_line)
        while True:
            try:
                next(parser)
            except StopIteration as done:
                self.request = done.value
                return self.request
            reader.feed_data(await self.stream.receive())

    async def read_head(self) -> bytes:
        """Read up to the empty line, as of another method's request."""
        data = b""
        while not data.endswith(b"\r\n\r\n"):
            data += await self.stream.receive()
        return data

    def head(self, *headers: str, status: str = "101 Switching Protocols") -> bytes:
        """Return the response that accepts the request, with more headers."""
        key = accept_key(self.request.headers["Sec-WebSocket-Key"])
        lines = [
            f"HTTP/1.1 {status}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Accept: {key}",
            *headers,
        ]
        return "\r\n".join([*lines, "", ""]).encode()

    async def send(self, data: str | bytes) -> None:
        """Send bytes; in vain if the client has gone."""
        try:
            await self.stream.send(data.encode() if isinstance(data, str) else data)
        except BROKEN:
            pass

    async def accept(self, *headers: str) -> None:
        """Read the request, and accept it."""
        await self.read_request()
        await self.send(self.head(*headers))

    async def echo(self) -> None:
        """Accept, and send back each message, until the closing handshake is over."""
        await self.accept()
        wire = Codec(Side.SERVER, max_message_bytes=2**24)
        try:
            while wire.info is None:
                for event in parse(wire, await self.stream.receive()):
                    event["type"] = "websocket.send"
                    wire.send(event)
                await self.stream.send(wire.take())
        except BROKEN:
            pass

    async def gone(self) -> None:
        """Wait until the client has gone."""
        try:
            while True:
                await self.stream.receive()
        except BROKEN:
            pass


class Peer:
    """A server on a port of its own.

    Attributes:
        port: The port.
        url: The URL of a WebSocket there.
        visits: The connections, in order.
    """

    def __init__(self, port: int, secure: bool) -> None:
        self.port = port
        self.url = f"{'wss' if secure else 'ws'}://{HOST}:{port}"
        self.visits: list[Visit] = []

    @property
    def requests(self) -> list[Request]:
        """The requests, in order."""
        return [visit.request for visit in self.visits if hasattr(visit, "request")]


Script = Callable[[Visit], Awaitable[None]]


@asynccontextmanager
async def serving(
    script: Script, *, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Peer]:
    """Serve each connection by a script; hold that no socket is left at the end."""
    before = open_sockets()
    listener = await anyio.create_tcp_listener(local_host=HOST)
    port = listener.extra(SocketAttribute.local_port)
    peer = Peer(port, tls is not None)
    async with _serving(listener, peer, script, tls):
        yield peer
    await expect_sockets(before)


@asynccontextmanager
async def serving_unix(script: Script, path: Path) -> AsyncIterator[Peer]:
    """Serve on a unix socket."""
    before = open_sockets()
    listener = await anyio.create_unix_listener(path)
    peer = Peer(0, secure=False)
    async with _serving(MultiListener([listener]), peer, script, None):
        yield peer
    await expect_sockets(before)


@asynccontextmanager
async def _serving(
    listener: MultiListener[Any],
    peer: Peer,
    script: Script,
    tls: ssl.SSLContext | None,
) -> AsyncIterator[None]:
    async def serve(stream: ByteStream) -> None:
        async with stream:
            if tls is not None:
                try:
                    stream = await TLSStream.wrap(
                        stream,
                        server_side=True,
                        ssl_context=tls,
                        standard_compatible=False,
                    )
                except BROKEN:
                    return
            visit = Visit(stream)
            peer.visits.append(visit)
            try:
                await script(visit)
            except BROKEN:
                pass

    async with listener, anyio.create_task_group() as tg:
        tg.start_soon(listener.serve, serve)
        yield
        tg.cancel_scope.cancel()


class _Receiving(ByteReceiveStream):
    """The receiving end of a memory stream, as one of bytes."""

    def __init__(self, inner: ObjectReceiveStream[bytes]) -> None:
        self._inner, self._rest = inner, b""

    async def receive(self, max_bytes: int = 65536) -> bytes:
        data = self._rest or await self._inner.receive()
        self._rest = data[max_bytes:]
        return bytes(data[:max_bytes])

    async def aclose(self) -> None:
        await self._inner.aclose()


def in_memory() -> tuple[StapledByteStream, StapledByteStream]:
    """Return the two ends of a stream that has no socket."""
    there, back = (anyio.create_memory_object_stream[bytes](100) for _ in range(2))
    ours = StapledByteStream(there[0], _Receiving(back[1]))  # type: ignore[arg-type]
    return ours, StapledByteStream(back[0], _Receiving(there[1]))  # type: ignore[arg-type]


def open_sockets() -> set[str]:
    """Return the sockets that this process has open, where the system tells."""
    found = set()
    for entry in Path("/proc/self/fd").glob("*"):
        try:
            target = os.readlink(entry)
        except OSError:
            continue
        if target.startswith("socket:"):
            found.add(target)
    return found


async def expect_sockets(before: set[str]) -> None:
    """Hold that no socket is open that was not before; closing may take some turns."""
    turns = 100
    while left := open_sockets() - before:
        assert turns, f"sockets left open: {left}"
        turns -= 1
        await checkpoint()


class Authority:
    """A certificate authority of the tests' own."""

    def __init__(self) -> None:
        self.ca = trustme.CA()

    def server(self, *names: str, **options: object) -> ssl.SSLContext:
        """Return a server's context, with a certificate for these names."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        pair = self.ca.issue_cert(*(names or (HOST, "localhost")), **options)  # type: ignore[arg-type]
        pair.configure_cert(context)
        return context

    def client(self) -> ssl.SSLContext:
        """Return a client's context, which trusts this authority."""
        context = ssl.create_default_context()
        self.ca.configure_trust(context)
        return context
