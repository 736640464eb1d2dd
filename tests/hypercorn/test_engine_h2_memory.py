"""The HTTP/2 protocol object without a server: what no peer can bring about at will."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import anyio
import anyio.lowlevel
import h2.events
import pytest
from anyio import wait_all_tasks_blocked
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.settings import SettingCodes
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.events import Body, EndBody, Request, Response, StreamClosed
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.ws_stream import WSStream
from hypercorn.typing import ConnectionState

from anyws.hypercorn import engine
from anyws.hypercorn._http2.allowance import Allowance
from anyws.hypercorn._http2.protocol import EngineH2Protocol
from anyws.hypercorn._http2.streams import (
    EngineHTTPStream,
    EngineStreamBuffer,
    HypercornEvent,
)
from anyws.hypercorn._http3 import RefusedStream
from anyws.hypercorn._stream import EngineStream
from anyws.hypercorn._worker import Worker

HEADERS: Final = [
    (":method", "GET"),
    (":scheme", "http"),
    (":authority", "here"),
    (":path", "/"),
]


async def responds(_: Any, receive: Any, send: Any, *__: object) -> None:
    """Respond when the whole body was read."""
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"whole"})


async def waits(_: Any, receive: Any, *__: object) -> None:
    """Wait for the peer to leave."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def breaks_off(_: Any, __: object, send: Any, *___: object) -> None:
    """Respond with a part, and fail."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"part", "more_body": True})
    raise RuntimeError("Boom")


class Memory:
    """A connection between a client's library and the engine's protocol object."""

    def __init__(self) -> None:
        """Make the client's end."""
        self.client = H2Connection()
        self.protocol: EngineH2Protocol
        self.events: list[h2.events.Event] = []
        self.asked: list[Event] = []
        self.error: OSError | None = None
        self.writable = anyio.Event()
        self.writable.set()
        self._turn = anyio.Lock()  # as Hypercorn's own: writes keep their order

    async def send(self, event: Event) -> None:
        """Take what the protocol object has for the transport."""
        if self.error is not None:
            raise self.error
        async with self._turn:
            await self.writable.wait()
            if isinstance(event, RawData):
                self.events += self.client.receive_data(event.data)
            else:
                self.asked.append(event)

    async def exchange(self) -> None:
        """Hand over what there is, in both directions."""
        for _ in range(3):
            await self.protocol.handle(RawData(data=self.client.data_to_send()))
            await wait_all_tasks_blocked()

    async def request(
        self, stream_id: int, *, end: bool = True, **changes: str | bytes
    ) -> None:
        """Send a request's headers; pseudo headers may be changed."""
        pseudo: dict[str, str | bytes] = {"method": "POST", "scheme": "http"}
        pseudo |= {"authority": "here", "path": "/"} | changes
        headers: Any = [(f":{name}", value) for name, value in pseudo.items()]
        headers.append(("sec-websocket-version", "13"))
        self.client.send_headers(stream_id, headers, end_stream=end)
        await self.exchange()

    def status(self, stream_id: int) -> str:
        """Return the status of a response."""
        [response] = self.found(h2.events.ResponseReceived, stream_id)
        headers: dict[bytes, bytes] = dict(response.headers)
        return headers[b":status"].decode()

    def found(self, kind: type[Any], stream_id: int) -> list[Any]:
        """Return the events of a kind for a stream."""
        return [
            event
            for event in self.events
            if isinstance(event, kind) and event.stream_id == stream_id
        ]


@asynccontextmanager
async def connection(
    app: Callable[..., Any], *, upgrade: str = "", server_names: Sequence[str] = ()
) -> AsyncIterator[Memory]:
    """Connect in memory, on the running backend; by an upgrade if one is asked for."""
    config, memory = Config(), Memory()
    config.errorlog = logging.getLogger("test_engine_h2_memory")
    config.server_names = list(server_names)
    worker = vars(config)["websocket_worker"] = Worker(config)
    if _on_trio():
        from hypercorn.trio.task_group import TaskGroup
        from hypercorn.trio.worker_context import WorkerContext

        group: Any = TaskGroup()
        context: Any = WorkerContext(None)
    else:
        from hypercorn.asyncio import task_group, worker_context

        group = task_group.TaskGroup(asyncio.get_running_loop())
        context = worker_context.WorkerContext(None)
    with engine():
        async with worker.upkeep.opened(), group:
            memory.protocol = EngineH2Protocol(
                *(app, config, context, group, ConnectionState({})),
                *(False, None, None, memory.send),
            )
            if upgrade:
                settings = memory.client.initiate_upgrade_connection()
                headers = [(b":method", upgrade.encode()), (b":path", b"/")]
                await memory.protocol.initiate(headers, settings)
            else:
                memory.client.initiate_connection()
                await memory.protocol.initiate()
            await memory.exchange()
            yield memory
            await memory.protocol.handle(Closed())


