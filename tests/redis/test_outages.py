"""A Redis server that is killed, frozen, or cut off, and workers that are killed."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from anyio.abc import SocketStream

from anyws import Event, Hub, HubError
from anyws._hub.subscription import Subscription

from ..support.redis_servers import NEEDS_REDIS, RedisServer, redis_server

pytest.importorskip("coredis")
from anyws.redis import RedisBackend

pytestmark = [NEEDS_REDIS, pytest.mark.slow, pytest.mark.fail_after(60)]


@pytest.fixture(scope="module", params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """Run the tests on two backends: each takes seconds."""
    return request.param


@pytest.fixture(params=[False, True], ids=["plain", "durable"])
def durable(request: pytest.FixtureRequest) -> bool:
    """Return whether the backend keeps messages."""
    return bool(request.param)


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """Run a Redis server that loses nothing when it is killed."""
    with redis_server(aof=True) as running:
        yield running


@asynccontextmanager
async def hubs(
    url: str, other: str | None = None, *, durable: bool, **arguments: Any
) -> AsyncIterator[tuple[Hub, Hub]]:
    """Run two hubs on a server, of which one may have another way to it."""
    one = Hub(backend=RedisBackend(url, durable=durable), **arguments)
    two = Hub(backend=RedisBackend(other or url, durable=durable), **arguments)
    async with one, two:
        yield one, two


async def publish(hub: Hub, text: str) -> bool:
    """Publish a message; return whether the queue had room for it."""
    await anyio.sleep(0.001)
    try:
        hub.publish("a", text)
    except HubError:
        return False
    return True


async def until(events: Subscription, last: str) -> list[Event]:
    """Return the events up to a message."""
    got: list[Event] = []
    while not got or got[-1].message != last:
        got.append(await anext(events))
    return got


async def heard(hub: Hub, events: Subscription, mark: str) -> list[Event]:
    """Publish a mark until it has come; return the events up to it."""
    number = 0
    got: list[Event] = []
    while True:
        number += 1
        await publish(hub, f"{mark} {number}")
        with anyio.move_on_after(0.2):
            while not (got and str(got[-1].message).startswith(mark)):
                got.append(await anext(events))
            return got


def check(durable: bool, sent: list[str], events: list[Event]) -> None:
    """Hold that all came, once and in order, or that gaps stand for the rest."""
    messages = [str(event.message) for event in events if not event.gap]
    numbers = [int(text) for text in messages if text.isdigit()]
    assert numbers == sorted(set(numbers))
    if durable:
        assert [text for text in messages if text.isdigit()] == sent
        return
    missing = False
    expected = iter(sent)
    for event in events:
        if event.gap:
            missing = True
        elif str(event.message).isdigit():
            while next(expected) != event.message:
                assert missing, event
            missing = False


@pytest.mark.parametrize("kills", [2, pytest.param(10, marks=pytest.mark.alone)])
async def test_a_server_that_is_killed(
    server: RedisServer, durable: bool, kills: int
) -> None:
    """Everything once and in order, or a gap; members and publishers hang nowhere."""
    sent: list[str] = []
    async with hubs(server.url, durable=durable, max_queued=10_000) as (one, other):
        with (
            one.subscribe("a", buffer=100_000) as here,
            other.subscribe("a", buffer=100_000) as there,
        ):
            await heard(one, here, "begin")
            for _ in range(kills):
                for step in range(60):
                    text = str(len(sent))
                    assert await publish(one, text)
                    sent.append(text)
                    if step == 20:
                        server.kill()
                    elif step == 40:
                        server.start()
                await heard(one, here, "again")
            await heard(other, here, "other")
            await publish(one, "end")
            await until(here, "end")
            check(durable, sent, await until(there, "end"))


async def test_the_queue_is_bounded_in_an_outage(
    server: RedisServer, durable: bool
) -> None:
    """What does not fit raises; a durable backend loses nothing of the rest."""
    async with hubs(server.url, durable=durable, max_queued=20) as (one, other):
        with other.subscribe("a") as events:
            await heard(one, events, "begin")
            server.kill()
            done = [text for text in map(str, range(500)) if await publish(one, text)]
            if durable:
                assert len(done) <= 20 + 100
            server.start()
            while not await publish(one, "end"):
                pass
            if durable:
                check(durable, done, await until(events, "end"))
            await heard(other, events, "again")


async def test_a_hub_that_starts_without_its_server(
    server: RedisServer, durable: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """It says so, and begins when the server is there."""
    server.kill()
    async with hubs(server.url, durable=durable) as (one, other):
        with one.subscribe("a") as own, other.subscribe("a") as events:
            await publish(one, "1")
            with anyio.move_on_after(1):
                await anext(events)
            assert "cannot be reached" in caplog.text
            server.start()
            await heard(one, events, "again")
            # The other hub may subscribe only after the message has been published.
            got = await heard(other, own, "more")
            if durable:
                assert "1" in [event.message for event in got]
    assert caplog.text.count("cannot be reached") <= 8


async def freeze(server: RedisServer, durable: bool, seconds: float) -> None:
    """Freeze a server in the middle of messages; hold what comes after it."""
    async with hubs(server.url, durable=durable) as (one, other):
        with other.subscribe("a", buffer=10_000) as events:
            await heard(one, events, "begin")
            server.signal(signal.SIGSTOP)
            assert await publish(one, "0")
            await anyio.sleep(seconds)
            server.signal(signal.SIGCONT)
            assert await publish(one, "1")
            got = await heard(one, events, "again")
            check(durable, ["0", "1"], got)
            assert durable or any(event.gap for event in got)


async def test_a_server_that_is_frozen(
    server: RedisServer, durable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It counts as lost, and comes back; a durable backend has lost nothing."""
    monkeypatch.setattr("anyws.redis._reception._LOOK_SECONDS", 0.1)
    monkeypatch.setattr("anyws.redis._link.ANSWER_SECONDS", 0.5)
    await freeze(server, durable, 2)


