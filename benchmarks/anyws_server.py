"""The echo of `anyws_apps` on `anyws.serve`, by the loop that a worker names."""

from __future__ import annotations

import socket
import sys

import anyio
from anyio.abc import SocketListener

import anyws
from benchmarks.anyws_apps import echo


async def _serve(fd: int) -> None:
    listener = await SocketListener.from_socket(socket.socket(fileno=fd))
    await anyws.serve(echo, listeners=[listener]).run()


def main() -> None:
    """Serve on the listening socket of this file descriptor."""
    worker, fd = sys.argv[1:]
    backend = "trio" if worker == "trio" else "asyncio"
    options = {"use_uvloop": True} if worker == "uvloop" else {}
    anyio.run(_serve, int(fd), backend=backend, backend_options=options)


if __name__ == "__main__":
    main()
