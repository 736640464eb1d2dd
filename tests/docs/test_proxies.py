"""The files for nginx and Caddy carry WebSockets, where these are installed."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest

import anyws

from ..support.snippets import SNIPPETS

pytestmark = pytest.mark.slow

COMMANDS = {
    "nginx": ("nginx.conf", ["nginx", "-p", ".", "-e", "stderr", "-c"]),
    "caddy": ("Caddyfile", ["caddy", "run", "--adapter", "caddyfile", "--config"]),
}


class TestProxies:
    """Real processes, so one backend is enough."""

    @pytest.fixture
    def anyio_backend(self) -> str:
        """Override the backend."""
        return "asyncio"

    @pytest.mark.parametrize("name", COMMANDS)
    async def test_a_connection_passes(self, name: str, tmp_path: Path) -> None:
        """Messages, the client's address and the close code pass the proxy."""

        async def handler(ws: anyws.WebSocket) -> None:
            await ws.accept()
            await ws.send_text(ws.headers["x-forwarded-for"])
            await ws.close(4000, await ws.receive_text())

        async with anyws.serve(handler, "127.0.0.1") as server:
            with proxy(name, tmp_path, server.port) as port:
                retry = anyws.Retry(initial_delay=0.1, max_delay=0.2)
                url = f"ws://127.0.0.1:{port}/"
                with anyio.fail_after(15):
                    async with anyws.connect(url, retry=retry, proxy=None) as ws:
                        assert await ws.receive_text() == "127.0.0.1"
                        await ws.send_text("enough")
                        info = await ws.wait_closed()
        assert (info.code, info.reason) == (4000, "enough")


@contextmanager
def proxy(name: str, folder: Path, port: int) -> Iterator[int]:
    """Run a proxy by the file that the page shows, on other ports; yield its port."""
    file, command = COMMANDS[name]
    program = shutil.which(command[0]) or shutil.which(command[0], path="/usr/sbin")
    if program is None:
        pytest.skip(f"{name} is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        own: int = free.getsockname()[1]
    text = (SNIPPETS / file).read_text()
    assert "127.0.0.1:8080" in text
    assert "127.0.0.1:8000" in text
    text = text.replace(":8080", f":{own}").replace(":8000", f":{port}")
    if name == "nginx":
        # In a folder of its own, and without a daemon.
        text = f"daemon off; pid nginx.pid; error_log stderr;\n{text}"
        paths = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        local = "".join(f"{path}_temp_path {path};\n" for path in paths)
        text = text.replace("http {\n", f"http {{\naccess_log off;\n{local}")
    (folder / file).write_text(text)
    process = subprocess.Popen(
        [program, *command[1:], str(folder / file)],
        cwd=folder,
        env={"HOME": str(folder), "PATH": "/usr/bin:/usr/sbin"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield own
    finally:
        process.terminate()
        process.wait(10)
