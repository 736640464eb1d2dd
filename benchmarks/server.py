"""Stock Hypercorn in a process of its own, started and ended by `running()`.

As a script it is that process: it takes a core, optionally a profiler, and hands what
is left of the command line to Hypercorn's own `main`.
"""

from __future__ import annotations

import argparse
import cProfile
import os
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

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

ROOT = Path(__file__).resolve().parent.parent
APPS = {
    "starlette": "benchmarks.starlette_apps:text",
    "anyws": "benchmarks.anyws_apps:text",
    "anyws-iter": "benchmarks.anyws_apps:iterate",
    "anyws-plain": "benchmarks.anyws_apps:plain",
}
WORKERS = ("trio", "asyncio", "uvloop")
START_PROFILE, STOP_PROFILE = signal.SIGUSR1, signal.SIGUSR2
BACKLOG = 128


@dataclass(frozen=True)
class Server:
    """A running server: where it listens, and what it has used."""

    address: tuple[str, int]
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
        """Wait until the server has stopped using the CPU (at most 10 s)."""
        before = self.cpu_seconds()
        for _ in range(100):
            time.sleep(0.1)
            now = self.cpu_seconds()
            if now - before < 0.0005:
                return
            before = now


@contextmanager
def running(
    app: str, worker: str, *, core: int | None = None, profile: Path | None = None
) -> Iterator[Server]:
    """Run `app` under `worker` on an ephemeral loopback port; kill it at the end."""
    with (
        tempfile.TemporaryDirectory() as folder,
        socket.create_server(("127.0.0.1", 0), backlog=BACKLOG) as listener,
    ):
        # Accepted sockets inherit it; Hypercorn sets it on the sockets it makes itself.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        address = listener.getsockname()
        log = Path(folder, "log")
        process = _spawn(app, worker, listener, log, core=core, profile=profile)
        # Ours is closed at once, so a server that died refuses instead of hanging us.
        listener.close()
        try:
            yield Server(address, process, log)
        except OSError as error:
            error.add_note(f"server log:\n{log.read_text()[-2000:]}")
            raise
        finally:
            process.kill()
            process.wait()


def _spawn(
    app: str,
    worker: str,
    listener: socket.socket,
    log: Path,
    *,
    core: int | None,
    profile: Path | None,
) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "benchmarks.server"]
    if core is not None:
        command += ["--core", str(core)]
    if profile is not None:
        command += ["--profile", str(profile)]
    command += ["--workers", "0", "--worker-class", worker]
    command += ["--bind", f"fd://{listener.fileno()}", APPS[app]]
    with log.open("wb") as output:
        return subprocess.Popen(
            command,
            pass_fds=[listener.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=ROOT,  # where `-m` and Hypercorn look first: this checkout
        )


def main() -> None:
    """Run Hypercorn in this process."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--core", type=int)
    parser.add_argument("--profile", type=Path)
    options, arguments = parser.parse_known_args()
    if options.core is not None:
        os.sched_setaffinity(0, {options.core})
    from hypercorn.__main__ import main as hypercorn

    if options.profile is not None:
        _prepare_profile(options.profile)
    sys.exit(hypercorn(arguments))


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
