"""What an observer is told of a connection, and what the log is."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path
from typing import Any

import anyio
import pytest

import anyws
from anyws.testing import connect

from ..support.channels import SCOPE, Channel
from ..support.ends import raw
from ..support.wired import CHANNELS, CONT, TEXT, frame

LOG = "anyws.connection"


class Recorder:
    """An observer that keeps what it was told.

    Attributes:
        calls: The calls, by name and without the connection.
        connections: The connections that it was told of.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.connections = set[anyws.ObservedConnection]()

    def opened(self, connection: anyws.ObservedConnection) -> None:
        """Keep it."""
        self.connections.add(connection)
        self.calls.append(("opened",))

    def message(
        self, connection: anyws.ObservedConnection, direction: str, size: int
    ) -> None:
        """Keep it."""
        assert connection in self.connections
        self.calls.append((direction, size))

    def dropped(
        self, connection: anyws.ObservedConnection, direction: str, count: int
    ) -> None:
        """Keep it."""
        assert connection in self.connections
        self.calls.append(("dropped", direction, count))

    def closed(
        self,
        connection: anyws.ObservedConnection,
        summary: anyws.ConnectionSummary,
    ) -> None:
        """Keep it."""
        assert connection in self.connections
        self.calls.append(("closed", summary))

    @property
    def summary(self) -> anyws.ConnectionSummary:
        """What the last call said."""
        name, summary = self.calls[-1]
        assert name == "closed"
        assert isinstance(summary, anyws.ConnectionSummary)
        return summary

    @property
    def counted(self) -> Counter[tuple[Any, ...]]:
        """How often each call came, but for the last one."""
        return Counter(self.calls[:-1])


@pytest.fixture(params=CHANNELS)
async def channel(request: pytest.FixtureRequest) -> Channel:
    """Return a fresh channel."""
    make: type[Channel] = request.param
    return make()


async def test_a_connection_is_told_of_from_end_to_end(channel: Channel) -> None:
    """Its opening first, each message with its size, its end last, with all counts."""
    observer = Recorder()
    async with channel.websocket(observer=observer) as ws:
        await ws.accept()
        channel.arrive("é", b"12345")
        assert await ws.receive_text() == "é"
        assert await ws.receive_bytes() == b"12345"
        await ws.send_text("abc")
        ws.send_nowait(b"abcd")
        await anyio.wait_all_tasks_blocked()
        assert observer.calls[0] == ("opened",)
        channel.leave(4001, "bye")
        await ws.wait_closed()
        statistics = ws.statistics()
    assert observer.counted == Counter(
        [("opened",), ("received", 2), ("received", 5), ("sent", 3), ("sent", 4)]
    )
    summary = observer.summary
    assert summary.info is ws.close_info
    assert (summary.info.code, summary.info.initiator) == (4001, "peer")
    assert summary.statistics == statistics
    assert summary.duration >= 0
    assert 1 <= summary.receive_peak <= 2
    assert 0 <= summary.send_peak <= 2
    assert len(observer.connections) == 1


async def test_drops_and_peaks_are_told(channel: Channel) -> None:
    """Drops of either queue, at the latest before the end."""
    observer = Recorder()
    async with channel.websocket(
        observer=observer,
        receive_buffer=2,
        receive_overflow="drop_oldest",
        send_buffer=3,
        send_overflow="drop_newest",
    ) as ws:
        await ws.accept()
        channel.arrive(*"abcde")
        await anyio.wait_all_tasks_blocked()
        channel.stall()
        for _ in range(20):
            ws.send_nowait("x")
        channel.resume()
        statistics = ws.statistics()
    drops = Counter[str]()
    for call in observer.calls:
        if call[0] == "dropped":
            drops[call[1]] += call[2]
    assert drops["received"] == statistics.receive_dropped == 3
    assert drops["sent"] == statistics.send_dropped > 0
    assert observer.summary.receive_peak == 2
    assert observer.summary.send_peak <= 3
    assert observer.counted["received", 1] == 5


async def test_drops_are_told_though_no_message_follows() -> None:
    """The connection breaks before another one is sent."""
    channel, observer = Channel(), Recorder()
    async with channel.websocket(
        observer=observer, send_buffer=1, send_overflow="drop_newest"
    ) as ws:
        await ws.accept()
        channel.stall()
        for _ in range(5):
            ws.send_nowait("x")
            await anyio.wait_all_tasks_blocked()
        channel.error = OSError()
        channel.resume()
    assert observer.calls[:-1] == [("opened",), ("dropped", "sent", 3)]


async def test_a_message_that_interrupts_is_told_of() -> None:
    """It was received, if by no receiver; also if it was held."""
    channel, observer = Channel(), Recorder()
    async with channel.websocket(observer=observer, receive_buffer=1) as ws:
        await ws.accept()
        channel.arrive("a", "stop")
        await anyio.wait_all_tasks_blocked()
        with ws.cancel_on(lambda message: message == "stop"):
            await anyio.sleep_forever()
        with ws.cancel_on(lambda message: message == "halt!"):
            channel.arrive("halt!")
            await anyio.sleep_forever()
    assert observer.counted == Counter(
        [("opened",), ("received", 1), ("received", 4), ("received", 5)]
    )


