"""Nothing is left of a client's connections, however they came to an end."""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Awaitable, Callable, Iterator

import anyio
import pytest

import anyws

from ..support.servers import ENGINE, HOST, Server, Servers

TASKS, ROUNDS = 20, 5


class Mine(Exception):
    """An error of the user's."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Give a server with our engine."""
    folder = tmp_path_factory.mktemp("engine")
    with contextlib.closing(
        Servers(folder, module=ENGINE, app="obedient:app")
    ) as servers:
        yield servers.get("asyncio")


async def leave(url: str) -> None:
    """Return."""
    async with anyws.connect(url) as ws:
        await ws.send_text("hello")
        await ws.receive_text()


async def leave_at_once(url: str) -> None:
    """Return, and do nothing before."""
    async with anyws.connect(url):
        pass


async def leave_unread(url: str) -> None:
    """Return, though there is much to be read."""
    async with anyws.connect(url, options=anyws.Options(receive_buffer=1)) as ws:
        await ws.send_text("!send 1000")
        await ws.receive_text()


async def fail(url: str) -> None:
    """Raise."""
    with contextlib.suppress(Mine):
        async with anyws.connect(url) as ws:
            await ws.send_text("hello")
            raise Mine


async def be_cancelled(url: str) -> None:
    """Be cancelled in a receive."""
    with anyio.CancelScope() as scope:
        async with anyws.connect(url) as ws:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(ws.receive_text)
                tasks.start_soon(ws.ping)
                scope.cancel()


async def be_cancelled_while_opening(url: str) -> None:
    """Be cancelled before it is open, or a moment after."""
    for delay in (0.0001, 0.001, 0.003):
        with anyio.move_on_after(delay):
            async with anyws.connect(url):
                await anyio.sleep_forever()


async def be_closed(url: str) -> None:
    """Be closed by the server."""
    async with anyws.connect(url) as ws:
        await ws.send_text("!close 4001 bye")
        async for _ in ws:
            pass


async def be_raised_at(url: str) -> None:
    """Be closed by an error of the server's, and lose all that waits."""
    async with anyws.connect(url) as ws:
        with contextlib.suppress(anyws.ConnectionClosed):
            with ws.cancel_on_disconnect():
                await ws.send_text("!boom")
                await anyio.sleep_forever()


async def be_rejected(url: str) -> None:
    """Be rejected."""
    with contextlib.suppress(anyws.HandshakeRejected):
        async with anyws.connect(url + "/nothing"):
            pass


async def loop(url: str) -> None:
    """Connect again and again: entered, left alone, and left for good."""
    count = 0
    async for ws in anyws.connect(url, retry=anyws.Retry(initial_delay=0.001)):
        count += 1
        if count == 1:
            continue
        async with ws:
            if count == 3:
                break
            await ws.send_text("!return")
            await ws.wait_closed()


WAYS: list[Callable[[str], Awaitable[None]]] = [
    leave,
    leave_at_once,
    leave_unread,
    fail,
    be_cancelled,
    be_cancelled_while_opening,
    be_closed,
    be_raised_at,
    be_rejected,
    loop,
]


async def cost() -> tuple[int, int]:
    """Return how many tasks and file descriptors there are."""
    await anyio.sleep(0.01)  # sockets are closed in the loop's next turn
    return len(anyio.get_running_tasks()), len(os.listdir("/proc/self/fd"))


def objects() -> int:
    """Return how many connections are alive, those of earlier tests among them."""
    gc.collect()
    return sum(type(thing) is anyws.ClientWebSocket for thing in gc.get_objects())


@pytest.mark.slow
@pytest.mark.fail_after(120)
async def test_a_thousand_connections_leave_nothing_behind(server: Server) -> None:
    """Tasks, file descriptors and connections are as many as before."""
    url = f"ws://{HOST}:{server.port}/obey"
    for way in WAYS:
        await way(url)
    before, files, alive = await cost(), server.open_files(), objects()

    async def work() -> None:
        for _ in range(ROUNDS):
            for way in WAYS:
                await way(url)

    async with anyio.create_task_group() as tasks:
        for _ in range(TASKS):
            tasks.start_soon(work)

    assert await cost() == before
    with anyio.fail_after(5):
        while server.open_files() > files:  # noqa: ASYNC110 - of another process
            await anyio.sleep(0.05)
    assert objects() == alive
