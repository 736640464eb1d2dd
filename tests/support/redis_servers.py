"""Debian's redis-server, started by a test in a directory of its own."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

NEEDS_REDIS = pytest.mark.skipif(
    shutil.which("redis-server") is None, reason="redis-server is not installed"
)
PATIENCE = 10.0  # seconds for a server to start


class RedisServer:
    """A redis-server on a unix socket, which can be killed, frozen and started again.

    Args:
        folder: Its directory. (The path of a socket holds at most 107 bytes.)
        aof: Whether it writes each command to disk before it answers.

    Attributes:
        url: Where it is.
    """

    def __init__(self, folder: Path, *, aof: bool = False, options: str = "") -> None:
        self._folder = folder
        self._socket = folder / "redis.sock"
        self._options = ["--appendonly", "yes", "--appendfsync", "always"] * aof
        self._options += options.split()
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"unix://{self._socket}"
        self._port = 0

    def listen_on_tcp(self) -> None:
        """Have clients come by TCP from the next start on.

        AnyIO's unix sockets on asyncio report an InvalidStateError when a receive is
        cancelled in the very turn in which there is something to read.
        """
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        log = (self._folder / "redis.log").open("ab")
        self._process = subprocess.Popen(
            [
                "redis-server",
                *(
                    "--port",
                    str(self._port),
                    "--unixsocket",
                    str(self._socket),
                    "--save",
                    "",
                ),
                *("--dir", str(self._folder), *self._options),
            ],
            stdout=log,
            stderr=log,
        )
        log.close()
        until = time.monotonic() + PATIENCE
        while True:
            try:
                self.command("PING")
                return
            except OSError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.01)

    def command(self, *words: str | int) -> bytes:
        """Send a command beside all clients; return the beginning of the answer."""
        parts = [str(word).encode() for word in words]
        request = b"*%d\r\n" % len(parts)
        request += b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(PATIENCE)
            connection.connect(str(self._socket))
            connection.sendall(request)
            answer = connection.recv(65536)
        if not answer or answer.startswith(b"-LOADING"):
            raise ConnectionRefusedError(answer)
        return answer

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal: SIGKILL, SIGSTOP, SIGCONT."""
        assert self._process is not None
        self._process.send_signal(number)
        if number == signal.SIGKILL:
            self._process.wait()
            self._process = None

    def kill(self) -> None:
        """End it as `kill -9` does."""
        self.signal(signal.SIGKILL)

    def close(self) -> None:
        """End it, if it runs."""
        if self._process is not None:
            self.kill()


@contextmanager
def redis_server(*, aof: bool = False, options: str = "") -> Iterator[RedisServer]:
    """Run a Redis server."""
    folder = Path(tempfile.mkdtemp(prefix="redis"))
    server = RedisServer(folder, aof=aof, options=options)
    server.start()
    try:
        yield server
    finally:
        server.close()
        shutil.rmtree(folder)
