"""What ends a worker, where the event loop receives signals and where it does not.

asyncio receives none on Windows, and says so by `NotImplementedError`.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any
from urllib.request import urlopen

import anyio
import pytest
from hypercorn.config import Config

import anyws.hypercorn
from anyws._serve import signals
from anyws._serve.signals import signalled
from anyws.hypercorn._worker import Backend

pytestmark = pytest.mark.usefixtures("ctrl_c")

SIGNALS = [signal.SIGINT, signal.SIGTERM]


@contextmanager
def no_receiver(*_: signal.Signals) -> Iterator[None]:
    """Fail as asyncio does on Windows."""
    raise NotImplementedError
    yield


@pytest.fixture(params=["received", "handled"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the event loop receive signals, or not."""
    if request.param == "handled":
        monkeypatch.setattr(signals, "open_signal_receiver", no_receiver)


async def ends(
    wait: Callable[[], Awaitable[object]], number: signal.Signals, limit: float = 5
) -> bool:
    """Tell whether a signal ends a wait within a limit (seconds)."""
    ended = anyio.Event()

    async def work() -> None:
        await wait()
        ended.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(work)
        await anyio.wait_all_tasks_blocked()
        os.kill(os.getpid(), number)
        with anyio.move_on_after(limit):
            await ended.wait()
        tasks.cancel_scope.cancel()
    return ended.is_set()


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("number", SIGNALS)
async def test_a_signal_ends_the_wait(number: signal.Signals) -> None:
    """A wait ends with any of the signals, and leaves the handlers as they were."""
    former = [signal.getsignal(n) for n in SIGNALS]

    assert await ends(signalled, number)
    assert [signal.getsignal(n) for n in SIGNALS] == former


async def test_a_cancelled_wait_leaves_the_handlers_as_they_were(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Plain handlers of signals are there only while somebody waits."""
    monkeypatch.setattr(signals, "open_signal_receiver", no_receiver)
    former = signal.getsignal(signal.SIGTERM)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(signalled)
        await anyio.wait_all_tasks_blocked()
        assert signal.getsignal(signal.SIGTERM) != former
        tasks.cancel_scope.cancel()

    assert signal.getsignal(signal.SIGTERM) == former


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("ignored", [True, False])
@pytest.mark.parametrize("number", SIGNALS)
async def test_a_spawned_worker_heeds_what_it_did_not_inherit_as_ignored(
    ignored: bool, number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGINT, which Hypercorn has its workers ignore, ends one that does not."""
    heard: list[bool] = []
    heeded = number == signal.SIGTERM or not ignored

    async def worker_serve(*_: object, shutdown_trigger: Any, **__: object) -> None:
        heard.append(await ends(shutdown_trigger, number, 5 if heeded else 0.1))

    backend = Backend(worker_serve, lambda *_: lambda: None)
    former = signal.getsignal(signal.SIGINT)
    if ignored:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        await backend.serve_process(
            None, Config(), shutdown_trigger=anyio.sleep_forever
        )
    finally:
        signal.signal(signal.SIGINT, former)

    assert heard == [heeded]


@pytest.mark.usefixtures("way")
def test_run_ends_by_a_signal(anyio_backend: tuple[Any, dict[str, Any]]) -> None:
    """`run` returns when a signal asks for it, and the lifespan's shutdown has run."""
    told: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            for step in ("startup", "shutdown"):
                told.append((await receive())["type"])
                await send({"type": f"lifespan.{step}.complete"})
        else:
            signal.raise_signal(signal.SIGINT)
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body"})

    backend, options = anyio_backend
    listener = socket.create_server(("127.0.0.1", 0))
    url = "http://{}:{}/".format(*listener.getsockname())
    config = Config()
    config.bind = [f"fd://{listener.detach()}"]
    statuses: list[int] = []
    client = Thread(target=lambda: statuses.append(urlopen(url).status))
    client.start()
    anyws.hypercorn.run(app, config, backend=backend, backend_options=options)
    client.join()

    assert statuses == [204]
    assert told == ["lifespan.startup", "lifespan.shutdown"]
