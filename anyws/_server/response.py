"""The bytes of an HTTP/1.1 response to a request for a WebSocket. There is no I/O.

Every response but a 101 closes the connection, which was made for a WebSocket.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from .._values.events import Event
from .handshake import Headers

# Statuses whose responses have no body (RFC 9110 sections 15.3.5, 15.3.6 and 15.4.5).
_NO_BODY: Final = frozenset({204, 205, 304})
_PHRASES: Final = {status.value: status.phrase.encode() for status in HTTPStatus}


def head_of(status: int, headers: Headers) -> bytes:
    """Return the head of a response."""
    phrase = _PHRASES.get(status, b"")
    lines = [b"HTTP/1.1 %d %s" % (status, phrase)]
    lines += [b"%s: %s" % header for header in headers]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def plain_response(status: int, headers: Headers, text: str | None = None) -> bytes:
    """Return a response of the server's own, which closes the connection.

    Its body is a text: by default, the phrase of the status.
    """
    body = _PHRASES.get(status, b"") if text is None else text.encode()
    framing = [(b"content-length", b"%d" % len(body)), (b"connection", b"close")]
    if body:
        framing.append((b"content-type", b"text/plain; charset=utf-8"))
    return head_of(status, [*headers, *framing]) + body


class DenialResponse:
    """An application's response in place of a WebSocket, event by event.

    The head is written together with the first part of the body: by then the length of
    a body in one part is known. A body in several parts is sent in chunks, unless the
    application has declared its length.

    Args:
        start: The `websocket.http.response.start`, checked.
        defaults: Headers of the server, before those of the application.

    Attributes:
        status: The status.
        started: Whether the head is among the bytes that were returned.
        over: Whether the response is complete.

    Source: ASGI "websocket.http.response"; RFC 9112 sections 6 and 7.1.
    """

    def __init__(self, start: Event, defaults: Headers) -> None:
        self.status: int = start["status"]
        self.started = False
        self.over = False
        own = [(n, v) for n, v in start["headers"] if n != b"connection"]
        self._headers: Headers = [*defaults, *own, (b"connection", b"close")]
        self._has_length = any(name == b"content-length" for name, _ in own)
        self._chunked = False

    def body(self, event: Event) -> bytes:
        """Return the bytes for a `websocket.http.response.body`, checked."""
        body: bytes = event["body"]
        self.over = not event["more_body"]
        if self.status in _NO_BODY:
            body = b""
        head = b"" if self.started else self._head(len(body))
        self.started = True
        if not self._chunked:
            return head + body
        chunk = b"%x\r\n%s\r\n" % (len(body), body) if body else b""
        return head + chunk + (b"0\r\n\r\n" if self.over else b"")

    def _head(self, size: int) -> bytes:
        """Return the head, once it is known whether the body is in one part."""
        if not self._has_length and self.status not in _NO_BODY:
            self._chunked = not self.over
            self._headers.append(
                (b"transfer-encoding", b"chunked")
                if self._chunked
                else (b"content-length", b"%d" % size)
            )
        return head_of(self.status, self._headers)
