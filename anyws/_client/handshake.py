"""The client's side of the opening handshake: the request, and what answers it.

There is no I/O. The work is that of the Sans-I/O core of `websockets`; what is added is
that nothing of its own comes out, and that a rejection is told with as much of its body
as has come, whatever became of the rest.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from importlib.metadata import version
from math import inf
from platform import python_version
from typing import Final, cast

from starlette.datastructures import Headers
from websockets.client import ClientProtocol
from websockets.datastructures import Headers as CoreHeaders
from websockets.exceptions import InvalidHandshake
from websockets.extensions import Extension
from websockets.extensions.permessage_deflate import (
    ClientPerMessageDeflateFactory,
    PerMessageDeflate,
)
from websockets.http11 import Response
from websockets.streams import StreamReader
from websockets.typing import ExtensionParameter, Origin, Subprotocol
from websockets.uri import WebSocketURI

from .._frames.codec import DEFLATE_SETTINGS, DEFLATE_WINDOW_BITS
from .._frames.transport import reason_of
from .._values.errors import HandshakeError, HandshakeRejected, ProtocolError
from .._values.headers import is_token
from .url import leads_on

USER_AGENT: Final = f"anyws/{version('anyws-websockets')} Python/{python_version()}"

# Of what a server may say before it answers (RFC 9110 section 15.2), and of the body of
# a rejection, in bytes.
MAX_INFORMATIONAL: Final = 16
MAX_BODY_BYTES: Final = 1024 * 1024


class _ClientDeflate(ClientPerMessageDeflateFactory):
    """Compression as browsers offer it, which every server understands.

    To ask for a smaller window of the server's would turn away the servers that do not
    know the parameter, and answer without it. Ours may be smaller than what is granted.
    """

    def process_response_params(
        self,
        params: Sequence[ExtensionParameter],
        accepted_extensions: Sequence[Extension],
    ) -> PerMessageDeflate:
        """Agree to what the server answers."""
        agreed = super().process_response_params(params, accepted_extensions)
        return PerMessageDeflate(
            agreed.remote_no_context_takeover,
            agreed.local_no_context_takeover,
            agreed.remote_max_window_bits,
            min(agreed.local_max_window_bits, DEFLATE_WINDOW_BITS),
            self.compress_settings,
        )


_CLIENT_DEFLATE: Final = _ClientDeflate(compress_settings=DEFLATE_SETTINGS)


class ClientHandshake:
    """One opening handshake, from a client's end.

    Args:
        url: Where to.
        headers: Checked ones, besides those of the handshake itself.
        origin: The `Origin` header, if any.
        subprotocols: Offered to the server, in the order of preference.
        compression: Whether permessage-deflate is offered.

    Attributes:
        request: The bytes to send.
        status, headers: Of the response, once there is one.
        extensions, subprotocol: Agreed on, once the handshake is complete.
        rest: What came behind the response.

    Source: RFC 6455 section 4.1; RFC 7692 section 5.
    """

    def __init__(
        self,
        url: WebSocketURI,
        *,
        headers: Sequence[tuple[str, str]] = (),
        origin: str | None = None,
        subprotocols: Sequence[str] = (),
        compression: bool = True,
    ) -> None:
        self._protocol = ClientProtocol(
            url,
            origin=None if origin is None else Origin(origin),
            extensions=[_CLIENT_DEFLATE] if compression else None,
            subprotocols=[Subprotocol(name) for name in subprotocols] or None,
        )
        request = self._protocol.connect()
        request.headers["User-Agent"] = USER_AGENT
        for name in {name for name, _ in headers}:
            request.headers.pop(name, None)
        for name, value in headers:
            request.headers[name] = value
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
        """Take in what was read; empty is the end. Return whether it is complete.

        Args:
            data: What was read.
            error: What broke the stream, at the end of one that is broken.

        Raises:
            HandshakeRejected: The server has answered with another status than 101.
            ProtocolError: It has answered with something else altogether.
            HandshakeError: It has hung up.
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
        """Read responses until one is more than a piece of information."""
        reader = self._reader
        for _ in range(MAX_INFORMATIONAL + 1):
            # As from a proxy: of any version of HTTP, and without the body.
            response = yield from Response.parse(
                self._read_line, reader.read_exact, reader.read_to_eof, proxy=True
            )
            if response.status_code == 101:
                return response
            if response.status_code >= 200:
                self.status = response.status_code
                self.headers = starlette_headers(response.headers)
                if leads_on(self.status, self.headers):
                    next(self._read_body(), None)  # what has come of it will do
                else:
                    yield from self._read_body()
                return response
        raise ValueError(f"over {MAX_INFORMATIONAL} informational responses")

    def _read_line(
        self, limit: int, too_long: type[Exception]
    ) -> Generator[None, None, bytes | bytearray]:
        line = yield from self._reader.read_line(limit, too_long)
        if line.startswith(b"HTTP/1.0 101"):
            raise ValueError("HTTP/1.0 has no upgrade")
        if not line.endswith(b"\r\n"):
            raise ValueError(f"a line without CRLF: {bytes(line[:80])!r}")
        return line

    def _read_body(self) -> Generator[None, None, None]:
        """Read the body of a rejection, as far as it comes (RFC 9112 section 6)."""
        coding, length = (
            self.headers.get(name, "").strip().lower()
            for name in ("transfer-encoding", "content-length")
        )
        if self.status in (204, 304):
            return
        if coding == "chunked":
            while True:
                line = yield from self._read_line(4096, ValueError)
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
        """Read bytes of the body, or all of them; give up at the limit."""
        buffer = self._reader.buffer
        while size:
            room = MAX_BODY_BYTES - len(self._body)
            self._body += (piece := buffer[: int(min(size, room))])
            del buffer[: len(piece)]
            size -= len(piece)
            if size and buffer:
                raise EOFError(f"the body is over {MAX_BODY_BYTES} bytes")
            if size == inf and self._reader.eof:
                return  # that is its end (RFC 9112 section 6.3)
            if size and self._reader.eof:
                raise EOFError("the body was cut short")
            if size:
                yield

    def _conclude(self, response: Response, error: Exception | None) -> None:
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
        if self._reader.eof:
            why = "" if error is None else f": {reason_of(error)}"
            return HandshakeError(
                f"the server hung up during the opening handshake{why}"
            )
        return ProtocolError(f"the server did not answer with HTTP/1.1: {exc}")

    def rejection(self) -> HandshakeRejected | None:
        """Return the rejection, with as much of its body as has come, if its head has.

        Whatever becomes of the rest: it may be late, cut short, too large.
        """
        if self.status < 200:
            return None
        return HandshakeRejected(self.status, self.headers, bytes(self._body))


def starlette_headers(headers: CoreHeaders) -> Headers:
    """Return headers as the rest of the package has them."""
    return Headers(
        raw=[
            (name.lower().encode(), value.encode("latin-1", "replace"))
            for name, value in headers.raw_items()
        ]
    )


def checked_subprotocols(subprotocols: Sequence[str]) -> list[str]:
    """Return subprotocols as a list; refuse what is no token.

    Raises:
        TypeError: It is no sequence of `str`.
        ValueError: One is no token, or named twice.
    """
    if isinstance(subprotocols, str):
        raise TypeError(f"subprotocols is a sequence of str, not {subprotocols!r}")
    names = list(subprotocols)
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"a subprotocol is a str, not {name!r}")
        if not is_token(name):
            raise ValueError(f"{name!r} is not a subprotocol: it must be a token")
    if len(set(names)) < len(names):
        raise ValueError(f"subprotocols are named twice: {names!r}")
    return names
