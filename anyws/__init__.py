"""WebSockets for structured concurrency: one connection, on trio and asyncio."""

from __future__ import annotations

from starlette.websockets import (
    WebSocketDisconnect,
    WebSocketDisconnected,
    WebSocketState,
)

from ._close import CloseCode, CloseInfo
from ._drain import Drain
from ._endpoint import WebSocketMiddleware, endpoint
from ._errors import (
    ConnectionClosed,
    MessageDecodeError,
    MessageTooBig,
    MessageTypeError,
    WebSocketError,
)
from ._options import Options
from ._websocket import WebSocket

__all__ = (
    "CloseCode",
    "CloseInfo",
    "ConnectionClosed",
    "Drain",
    "MessageDecodeError",
    "MessageTooBig",
    "MessageTypeError",
    "Options",
    "WebSocket",
    "WebSocketDisconnect",
    "WebSocketDisconnected",
    "WebSocketError",
    "WebSocketMiddleware",
    "WebSocketState",
    "endpoint",
)
