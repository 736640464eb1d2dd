"""The server's side of the opening handshake: what a client asks for, and the answer.

All of it comes from the peer, so all of it is checked here, before the application or a
parser that does not expect it sees any: what is malformed is a `HandshakeRefusal`.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias, TypeVar
from urllib.parse import unquote

from websockets.exceptions import InvalidHeader, NegotiationError
from websockets.extensions import Extension
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.headers import build_extension, parse_extension, parse_subprotocol
from websockets.utils import accept_key

from .._frames.codec import DEFLATE_SETTINGS, DEFLATE_WINDOW_BITS

Headers: TypeAlias = list[tuple[bytes, bytes]]
ItemT = TypeVar("ItemT")

_VERSION: Final = "13"

_SERVER_DEFLATE: Final = ServerPerMessageDeflateFactory(
    server_max_window_bits=DEFLATE_WINDOW_BITS,
    client_max_window_bits=DEFLATE_WINDOW_BITS,
    compress_settings=DEFLATE_SETTINGS,
)


class HandshakeRefusal(Exception):
    """The request is no opening handshake that can be answered.

    Attributes:
        status: Of the HTTP response.
        headers: What else the response says.
    """

    def __init__(self, status: int, headers: Headers | None = None) -> None:
        super().__init__(status)
        self.status = status
        self.headers = headers or []


class ServerHandshake:
    """A client's opening handshake.

    Args:
        raw_path: The request's path, without its query.
        headers: Those of the request.
        http_version: `"1.1"`, or `"2"` for RFC 8441, where there is no key.

    Attributes:
        path: The decoded path.
        subprotocols: Those that the client offers, in its order.

    Raises:
        HandshakeRefusal: It is malformed.

    Source: RFC 6455 section 4.2.1; RFC 8441 section 5.
    """

    def __init__(self, raw_path: bytes, headers: Headers, http_version: str) -> None:
        self._http_version = http_version
        try:
            self.path = unquote(raw_path.decode("ascii"))
            self._key = _single(headers, b"sec-websocket-key")
            self._check_key()
            version = _single(headers, b"sec-websocket-version")
            self.subprotocols: list[str] = _listed(
                headers, b"sec-websocket-protocol", parse_subprotocol
            )
            self._offers = _listed(
                headers, b"sec-websocket-extensions", parse_extension
            )
        except (ValueError, InvalidHeader) as exc:
            raise HandshakeRefusal(400) from exc
        if version != _VERSION:
            supported = [(b"sec-websocket-version", _VERSION.encode())]
            raise HandshakeRefusal(426 if version else 400, supported)

    def _check_key(self) -> None:
        if self._http_version not in ("1.1", "2"):
            raise ValueError(f"no WebSocket over HTTP/{self._http_version}")
        if self._http_version == "1.1":
            key = b64decode(self._key, validate=True)
            if len(key) != 16:
                raise ValueError("a key is 16 bytes")

    def agree(self) -> tuple[Headers, list[Extension]]:
        """Take the first offer of permessage-deflate that can be met, if there is one.

        An offer whose parameters are wrong is declined, as the RFC asks.

        Source: RFC 7692 sections 5 and 7.1.
        """
        for name, parameters in self._offers:
            if name != _SERVER_DEFLATE.name:
                continue
            try:
                answer, extension = _SERVER_DEFLATE.process_request_params(
                    parameters, []
                )
            except NegotiationError:
                continue
            value = build_extension([(name, answer)])
            return [(b"sec-websocket-extensions", value.encode())], [extension]
        return [], []

    def answer(self, subprotocol: str | None) -> tuple[int, Headers]:
        """Return status and headers that complete the handshake.

        Source: RFC 6455 section 4.2.2; RFC 8441 section 5.
        """
        headers: Headers = []
        if subprotocol is not None:
            headers.append((b"sec-websocket-protocol", subprotocol.encode()))
        if self._http_version != "1.1":
            return 200, headers
        headers += [
            (b"sec-websocket-accept", accept_key(self._key).encode()),
            (b"upgrade", b"WebSocket"),
            (b"connection", b"Upgrade"),
        ]
        return 101, headers


def _values(headers: Headers, name: bytes) -> list[str]:
    return [value.decode("ascii") for key, value in headers if key.lower() == name]


def _single(headers: Headers, name: bytes) -> str:
    """Return a header's value, empty if there is none; raise if there are several."""
    values = _values(headers, name)
    if len(values) > 1:
        raise ValueError(f"{name!r} is there {len(values)} times")
    return values[0].strip() if values else ""


def _listed(
    headers: Headers, name: bytes, parse: Callable[[str], Sequence[ItemT]]
) -> list[ItemT]:
    return [item for value in _values(headers, name) for item in parse(value)]
