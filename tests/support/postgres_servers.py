"""Debian's PostgreSQL, started by a test in a directory of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

# Debian keeps the programs of each version apart, and not on PATH.
_FOUND = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
_INITDB = str(_FOUND[-1]) if _FOUND else shutil.which("initdb")

NEEDS_POSTGRES = pytest.mark.skipif(
    _INITDB is None, reason="PostgreSQL is not installed"
)
PATIENCE = 10.0  # seconds for a server to start
# PostgreSQL refuses to run as root; Debian's package brings a user for it.
_AS_USER: dict[str, Any] = (
    {"user": "postgres", "group": "postgres", "extra_groups": []}
    if os.geteuid() == 0
    else {}
)


class PostgresServer:
    """A PostgreSQL server on a unix socket, which can be ended and started again.

    Args:
        folder: Its directory. (The path of a socket holds at most 107 bytes.)

    Attributes:
        conninfo: Where it is, in the form of libpq.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._data = folder / "data"
        self._process: subprocess.Popen[bytes] | None = None
        self.conninfo = f"host={folder} dbname=postgres user=postgres"
        if _AS_USER:
            shutil.chown(folder, "postgres", "postgres")
        self._run("initdb", "--username=postgres", "--auth=trust", "--no-sync").wait()

    def _run(self, program: str, *options: str) -> subprocess.Popen[bytes]:
        assert _INITDB is not None
        with (self._folder / "log").open("ab") as log:
            return subprocess.Popen(
                [
                    str(Path(_INITDB).with_name(program)),
                    "-D",
                    str(self._data),
                    *options,
                ],
                stdout=log,
                stderr=log,
                cwd=self._folder,
                **_AS_USER,
            )

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        settings = ("-k", str(self._folder), "-h", "", "-F")
        self._process = self._run("postgres", *settings)
        state = self._data / "postmaster.pid"
        until = time.monotonic() + PATIENCE
        while not (state.exists() and state.read_text().rstrip().endswith("ready")):
            if self._process.poll() is not None or time.monotonic() > until:
                raise RuntimeError((self._folder / "log").read_text())
            time.sleep(0.01)

    def stop(self) -> None:
        """End it at once; connections are cut, and nothing is tidied up."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait()
            self._process = None


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """Run a PostgreSQL server."""
    folder = Path(tempfile.mkdtemp(prefix="postgres"))
    server = PostgresServer(folder)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder)
