"""The client's side of the opening handshake: the request and the response.

There is no I/O. The Sans-I/O core of `websockets` does the work. Two things are added:
no exception of the core leaves this module, and a rejection holds as much of its body
as has arrived, even if the rest is late, cut short or too large.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace
from importlib.metadata import version
from math import inf
from platform import python_version
from typing import Final, cast

from starlette.datastructures import Headers
from websockets.client import ClientProtocol
from websockets.datastructures import Headers as CoreHeaders
from websockets.exceptions import InvalidHandshake
from websockets.extensions import Extension
from websockets.http11 import Response
from websockets.streams import StreamReader
from websockets.typing import Origin, Subprotocol
from websockets.uri import WebSocketURI

from .._frames.negotiation import Offer
from .._frames.transport import reason_of
from .._values.deflate import DEFAULT_DEFLATE, Deflate
from .._values.errors import HandshakeError, HandshakeRejected, ProtocolError
from .._values.events import token_in, without_token
from .._values.headers import is_token
from .response import read_line, read_response
from .url import is_redirect, without_zone

USER_AGENT: Final = f"anyws/{version('anyws-websockets')} Python/{python_version()}"

# The most that is kept of the body of a rejection.
MAX_BODY_BYTES: Final = 1024 * 1024


class ClientHandshake:
    """One opening handshake, from a client's end.

    Args:
        url: The server's URL.
        headers: Headers besides those of the handshake itself; checked before.
        origin: The `Origin` header, if any.
        subprotocols: Offered to the server, in the order of preference.
        compression: The settings of permessage-deflate; `None`: it is not offered.

    Attributes:
        request: The bytes to send.
        status: The response's status, once its head has arrived; 0 before.
        headers: The response's headers, once its head has arrived.
        extensions: The extensions agreed on, once the handshake is complete.
        subprotocol: The subprotocol that the server chose, if any.
        rest: The bytes that were read behind the response: frames.

    Source: RFC 6455 section 4.1; RFC 7692 section 5.
    """

    def __init__(
        self,
        url: WebSocketURI,
        *,
        headers: Sequence[tuple[str, str]] = (),
        origin: str | None = None,
        subprotocols: Sequence[str] = (),
        compression: Deflate | None = DEFAULT_DEFLATE,
    ) -> None:
        self._protocol = ClientProtocol(
            replace(url, host=without_zone(url.host)),
            origin=None if origin is None else Origin(origin),
            extensions=None if compression is None else [Offer(compression)],
            subprotocols=[Subprotocol(name) for name in subprotocols] or None,
        )
        request = self._protocol.connect()
        request.headers["User-Agent"] = USER_AGENT
        for name in {name for name, _ in headers}:
            request.headers.pop(name, None)
        for name, value in headers:
            request.headers[name] = value
        self.url: WebSocketURI = url
        self.request: bytes = request.serialize()
        self.status: int = 0
        self.headers: Headers = Headers()
        self.extensions: list[Extension] = []
        self.subprotocol: str | None = None
        self.rest: bytes = b""
        self._body = bytearray()
        self._reader = StreamReader()
        self._parser = self._parse()

    def receive_data(self, data: bytes, error: Exception | None = None) -> bool:
        """Take in the bytes that were read; return whether the handshake is complete.

        Args:
            data: The bytes; empty at the end of the stream.
            error: The error that has ended the stream, if it was not closed in order.

        Raises:
            HandshakeRejected: The server has answered with another status than 101.
            ProtocolError: The server's answer is not a valid answer to an opening
                handshake.
            HandshakeError: The server has hung up.
        """
        if data:
            self._reader.feed_data(data)
        else:
            self._reader.feed_eof()
        try:
            next(self._parser)
            return False
        except StopIteration as done:
            response = cast("Response", done.value)
        except Exception as exc:
            failure = self.rejection() or self._failure(exc, error)
            raise failure from error or exc
        self._conclude(response, error)
        return True

    def _parse(self) -> Generator[None, None, Response]:
        """Read the response: the body of a rejection too, if there is one."""
        response = yield from read_response(self._reader)
        if response.status_code != 101:
            self.status = response.status_code
            self.headers = starlette_headers(response.headers)
            if is_redirect(self.status, self.headers):
                next(self._read_body(), None)  # do not wait for the rest of it
            else:
                yield from self._read_body()
        return response

    def _read_body(self) -> Generator[None, None, None]:
        """Read the body of a rejection, as its headers delimit it (RFC 9112 section 6).

        Raises:
            EOFError: The body was cut short, or is too large.
            ValueError: A chunk has no valid size.
        """
        coding, length = (
            self.headers.get(name, "").strip().lower()
            for name in ("transfer-encoding", "content-length")
        )
        if self.status in (204, 304):
            return
        if coding == "chunked":
            while True:
                line = yield from read_line(self._reader, 4096)
                size = int(line.partition(b";")[0], 16)
                if size <= 0:
                    return
                yield from self._read_part(size)
                yield from self._reader.read_exact(2)
        elif length.isascii() and length.isdecimal() and not coding:
            yield from self._read_part(int(length))
        else:
            yield from self._read_part(inf)

    def _read_part(self, size: float) -> Generator[None, None, None]:
        """Read so many bytes of the body; `inf`: up to the end of the stream."""
        buffer = self._reader.buffer
        while size:
            room = MAX_BODY_BYTES - len(self._body)
            self._body += (piece := buffer[: int(min(size, room))])
            del buffer[: len(piece)]
            size -= len(piece)
            if size and buffer:
                raise EOFError(f"the body is over {MAX_BODY_BYTES} bytes")
            if size == inf and self._reader.eof:
                return  # the end of the stream ends the body (RFC 9112 section 6.3)
            if size and self._reader.eof:
                raise EOFError("the body was cut short")
            if size:
                yield

    def _conclude(self, response: Response, error: Exception | None) -> None:
        """Raise the rejection, if there is one; else check the answer and keep it."""
        rejection = self.rejection()
        if rejection is not None:
            raise rejection from error
        self.status = response.status_code
        self.headers = starlette_headers(response.headers)
        try:
            self._protocol.process_response(response)
        except InvalidHandshake as exc:
            raise ProtocolError(f"the server's answer is invalid: {exc}") from exc
        self.extensions = self._protocol.extensions
        self.subprotocol = self._protocol.subprotocol
        self.rest = bytes(self._reader.buffer)

    def _failure(self, exc: Exception, error: Exception | None) -> HandshakeError:
        """Return the error to raise in place of one that the parser has raised."""
        if self._reader.eof:
            why = "" if error is None else f": {reason_of(error)}"
            return HandshakeError(
                f"the server hung up during the opening handshake{why}"
            )
        return ProtocolError(f"the server did not answer with HTTP/1.1: {exc}")

    def rejection(self) -> HandshakeRejected | None:
        """Return the rejection, once its head has arrived; `None` before.

        It holds as much of the body as has arrived. The rest may be late, cut short or
        too large.
        """
        if self.status < 200:
            return None
        return HandshakeRejected(self.status, self.headers, bytes(self._body))


def starlette_headers(headers: CoreHeaders) -> Headers:
    """Return the core's headers as Starlette's, which the public API has."""
    return Headers(
        raw=[
            (name.lower().encode(), value.encode("latin-1", "replace"))
            for name, value in headers.raw_items()
        ]
    )


def checked_subprotocols(subprotocols: Sequence[str]) -> list[str]:
    """Return subprotocols as a list, if they may be offered.

    Raises:
        TypeError: They are not a sequence of `str`.
        ValueError: One is not a token, or stands there twice.
    """
    if isinstance(subprotocols, str):
        raise TypeError(f"subprotocols is a sequence of str, not {subprotocols!r}")
    names = list(subprotocols)
    token = token_in(names)  # which no error shows
    for name in names:
        told = "***" if name == token else name
        if not isinstance(name, str):
            raise TypeError(f"a subprotocol is a str, not {told!r}")
        if not is_token(name):
            raise ValueError(
                f"{told!r} is not a subprotocol: it must be a token of RFC 9110, "
                "without spaces, '=', '/' and the like"
            )
    if len(set(names)) < len(names):
        raise ValueError(f"subprotocols are given twice: {without_token(names)!r}")
    return names
