"""A server in a process of its own, started and ended by `running()`.

As a script it is that process: it takes a core, optionally a profiler, and becomes the
module that the rest of the command line names.
"""

from __future__ import annotations

import argparse
import cProfile
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.stacks import STACKS
from benchmarks.wire import Peer, RawPeer, WebSocketPeer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

ROOT = Path(__file__).resolve().parent.parent
START_PROFILE, STOP_PROFILE = signal.SIGUSR1, signal.SIGUSR2
BACKLOG = 128


@dataclass(frozen=True)
class Checkout:
    """Where the code of a server is, and the Python that runs it."""

    root: Path
    python: str


HERE = Checkout(ROOT, sys.executable)


@dataclass(frozen=True)
class Server:
    """A running server: where it listens, how to talk to it, and what it has used."""

    address: tuple[str, int]
    peer: Peer
    process: subprocess.Popen[bytes]
    log: Path

    def cpu_seconds(self) -> float:
        """Return the CPU time of the process so far, user and system (seconds)."""
        clock_id = (~self.process.pid << 3) | 2  # Linux: CPU clock of another process
        return time.clock_gettime(clock_id)

    def resident_kib(self) -> int:
        """Return the resident memory; exact, where `status` may lag by pages."""
        rollup = Path(f"/proc/{self.process.pid}/smaps_rollup").read_text()
        return int(rollup.split("\nRss:", 1)[1].split(None, 1)[0])

    def wait_quiet(self) -> None:
        """Wait until the server has all but stopped using the CPU (at most 10 s)."""
        before = self.cpu_seconds()
        for _ in range(200):
            time.sleep(0.05)
            now = self.cpu_seconds()
            if now - before < 0.0005:
                return
            before = now

    @contextmanager
    def explaining(self) -> Iterator[None]:
        """Add the log of the server to an error of the client."""
        try:
            yield
        except OSError as error:
            error.add_note(f"{self.process.args!r}:\n{self.log.read_text()[-2000:]}")
            raise


@contextmanager
def running(
    stack: str,
    worker: str,
    *,
    core: int | None = None,
    profile: Path | None = None,
    checkout: Checkout = HERE,
) -> Iterator[Server]:
    """Run a stack on an ephemeral loopback port; kill it at the end."""
    with (
        tempfile.TemporaryDirectory() as folder,
        socket.create_server(("127.0.0.1", 0), backlog=BACKLOG) as listener,
    ):
        # Accepted sockets inherit it; servers set it on sockets they make themselves.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        address = listener.getsockname()
        log = Path(folder, "log")
        module = STACKS[stack].command(worker, str(listener.fileno()))
        process = _spawn(
            module, listener, log, core=core, profile=profile, checkout=checkout
        )
        # Ours is closed at once, so a server that died refuses instead of hanging us.
        listener.close()
        peer = RawPeer() if STACKS[stack].raw else WebSocketPeer()
        try:
            yield Server(address, peer, process, log)
        finally:
            process.kill()
            process.wait()


def _spawn(
    module: list[str],
    listener: socket.socket,
    log: Path,
    *,
    core: int | None,
    profile: Path | None,
    checkout: Checkout,
) -> subprocess.Popen[bytes]:
    command = [checkout.python, "-m", "benchmarks.server"]
    if core is not None:
        command += ["--core", str(core)]
    if profile is not None:
        command += ["--profile", str(profile)]
    with log.open("wb") as output:
        return subprocess.Popen(
            [*command, "--", *module],
            pass_fds=[listener.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=checkout.root,  # where `-m` and the servers look first
        )


def main() -> None:
    """Run the module in this process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--core", type=int)
    parser.add_argument("--profile", type=Path)
    parser.add_argument("module", nargs="+")
    options = parser.parse_args()
    if options.core is not None:
        os.sched_setaffinity(0, {options.core})
    if options.profile is not None:
        _prepare_profile(options.profile)
    sys.argv = options.module
    runpy.run_module(options.module[0], run_name="__main__", alter_sys=True)


def _prepare_profile(path: Path) -> None:
    profile = cProfile.Profile()

    def start(_signal: int, _frame: FrameType | None) -> None:
        profile.enable()

    def stop(_signal: int, _frame: FrameType | None) -> None:
        profile.disable()
        profile.dump_stats(path)
        os._exit(0)  # whatever the loop is waiting for

    signal.signal(START_PROFILE, start)
    signal.signal(STOP_PROFILE, stop)


if __name__ == "__main__":
    main()