def _on_trio() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return True
    return False


class FailingStream(EngineHTTPStream):
    """A stream that can take in neither a body nor its end."""

    async def handle(self, event: StreamEvent) -> None:
        """Fail, or do as usual."""
        if isinstance(event, Body):
            raise OSError("Boom")
        await super().handle(event)
        if isinstance(event, StreamClosed):
            raise LookupError("Boom")


async def test_an_error_in_a_stream_resets_that_stream(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The others, and the connection's window, are as they were."""
    async with connection(responds) as memory:
        await memory.request(1, end=False)
        monkeypatch.setattr("hypercorn.protocol.h2.HTTPStream", FailingStream)
        await memory.request(3, end=False)
        window = memory.client.outbound_flow_control_window
        for _ in range(3):
            memory.client.send_data(3, bytes(16384))
        await memory.exchange()
        [reset] = memory.found(h2.events.StreamReset, 3)
        assert reset.error_code == ErrorCodes.INTERNAL_ERROR
        assert 3 not in memory.protocol.streams
        assert 3 not in memory.protocol.stream_buffers

        memory.client.send_data(1, b"body", end_stream=True)
        await memory.exchange()
        parts = memory.found(h2.events.DataReceived, 1)
        assert b"".join(part.data for part in parts) == b"whole"
        manager = memory.protocol.connection._inbound_flow_control_window_manager
        assert manager.current_window_size + manager._bytes_processed >= window


async def test_a_response_that_breaks_off_is_no_whole_one() -> None:
    """The peer gets a reset, and not the end of a complete response."""
    async with connection(breaks_off) as memory:
        await memory.request(1)
        [reset] = memory.found(h2.events.StreamReset, 1)
        assert reset.error_code == ErrorCodes.INTERNAL_ERROR
        assert memory.found(h2.events.StreamEnded, 1) == []


async def test_a_cancelled_handler_tears_nothing() -> None:
    """What it had sent arrives: without its headers, no later ones could be decoded."""

    async def app(_: Any, __: object, send: Any, *___: object) -> None:
        headers = [(b"x-new", b"an entry of the table that both sides keep")]
        with anyio.CancelScope() as scope:
            tg.start_soon(cancel, scope)
            start = {"type": "http.response.start", "status": 200, "headers": headers}
            await send(start)
        await send({"type": "http.response.body", "body": b"whole"})

    async def cancel(scope: anyio.CancelScope) -> None:
        await wait_all_tasks_blocked()
        scope.cancel()
        await wait_all_tasks_blocked()
        memory.writable.set()

    async with anyio.create_task_group() as tg, connection(app) as memory:
        for stream_id in (1, 3):
            memory.writable = anyio.Event()
            await memory.request(stream_id)
            assert memory.status(stream_id) == "200"
            assert memory.found(h2.events.StreamEnded, stream_id) != []


async def test_a_transport_that_fails_ends_every_stream() -> None:
    """An error of the transport is the end of the connection, and no more than that."""
    async with connection(responds) as memory:
        await memory.request(1, end=False)
        memory.error = TimeoutError("the transport has failed")
        memory.client.ping(bytes(8))
        await memory.exchange()
        assert memory.protocol.closed
        assert memory.protocol.streams == {}


async def test_a_peer_that_breaks_the_rules_is_told_so() -> None:
    """The GOAWAY frame is written before the connection is closed."""
    async with connection(responds) as memory:
        await memory.request(1, end=False)
        await memory.protocol.handle(RawData(data=bytes(100)))
        terminated = memory.events[-1]
        assert isinstance(terminated, h2.events.ConnectionTerminated)
        assert memory.asked[-1] == Closed()


async def test_an_error_of_the_library_ends_the_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing that a peer sends is the end of more than its own connection."""
    async with connection(responds) as memory:

        def receive_data(_: bytes) -> None:
            raise LookupError("Boom")

        monkeypatch.setattr(memory.protocol.connection, "receive_data", receive_data)
        await memory.protocol.handle(RawData(data=b"anything"))
        assert memory.asked[-1] == Closed()


def resets(client: H2Connection, count: int, first: int = 1) -> None:
    """Send requests, and take each back at once."""
    for stream_id in range(first, first + 2 * count, 2):
        client.send_headers(stream_id, HEADERS)
        client.reset_stream(stream_id, ErrorCodes.CANCEL)


def told(memory: Memory) -> list[int | None]:
    """Return the codes of the GOAWAY frames that the peer got."""
    kind = h2.events.ConnectionTerminated
    return [e.error_code for e in memory.events if isinstance(e, kind)]


async def test_requests_that_are_taken_back_start_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A browser may reset all it has open, again and again, and goes on."""
    served: list[Any] = []

    async def app(scope: Any, *rest: Any) -> None:
        served.append(scope)
        await responds(scope, *rest)

    async with connection(app) as memory:
        for turn in range(5):
            resets(memory.client, 100, 1 + 200 * turn)
            await memory.exchange()
        assert memory.protocol._accounts == {}
        await memory.request(1001)
        assert memory.status(1001) == "200"
    assert len(served) == 1
    assert caplog.records == []


async def test_a_peer_that_resets_without_end_is_cut_off(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Past the bound it gets a GOAWAY frame, and nothing more is read (CVE-2023-44487).

    What it did is not worth a line of the log.
    """
    async with connection(responds) as memory:
        resets(memory.client, 1100)
        await memory.exchange()
        assert told(memory) == [ErrorCodes.ENHANCE_YOUR_CALM]
        assert memory.asked[-1] == Closed()
        asked = len(memory.asked)
        await memory.exchange()
        assert len(memory.asked) == asked
    assert caplog.records == []


async def test_resets_that_the_peer_provokes_count_too(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The server's own resets end a connection as the peer's do (CVE-2025-8671)."""
    async with connection(waits) as memory:
        for stream_id in range(1, 2401, 2):
            memory.client.send_headers(stream_id, HEADERS, end_stream=True)
            frames = memory.client.data_to_send()
            late = bytes.fromhex(f"0000010000{stream_id:08x}78")  # DATA after the end
            await memory.protocol.handle(RawData(data=frames + late))
            if told(memory):
                break
        assert told(memory) == [ErrorCodes.ENHANCE_YOUR_CALM]
    assert caplog.records == []


async def test_requests_after_the_last_one_are_refused_silently(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A peer may not have seen the GOAWAY frame yet, and takes its requests back."""
    async with connection(responds) as memory:
        memory.protocol._going_away = True  # the frame is under way
        resets(memory.client, 50)
        await memory.exchange()
        memory.client.send_headers(101, HEADERS)
        await memory.exchange()
        assert memory.found(h2.events.StreamReset, 101) != []
        assert Closed() not in memory.asked
    assert caplog.records == []


async def test_a_reset_that_came_with_the_data_is_no_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What a stream gets in the same read as its end is not worth a line of the log."""
    async with connection(waits) as memory:
        await memory.request(1, end=False)
        memory.client.send_data(1, b"body")
        memory.client.increment_flow_control_window(1, 1)
        memory.client.reset_stream(1)
        await memory.exchange()
        assert 1 not in memory.protocol.streams
        await memory.request(3)
    assert caplog.records == []


IDLE_FRAMES: Final[dict[str, Callable[[H2Connection, int], None]]] = {
    "ping": lambda client, _: client.ping(bytes(8)),
    "settings": lambda client, turn: client.update_settings(
        {SettingCodes.INITIAL_WINDOW_SIZE: 65535 + turn % 2}
    ),
    "priority": lambda client, _: client.prioritize(1, weight=1),
    "window of a stream": lambda client, _: client.increment_flow_control_window(1, 1),
    "window": lambda client, _: client.increment_flow_control_window(1),
    "data": lambda client, _: client.send_data(1, b""),
}


@pytest.mark.parametrize("kind", IDLE_FRAMES)
async def test_frames_that_carry_nothing_are_bounded(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    """Thousands pass; a peer that sends more and more of them is cut off."""
    monkeypatch.setattr("anyws.hypercorn._http2.protocol._IDLE_FRAMES", (50, 0))
    async with connection(waits) as memory:
        await memory.request(1, end=False)
        for turn in range(40):
            IDLE_FRAMES[kind](memory.client, turn)
        await memory.exchange()
        assert told(memory) == []
        for turn in range(40):
            IDLE_FRAMES[kind](memory.client, turn)
        await memory.exchange()
        assert told(memory) == [ErrorCodes.ENHANCE_YOUR_CALM]
    assert caplog.records == []


async def test_a_flood_lets_others_have_their_turn() -> None:
    """A read of small frames is handled in pieces."""
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await anyio.lowlevel.checkpoint()
            turns += 1

    async with connection(responds) as memory, anyio.create_task_group() as tg:
        tg.start_soon(count)
        for _ in range(3800):
            memory.client.ping(bytes(8))
        data = memory.client.data_to_send()
        await anyio.lowlevel.checkpoint()
        before = turns
        await memory.protocol.handle(RawData(data=data))
        assert turns - before >= len(data) // 8192
        tg.cancel_scope.cancel()


def test_an_allowance_comes_back_with_time() -> None:
    """As many at once as the bucket holds, and as many a second as it says."""
    allowance = Allowance(3, 2, now=100.0)

    assert [allowance.spend(100.0) for _ in range(5)] == [
        True,
        True,
        True,
        False,
        False,
    ]
    assert [allowance.spend(101.0) for _ in range(3)] == [True, True, False]
    assert [allowance.spend(1000.0) for _ in range(4)] == [True, True, True, False]
    allowance.earn(1)
    assert allowance.spend(1000.0)
    assert not allowance.spend(1000.0)


async def test_a_turn_of_a_stream_that_is_gone_is_skipped() -> None:
    """The task that writes goes on with the others."""
    async with connection(responds) as memory:
        memory.protocol.priority.insert_stream(99)
        await memory.request(1)
        assert memory.status(1) == "200"


@pytest.mark.parametrize(("host", "status"), [("here", "404"), (b"\xff", "400")])
async def test_a_request_for_another_host_is_over_once_it_is_answered(
    host: str | bytes, status: str
) -> None:
    """It does not keep the connection busy for ever."""
    async with connection(responds, server_names=["there"]) as memory:
        await memory.request(1, authority=host)
        assert memory.status(1) == status
        assert memory.found(h2.events.StreamEnded, 1) != []
        assert memory.protocol.idle
        assert memory.protocol._accounts == {}


@pytest.mark.parametrize(("method", "status"), [("GET", "200"), ("CONNECT", "501")])
async def test_a_request_may_ask_for_http_2(method: str, status: str) -> None:
    """An upgrade from HTTP/1.1 begins with the stream of its request."""
    async with connection(responds, upgrade=method) as memory:
        assert memory.status(1) == status
        assert memory.found(h2.events.StreamEnded, 1) != []
        assert memory.protocol._accounts == {}
        await memory.request(3)
        assert memory.status(3) == "200"


async def test_websockets_over_http_3_are_refused() -> None:
    """One response without a header that HTTP/3 forbids; what follows is ignored."""
    sent: list[StreamEvent] = []

    async def send(event: StreamEvent) -> None:
        sent.append(event)

    unused: Any = None
    config = Config()
    config.errorlog = logging.getLogger("test_engine_h2_memory")
    for _ in range(2):
        sent.clear()
        stream = RefusedStream(
            unused, config, unused, unused, True, None, None, send, 4
        )
        request = Request(4, [], "3", "CONNECT", b"/", ConnectionState({}))
        for event in (request, Body(4, b"late"), EndBody(4), StreamClosed(4)):
            await stream.handle(event)
        assert sent == [Response(4, [(b"content-length", b"0")], 501), EndBody(4)]
        assert stream.idle


async def test_what_is_under_way_is_sent_before_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A server that stops closes a connection when all its streams were sent."""
    stopping = anyio.Event()

    async def denies(_: Any, __: object, send: Any, *___: object) -> None:
        await stopping.wait()
        start = {"type": "websocket.http.response.start", "status": 418, "headers": []}
        await send(start)
        await send({"type": "websocket.http.response.body", "body": b"no tea"})

    async with connection(denies) as memory:
        monkeypatch.setattr("hypercorn.protocol.h2.WSStream", WSStream)
        memory.client.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 0})
        await memory.exchange()
        await memory.request(1, end=False, method="CONNECT", protocol="websocket")
        await memory.protocol.context.terminated.set()
        stopping.set()
        await memory.exchange()
        assert memory.protocol.streams[1].idle
        assert memory.found(h2.events.StreamEnded, 1) == []

        memory.client.increment_flow_control_window(100, 1)
        await memory.exchange()
        [data, *_] = memory.found(h2.events.DataReceived, 1)
        assert data.data == b"no tea"
        assert memory.found(h2.events.StreamEnded, 1) != []
        assert memory.asked[-1] == Updated(idle=True)


async def test_a_server_that_stops_takes_no_more_requests() -> None:
    """They are refused in a way that makes it safe to send them again elsewhere."""
    async with connection(responds) as memory:
        await memory.protocol.context.terminated.set()
        await memory.request(1)
        assert isinstance(memory.events[-1], h2.events.ConnectionTerminated)
        [refused] = memory.found(h2.events.StreamReset, 1)
        assert refused.error_code == ErrorCodes.REFUSED_STREAM


async def test_senders_wait_for_one_buffer() -> None:
    """Several wait for room and are all woken; closing wakes them too."""

    done: list[int] = []
    buffer = EngineStreamBuffer(HypercornEvent)

    async def push(number: int) -> None:
        await buffer.push(bytes(40_000))
        done.append(number)

    async with anyio.create_task_group() as tg:
        for number in range(3):
            tg.start_soon(push, number)
            await wait_all_tasks_blocked()
        assert await buffer.pop(0) == b""
        await wait_all_tasks_blocked()
        assert done == []
        while not done:
            assert await buffer.pop(16384)
            await wait_all_tasks_blocked()
        assert sorted(done) == [0, 1, 2]
        assert len(buffer.buffer) > 16384
        tg.start_soon(push, 3)
        await wait_all_tasks_blocked()
        assert len(done) == 3
        await buffer.close()
    assert len(done) == 4
    await buffer.push(b"too late")
    assert buffer.complete


# Progress of a WebSocket

WAITED = "anyws.hypercorn._http2.protocol.waited_since"


async def sends(scope: Any, receive: Any, send: Any, *_: object) -> None:
    """Send a message of as many bytes as the path says."""
    await receive()
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.send", "bytes": bytes(int(scope["path"][1:]))})
    await receive()


@pytest.fixture
def progress(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Give the streams that were told that their peer has made room."""
    streams = list[int]()

    def take_room(stream: EngineStream) -> None:
        streams.append(stream.stream_id)

    monkeypatch.setattr(EngineStream, "take_room", take_room)
    # A write in memory never waits, but a busy machine may make it take as long.
    monkeypatch.setattr(WAITED, lambda began: False)
    return streams


async def websocket(memory: Memory, stream_id: int, size: int) -> None:
    """Open a WebSocket to which so many bytes are sent."""
    await memory.request(
        stream_id, end=False, method="CONNECT", protocol="websocket", path=f"/{size}"
    )


async def test_a_window_update_of_the_stream_is_progress(progress: list[int]) -> None:
    """That of another stream is none, and that of the connection alone is none."""
    async with connection(sends) as memory:
        memory.client.increment_flow_control_window(2**20)
        await websocket(memory, 1, 100_000)
        await websocket(memory, 3, 10)
        assert progress == []
        memory.client.increment_flow_control_window(10, 3)
        await memory.exchange()
        assert progress == [3]
        memory.client.increment_flow_control_window(10, 1)
        await memory.exchange()
        assert set(progress) == {3, 1}
        progress.clear()
        memory.client.increment_flow_control_window(2**20)
        await memory.exchange()
        assert progress == []  # no byte moves: the window of the stream is closed


async def test_a_window_that_lets_bytes_move_is_progress(progress: list[int]) -> None:
    """Also the connection's, of a peer that has opened wide those of its streams."""
    async with connection(sends) as memory:
        memory.client.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 2**24})
        await memory.exchange()
        await websocket(memory, 1, 100_000)
        assert progress == []
        memory.client.increment_flow_control_window(20_000)
        await memory.exchange()
        assert progress == [1]
        memory.client.increment_flow_control_window(20_000)
        await memory.exchange()
        assert progress == [1, 1]


async def test_to_wait_for_the_turn_of_a_stream_is_no_progress(
    progress: list[int],
) -> None:
    """The buffer of the stream is full for a moment, and the peer has done nothing."""
    async with connection(sends) as memory:
        memory.client.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 2**24})
        memory.client.increment_flow_control_window(2**24)
        await memory.exchange()
        for stream_id in (1, 3):
            await websocket(memory, stream_id, 500_000)
            parts = memory.found(h2.events.DataReceived, stream_id)
            assert sum(len(part.data) for part in parts) > 500_000
        assert progress == []


async def test_a_write_for_which_the_socket_waits_is_progress(
    progress: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The peer may leave all windows open, and read slowly."""
    async with connection(sends) as memory:
        memory.client.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 2**24})
        await memory.exchange()
        await websocket(memory, 1, 10)
        memory.writable = anyio.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(websocket, memory, 3, 30_000)
            await wait_all_tasks_blocked()
            assert progress == []
            monkeypatch.setattr(WAITED, lambda began: True)
            memory.writable.set()
            await wait_all_tasks_blocked()
        assert set(progress) == {3}
