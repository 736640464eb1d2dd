"""What the tests of the seed contract share: a scripted server, and our class in place.

Rows are named as in the contract. What holds for Starlette's class too is run against
both, so that the tables here are checked by the class that they describe.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from functools import partial
from typing import Any

import pytest
from anyio.lowlevel import checkpoint
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket as StarletteWebSocket
from starlette.websockets import WebSocketState

import anyws

Event = MutableMapping[str, Any]
Client = Callable[..., TestClient]

CONNECTING = WebSocketState.CONNECTING
CONNECTED = WebSocketState.CONNECTED
DISCONNECTED = WebSocketState.DISCONNECTED
RESPONSE = WebSocketState.RESPONSE

CONNECT: Event = {"type": "websocket.connect"}
LEFT: Event = {"type": "websocket.disconnect", "code": 1001, "reason": "away"}
ACCEPT: Event = {"type": "websocket.accept", "subprotocol": None, "headers": []}
CLOSE: Event = {"type": "websocket.close", "code": 1000, "reason": ""}
SEND: Event = {"type": "websocket.send", "text": "hello"}

SEED_AND_OURS = pytest.mark.parametrize(
    "cls",
    [
        pytest.param(StarletteWebSocket, id="seed"),
        pytest.param(anyws.WebSocket, id="anyws"),
    ],
)


def row(row_id: str, *values: Any) -> Any:
    """Return a case whose id begins with the row of the contract."""
    return pytest.param(*values, id=row_id)


def arriving(payload: str | bytes) -> Event:
    """Return the event of a message, without the key that it does not need."""
    kind = "text" if isinstance(payload, str) else "bytes"
    return {"type": "websocket.receive", kind: payload}


async def collected(messages: Any) -> list[Any]:
    """Return all that an asynchronous iterator yields."""
    return [message async for message in messages]


def scope_of(**changes: Any) -> dict[str, Any]:
    """Return the scope of a WebSocket that offers two subprotocols."""
    return {
        "type": "websocket",
        "path": "/",
        "query_string": b"",
        "headers": [],
        "subprotocols": ["chat", "graphql-ws"],
        **changes,
    }


class Codec:
    """A server of one connection: it delivers a script and records what it is sent.

    Attributes:
        sent: What was sent, whole.
        asked: How often `receive` was called.
        error: What `send` raises, once it is set.
        watch: Called while the server takes an event.
    """

    def __init__(self, *script: Event) -> None:
        self.script = deque(script)
        self.sent: list[Event] = []
        self.asked = 0
        self.error: BaseException | None = None
        self.watch: Callable[[], None] = lambda: None

    async def receive(self) -> Event:
        """Return the next event of the script; asking for more is a failure."""
        self.asked += 1
        await checkpoint()
        return self.script.popleft()

    async def send(self, event: Event) -> None:
        """Record an event, or raise the error."""
        self.watch()
        await checkpoint()
        if self.error is not None:
            raise self.error
        self.sent.append(event)

    def websocket(
        self, cls: type[StarletteWebSocket] = anyws.WebSocket, **scope: Any
    ) -> Any:
        """Return a WebSocket on this wire; `Any`, as tests do wrong things with it."""
        return cls(scope_of(**scope), self.receive, self.send)

    async def accepted(
        self, cls: type[StarletteWebSocket] = anyws.WebSocket, **scope: Any
    ) -> Any:
        """Return an accepted WebSocket; what was sent for that is forgotten."""
        self.script.appendleft(CONNECT)
        websocket = self.websocket(cls, **scope)
        await websocket.accept()
        self.sent.clear()
        return websocket


class Plain:
    """An ASGI application of one handler, which gets our class in plain mode."""

    def __init__(self, handler: Callable[[Any], Awaitable[None]]) -> None:
        self.handler = handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        await self.handler(anyws.WebSocket(scope, receive, send))


@pytest.fixture
def client(anyio_backend: tuple[Any, dict[str, Any]]) -> Client:
    """Return Starlette's TestClient for the backend of this run."""
    name, options = anyio_backend
    return partial(TestClient, backend=name, backend_options=options)


@pytest.fixture
def substituted(monkeypatch: pytest.MonkeyPatch) -> list[anyws.WebSocket]:
    """Put our class where the frameworks look theirs up; return what they make."""
    made: list[anyws.WebSocket] = []

    class Ours(anyws.WebSocket):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            made.append(self)

    for module in (
        "starlette.endpoints",
        "starlette.middleware.exceptions",
        "starlette.routing",
        "fastapi.routing",
    ):
        monkeypatch.setattr(f"{module}.WebSocket", Ours)
    return made


@pytest.fixture
def ours(substituted: list[anyws.WebSocket]) -> Iterator[None]:
    """Put our class there, and fail a test in which none was made."""
    yield
    assert substituted, "our class was not used"
