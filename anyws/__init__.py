"""WebSockets for structured concurrency: one connection, on trio and asyncio."""

from __future__ import annotations

from starlette.websockets import (
    WebSocketDisconnect,
    WebSocketDisconnected,
    WebSocketState,
)

from ._client import ClientWebSocket, HandshakeResponse
from ._close import CloseCode, CloseInfo
from ._connect import Connector, connect
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
from ._errors import name_as_public as _name_as_public
from ._fragments import ReceiveStream, SendStream
from ._messages import MessageStream
from ._options import Options
from ._retry import Retry
from ._statistics import Statistics
from ._websocket import WebSocket

__all__ = (
    "ClientWebSocket",
    "CloseCode",
    "CloseInfo",
    "ConnectionClosed",
    "Connector",
    "Drain",
    "HandshakeError",
    "HandshakeRejected",
    "HandshakeResponse",
    "MessageDecodeError",
    "MessageStream",
    "MessageTooBig",
    "MessageTypeError",
    "Options",
    "ProtocolError",
    "ReceiveStream",
    "Retry",
    "SendStream",
    "Statistics",
    "WebSocket",
    "WebSocketDisconnect",
    "WebSocketDisconnected",
    "WebSocketError",
    "WebSocketMiddleware",
    "WebSocketState",
    "connect",
    "endpoint",
)

_name_as_public(globals())
