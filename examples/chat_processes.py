"""The chat of chat.py in two processes, which a Redis server connects.

python chat_processes.py [--port 8000] [--redis URL]

One process is Hypercorn on trio, the other is uvicorn on asyncio. Open one tab on each:
both are in the same rooms. Without --redis a redis-server of its own is started.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

HERE = Path(__file__).parent


@contextmanager
def running(*command: str, env: dict[str, str] | None = None) -> Iterator[None]:
    """Run a program while the block runs."""
    process = subprocess.Popen(command, cwd=HERE, env=env, stdout=sys.stderr)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


@contextmanager
def redis() -> Iterator[str]:
    """Run a Redis server that loses nothing, in a directory of its own."""
    if shutil.which("redis-server") is None:
        sys.exit("redis-server is not installed; --redis URL names a running one")
    with tempfile.TemporaryDirectory(prefix="chat") as folder:
        path = f"{folder}/redis.sock"
        options = f"--port 0 --appendonly yes --appendfsync always --dir {folder}"
        command = ("redis-server", *options.split(), "--unixsocket", path)
        with running(*command, "--loglevel", "warning"):
            yield f"unix://{path}"


def main() -> None:
    """Serve the chat in two processes, until Ctrl-C."""
    parser = argparse.ArgumentParser(description="The chat in two processes.")
    parser.add_argument("--port", type=int, default=8000, help="and the next one")
    parser.add_argument("--redis", metavar="URL")
    arguments = parser.parse_args()
    ports = str(arguments.port), str(arguments.port + 1)
    with ExitStack() as stack:
        url = arguments.redis or stack.enter_context(redis())
        env = {**os.environ, "CHAT_REDIS": url}
        hypercorn = ("chat.py", "--worker", "trio", "--port", ports[0])
        stack.enter_context(running(sys.executable, *hypercorn, env=env))
        options = f"--port {ports[1]} --log-level warning"
        uvicorn = f"-m uvicorn --ws anyws.uvicorn:WebSocketProtocol {options} chat:app"
        stack.enter_context(running(sys.executable, *uvicorn.split(), env=env))
        where = " and ".join(f"http://127.0.0.1:{port}/" for port in ports)
        print(f"The same chat on {where}. Ctrl-C stops it.", flush=True)
        try:
            signal.pause()
        except KeyboardInterrupt:
            pass


if __name__ == "__main__":
    main()
