"""The errors of anyws.

    WebSocketError
    ├── ConnectionClosed      also WebSocketDisconnect, WebSocketDisconnected, OSError
    │   └── MessageTooBig     closed with 1009: a message was too large
    ├── HandshakeError        also OSError: the opening handshake of a client failed
    │   ├── HandshakeRejected the server answered with another status than 101
    │   └── ProtocolError     the answer is no answer to an opening handshake
    ├── HubError              a hub is not running, or cannot publish now
    ├── MessageTypeError      also TypeError
    └── MessageDecodeError    also json.JSONDecodeError, so ValueError
        └── MessageValidationError    decoded, but not of the type that was asked for

Calls in the wrong state raise what Starlette raises for them: `RuntimeError` or its
subclass `WebSocketDisconnected`. A second receiver gets `anyio.BusyResourceError`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from http import HTTPStatus
from typing import Final

from starlette.datastructures import Headers
from starlette.websockets import WebSocketDisconnect, WebSocketDisconnected

from .closing import CloseInfo

_SHOWN_OF_A_BODY: Final = 200  # characters


class WebSocketError(Exception):
    """Base of the errors that anyws defines."""


class ConnectionClosed(
    WebSocketError, WebSocketDisconnect, WebSocketDisconnected, OSError
):
    """The connection has ended; nothing more can be sent or received.

    Existing `except` clauses catch it, because it is a subclass of Starlette's two
    classes, and of `OSError`, which ASGI 2.4 requires of a server's `send`.

    Attributes:
        code: The close code.
        reason: The close reason.
        info: The full record of the end.
    """

    def __init__(self, info: CloseInfo) -> None:
        Exception.__init__(self, info)
        self.code: int = info.code
        self.reason: str = info.reason
        self.info = info

    def __str__(self) -> str:
        """Say the code, the reason and who ended the connection."""
        info = self.info
        reason = f" {info.reason!r}" if info.reason else ""
        return f"connection closed: {info.code}{reason} (initiator: {info.initiator})"

    def __reduce__(self) -> tuple[type[ConnectionClosed], tuple[CloseInfo]]:
        """Pickle by the info: OSError's own way would pass its errno to `__init__`."""
        return type(self), (self.info,)


class MessageTooBig(ConnectionClosed):
    """A message was larger than `max_message_bytes`; the close code is 1009."""


class HandshakeError(WebSocketError, OSError):
    """A client's opening handshake has failed; there is no connection.

    The error message says which step failed, and where. `__cause__` says why: a host
    name that does not resolve, a refused connection, a proxy's refusal, a TLS error, a
    timeout, or the end of the stream.
    """


class HandshakeRejected(HandshakeError):
    """The server answered the opening handshake with another status than 101.

    Attributes:
        status: The HTTP status.
        headers: The headers of the response.
        body: The part of the response's body that arrived, at most 1 MiB.
        code, reason: `None`, as HTTP carries no close code. `anyws.testing.Rejected`, a
            subclass, has the code and the reason that the application closed with.
    """

    code: int | None = None
    reason: str | None = None

    def __init__(self, status: int, headers: Headers, body: bytes = b"") -> None:
        Exception.__init__(self, status, headers, body)
        self.status = status
        self.headers = headers
        self.body = body

    def __str__(self) -> str:
        """Return the status, and the first part of the body."""
        try:
            phrase = f" {HTTPStatus(self.status).phrase}"
        except ValueError:
            phrase = ""
        text = " ".join(self.body.decode("utf-8", "replace").split())
        if len(text) > _SHOWN_OF_A_BODY:
            text = f"{text[:_SHOWN_OF_A_BODY]}…"
        shown = f": {text!r}" if text else ""
        return f"the server rejected the WebSocket: {self.status}{phrase}{shown}"

    def __reduce__(self) -> tuple[type[HandshakeRejected], tuple[object, ...]]:
        """Pickle by what it was made of."""
        return type(self), (self.status, self.headers, self.body)


class ProtocolError(HandshakeError):
    """The server's answer is not a valid answer to an opening handshake.

    A protocol violation on an open connection closes that connection with 1002 instead,
    and raises `ConnectionClosed`.
    """


class HubError(WebSocketError):
    """A call of a hub has failed.

    The hub is not running; or its queue to the backend is full, and the message was not
    published; or a subscription was too slow, and its rule is `"close"`.
    """


class MessageTypeError(WebSocketError, TypeError):
    """A text message arrived where a binary one was expected, or vice versa.

    The message is consumed; the connection stays usable.
    """

    def __init__(self, expected: str, received: str) -> None:
        super().__init__(
            f"expected a {expected} message, but received a {received} message"
        )
        self.expected = expected
        self.received = received

    def __reduce__(self) -> tuple[type[MessageTypeError], tuple[str, str]]:
        """Pickle by the two kinds."""
        return type(self), (self.expected, self.received)


class MessageDecodeError(WebSocketError, json.JSONDecodeError):
    """A message was not valid JSON or not valid UTF-8, or a codec refused it.

    The message is consumed; the connection stays usable.

    Attributes:
        msg: What is wrong.
        doc, pos, lineno, colno: Where, as in `json.JSONDecodeError`. A library that
            does not say where leaves an empty `doc`, and a `pos` of 0.
    """


class MessageValidationError(MessageDecodeError):
    """A message could be decoded, but is not of the expected type.

    The message is consumed; the connection stays usable.

    Attributes:
        problems: All faults that were found, each as a pair of its place and its
            description: `("$.items[0].price", "Expected `int`, got `str`")`. msgspec
            stops at the first one.
        path: The place of the first fault; `"$"` is the message itself.
    """

    def __init__(self, problems: Iterable[tuple[str, str]]) -> None:
        self.problems: tuple[tuple[str, str], ...] = tuple(problems)
        self.path: str = self.problems[0][0]
        super().__init__(self.problems[0][1], "", 0)

    def __str__(self) -> str:
        """Return each fault, and where it is."""
        return "; ".join(f"{path}: {what}" for path, what in self.problems)

    def __reduce__(self) -> tuple[type[MessageValidationError], tuple[object, ...]]:
        """Pickle by the faults."""
        return type(self), (self.problems,)


def name_as_public(namespace: dict[str, object]) -> None:
    """Have tracebacks name the errors of a public package as users import them."""
    for value in namespace.values():
        is_error = isinstance(value, type) and issubclass(value, BaseException)
        if is_error and value.__module__.startswith("anyws."):
            value.__module__ = str(namespace["__name__"])
