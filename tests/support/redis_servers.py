"""Debian's redis-server, started by a test in a directory of its own."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

NEEDS_REDIS = pytest.mark.skipif(
    shutil.which("redis-server") is None, reason="redis-server is not installed"
)
PATIENCE = 10.0  # seconds for a server to start


class RedisServer:
    """A redis-server, which can be killed, frozen and started again.

    It listens on a unix socket, too. Tests use that only to test it: AnyIO's unix
    sockets on asyncio report an InvalidStateError when a receive is cancelled in the
    very turn in which there is something to read.

    Args:
        folder: Its directory. (The path of a socket holds at most 107 bytes.)
        aof: Whether it writes each command to disk before it answers.
        options: More options.
        config: What stands in its configuration file, if it needs one.

    Attributes:
        port: Its TCP port.
        url: Its URL, by TCP.
        path: The path of its unix socket.
    """

    def __init__(
        self, folder: Path, *, aof: bool = False, options: str = "", config: str = ""
    ) -> None:
        self._folder = folder
        self._config: list[str] = []
        if config:
            self._config.append(str(folder / "redis.conf"))
            (folder / "redis.conf").write_text(config)
        self.path = folder / "redis.sock"
        self._options = ["--appendonly", "yes", "--appendfsync", "always"] * aof
        self._options += options.split()
        self._process: subprocess.Popen[bytes] | None = None
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        log = (self._folder / "redis.log").open("ab")
        self._process = subprocess.Popen(
            [
                *("redis-server", *self._config),
                *("--port", str(self.port), "--unixsocket", str(self.path)),
                *("--save", "", "--dir", str(self._folder), *self._options),
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
            connection.connect(str(self.path))
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


SENTINEL = """
sentinel monitor main 127.0.0.1 {} 1
sentinel down-after-milliseconds main 300
sentinel failover-timeout main 3000
"""


@contextmanager
def watched_pair() -> Iterator[tuple[RedisServer, RedisServer, RedisServer]]:
    """Run a primary, its replica, and a sentinel that knows the two as `main`."""
    with ExitStack() as stack:

        def server(options: str, config: str = "") -> RedisServer:
            folder = Path(tempfile.mkdtemp(prefix="redis"))
            stack.callback(shutil.rmtree, folder)
            made = RedisServer(folder, options=options, config=config)
            stack.callback(made.close)
            made.start()
            return made

        def wait_for(answer: bytes, server: RedisServer, *words: str | int) -> None:
            until = time.monotonic() + PATIENCE
            while answer not in server.command(*words):
                assert time.monotonic() < until, words
                time.sleep(0.02)

        primary = server("--repl-diskless-sync-delay 0")
        replica = server(f"--replicaof 127.0.0.1 {primary.port}")
        wait_for(b":1", primary, "WAIT", 1, 1000)
        sentinel = server("--sentinel", SENTINEL.format(primary.port))
        wait_for(b"slaves=1", sentinel, "INFO", "sentinel")
        yield primary, replica, sentinel


@contextmanager
def redis_server(
    *, aof: bool = False, options: str = "", config: str = ""
) -> Iterator[RedisServer]:
    """Run a Redis server."""
    folder = Path(tempfile.mkdtemp(prefix="redis"))
    server = RedisServer(folder, aof=aof, options=options, config=config)
    server.start()
    try:
        yield server
    finally:
        server.close()
        shutil.rmtree(folder)
