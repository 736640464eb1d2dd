"""The far end of the contract: it does what it is told by text messages.

`!send 3` sends "0" to "2", `!close 4001 bye` closes, `!boom` raises, `!return` returns;
any other message is sent back. The same code is a server's handler, in this process or
another, and a client.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute

from anyws import CloseInfo, ConnectionClosed, WebSocket, endpoint
from anyws._messages.verbs import Messaging


class Boom(Exception):
    """The error that is raised on demand."""


@dataclass
class Far:
    """What the far end has to tell.

    Attributes:
        received: The messages that it got.
        info: How the connection ended for it.
    """

    received: list[str | bytes] = field(default_factory=list)
    info: CloseInfo | None = None

    async def obey(self, ws: Messaging) -> None:
        """Do what is said, until the connection ends."""
        try:
            while await self._do(ws, await ws.receive_message()):
                pass
        except ConnectionClosed as exc:
            self.info = exc.info

    async def _do(self, ws: Messaging, message: str | bytes) -> bool:
        self.received.append(message)
        match message.split(" ") if isinstance(message, str) else [""]:
            case ["!send", count]:
                for number in range(int(count)):
                    await ws.send_text(str(number))
            case ["!close", code, reason]:
                await ws.close(int(code), reason)
                return False
            case ["!boom"]:
                raise Boom
            case ["!return"]:
                return False
            case _:
                await ws.send_message(message)
        return True


async def obey(ws: WebSocket) -> None:
    """Be the far end in a server's process."""
    await ws.accept()
    await Far().obey(ws)


async def stats(_: Request) -> JSONResponse:
    """Tell who is answering; see servers.py."""
    return JSONResponse({"pid": os.getpid()})


app = Starlette(
    routes=[WebSocketRoute("/obey", endpoint(obey)), Route("/stats", stats)]
)
