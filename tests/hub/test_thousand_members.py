"""A thousand members on real sockets, two of which do not read."""

from __future__ import annotations

import asyncio
import gc
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, get_args

import anyio
import pytest
import trio

import anyws
from anyws._hub.reading import Overflow

from ..support import crowd

MEMBERS = 1000
MESSAGES = 30
BUFFER = 8
BURST = 5  # messages that are published before they are waited for

pytestmark = [pytest.mark.slow, pytest.mark.fail_after(60)]


@pytest.fixture(scope="module", params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """Run the tests on two backends: each takes seconds."""
    return request.param


class Turns(trio.abc.Instrument):
    """Measures how long the event loop runs between two looks for I/O.

    Attributes:
        longest: The longest turn (seconds of CPU time: other processes do not count).
    """

    def __init__(self) -> None:
        self.longest = 0.0
        self._began = time.thread_time()

    def after_io_wait(self, timeout: float) -> None:
        """Begin a turn."""
        self._began = time.thread_time()

    def before_io_wait(self, timeout: float) -> None:
        """End a turn."""
        self.longest = max(self.longest, time.thread_time() - self._began)


@contextmanager
def turns(backend: str) -> Iterator[Turns]:
    """Measure the turns of the event loop that runs.

    What is there already is hidden from Python's garbage collector: a look at all
    objects of the test run takes some 15 ms, whatever the hub does.
    """
    gc.collect()
    gc.freeze()
    try:
        yield from _measured(backend)
    finally:
        gc.unfreeze()


def _measured(backend: str) -> Iterator[Turns]:
    measured = Turns()
    if backend == "trio":
        trio.lowlevel.add_instrument(measured)
        yield measured
        trio.lowlevel.remove_instrument(measured)
        return
    selector: Any = asyncio.get_running_loop()._selector  # type: ignore[attr-defined]  # it has no hook
    select = selector.select

    def measured_select(timeout: float | None = None) -> Any:
        measured.before_io_wait(0)
        events = select(timeout)
        measured.after_io_wait(0)
        return events

    selector.select = measured_select
    yield measured
    selector.select = select


async def listener() -> Any:
    """Listen with small buffers, so that few messages fill those of the system."""
    raw = socket.create_server(("127.0.0.1", 0), backlog=MEMBERS)
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16 * 1024)
    return await anyio.abc.SocketListener.from_socket(raw)


class Room:
    """A topic that all connections join, by the rule that their path names."""

    def __init__(self, hub: anyws.Hub) -> None:
        self._hub = hub
        self.members: dict[str, anyws.Attachment] = {}
        self.ended: dict[str, anyws.ConnectionClosed] = {}
        self.joined = 0
        self.all_there = anyio.Event()

    async def handle(self, ws: anyws.WebSocket) -> None:
        """Serve one connection."""
        await ws.accept()
        rule = ws.url.path.removeprefix("/")
        overflow: Any = rule or "drop_oldest"
        with self._hub.attach(ws, "all", buffer=BUFFER, overflow=overflow) as member:
            if rule:
                self.members[rule] = member
            self.joined += 1
            if self.joined == MEMBERS:
                self.all_there.set()
            try:
                await ws.receive_text()
            except anyws.ConnectionClosed as exc:
                self.ended[rule] = exc


async def test_two_that_do_not_read_cost_the_others_nothing(
    anyio_backend: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """All others get everything, right and in order; the two are as their rules say."""
    # One of the two each, as a thousand handshakes take seconds.
    compression: Any = "deflate" if anyio_backend == "trio" else None
    assert set(crowd.STALLED) < set(get_args(Overflow))
    hub = anyws.Hub()
    room = Room(hub)
    async with (
        hub,
        anyws.serve(
            anyws.endpoint(room.handle),
            listeners=[await listener()],
            compression=compression,
            # The members answer no ping, and the machine may be busy.
            options=anyws.Options(ping_interval=None),
        ) as server,
        await anyio.open_process(
            [
                *(sys.executable, crowd.__file__, "127.0.0.1", str(server.port)),
                *(str(MEMBERS), str(MESSAGES), *([compression] if compression else ())),
            ],
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        assert process.stdout is not None
        await room.all_there.wait()
        topic = hub._life.topics.by_name["all"]
        publishing = 0.0
        with turns(anyio_backend) as measured:
            for number in range(MESSAGES):
                begin = time.perf_counter()
                hub.publish("all", crowd.message(number))
                publishing = max(publishing, time.perf_counter() - begin)
                assert len(topic.log) <= BUFFER
                if number % BURST == 0:
                    while topic.dirty or len(topic.behind) > len(crowd.STALLED):
                        await anyio.lowlevel.checkpoint()
        answer = (await process.stdout.receive()).decode()
        seen = [False, True] if compression else [False]
        assert answer == f"all right, compressed: {seen}\n", answer
        with capsys.disabled():
            sys.stdout.write(
                f"\n{anyio_backend}, {compression}: longest turn "
                f"{1000 * measured.longest:.1f} ms, longest publish "
                f"{1000 * publishing:.2f} ms\n"
            )
        dropping = room.members["drop_oldest"].statistics()
        assert dropping.lag == BUFFER
        assert dropping.sent + dropping.dropped + BUFFER == MESSAGES
        assert dropping.dropped
        assert room.ended["close"].code == anyws.CloseCode.TRY_AGAIN_LATER
        assert hub.subscribers("all") == MEMBERS - 1
        assert len(topic.log) == BUFFER