async def test_a_message_in_parts_is_told_of_once(tmp_path: Path) -> None:
    """In either direction."""
    observer = Recorder()
    async with raw("memory", tmp_path, observer=observer) as (ws, server):
        await server.send(frame(TEXT, "a", fin=False, mask=None))
        async with ws.receive_stream() as message:
            await server.send(
                frame(CONT, "bc", fin=False, mask=None), frame(CONT, "d", mask=None)
            )
            assert "".join([str(part) async for part in message]) == "abcd"
        async with ws.send_stream("text") as out:
            await out.send("a")
            await out.send("b")
    directions = Counter(call[0] for call in observer.calls[:-1])
    assert directions == Counter(opened=1, received=1, sent=1)
    [connection] = observer.connections
    assert (connection.role, connection.path, connection.client) == (
        *("client", None, None),
    )


async def test_messages_behind_a_full_queue_are_told_of(channel: Channel) -> None:
    """As they are read, whether or not they have room."""
    observer = Recorder()
    async with channel.websocket(observer=observer, receive_buffer=1) as ws:
        await ws.accept()
        channel.arrive(*"abc")
        for letter in "abc":
            await anyio.wait_all_tasks_blocked()
            assert await ws.receive_text() == letter
    assert observer.counted["received", 1] == 3


async def test_a_connection_that_was_not_accepted_is_not_told_of() -> None:
    """It never was one; nor is one without an observer, or a log."""
    observer = Recorder()
    channel = Channel()
    async with channel.websocket(observer=observer) as ws:
        await ws.receive()
    assert observer.calls == []
    assert channel.closes


async def test_the_scope_tells_of_a_server() -> None:
    """Under a guard and alone; and it is not kept for what is not observed."""
    observer = Recorder()
    options = anyws.Options(observer=observer)

    async def handler(ws: anyws.WebSocket) -> None:
        await ws.accept()
        session = ws._session
        assert session is not None
        assert session.connection.scope is None

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async with anyws.WebSocket(scope, receive, send, options=options) as ws:
            await handler(ws)

    client = {"client": ("10.0.0.1", 1)}
    async with connect(app, "/chat", scope=client):
        pass
    async with connect(anyws.endpoint(options=options)(handler), "/chat", scope=client):
        pass
    async with connect(anyws.WebSocketMiddleware(app), "/chat", scope=client):
        pass
    assert {(c.role, c.path, c.client) for c in observer.connections} == {
        ("server", "/chat", "10.0.0.1")
    }
    assert observer.summary.info.code == 1000
    async with connect(anyws.endpoint(handler)):
        pass


class Failing(Recorder):
    """An observer that fails at the first message."""

    def message(self, *_: object) -> None:
        """Fail."""
        raise LookupError


async def test_an_observer_that_fails_is_logged_and_hears_no_more(
    channel: Channel, caplog: pytest.LogCaptureFixture
) -> None:
    """The connection goes on."""
    observer = Failing()
    async with channel.websocket(observer=observer) as ws:
        await ws.accept()
        channel.arrive("a", "b")
        assert [await ws.receive_text() for _ in range(2)] == ["a", "b"]
        await ws.send_text("c")
        await anyio.wait_all_tasks_blocked()
        assert channel.messages == ["c"]
    assert observer.calls == [("opened",)]
    assert [record.exc_info is not None for record in caplog.records] == [True]


async def test_the_end_of_a_connection_is_one_line_in_the_log(
    channel: Channel, caplog: pytest.LogCaptureFixture
) -> None:
    """If the logger is on for INFO; with fields for those who parse it."""
    caplog.set_level(logging.INFO, LOG)
    async with channel.websocket() as ws:
        await ws.accept()
        channel.arrive("abc")
        assert await ws.receive_text() == "abc"
        channel.leave(4001, "a\nb")
        await ws.wait_closed()
    [record] = caplog.records
    assert record.name == LOG
    text = record.getMessage()
    assert "code=4001 reason='a\\nb' initiator=peer" in text
    assert "received=1/3 sent=0/0 dropped=0/0" in text
    assert "\n" not in text
    fields: dict[str, Any] = vars(record)["websocket"]
    assert fields["info"]["code"] == 4001
    assert fields["statistics"]["messages_received"] == 1
    assert fields["receive_peak"] == 1


async def test_the_line_of_a_client_says_which_server(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Without the parts of a URL that may be secret."""

    async def handler(ws: anyws.WebSocket) -> None:
        await ws.accept()

    caplog.set_level(logging.INFO, LOG)
    url = "ws://ann:s3cret@example.org/chat?token=t0ken"
    observer = Recorder()
    options = anyws.Options(observer=observer)
    async with anyws.connect(url, app=handler, options=options) as ws:
        await ws.wait_closed()
    lines = sorted(record.getMessage() for record in caplog.records)
    place = "ws://example.org:80/chat"
    assert [line.partition(" code=")[0] for line in lines] == [
        f"client url={place!r}",
        "server path='/chat' client=None",
    ]
    for secret in ("ann", "s3cret", "t0ken"):
        assert secret not in f"{caplog.text} {list(map(vars, caplog.records))}"
    assert {vars(record)["websocket"]["url"] for record in caplog.records} == {
        place,
        None,
    }
    [seen] = observer.connections
    assert (seen.role, seen.url, seen.path) == ("client", place, None)


async def test_the_log_is_off_otherwise(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is kept for it."""
    caplog.set_level(logging.WARNING, LOG)
    channel = Channel()
    async with channel.websocket() as ws:
        await ws.accept()
        session = ws._session
        assert session is not None
        assert session.connection.observation is None
    assert caplog.records == []
    caplog.set_level(logging.INFO, LOG)
    channel = Channel()
    ws = anyws.WebSocket(dict(SCOPE), channel.receive, channel.send)
    async with ws:
        await ws.accept()
        await ws.close(1000)
        caplog.set_level(logging.WARNING, LOG)
    assert caplog.records == []
