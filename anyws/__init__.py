"""WebSockets for structured concurrency: one connection, on trio and asyncio."""

from __future__ import annotations

from starlette.websockets import (
    WebSocketDisconnect,
    WebSocketDisconnected,
    WebSocketState,
)

from ._client.connect import Connector, connect
from ._client.retry import Retry
from ._client.websocket import ClientWebSocket, HandshakeResponse
from ._hub.attachment import Attachment
from ._hub.backend import Backend, Delivery, DurableBackend, Publication
from ._hub.browser import browser_client
from ._hub.event import Event
from ._hub.hub import Hub
from ._hub.position import Position
from ._hub.presence import Presence, PresenceChange, PresenceWatch
from ._hub.subscription import Subscription
from ._messages.interrupt_scope import InterruptScope
from ._messages.object_stream import MessageStream
from ._messages.parts import ReceiveStream, SendStream
from ._messages.typed import TypedMessages
from ._serve.served import ServedConnection
from ._serve.server import Server, serve
from ._serve.stream import accept_stream
from ._server.drain import Drain
from ._server.endpoint import endpoint
from ._server.middleware import WebSocketMiddleware
from ._server.websocket import WebSocket
from ._session.draining import Draining
from ._values.closing import CloseCode, CloseInfo
from ._values.deflate import Deflate
from ._values.errors import (
    ConnectionClosed,
    HandshakeError,
    HandshakeRejected,
    HubError,
    MessageDecodeError,
    MessageTooBig,
    MessageTypeError,
    MessageValidationError,
    ProtocolError,
    WebSocketError,
)
from ._values.errors import name_as_public as _name_as_public
from ._values.limits import ConnectionLimit, Heartbeat
from ._values.message_codec import Codec
from ._values.observer import ConnectionSummary, ObservedConnection, Observer
from ._values.options import Options
from ._values.statistics import Statistics

__all__ = (
    "Attachment",
    "Backend",
    "ClientWebSocket",
    "CloseCode",
    "CloseInfo",
    "Codec",
    "ConnectionClosed",
    "ConnectionLimit",
    "ConnectionSummary",
    "Connector",
    "Deflate",
    "Delivery",
    "Drain",
    "Draining",
    "DurableBackend",
    "Event",
    "HandshakeError",
    "HandshakeRejected",
    "HandshakeResponse",
    "Heartbeat",
    "Hub",
    "HubError",
    "InterruptScope",
    "MessageDecodeError",
    "MessageStream",
    "MessageTooBig",
    "MessageTypeError",
    "MessageValidationError",
    "ObservedConnection",
    "Observer",
    "Options",
    "Position",
    "Presence",
    "PresenceChange",
    "PresenceWatch",
    "ProtocolError",
    "Publication",
    "ReceiveStream",
    "Retry",
    "SendStream",
    "ServedConnection",
    "Server",
    "Statistics",
    "Subscription",
    "TypedMessages",
    "WebSocket",
    "WebSocketDisconnect",
    "WebSocketDisconnected",
    "WebSocketError",
    "WebSocketMiddleware",
    "WebSocketState",
    "accept_stream",
    "browser_client",
    "connect",
    "endpoint",
    "serve",
)

_name_as_public(globals())
