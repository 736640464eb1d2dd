"""The client's side of the opening handshake: the request, and what answers it.

There is no I/O. The work is that of the Sans-I/O core of `websockets`; what is added is
that nothing of its own comes out, and that a rejection is told with as much of its body
as has come, whatever became of the rest.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable, Mapping, Sequence
from importlib.metadata import version
from platform import python_version
from typing import Final, TypeAlias, cast

from starlette.datastructures import Headers
from websockets.client import ClientProtocol
from websockets.datastructures import Headers as CoreHeaders
from websockets.exceptions import InvalidHandshake
from websockets.extensions import Extension
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.http11 import Response
from websockets.streams import StreamReader
from websockets.typing import Origin, Subprotocol
from websockets.uri import WebSocketURI

from ._errors import HandshakeError, HandshakeRejected, ProtocolError

HeadersLike: TypeAlias = Mapping[str, str] | Iterable[tuple[str, str]]

USER_AGENT: Final = f"anyws/{version('anyws-websockets')} Python/{python_version()}"

_NAME: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110 section 5.6.2
_VALUE: Final = re.compile(r"[^\x00\r\n]*")
_OURS: Final = {
    "connection": "the opening handshake sends it",
    "origin": "pass origin= instead",
    "sec-websocket-accept": "it is the server's",
    "sec-websocket-extensions": "pass compression= instead",
    "sec-websocket-key": "the opening handshake sends it",
    "sec-websocket-protocol": "pass subprotocols= instead",
    "sec-websocket-version": "the opening handshake sends it",
    "upgrade": "the opening handshake sends it",
}

# What `websockets` asks for by default: zlib's own windows cost 90 KiB more.
_DEFLATE: Final = ClientPerMessageDeflateFactory(
    server_max_window_bits=12,
    client_max_window_bits=12,
    compress_settings={"memLevel": 5},
)


class OpeningHandshake:
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
            extensions=[_DEFLATE] if compression else None,
            subprotocols=[Subprotocol(name) for name in subprotocols] or None,
        )
        request = self._protocol.connect()
        request.headers["User-Agent"] = USER_AGENT
        for name in {name for name, _ in headers}:
            request.headers.pop(name, None)
        for name, value in headers:
            request.headers[name] = value
        self.request: bytes = request.serialize()
        self.status = 0
        self.headers = Headers()
        self.extensions: list[Extension] = []
        self.subprotocol: str | None = None
        self.rest = b""
        self._received = bytearray()
        self._reader = StreamReader()
        self._parser = self._parse()

    def receive_data(self, data: bytes) -> bool:
        """Take in what was read; empty is the end. Return whether it is complete.

        Raises:
            HandshakeRejected: The server has answered with another status than 101.
            ProtocolError: It has answered with something else altogether.
            HandshakeError: It has hung up.
        """
        if data:
            self._received += data
            self._reader.feed_data(data)
        else:
            self._reader.feed_eof()
        try:
            next(self._parser)
        except StopIteration as done:
            self._conclude(cast("Response", done.value))
            return True
        except Exception as exc:
            raise self._failure(exc) from exc
        return False

    def _parse(self) -> Generator[None, None, Response]:
        """Read responses until one is more than a piece of information."""
        reader = self._reader
        while True:
            response = yield from Response.parse(
                reader.read_line, reader.read_exact, reader.read_to_eof
            )
            if response.status_code == 101 or response.status_code >= 200:
                return response

    def _conclude(self, response: Response) -> None:
        self.status = response.status_code
        self.headers = _starlette(response.headers)
        if self.status != 101:
            raise HandshakeRejected(self.status, self.headers, bytes(response.body))
        try:
            self._protocol.process_response(response)
        except InvalidHandshake as exc:
            raise ProtocolError(f"the server's answer is invalid: {exc}") from exc
        self.extensions = self._protocol.extensions
        self.subprotocol = self._protocol.subprotocol
        self.rest = bytes(self._reader.buffer)

    def _failure(self, exc: Exception) -> HandshakeError:
        rejection = self.rejection()
        if rejection is not None:
            return rejection
        if isinstance(exc, EOFError):
            return HandshakeError("the server hung up during the opening handshake")
        return ProtocolError(f"the server did not answer with HTTP/1.1: {exc}")

    def rejection(self) -> HandshakeRejected | None:
        """Return the rejection whose body has not come whole, if its head has."""
        reader = StreamReader()
        reader.feed_data(bytes(self._received))
        # As from a proxy: without the body.
        parser = Response.parse(
            reader.read_line, reader.read_exact, reader.read_to_eof, proxy=True
        )
        try:
            next(parser)
        except StopIteration as done:
            head = cast("Response", done.value)
            if head.status_code >= 200:
                headers = _starlette(head.headers)
                body = bytes(reader.buffer)
                return HandshakeRejected(head.status_code, headers, body)
        except Exception:
            pass
        return None


def _starlette(headers: CoreHeaders) -> Headers:
    """Return headers as the rest of the package has them."""
    return Headers(
        raw=[
            (name.lower().encode(), value.encode("latin-1", "replace"))
            for name, value in headers.raw_items()
        ]
    )


def checked_headers(headers: HeadersLike | None) -> list[tuple[str, str]]:
    """Return headers as pairs; refuse those that must not be sent, and say why.

    Raises:
        TypeError: They are no pairs of `str`.
        ValueError: A name or value is invalid, or the handshake's own.
    """
    pairs = headers.items() if isinstance(headers, Mapping) else headers or ()
    checked = []
    for pair in pairs:
        match pair:
            case (str() as name, str() as value):
                pass
            case _:
                raise TypeError(f"headers are pairs of str, not {pair!r}")
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is not a header name")
        if not _VALUE.fullmatch(value) or not value.isascii():
            raise ValueError(
                f"the value of header {name!r} holds CR, LF, NUL or what is not ASCII"
            )
        if name.lower() in _OURS:
            raise ValueError(f"header {name!r} cannot be set: {_OURS[name.lower()]}")
        checked.append((name, value))
    return checked


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
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is not a subprotocol: it must be a token")
    if len(set(names)) < len(names):
        raise ValueError(f"subprotocols are named twice: {names!r}")
    return names
