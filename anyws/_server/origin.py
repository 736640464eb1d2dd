"""Where the `receive` and the `send` that a WebSocket was given come from.

FastAPI hands its own WebSocket to dependencies and handlers, and a user makes ours from
that one: `anyws.WebSocket(ws.scope, ws.receive, ws.send)`. A session must not read the
connection through the other object, and the other object must not read past the
session. So a block that hosts the session takes the functions from which the other
object has them, and puts the session's own in their place.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Any, Final, Literal, TypeAlias

from starlette.websockets import WebSocket as StarletteWebSocket
from starlette.websockets import WebSocketState

from .._session.session import Session

AnyWebSocket: TypeAlias = StarletteWebSocket[Any]

_DEPTH: Final = 8  # objects that are made from one another


class Origin:
    """The origin of the two functions that a WebSocket was given.

    Args:
        websocket: The object that was given them.
        passing: The methods of a WebSocket that do no more than to pass events on. A
            class with methods of its own is not looked into: they may change events.

    Attributes:
        receive, send: The functions at the ends of the chains.
        receiving, sending: The objects of each chain, from `websocket` on.
    """

    def __init__(self, websocket: AnyWebSocket, passing: Container[object]) -> None:
        self.receive, self.receiving = _followed(websocket, "receive", passing)
        self.send, self.sending = _followed(websocket, "send", passing)

    @property
    def client_state(self) -> WebSocketState:
        """The client's state, by all that was received through any of the objects."""
        return self.receiving[-1].client_state

    @property
    def application_state(self) -> WebSocketState:
        """The application's state, by all that was sent through any of the objects."""
        return self.sending[-1].application_state

    def pass_through(self, session: Session) -> None:
        """Have all events of the objects pass a session.

        If a guard hosts the session they do, perhaps by way of a middleware.
        """
        if session.starts_at(self.receive):
            for websocket in self.receiving:
                websocket._receive = session.receive
        if session.starts_at(self.send):
            for websocket in self.sending:
                websocket._send = session.send


def _followed(
    websocket: AnyWebSocket, name: Literal["receive", "send"], passing: Container[Any]
) -> tuple[Any, list[AnyWebSocket]]:
    """Return the function at the end of a chain, and the objects that it passes."""
    chain = [websocket]
    function = getattr(websocket, f"_{name}")
    while len(chain) < _DEPTH and getattr(function, "__func__", None) in passing:
        chain.append(function.__self__)
        function = getattr(chain[-1], f"_{name}")
    return function, chain
