"""The server's side of the opening handshake: the request, checked, and the answer.

Every field of the request comes from the peer. It is checked here before the
application sees it, or a parser that trusts it: a malformed request is a
`HandshakeRefusal`. Servers other than the engine do this themselves.
"""

from __future__ import annotations

import re
from base64 import b64decode
from typing import Final, TypeAlias
from urllib.parse import unquote

from websockets.exceptions import InvalidHeader, NegotiationError
from websockets.extensions import Extension
from websockets.headers import parse_extension
from websockets.utils import accept_key

from .._frames.negotiation import NAME, agreement
from .._values.deflate import DEFAULT_DEFLATE, Deflate

Headers: TypeAlias = list[tuple[bytes, bytes]]

_VERSION: Final = "13"
_PRINTABLE: Final = re.compile(rb"[\x20-\x7e]+")
_FRAMING: Final = (b"content-length", b"transfer-encoding")
_ABSOLUTE_FORM: Final = re.compile(rb"(?i:https?|wss?)://([^/?#@]+)((?:[/?][^#]*)?)")


class HandshakeRefusal(Exception):
    """The request is not a valid opening handshake.

    Attributes:
        status: The status of the HTTP response that refuses it.
        headers: Headers of that response.
    """

    def __init__(self, status: int, headers: Headers | None = None) -> None:
        super().__init__(status)
        self.status = status
        self.headers = headers or []


class ServerHandshake:
    """A client's opening handshake, which is valid.

    Args:
        raw_path: The request's path, without its query; see `origin_form`.
        headers: The request's headers.
        http_version: `"1.1"`, or `"2"` for RFC 8441, which has no key.

    Attributes:
        path: The decoded path.
        subprotocols: The subprotocols that the client offers, in its order.

    Raises:
        HandshakeRefusal: The request is malformed (400), or asks for another version of
            the WebSocket protocol (426).

    Source: RFC 6455 section 4.2.1; RFC 8441 section 5.
    """

    def __init__(self, raw_path: bytes, headers: Headers, http_version: str) -> None:
        self._http_version = http_version
        try:
            self.path = unquote(raw_path.decode("ascii"))
            self._key = _single(headers, b"sec-websocket-key")
            self._check_key()
            version = _single(headers, b"sec-websocket-version")
            self.subprotocols: list[str] = _subprotocols(headers)
            offers = _values(headers, b"sec-websocket-extensions")
            self._offers = [item for offer in offers for item in parse_extension(offer)]
            _check_no_body(headers)
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

    def agree(
        self, settings: Deflate | None = DEFAULT_DEFLATE
    ) -> tuple[Headers, list[Extension]]:
        """Agree on the client's first offer of permessage-deflate that can be met.

        An offer with invalid parameters is declined and does not fail the handshake.

        Args:
            settings: The server's settings; `None`: there is no compression.

        Returns:
            The header of the answer and the extension; both empty without agreement.
        Source: RFC 7692 sections 5 and 7.1.
        """
        if settings is None:
            return [], []
        for name, parameters in self._offers:
            if name != NAME:
                continue
            try:
                value, extension = agreement(settings, parameters)
            except NegotiationError:
                continue
            return [(b"sec-websocket-extensions", value)], [extension]
        return [], []

    def answer(self, subprotocol: str | None) -> tuple[int, Headers]:
        """Return the status and the headers that complete the handshake.

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
    """Return the value of a header; empty if it is absent.

    Raises:
        ValueError: The header occurs more than once.
    """
    values = _values(headers, name)
    if len(values) > 1:
        raise ValueError(f"{name!r} is there {len(values)} times")
    return values[0].strip() if values else ""


def _subprotocols(headers: Headers) -> list[str]:
    """Return the subprotocols that are offered and can be written in the answer.

    They ought to be tokens (RFC 6455 section 4.1), and in practice are not: clients put
    credentials here, in base64. Names that no answer can carry are left out.
    """
    names = [
        name.strip(b" \t")
        for key, value in headers
        if key.lower() == b"sec-websocket-protocol"
        for name in value.split(b",")
    ]
    return [name.decode() for name in names if _PRINTABLE.fullmatch(name)]


def _check_no_body(headers: Headers) -> None:
    """Refuse a body, whose bytes would be taken for frames.

    Source: RFC 9110 section 7.8.
    """
    for name, value in headers:
        is_empty = name.lower() == b"content-length" and not value.strip(b" \t0")
        if name.lower() in _FRAMING and not is_empty:
            raise ValueError("an opening handshake has no body")


def origin_form(target: bytes, headers: Headers) -> tuple[bytes, Headers]:
    """Return a request's target as path and query, and the headers that belong to it.

    A client may write a whole URL, as to a proxy. The `Host` header does not count
    then, and is replaced by what the URL says.

    Source: RFC 9112 sections 3.2.2 and 3.3.
    """
    absolute = _ABSOLUTE_FORM.fullmatch(target)
    if absolute is None:
        return target, headers
    host, rest = absolute.groups()
    headers = [(n, host if n.lower() == b"host" else value) for n, value in headers]
    return (rest if rest.startswith(b"/") else b"/" + rest), headers
