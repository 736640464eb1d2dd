"""How `anyws.hypercorn` ends, with several workers and with its reloader too."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ..support import servers
from ..support.servers import RawClient, Server

case = servers.case

KINDS = ("starlette", "anyws")


@pytest.fixture(params=servers.WORKERS)
def worker(request: pytest.FixtureRequest) -> str:
    """Give a kind of worker."""
    return servers.need(request.param)


@contextlib.contextmanager
def started(
    worker: str, folder: Path, *arguments: str, app: str = servers.ENGINE_APP
) -> Iterator[Server]:
    """Start a server, and hold that its log has no complaint."""
    server = Server(worker, folder, *arguments, module=servers.ENGINE, app=app)
    try:
        # Older ones log a traceback of their own for a connection that is cancelled.
        quiet = servers.quiet if sys.version_info >= (3, 13) else contextlib.nullcontext
        with quiet(server):
            yield server
    finally:
        server.stop()


def logged(server: Server, name: str) -> list[dict[str, Any]]:
    """Return what the handlers have logged under a name."""
    rows = [row for row in server.log().splitlines() if row.startswith("{")]
    return [row for row in map(json.loads, rows) if row["name"] == name]


def opened(
    stack: contextlib.ExitStack, server: Server, path: str, case: str
) -> RawClient:
    """Connect until the end of a stack."""
    return stack.enter_context(server.raw(path, case))


def alive(pid: int) -> bool:
    """Tell whether a process exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def expect_gone(server: Server, pids: list[int], at: float, within: float) -> None:
    """Hold that all processes of a server have ended in time, and tidily."""
    server.process.wait(10)
    took = time.monotonic() - at
    assert took < within
    assert server.process.returncode == 0
    assert not any(alive(pid) for pid in pids)


@pytest.mark.alone
def test_handlers_that_sleep_are_cancelled_when_time_is_up(
    tmp_path: Path, case: str, worker: str
) -> None:
    """Their peers are told at once; who comes meanwhile is sent away with 503."""
    config = tmp_path / "conf.toml"
    config.write_text("websocket_drain_timeout = 0.7\nwebsocket_drain_code = 1001\n")
    with (
        started(worker, tmp_path, "-c", str(config)) as server,
        contextlib.ExitStack() as stack,
    ):
        clients = [opened(stack, server, f"/{kind}/sleeper", case) for kind in KINDS]
        assert [client.receive() is not None for client in clients] == [True] * 2
        unaccepted = stack.enter_context(contextlib.closing(RawClient(server.port)))
        unaccepted.ask(f"/starlette/held?case={case}")
        server.note(case, "called")
        at = time.monotonic()
        server.terminate()
        for client in clients:
            assert client.receive_until_close() == ([], 1001)
            client.send_close(1001)
        assert unaccepted.answer().startswith(b"HTTP/1.1 503")
        assert time.monotonic() - at < 0.6
        with contextlib.closing(RawClient(server.port)) as late:
            late.ask(f"/starlette/echo?case={case}")
            assert late.answer().startswith(b"HTTP/1.1 503")
        expect_gone(server, [server.pid], at, within=0.7 + 1.5)
        assert time.monotonic() - at > 0.6
        assert len(logged(server, "woken")) == 2
        assert len(logged(server, "lifespan")) == 1


@pytest.mark.alone
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_all_processes_drains_too(
    tmp_path: Path, case: str, number: signal.Signals
) -> None:
    """A terminal and a service manager signal the workers themselves as well."""
    with (
        started("asyncio", tmp_path) as server,
        server.raw("/starlette/process", case) as client,
    ):
        client.receive()
        at = time.monotonic()
        for pid in (server.process.pid, server.pid):
            os.kill(pid, number)
        assert client.receive_until_close() == ([], 1012)
        client.send_close(1012)
        expect_gone(server, [server.pid], at, within=2)
        assert len(logged(server, "lifespan")) == 1


@pytest.mark.alone
def test_unwilling_peers_cannot_hold_the_end_up(
    tmp_path: Path, case: str, worker: str
) -> None:
    """Who does not read, or not answer the closing frame, is left after the drain."""
    connect = functools.partial(Server.raw, receive_buffer_bytes=4096)
    with started(worker, tmp_path) as server, contextlib.ExitStack() as stack:
        silent = [opened(stack, server, f"/{kind}/echo", case) for kind in KINDS]
        for kind in KINDS:
            stack.enter_context(connect(server, f"/{kind}/flood", case))
        before = -1
        # Stuck is who writes no more.
        while before != (before := written(server)):
            time.sleep(0.2)
        at = time.monotonic()
        server.terminate()
        assert [client.receive_until_close()[1] for client in silent] == [1012] * 2
        for client in silent:
            client.wait_eof()
        expect_gone(server, [server.pid], at, within=1 + 2)


