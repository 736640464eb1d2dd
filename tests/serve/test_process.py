"""Servers as processes of their own: how they start, and how a signal ends them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import anyio
import pytest

import anyws

from ..support import real_servers
from ..support.servers import HERE, HOST, _python_path

#: The servers, and what gives two workers to those that have workers.
SERVERS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("serve-asyncio", "serve-uvloop", "serve-trio"), ()),
    "uvicorn_anyws-uvloop": ("--workers", "2"),
    **dict.fromkeys(("engine-asyncio", "engine-trio"), ("--workers", "2")),
}
SOCKETS = 100


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m anyws serve` to its end."""
    return subprocess.run(
        [sys.executable, "-m", "anyws", "serve", *arguments],
        cwd=HERE,
        env=os.environ | {"PYTHONPATH": _python_path()},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.slow
@pytest.mark.fail_after(60)
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("server", list(SERVERS))
async def test_sigterm_under_load(
    server: str, tmp_path: Path, anyio_backend: str
) -> None:
    """Every client sees 1012, and the process is gone; workers are two."""
    codes = list[int]()
    busy = anyio.Event()
    opened = 0
    running = real_servers.serving(
        real_servers.need(server), "server_apps:app", tmp_path, *SERVERS[server]
    )
    with running as (port, process):

        async def client(number: int) -> None:
            nonlocal opened
            async with anyws.connect(f"ws://{HOST}:{port}/echo?case={number}") as ws:
                opened += 1
                if opened == SOCKETS:
                    busy.set()
                try:
                    while True:
                        await ws.send_text("hello" * 100)
                        await ws.receive_text()
                except anyws.ConnectionClosed as exc:
                    codes.append(exc.code)

        async with anyio.create_task_group() as clients:
            for number in range(SOCKETS):
                clients.start_soon(client, number)
            await busy.wait()
            await anyio.sleep(0.2)
            process.send_signal(signal.SIGTERM)
        status = await anyio.to_thread.run_sync(process.wait, 15)
        assert status in (0, -signal.SIGTERM)
    assert codes == [1012] * SOCKETS
    log = (tmp_path / f"{server}.log").read_text()
    assert "Traceback" not in log


def test_what_cannot_be_served(tmp_path: Path) -> None:
    """One line says why, and the status is 2; or 1 where the address is taken."""
    (tmp_path / "mine.py").write_text("import anyws\napp = 1\nx = 2")
    for arguments, status, words in (
        (["nowhere:app"], 2, "there is no module 'nowhere'"),
        (["server_apps:nothing"], 2, "there is no 'nothing' in 'server_apps'"),
        ([str(tmp_path / "mine.py")], 2, "expected an application, not 1"),
        (["server_apps:app", "--max-connections", "0"], 2, "max_connections"),
        (["server_apps:app", "--allowed-origin", "*"], 2, "'*' is not an origin"),
        (["server_apps:app", "--keyfile", "x"], 2, "--certfile"),
        (["server_apps:app", "--certfile", "x"], 2, "--certfile x: No such file"),
        (["server_apps:app", "--unix", str(tmp_path)], 1, "cannot listen on"),
    ):
        done = run(*arguments)
        assert done.returncode == status, done
        [line] = done.stderr.splitlines()
        assert words in line
        assert done.stdout == ""


@pytest.mark.parametrize("signalled", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_file_is_served_until_a_signal(
    backend: str, signalled: signal.Signals, tmp_path: Path
) -> None:
    """By the name of the file, and on a unix socket; the status is 0."""
    pytest.importorskip(backend)
    (tmp_path / "mine.py").write_text(
        "async def make(ws):\n"
        "    await ws.accept()\n"
        "    await ws.send_text('hello')\n"
        "    await ws.receive_text()\n"
    )
    path = str(tmp_path / "socket")
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "anyws", "serve", "mine.py:make"),
            *("--backend", backend, "--unix", path),
            *("--allowed-origin", "https://a.test"),
            *("--allowed-origin", "https://b.test"),
        ],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": _python_path()},
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background job ignores SIGINT, and so would its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        assert process.stderr is not None
        assert process.stderr.readline() == f"serving ws+unix://{path}\n"

        async def talk() -> int:
            client = partial(anyws.connect, "ws://localhost/", unix_path=path)
            with pytest.raises(anyws.HandshakeRejected, match="403"):
                async with client(origin="https://c.test"):
                    pass
            async with client(origin="https://b.test") as ws:
                assert await ws.receive_text() == "hello"
                process.send_signal(signalled)
                return (await ws.wait_closed()).code

        assert anyio.run(talk) == 1012
        assert process.wait(10) == 0
        [line] = process.stderr.read().splitlines()
        assert "from the origin 'https://c.test'" in line
    finally:
        process.kill()
        process.communicate()
