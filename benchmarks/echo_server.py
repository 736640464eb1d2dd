"""The fastest echo server that Python has, for clients to be measured against."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING

import uvloop
from picows import WSListener, ws_create_server

if TYPE_CHECKING:
    from picows import WSFrame, WSTransport, WSUpgradeRequest


class Echo(WSListener):
    """Send every message back."""

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Answer a frame as it is."""
        transport.send(frame.msg_type, frame.get_payload_as_bytes())


def _listener(request: WSUpgradeRequest) -> WSListener:
    return Echo()


async def main() -> None:
    """Serve on a port of the system's choice, which is printed."""
    server = await ws_create_server(_listener, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    if sys.argv[1] != "None":
        os.sched_setaffinity(0, {int(sys.argv[1])})
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
