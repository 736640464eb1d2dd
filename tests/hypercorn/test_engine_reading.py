"""How the asyncio and uvloop workers read for a WebSocket: from the loop's callbacks.

Over real sockets, with a connection of the engine's that serves nothing.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import Context
from dataclasses import dataclass, field
from typing import Any

import anyio
import pytest
import trustme
from anyio.lowlevel import checkpoint
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.config import Config

from anyws._frames.transport import Recipient
from anyws.hypercorn._asyncio import EngineTCPServer
from anyws.hypercorn._worker import Worker

from ..conftest import backend

HOST = "127.0.0.1"
BIG, PART = 2**23, 2**16  # bytes; more than the system keeps for either side


@pytest.fixture(
    scope="module",
    params=[
        backend("asyncio", use_uvloop=False),
        backend("asyncio+uvloop", needs="uvloop", use_uvloop=True),
    ],
)
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """Run on the event loops that the module is for."""
    return request.param


Contexts = tuple[ssl.SSLContext | None, ssl.SSLContext | None]


@pytest.fixture(scope="module", params=["tcp", "tls"])
def contexts(request: pytest.FixtureRequest) -> Contexts:
    """Give the TLS contexts of server and client, or none."""
    if request.param == "tcp":
        return None, None
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(HOST).configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return server, client


@dataclass
class Taken:
    """What a stream was given, and whether it says that it has room for more."""

    data: bytes = b""
    room: bool = True
    unfinished: bool = False
    fault: Exception | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    ends: list[BaseException | None] = field(default_factory=list)

    def take_in(self, data: bytes) -> bool:
        """Take it, or fail."""
        if self.fault is not None:
            raise self.fault
        self.data += data
        self.changed.set()
        return self.room

    def take_end(self, exc: BaseException | None) -> None:
        """Count the end, and keep what it is told of."""
        self.ends.append(exc)

    async def until(self, size: int) -> None:
        """Wait until so many bytes were taken."""
        while len(self.data) < size:
            self.changed.clear()
            await self.changed.wait()


@dataclass
class Pair:
    """A connection of the engine's, and the streams of its peer."""

    connection: EngineTCPServer
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @property
    def transport(self) -> asyncio.Transport:
        """The connection's own."""
        transport: Any = self.connection.writer.transport
        return transport  # type: ignore[no-any-return]

    async def early(self, data: bytes) -> None:
        """Have the connection read this before it belongs to the stream."""
        self.writer.write(b"?" + data)
        assert await self.connection.reader.readexactly(1) == b"?"

    @asynccontextmanager
    async def pumping(self, recipient: Recipient) -> AsyncIterator[None]:
        """Hand over what is read to a recipient, until the connection has ended."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.connection.pump, recipient)
            await anyio.wait_all_tasks_blocked()
            yield

    def leave(self) -> None:
        """End the connection from the peer's side."""
        self.writer.close()