def written(server: Server) -> int:
    """Return how many bytes the worker has written so far."""
    rows = Path(f"/proc/{server.pid}/io").read_text().splitlines()
    return next(int(row.split()[1]) for row in rows if row.startswith("wchar:"))


def by_worker(
    stack: contextlib.ExitStack, server: Server, case: str
) -> dict[int, list[RawClient]]:
    """Connect to both workers of a server, at least twice to each."""
    clients: dict[int, list[RawClient]] = {}
    deadline = time.monotonic() + 30  # the second one may start late
    while len(clients) < 2 or min(map(len, clients.values())) < 2:
        client = opened(stack, server, "/anyws/process", case)
        pid = int(client.receive_opcode(client.TEXT))
        clients.setdefault(pid, []).append(client)
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return clients


@pytest.mark.alone
def test_every_worker_has_the_engine(tmp_path: Path, case: str, worker: str) -> None:
    """Two workers tell the peer's code, close with 1012, and are gone at once."""
    paths = ["/fastapi/echo", "/starlette/process"]
    paths += [f"/{kind}/{name}" for kind in KINDS for name in ("echo", "ticker")]
    with (
        started(worker, tmp_path, "-w", "2") as server,
        contextlib.ExitStack() as stack,
    ):
        clients = by_worker(stack, server, case)
        for mine in clients.values():
            client = mine.pop()
            client.send_close(4001, "bye")
            client.wait_eof()
        servers.eventually(lambda: len(logged(server, "closed")) == 2)
        closed = logged(server, "closed")
        assert {(n["code"], n["reason"]) for n in closed} == {(4001, "bye")}
        assert {n["pid"] for n in closed} == set(clients)

        idle = [opened(stack, server, path, case) for path in paths]
        for client in idle:
            client.send_text("hello")
            assert client.receive() is not None
        idle += [client for mine in clients.values() for client in mine]
        at = time.monotonic()
        server.terminate()
        codes = [client.receive_until_close()[1] for client in idle]
        for client in idle:
            client.send_close(1012)
            client.wait_eof()
        expect_gone(server, [*clients], at, within=2)
        assert codes == [1012] * len(idle)
        closed = logged(server, "closed")[2:]
        assert {n["code"] for n in closed} == {1012}
        assert {n["initiator"] for n in closed} == {"local", None}
        assert len(closed) == len(idle) - 5
        assert len(logged(server, "lifespan")) == 2


@pytest.mark.slow
def test_the_reloader_brings_the_engine_back(
    tmp_path: Path, case: str, worker: str
) -> None:
    """Who is connected while a file changes is told 1012; then all is as before."""
    source = tmp_path / "reloaded.py"
    source.write_text("from engine_apps import app\n__all__ = ['app']\n")
    app = f"{tmp_path / 'reloaded'}:app"

    def told(server: Server) -> bool:
        """Close a connection; return whether the right code was told."""
        since = len(logged(server, "closed"))
        with server.raw("/starlette/process", case) as client:
            client.receive()
            client.send_close(4001, "bye")
            client.wait_eof()
        closed = servers.eventually(lambda: logged(server, "closed")[since:])
        return [n["code"] for n in closed] == [4001]

    with started(worker, tmp_path, "--reload", app=app) as server:
        assert told(server)
        before = server.pid
        with server.raw("/starlette/echo", case) as client:
            os.utime(source, (time.time() + 10, time.time() + 10))
            assert client.receive_until_close() == ([], 1012)
            client.send_close(1012)
            client.wait_eof()
        assert servers.eventually(lambda: not alive(before))
        assert server.get("/stats", timeout=60)["pid"] != before
        assert told(server)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("workers", "app"),
    [("0", "missing:app"), ("1", "missing:app"), ("3", "engine_apps:unwilling")],
)
def test_a_failed_start_is_told_by_the_status(
    worker: str, workers: str, app: str
) -> None:
    """An application that cannot be loaded, or does not start, is no success."""
    arguments = ("-k", worker, "-w", workers, "-b", "127.0.0.1:0", app)
    ended = subprocess.run(
        [sys.executable, "-m", servers.ENGINE, *arguments],
        cwd=servers.HERE,
        capture_output=True,
        timeout=60,
    )
    assert ended.returncode == 1, ended.stderr
