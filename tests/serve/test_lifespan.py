"""The lifespan of an application under a server of ours."""

from __future__ import annotations

import logging
import subprocess
import sys
from typing import Any

import anyio
import pytest

import anyws
from anyws._serve import lifespan
from anyws._serve.lifespan import Lifespan
from anyws._server.inspection import Inspection

COMPLETE = (
    {"type": "lifespan.startup.complete"},
    {"type": "lifespan.shutdown.complete"},
)


async def run(app: Any) -> tuple[Lifespan, list[str]]:
    """Start an application and stop it; return what was seen meanwhile."""
    seen = list[str]()
    running = Lifespan(app, Inspection())
    async with anyio.create_task_group() as tasks:
        await running.start(tasks)
        seen.append("started")
        await running.stop()
        seen.append("stopped")
    return running, seen


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what was logged of errors."""
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR]


async def test_in_order(caplog: pytest.LogCaptureFixture) -> None:
    """It has its events one by one, keeps a state, and may clean up at the end."""
    order = list[str]()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["state"]["key"] = "value"
        for answer in COMPLETE:
            order.append((await receive())["type"])
            await send(answer)
        await anyio.sleep(0.01)
        order.append("cleaned up")

    running, _ = await run(app)
    assert order == ["lifespan.startup", "lifespan.shutdown", "cleaned up"]
    assert running.state == {"key": "value"}
    assert errors(caplog) == []


async def test_an_application_that_does_not_return_is_cancelled() -> None:
    """Once its shutdown is complete, nobody waits for it."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for answer in COMPLETE:
            await receive()
            await send(answer)
        await receive()

    with anyio.fail_after(5):
        assert (await run(app))[1] == ["started", "stopped"]


async def test_an_application_without_one(caplog: pytest.LogCaptureFixture) -> None:
    """It raises, or returns: then it has none."""

    async def raises(scope: Any, receive: Any, send: Any) -> None:
        raise KeyError(scope["type"])

    async def returns(scope: Any, receive: Any, send: Any) -> None:
        pass

    for app in (raises, returns):
        assert (await run(app))[1] == ["started", "stopped"]
    assert errors(caplog) == []


async def test_failures_are_told(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A startup that fails raises; a shutdown that fails, or takes too long, is logged.

    So is an exception between the two.
    """
    monkeypatch.setattr(lifespan, "_SHUTDOWN_SECONDS", 0.05)

    def failing(event: str, message: str | None) -> Any:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            while True:
                kind = (await receive())["type"]
                failed = {"type": f"{kind}.failed", "message": message}
                complete = {"type": f"{kind}.complete"}
                await send(failed if kind == event else complete)

        return app

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(COMPLETE[0])
        await receive()
        await anyio.sleep_forever()

    async def crashes(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(COMPLETE[0])
        raise ValueError("Boom")

    async def wrong(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(COMPLETE[0])
        await send({"type": "lifespan.nonsense"})

    async with anyio.create_task_group() as tasks:
        for message, words in (("no database", "no database"), (None, "no reason")):
            with pytest.raises(RuntimeError, match=words):
                app = failing("lifespan.startup", message)
                await Lifespan(app, Inspection()).start(tasks)
        tasks.cancel_scope.cancel()
    assert errors(caplog) == []
    for app, line in (
        (failing("lifespan.shutdown", "late"), "did not shut down properly: late"),
        (slow, "did not shut down properly: it took over 0.05 s"),
        (crashes, "Exception in the application's lifespan"),
        (wrong, "Exception in the application's lifespan"),
    ):
        caplog.clear()
        await run(app)
        [logged] = errors(caplog)
        assert line in logged


async def test_a_state_is_copied_for_each_connection() -> None:
    """What one connection puts there, the next one does not see."""
    seen = list[Any]()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            scope["state"]["shared"] = 1
            for answer in COMPLETE:
                await receive()
                await send(answer)
            return
        seen.append(dict(scope["state"]))
        scope["state"]["own"] = 2
        await receive()
        await send({"type": "websocket.accept"})

    async with anyws.serve(app, "127.0.0.1") as server:
        for _ in range(2):
            async with anyws.connect(server.url):
                pass
    assert seen == [{"shared": 1}] * 2


def test_a_handler_has_one_without_a_router() -> None:
    """Nothing is looked through where no module has made a route."""
    script = """
import logging, anyio, anyws
logging.basicConfig(level=logging.INFO)

async def handler(ws): ...

async def main():
    async with anyws.serve(handler, "127.0.0.1"):
        pass

anyio.run(main)
"""
    command = [sys.executable, "-P", "-c", script]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "lifespan" not in run.stderr