@asynccontextmanager
async def connected(
    contexts: Contexts, read_timeout: Any = None
) -> AsyncIterator[Pair]:
    """Open a connection, and close both ends of it."""
    config = Config()
    config.read_timeout = read_timeout
    worker = vars(config)["websocket_worker"] = Worker(config)
    accepted: asyncio.Future[EngineTCPServer] = asyncio.Future()

    async def accept(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        nothing: Any = None  # it serves nothing
        loop = asyncio.get_running_loop()
        connection = EngineTCPServer(
            *(nothing, loop, config, WorkerContext(None), nothing, reader, writer)
        )
        accepted.set_result(connection)

    server = await asyncio.start_server(accept, HOST, 0, ssl=contexts[0])
    async with server, worker.upkeep.opened():
        port = server.sockets[0].getsockname()[1]
        streams = await asyncio.open_connection(HOST, port, ssl=contexts[1])
        pair = Pair(await accepted, *streams)
        try:
            yield pair
        finally:
            for writer in (pair.connection.writer, pair.writer):
                writer.transport.abort()
                try:
                    await writer.wait_closed()
                except OSError:
                    pass


async def test_what_was_read_early_comes_first(contexts: Contexts) -> None:
    """What came with the handshake is taken over, and what follows is behind it."""
    async with connected(contexts) as pair:
        taken = Taken()
        await pair.early(b"early")
        async with pair.pumping(taken):
            pair.writer.write(b", late")
            await taken.until(11)
            assert taken.data == b"early, late"
            pair.leave()


async def test_an_end_that_came_early_is_the_end(contexts: Contexts) -> None:
    """Behind the bytes that came before it."""
    async with connected(contexts) as pair:
        taken = Taken()
        await pair.early(b"early")
        pair.connection.reader.feed_eof()
        await pair.connection.pump(taken)
        assert (taken.data, taken.ends) == (b"early", [None])


async def test_an_error_that_came_early_is_the_end(contexts: Contexts) -> None:
    """What the transport has broken by is no defect of the stream."""
    async with connected(contexts) as pair:
        pair.connection.reader.set_exception(ConnectionResetError())
        await pair.connection.pump(Taken())


@pytest.mark.parametrize("how", ["close", "abort"])
async def test_the_peers_end_is_the_end(contexts: Contexts, how: str) -> None:
    """Whether it closes the connection or resets it."""
    async with connected(contexts) as pair:
        taken = Taken()
        async with pair.pumping(taken):
            pair.writer.write(b"last")
            await taken.until(4)
            getattr(pair.writer.transport, how)()
        assert (taken.data, taken.ends) == (b"last", [None])


async def test_our_own_end_is_the_end(contexts: Contexts) -> None:
    """Who waits for the transport to be closed is told as well."""
    async with connected(contexts) as pair:
        async with pair.pumping(Taken()):
            pair.connection.abort()
        await pair.connection.writer.wait_closed()


async def test_nothing_is_read_without_room(contexts: Contexts) -> None:
    """Neither behind what came early nor later; `resume` reads on."""
    async with connected(contexts) as pair:
        taken = Taken(room=False)
        await pair.early(b"early")
        async with pair.pumping(taken):
            assert not pair.transport.is_reading()
            pair.writer.write(b"more")
            await anyio.wait_all_tasks_blocked()
            assert taken.data == b"early"
            pair.connection.resume()
            await taken.until(9)
            assert not pair.transport.is_reading()
            taken.room = True
            pair.connection.resume()
            assert pair.transport.is_reading()
            pair.leave()


async def test_a_fault_ends_the_connections_task(contexts: Contexts) -> None:
    """It is raised there, once, and the stream is given nothing more."""
    async with connected(contexts) as pair:
        taken = Taken(fault=LookupError("a defect"))
        pump = asyncio.ensure_future(pair.connection.pump(taken))
        await anyio.wait_all_tasks_blocked()
        pair.writer.write(b"one")
        with pytest.raises(LookupError):
            await pump
        assert taken.ends == [taken.fault]
        taken.fault = None
        pair.writer.write(b"two")
        pair.leave()
        while not pair.connection.reader.at_eof():
            await checkpoint()
        assert taken.data == b""


async def test_the_stream_may_ask_anyio(contexts: Contexts) -> None:
    """Which looks for a running task, where there is none, to know its event loop."""
    async with connected(contexts) as pair:
        times = []

        class Asking(Taken):
            def take_in(self, data: bytes) -> bool:
                times.append(anyio.current_time())
                pair.leave()
                return True

            def take_end(self, exc: BaseException | None) -> None:
                times.append(anyio.current_time())

        # A context such as Hypercorn's tasks have: AnyIO has not started them.
        pump = asyncio.get_running_loop().create_task(
            pair.connection.pump(Asking()), context=Context()
        )
        await anyio.wait_all_tasks_blocked()
        pair.writer.write(b"one")
        await pump
        assert len(times) == 2


async def test_writing_waits_for_the_peer(contexts: Contexts) -> None:
    """What the transport cannot take holds up `send_all`, until the peer reads."""
    async with connected(contexts) as pair:
        sent = asyncio.Event()

        async def send() -> None:
            for _ in range(BIG // PART):
                await pair.connection.send_all(bytes(PART))
            sent.set()

        async with pair.pumping(Taken()), anyio.create_task_group() as tasks:
            tasks.start_soon(send)
            await anyio.wait_all_tasks_blocked()
            assert not sent.is_set()
            assert pair.connection.send_nowait(b"behind it") == 0
            assert len(await pair.reader.readexactly(BIG)) == BIG
            await sent.wait()
            pair.leave()


async def test_writing_tells_what_had_to_wait(contexts: Contexts) -> None:
    """What is taken at once is not told of; what was refused and then taken is."""
    async with connected(contexts) as pair:
        waited = list[bool]()
        sent = asyncio.Event()

        async def send() -> None:
            for _ in range(BIG // PART):
                waited.append(await pair.connection.send_all(bytes(PART)))
            sent.set()

        async with pair.pumping(Taken()), anyio.create_task_group() as tasks:
            tasks.start_soon(send)
            await anyio.wait_all_tasks_blocked()
            taken = len(waited)
            assert not any(waited)
            assert len(await pair.reader.readexactly(BIG)) == BIG
            await sent.wait()
            assert waited[taken]
            pair.leave()


async def test_writing_to_who_has_gone_fails(contexts: Contexts) -> None:
    """Who waits to write does not wait any longer, and the next to write is told."""
    async with connected(contexts) as pair:

        async def send() -> None:
            with pytest.raises(ConnectionResetError):
                while True:
                    await pair.connection.send_all(bytes(PART))

        async with pair.pumping(Taken()), anyio.create_task_group() as tasks:
            tasks.start_soon(send)
            await anyio.wait_all_tasks_blocked()
            pair.connection.abort()


async def test_a_silent_peer_is_given_up(contexts: Contexts) -> None:
    """After `read_timeout` seconds without a byte."""
    async with connected(contexts, read_timeout=0.05) as pair:
        taken = Taken()
        await pair.early(b"early")
        await pair.connection.pump(taken)
        assert (taken.data, taken.ends) == (b"early", [None])


async def test_every_read_starts_the_time_anew(contexts: Contexts) -> None:
    """A peer that goes on sending is not given up, however long it takes."""
    async with connected(contexts, read_timeout=0.2) as pair:
        taken = Taken()
        begin = anyio.current_time()
        async with pair.pumping(taken):
            for count in range(1, 9):
                pair.writer.write(b".")
                await taken.until(count)
                await anyio.sleep(0.05)  # the seconds are what this is about
            assert pair.transport.is_reading()
        assert taken.data == b"." * 8
        assert anyio.current_time() - begin > 0.5


async def test_time_without_room_does_not_count(contexts: Contexts) -> None:
    """A peer that is not read from cannot be heard of."""
    async with connected(contexts, read_timeout=0.05) as pair:
        taken = Taken(room=False)
        await pair.early(b"early")
        ended = asyncio.Event()

        async def pump() -> None:
            await pair.connection.pump(taken)
            ended.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(pump)
            await anyio.sleep(0.2)  # the seconds are what this is about
            assert not ended.is_set()
            pair.connection.resume()
            await ended.wait()
