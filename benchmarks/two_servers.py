"""Two servers that a Redis server connects: Hypercorn on trio, uvicorn on asyncio.

python -m benchmarks.two_servers SERVER FD URL plain|durable   runs one of them

`times` measures how long a message takes from a WebSocket of the one to a WebSocket of
the other, in a burst. `benchmarks.redis_hub` prints it.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

import anyws

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.applications import Starlette

ROOT = Path(__file__).resolve().parent.parent
MOST = 20_000  # messages that may wait
PATIENCE = 60.0  # seconds for a server to start


def application(url: str, *, durable: bool) -> Starlette:
    """Return an application whose members publish what they send."""
    from starlette.applications import Starlette
    from starlette.routing import WebSocketRoute

    from anyws.redis import RedisBackend

    backend = RedisBackend(url, durable=durable, prefix=f"two-{durable}")
    hub = anyws.Hub(backend=backend, max_queued=MOST)

    @anyws.endpoint
    async def handle(ws: anyws.WebSocket) -> None:
        await ws.accept()
        with hub.attach(ws, "all", buffer=MOST):
            async for text in ws.iter_text():
                hub.publish("all", text)

    return Starlette(routes=[WebSocketRoute("/", handle)], lifespan=hub.lifespan)


def hypercorn(listener: socket.socket, app: Starlette) -> None:
    """Serve on Hypercorn and trio."""
    from hypercorn.config import Config

    from anyws.hypercorn import serve

    config = Config()
    config.loglevel = "ERROR"

    async def run() -> None:
        await serve(app, config, bind=f"fd://{listener.detach()}")

    anyio.run(run, backend="trio")


def uvicorn(listener: socket.socket, app: Starlette) -> None:
    """Serve on uvicorn and asyncio."""
    from uvicorn import Config, Server

    protocol = "anyws.uvicorn:WebSocketProtocol"
    config = Config(app, ws=protocol, loop="asyncio", log_level="error")
    Server(config).run(sockets=[listener])


SERVERS = {"hypercorn": hypercorn, "uvicorn": uvicorn}


@contextmanager
def running(name: str, url: str, kind: str) -> Iterator[str]:
    """Run one of the servers; yield its URL."""
    listener = socket.create_server(("127.0.0.1", 0))
    port, fd = listener.getsockname()[1], listener.fileno()
    process = subprocess.Popen(
        [*(sys.executable, "-m", "benchmarks.two_servers"), name, str(fd), url, kind],
        pass_fds=[fd],
        cwd=ROOT,
    )
    listener.close()
    try:
        yield f"ws://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


async def burst(urls: list[str], count: int) -> list[float]:
    """Return the milliseconds that each message of a burst has taken.

    Raises:
        RuntimeError: A message is missing, or not in its place.
    """
    async with (
        anyws.connect(urls[0], compression=None, open_timeout=PATIENCE) as sender,
        anyws.connect(urls[1], compression=None, open_timeout=PATIENCE) as receiver,
    ):
        heard = False
        while not heard:  # until the servers have found each other
            await sender.send_text("mark")
            with anyio.move_on_after(0.2):
                heard = await receiver.receive_text() == "mark"
        sent: list[float] = []
        took: list[float] = []

        async def send() -> None:
            for number in range(count):
                sent.append(time.perf_counter())
                await sender.send_text(f"{number} ".ljust(100, "x"))

        async def drop() -> None:
            async for _ in sender:  # its own messages come back
                pass

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send)
            tasks.start_soon(drop)
            while len(took) < count:
                text = await receiver.receive_text()
                if text == "mark":
                    continue
                if int(text.split()[0]) != len(took):
                    raise RuntimeError(f"{text[:10]} in the place of {len(took)}")
                took.append(1000 * (time.perf_counter() - sent[len(took)]))
            tasks.cancel_scope.cancel()
    return took


def times(url: str, count: int, *, durable: bool) -> list[float]:
    """Return the milliseconds that each message of a burst has taken."""
    kind = "durable" if durable else "plain"
    with ExitStack() as stack:
        urls = [stack.enter_context(running(name, url, kind)) for name in SERVERS]
        return anyio.run(burst, urls, count)


def main() -> None:
    """Run one server."""
    name, fd, url, kind = sys.argv[1:]
    app = application(url, durable=kind == "durable")
    SERVERS[name](socket.socket(fileno=int(fd)), app)


if __name__ == "__main__":
    main()
