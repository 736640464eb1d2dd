"""WebSocket URLs: what a client is given, and where a server sends it on to."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from typing import Final
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from starlette.datastructures import Headers
from websockets.exceptions import InvalidURI
from websockets.uri import WebSocketURI, parse_uri

from .._values.errors import HandshakeRejected, ProtocolError

REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})

# What is said of a URL that could not: the error may repeat a part of a password.
NOT_PARSED: Final = "its port or host is none, or its user or password is not UTF-8"

_SCHEMES: Final = {"http": "ws", "https": "wss"}


def parse_url(url: str) -> WebSocketURI:
    """Take a WebSocket URL apart.

    Raises:
        TypeError: It is no `str`.
        ValueError: It is no URL of a WebSocket; says why, and not what it holds, as
            that may be a password.

    Source: RFC 6455 section 3.
    """
    if not isinstance(url, str):
        raise TypeError(f"a URL is a str, not {type(url).__name__}")
    if any(char <= " " or char == "\x7f" for char in url):
        raise ValueError("the URL holds spaces or control characters: escape them")
    try:
        parts = urlsplit(url)
        # The core has its path and query quoted twice, if anything is not ASCII.
        uri = parse_uri(with_password(parts._replace(path="", query="")))
        uri.path, uri.query = _escaped(parts.path), _escaped(parts.query)
        "".join(uri.user_info or ()).encode()
        reason = fault_in(parts.port, uri.username)
    except InvalidURI as exc:
        reason = exc.msg
    except ValueError:
        reason = NOT_PARSED
    else:
        if not reason:
            return uri
    # Not chained: the cause has the URL, and so the password.
    raise ValueError(f"the URL is not that of a WebSocket: {reason}")


def with_password(parts: SplitResult) -> str:
    """Return a URL; a user without a password, as a token, has an empty one."""
    user, at, place = parts.netloc.rpartition("@")
    if at and ":" not in user:
        parts = parts._replace(netloc=f"{user}:@{place}")
    return parts.geturl()


def _escaped(text: str) -> str:
    """Escape what is not ASCII, and nothing else (RFC 3987 section 3.1)."""
    return "".join(
        char if char.isascii() else quote(char, errors="surrogateescape")
        for char in text
    )


def fault_in(port: int | None, user: str | None) -> str:
    """Return what is wrong with parts of a URL that could be parsed, if anything is.

    Args:
        port: Where to.
        user: Who is named by basic authentication (RFC 7617 section 2).
    """
    if port == 0:
        return "its port is 0"
    if user is not None and ":" in user:
        return "its user has a colon, which ends a user's name in basic authentication"
    return ""


def shown(url: WebSocketURI) -> str:
    """Return a URL for a message, without its user, password and query."""
    scheme = "wss" if url.secure else "ws"
    host = f"[{url.host}]" if ":" in url.host else url.host
    return f"{scheme}://{host}:{url.port}{url.path}"


def same_origin(one: WebSocketURI, other: WebSocketURI) -> bool:
    """Whether credentials for one URL may be sent to the other (RFC 6454)."""
    return (one.secure, one.host, one.port) == (other.secure, other.host, other.port)


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, by its name or address alone."""
    name = host.removesuffix(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def leads_on(status: int, headers: Headers) -> bool:
    """Whether a response says where to go instead."""
    return status in REDIRECTS and bool(headers.get("location"))


def redirected(url: WebSocketURI, rejection: HandshakeRejected) -> WebSocketURI | None:
    """Return where a rejection sends the client; `None` if it does not.

    The user and password of the old URL stay where the origin is the same.

    Raises:
        ProtocolError: It leads to something else than a WebSocket, or from an encrypted
            one to one that is not.

    Source: RFC 6455 section 4.1; RFC 9110 section 15.4.
    """
    if not leads_on(rejection.status, rejection.headers):
        return None
    # Its bytes are held as Latin-1; browsers take them for UTF-8.
    raw = rejection.headers["location"].encode("latin-1")
    # A fragment is for who shows a document (RFC 9110 section 10.2.2).
    location = raw.decode("utf-8", "surrogateescape").partition("#")[0]
    scheme = "https" if url.secure else "http"  # urljoin does not know ws
    try:
        joined = _joined(f"{scheme}{shown(url)[len(scheme) - 2 :]}", location)
        name, colon, rest = joined.partition(":")
        target = parse_url(f"{_SCHEMES.get(name, name)}{colon}{rest}")
    except ValueError as exc:
        # Without a user and password, which may stand in front of the last @.
        place = _escaped(location.rpartition("@")[2])
        raise ProtocolError(f"the server redirects to {place!r}: {exc}") from exc
    if url.secure and not target.secure:
        raise ProtocolError(
            f"the server redirects to {shown(target)}, which is not encrypted"
        )
    if target.username is None and same_origin(url, target):
        target = replace(target, username=url.username, password=url.password)
    return target


def _joined(base: str, location: str) -> str:
    try:
        return urljoin(base, location)
    except ValueError:  # it repeats what may be part of a password
        pass
    raise ValueError("its host is none")
