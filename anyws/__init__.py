"""WebSockets for structured concurrency: one connection, on trio and asyncio."""

from __future__ import annotations

from starlette.websockets import (
    WebSocketDisconnect,
    WebSocketDisconnected,
    WebSocketState,
)

from ._client import ClientWebSocket
from ._close import CloseCode, CloseInfo
from ._connect import connect
from ._drain import Drain
from ._endpoint import WebSocketMiddleware, endpoint
from ._errors import (
    ConnectionClosed,
    HandshakeError,
    HandshakeRejected,
    MessageDecodeError,
    MessageTooBig,
    MessageTypeError,
    ProtocolError,
    WebSocketError,
)
from ._options import Options
from ._retry import Retry
from ._websocket import WebSocket

__all__ = (
    "ClientWebSocket",
    "CloseCode",
    "CloseInfo",
    "ConnectionClosed",
    "Drain",
    "HandshakeError",
    "HandshakeRejected",
    "MessageDecodeError",
    "MessageTooBig",
    "MessageTypeError",
    "Options",
    "ProtocolError",
    "Retry",
    "WebSocket",
    "WebSocketDisconnect",
    "WebSocketDisconnected",
    "WebSocketError",
    "WebSocketMiddleware",
    "WebSocketState",
    "connect",
    "endpoint",
)
