"""WebSocket URLs: those that a client is given, and the targets of redirects."""

from __future__ import annotations

import re
from dataclasses import replace
from ipaddress import ip_address
from typing import Final
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit

from starlette.datastructures import Headers
from websockets.exceptions import InvalidURI
from websockets.uri import WebSocketURI, parse_uri

from .._values.errors import HandshakeRejected, ProtocolError

REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})

# The reason that is given where urllib's own may show a part of a password.
NOT_PARSED: Final = "its port or host is invalid, or its user or password is not UTF-8"

# A URL that names a WebSocket's scheme and a host.
_COMPLETE: Final = re.compile(r"wss?://[^/?#]", re.IGNORECASE)
# Prefixes that users write by mistake in place of that. `ws:8000` is a host and a port.
_BEGINNING: Final = re.compile(r"(wss?|https?):(?!\d)/*|//", re.IGNORECASE)

_SCHEMES: Final = {"http": "ws", "https": "wss"}


def parse_url(url: str) -> WebSocketURI:
    """Return the parts of a WebSocket URL.

    Raises:
        TypeError: It is not a `str`.
        ValueError: It is not the URL of a WebSocket. The message says why. It shows a
            URL whose scheme or host is missing, but never one with a user or password.

    Source: RFC 6455 section 3.
    """
    if not isinstance(url, str):
        raise TypeError(f"a URL is a str, not {type(url).__name__}")
    if any(char <= " " or char == "\x7f" for char in url):
        raise ValueError("the URL holds spaces or control characters: escape them")
    try:
        parts = urlsplit(url)
        # Without path and query, whose escapes the core escapes once more if any part
        # of the URL is not ASCII.
        uri = parse_uri(with_password(parts._replace(path="", query="")))
        uri.path, uri.query = _escaped(parts.path), _escaped(parts.query)
        uri.host = with_zone(uri.host)
        "".join(uri.user_info or ()).encode()  # raises, if it is not UTF-8
        reason = fault_in(parts.port, uri.username)
    except InvalidURI as exc:
        reason = exc.msg + _hint_for(url)
    except ValueError:
        reason = NOT_PARSED
    else:
        if not reason:
            return uri
    # Not chained: the message of the cause holds the URL, and with it the password.
    raise ValueError(f"the URL is not that of a WebSocket: {reason}")


def _hint_for(url: str) -> str:
    """Return words that show a URL without `ws://` or a host, and what may be meant.

    The query is left out, as it may hold a token. A URL with an @ is not shown at all:
    what stands before it may be a password.
    """
    if _COMPLETE.match(url) or "@" in url:
        return ""
    place, mark, _ = url.partition("#")[0].partition("?")
    query = "?…" if mark else ""
    said = f" in {place + query!r}"
    found = _BEGINNING.match(place)
    scheme, host = "ws", place
    if found is not None:
        scheme, host = (found[1] or "ws").lower(), place[found.end() :]
    meant = f"{_SCHEMES.get(scheme, scheme)}://{host}"
    try:
        parts = urlsplit(meant)
        likely = bool(parts.hostname) and parts.port != 0 and "://" not in host
    except ValueError:
        likely = False
    return f"{said}; did you mean {meant}?" if likely else said


def with_password(parts: SplitResult) -> str:
    """Return a URL; give a user without a password, such as a token, an empty one.

    The core refuses a user without a password; curl and other clients take it.
    """
    user, at, place = parts.netloc.rpartition("@")
    if at and ":" not in user:
        parts = parts._replace(netloc=f"{user}:@{place}")
    return parts.geturl()


def _escaped(text: str) -> str:
    """Escape the characters that are not ASCII, and no others (RFC 3987 3.1)."""
    return "".join(
        char if char.isascii() else quote(char, errors="surrogateescape")
        for char in text
    )


def with_zone(host: str) -> str:
    """Return the host of a URL; an IPv6 address has its zone id as systems take it.

    A URL has `%25` before the zone, and percent-encodes it (RFC 6874 section 2). As in
    curl, a bare `%` does too.
    """
    address, percent, zone = host.partition("%")
    if not percent or ":" not in address:
        return host
    if zone.startswith("25") and zone != "25":
        zone = zone[2:]
    return f"{address}%{unquote(zone)}"


def without_zone(host: str) -> str:
    """Return a host without its zone id, which means nothing to another machine.

    Source: RFC 6874 section 4.
    """
    return host.partition("%")[0] if ":" in host else host


def fault_in(port: int | None, user: str | None) -> str:
    """Return the fault of a URL that could be parsed; empty if there is none.

    Args:
        port: The port, if the URL names one.
        user: The user, if basic authentication names one (RFC 7617 section 2).
    """
    if port == 0:
        return "its port is 0"
    if user is not None and ":" in user:
        return "its user has a colon, which ends a user's name in basic authentication"
    return ""


def shown(url: WebSocketURI) -> str:
    """Return a URL for a message, without its user, password and query."""
    scheme = "wss" if url.secure else "ws"
    host = url.host
    if ":" in host:
        address, percent, zone = host.partition("%")
        host = f"[{address}%25{quote(zone)}]" if percent else f"[{host}]"
    return f"{scheme}://{host}:{url.port}{url.path}"


def same_origin(one: WebSocketURI, other: WebSocketURI) -> bool:
    """Whether credentials for one URL may be sent to the other (RFC 6454)."""
    return (one.secure, one.host, one.port) == (other.secure, other.host, other.port)


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, as far as its name or address says so."""
    name = host.removesuffix(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def is_redirect(status: int, headers: Headers) -> bool:
    """Whether a response is a redirect, and names its target."""
    return status in REDIRECTS and bool(headers.get("location"))


def redirect_target(
    url: WebSocketURI, rejection: HandshakeRejected
) -> WebSocketURI | None:
    """Return the target of a redirect; `None` if the rejection is not a redirect.

    The user and password of the old URL are kept where the origin is the same.

    Raises:
        ProtocolError: The target is not the URL of a WebSocket, or is not encrypted
            where the old URL is.

    Source: RFC 6455 section 4.1; RFC 9110 section 15.4.
    """
    if not is_redirect(rejection.status, rejection.headers):
        return None
    # Starlette holds a header's bytes as Latin-1; browsers read this one as UTF-8.
    raw = rejection.headers["location"].encode("latin-1")
    # A fragment names a part of a document (RFC 9110 section 10.2.2): no use here.
    location = raw.decode("utf-8", "surrogateescape").partition("#")[0]
    scheme = "https" if url.secure else "http"  # urljoin knows no ws://
    try:
        joined = _resolved(f"{scheme}{shown(url)[len(scheme) - 2 :]}", location)
        name, colon, rest = joined.partition(":")
        target = parse_url(f"{_SCHEMES.get(name, name)}{colon}{rest}")
    except ValueError as exc:
        # Shown without a user and password, which end at the last @.
        place = _escaped(location.rpartition("@")[2])
        raise ProtocolError(f"the server redirects to {place!r}: {exc}") from exc
    if url.secure and not target.secure:
        raise ProtocolError(
            f"the server redirects to {shown(target)}, which is not encrypted"
        )
    if target.username is None and same_origin(url, target):
        target = replace(target, username=url.username, password=url.password)
    return target


def _resolved(base: str, location: str) -> str:
    """Return the URL that a relative or absolute `Location` leads to."""
    try:
        return urljoin(base, location)
    except ValueError:  # not chained: its message may hold a part of a password
        pass
    raise ValueError("its host is missing or invalid")