@pytest.mark.alone
@pytest.mark.parametrize("anyio_backend", ["trio"], indirect=True)
async def test_a_server_that_is_frozen_for_long(
    server: RedisServer, durable: bool
) -> None:
    """The same, with the times that are in use."""
    await freeze(server, durable, 10)


class Proxy:
    """What stands between a hub and its server, and can be cut."""

    def __init__(self, server: RedisServer) -> None:
        self._port = int(server.url.rpartition(":")[2])
        self._open: list[SocketStream] = []
        self.url = ""

    def cut(self) -> None:
        """End all connections without a word to the server."""
        for stream in self._open:
            stream.extra(anyio.abc.SocketAttribute.raw_socket).shutdown(2)
        self._open.clear()

    async def serve(self, *, task_status: Any) -> None:
        """Pass bytes on, both ways."""
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        self.url = f"redis://127.0.0.1:{port}"
        task_status.started()
        async with listener:
            await listener.serve(self._pass)

    async def _pass(self, client: SocketStream) -> None:
        async with client, await anyio.connect_tcp("127.0.0.1", self._port) as server:
            self._open.append(client)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_copy, client, server, tasks.cancel_scope)
                tasks.start_soon(_copy, server, client, tasks.cancel_scope)


async def _copy(source: Any, target: Any, scope: anyio.CancelScope) -> None:
    try:
        while True:
            await target.send(await source.receive())
    except (anyio.EndOfStream, anyio.BrokenResourceError):
        scope.cancel()


async def test_a_connection_that_is_cut(server: RedisServer, durable: bool) -> None:
    """The other hub notices nothing; this one has everything, or a gap."""
    async with anyio.create_task_group() as tasks:
        proxy = Proxy(server)
        await tasks.start(proxy.serve)
        sent: list[str] = []
        async with hubs(server.url, proxy.url, durable=durable) as (one, other):
            with other.subscribe("a", buffer=9999) as events, one.subscribe("a") as own:
                await heard(one, own, "begin")
                for _ in range(3):
                    for step in range(40):
                        text = str(len(sent))
                        assert await publish(one, text)
                        sent.append(text)
                        if step == 20:
                            proxy.cut()
                    if not durable:
                        await heard(one, events, "again")
                await publish(one, "end")
                assert not any(event.gap for event in await until(own, "end"))
                if durable:
                    check(durable, sent, await until(events, "end"))
        tasks.cancel_scope.cancel()


async def test_a_burst_is_complete_and_in_order(
    server: RedisServer, durable: bool
) -> None:
    """3,000 messages from each of two hubs, as fast as the queues take them."""
    async with (
        hubs(server.url, durable=durable, max_queued=5000) as (one, other),
        anyio.create_task_group() as tasks,
    ):
        with (
            one.subscribe("a", buffer=9000) as here,
            other.subscribe("a", buffer=9000) as there,
        ):
            await heard(one, there, "begin")
            await heard(other, here, "begin")

            async def burst(hub: Hub, name: str) -> None:
                for number in range(3000):
                    hub.publish("a", f"{name}{number}")

            tasks.start_soon(burst, one, "x")
            tasks.start_soon(burst, other, "y")
            seen: list[list[str]] = []
            for events in (here, there):
                got: list[str] = []
                while len(got) < 6000:
                    event = await anext(events)
                    assert not event.gap
                    text = str(event.message)
                    if text[0] in "xy":
                        got.append(text)
                seen.append(got)
            assert seen[0] == seen[1]
            for name in "xy":
                own = [text for text in seen[0] if text[0] == name]
                assert own == [f"{name}{number}" for number in range(3000)]


WORKER = """
import sys, anyio, anyws
from anyws.redis import RedisBackend

async def main():
    backend = RedisBackend(sys.argv[1])
    async with anyws.Hub(backend=backend, presence_seconds=2) as hub:
        with hub.presence.track("a", "ann"), hub.presence.track("a", sys.argv[2]):
            print("there", flush=True)
            await anyio.sleep_forever()

anyio.run(main, backend=sys.argv[3])
"""


def worker(*arguments: str) -> subprocess.Popen[bytes]:
    """Start another process, in which people are present."""
    return subprocess.Popen([sys.executable, "-P", "-c", WORKER, *arguments])


async def test_the_people_of_a_worker_that_is_killed_leave(
    server: RedisServer, anyio_backend: str
) -> None:
    """In the time that is stated; those of another worker stay."""
    workers = [worker(server.url, name, anyio_backend) for name in ("bob", "eve")]
    try:
        backend = RedisBackend(server.url)
        async with Hub(backend=backend, presence_seconds=2) as hub:
            with hub.presence.watch("a") as watch:
                while set(hub.presence.list("a")) != {"ann", "bob", "eve"}:
                    await anext(watch)
                workers[0].kill()
                while "bob" in hub.presence.list("a"):
                    await anext(watch)
                assert set(hub.presence.list("a")) == {"ann", "eve"}
    finally:
        for process in workers:
            process.kill()
            process.wait()
