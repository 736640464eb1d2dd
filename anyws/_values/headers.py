"""The headers that either end may add to the opening handshake.

At either end a name is a token. A value holds no control character but the tab, and is
sent without the spaces and tabs around it, which are no part of a field's value: h11
refuses them and HTTP/2 forbids them (RFC 9113 section 8.2.1). Two things differ:

* A client's headers are `str`, and ASCII, as no standard says how other characters are
  encoded. A server's headers are ASGI's pairs of bytes, which are sent as they are.
* Neither end may set the headers that its own opening handshake writes.

Neither end can set what describes one connection or the framing of a body: an opening
handshake has no body, and HTTP/2 forbids the other ones. A denial response is a whole
HTTP response, with a body: it may say how long that is, and what becomes of an HTTP/1.1
connection, which Hypercorn leaves out over HTTP/2.

Source: RFC 9110 sections 5.5, 5.6.2 and 8.6; RFC 9113 section 8.2.2; RFC 6455
section 4.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final, Literal, TypeAlias

HeadersLike: TypeAlias = Mapping[str, str] | Iterable[tuple[str, str]]

_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_CONTROLS: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")  # all but the tab
_AROUND: Final = " \t"  # "OWS", optional white space
_LENGTH: Final = re.compile(rb"[0-9]{1,20}")  # h11 takes no more digits

_NO_BODY: Final = "an opening handshake has no body"
_HOP: Final = "it describes the connection, which is a WebSocket's from now on"

# The headers that neither role can set, and why.
_FRAMING: Final = {
    "content-length": _NO_BODY,
    "keep-alive": _HOP,
    "proxy-connection": _HOP,
    "te": _HOP,
    "trailer": _NO_BODY,
    "transfer-encoding": _NO_BODY,
}

Role: TypeAlias = Literal["client", "server", "denial"]

# The headers that each role cannot set, and why. "denial" is a server that answers an
# opening handshake with another HTTP response.
RESERVED: Final[Mapping[Role, Mapping[str, str]]] = {
    "client": {
        **_FRAMING,
        "connection": "the opening handshake sends it",
        "origin": "pass origin= instead",
        "sec-websocket-accept": "it is the server's",
        "sec-websocket-extensions": "pass compression= instead",
        "sec-websocket-key": "the opening handshake sends it",
        "sec-websocket-protocol": "pass subprotocols= instead",
        "sec-websocket-version": "the opening handshake sends it",
        "upgrade": "the opening handshake sends it",
    },
    "server": {
        **_FRAMING,
        "connection": "the server sends it",
        "sec-websocket-accept": "the server answers the key",
        "sec-websocket-extensions": "the server negotiates extensions",
        "sec-websocket-protocol": "pass subprotocol= instead",
        "upgrade": "the server sends it",
    },
    "denial": {
        "proxy-connection": "it is no header of HTTP",
        "sec-websocket-accept": "a denial accepts nothing",
        "sec-websocket-extensions": "a denial accepts nothing",
        "sec-websocket-protocol": "a denial accepts nothing",
        "te": "only requests have it",
        "trailer": "a denial response has no trailers",
        "transfer-encoding": "the server frames the body",
    },
}


def is_token(text: str) -> bool:
    """Whether a text is a token, as header names and subprotocols are.

    Source: RFC 9110 section 5.6.2.
    """
    return _TOKEN.fullmatch(text) is not None


def check_value(what: str, value: str) -> None:
    """Check the value of a client's header. The error does not show the value.

    Raises:
        TypeError: The value is no `str`.
        ValueError: The value holds a control character, or one that is not ASCII.
    """
    if not isinstance(value, str):
        raise TypeError(f"{what} is a str, not {type(value).__name__}")
    if _CONTROLS.search(value) or not value.isascii():
        raise ValueError(
            f"{what} holds CR, LF, NUL, another control character or what is not ASCII"
        )


def checked_request_headers(headers: HeadersLike | None) -> list[tuple[str, str]]:
    """Return a client's headers as pairs, without white space around their values.

    Raises:
        TypeError: The headers are not pairs of `str`.
        ValueError: A header must not be sent; the message says which and why.
    """
    pairs = headers.items() if isinstance(headers, Mapping) else headers or ()
    checked = []
    for pair in pairs:
        match pair:
            case (str() as name, str() as value):
                pass
            case _:
                raise TypeError(f"headers are pairs of str, not {pair!r}")
        _check_name("client", name, name)
        check_value(f"the value of header {name!r}", value)
        checked.append((name, value.strip(_AROUND)))
    return checked


def checked_response_headers(
    headers: Iterable[tuple[bytes, bytes]], role: Role = "server"
) -> list[tuple[bytes, bytes]]:
    """Return the headers of a server's `websocket.accept`, or of its denial response.

    Names are in lower case, and values without the white space around them.

    Raises:
        TypeError: The headers are not pairs of bytes.
        ValueError: A header must not be sent; the message says which and why.
    """
    if not isinstance(headers, Iterable):
        raise TypeError(f"headers are pairs of bytes, not {headers!r}")
    checked = []
    for pair in headers:
        match pair:
            case (bytes() as name, bytes() as value):
                pass
            case _:
                raise TypeError(f"headers are pairs of bytes, not {pair!r}")
        _check_name(role, name, name.decode("latin-1"))
        if _CONTROLS.search(value.decode("latin-1")):
            raise ValueError(
                f"the value of header {name!r} holds CR, LF, NUL or another control "
                "character"
            )
        checked.append((name.lower(), value.strip(_AROUND.encode())))
    _check_lengths({value for name, value in checked if name == b"content-length"})
    return checked


def _check_lengths(values: set[bytes]) -> None:
    """Refuse lengths of a body that are not numbers, or that differ."""
    if len(values) > 1 or not all(_LENGTH.fullmatch(value) for value in values):
        raise ValueError(f"content-length is one number, not {values!r}")


def _check_name(role: Role, shown: str | bytes, name: str) -> None:
    """Refuse a header by its name, which is shown as it was given."""
    if not is_token(name):
        raise ValueError(f"{shown!r} is not a header name")
    why = RESERVED[role].get(name.lower())
    if why is not None:
        raise ValueError(f"header {shown!r} cannot be set: {why}")
