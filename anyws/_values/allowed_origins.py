"""The pages that may connect: a rule for the header `Origin` of opening handshakes.

A browser lets every page open a WebSocket to every server, with the cookies of that
server, and says in `Origin` which page it is. So a server that knows its users by
cookies has to look at it (RFC 6455 section 10.2).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

SAME_ORIGIN: Final = "same-origin"

_ORIGIN: Final = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://"
    r"(?P<host>(?:\*\.)?[^\s/?#@:*\[\]]+|\[[0-9a-f:.]+\])(?::(?P<port>[0-9]{1,5}))?",
    re.IGNORECASE,
)
_HOST: Final = re.compile(r"([^\s/?#@:\[\]]+|\[[0-9a-fA-F:.]+\])(?::([0-9]{1,5}))?")
_PORTS: Final = {"http": 80, "https": 443}
_SHOWN: Final = 200  # characters of an origin, in the log


class _Origin(NamedTuple):
    """An origin, in the one form in which origins are compared (RFC 6454 section 4)."""

    scheme: str
    host: str
    port: int | None


class AllowedOrigins:
    """A rule for the origins of opening handshakes; equal to one that says the same.

    Args:
        allowed: Origins, as `"https://example.com"`, with a port if it is not the usual
            one; for all hosts below one `"https://*.example.com"`; and `"same-origin"`
            for pages of the host that the request asks for.

    Raises:
        TypeError: It is neither a `str` nor an iterable of them.
        ValueError: One of them is not an origin.
    """

    def __init__(self, allowed: str | Iterable[str]) -> None:
        names = [allowed] if isinstance(allowed, str) else allowed
        if not isinstance(names, Iterable):
            kind = type(allowed).__name__
            raise TypeError(f"allowed_origins is a str or several, not {kind}")
        names = list(names)
        for name in names:
            if not isinstance(name, str):
                raise TypeError(f"an origin is a str, not {name!r}")
        self._same = SAME_ORIGIN in names
        self._null = "null" in names  # a page without an origin: a file, a sandbox
        self._known = frozenset(
            _pattern(name) for name in names if name not in (SAME_ORIGIN, "null")
        )

    @property
    def _key(self) -> tuple[object, ...]:
        return self._same, self._null, self._known

    def __eq__(self, other: object) -> bool:
        """Whether the other rule allows the same."""
        return isinstance(other, AllowedOrigins) and self._key == other._key

    def __hash__(self) -> int:
        """Return the hash of what is allowed."""
        return hash(self._key)

    def allow(self, scope: Mapping[str, Any]) -> bool:
        """Whether a connection may be opened; so may one without `Origin`.

        No browser leaves the header out, and other clients write what they like.
        """
        origins = _values(scope, b"origin")
        if len(origins) != 1:
            return not origins
        if origins[0] == "null":
            return self._null
        origin = _parsed(origins[0])
        if origin is None or "*" in origin.host:
            return False
        if origin in self._known or (self._same and _is_same(origin, scope)):
            return True
        _, *above = origin.host.split(".")
        return any(
            origin._replace(host=".".join(["*", *above[depth:]])) in self._known
            for depth in range(len(above))
        )


def origins_of(allowed: str | Iterable[str] | None) -> AllowedOrigins | None:
    """Return the rule that an argument asks for; `None`: all pages may connect.

    Raises:
        TypeError, ValueError: As `AllowedOrigins`.
    """
    return None if allowed is None else AllowedOrigins(allowed)


def shown_origin(scope: Mapping[str, Any]) -> str:
    """Return the origin of a request for the log, where it can do no harm."""
    return _shown(scope, b"origin")


def shown_host(scope: Mapping[str, Any]) -> str:
    """Return the `Host` of a request for the log, where it can do no harm."""
    return _shown(scope, b"host")


def _shown(scope: Mapping[str, Any], name: bytes) -> str:
    return ascii(", ".join(_values(scope, name))[:_SHOWN])


def _values(scope: Mapping[str, Any], name: bytes) -> list[str]:
    headers = scope.get("headers") or ()
    return [value.decode("latin-1") for key, value in headers if key.lower() == name]


def _parsed(text: str) -> _Origin | None:
    found = _ORIGIN.fullmatch(text)
    if found is None:
        return None
    scheme, host = found["scheme"].lower(), found["host"].lower()
    port = found["port"]
    return _Origin(scheme, host, int(port) if port else _PORTS.get(scheme))


def _pattern(name: str) -> _Origin:
    if name == "*":
        raise ValueError(
            "'*' is not an origin: write allowed_origins=None to let all pages connect"
        )
    origin = _parsed(name)
    if origin is None:
        raise ValueError(
            f"{name!r} is not an origin: write 'https://example.com', with no path, "
            f"'https://*.example.com', or {SAME_ORIGIN!r}"
        )
    if not name.isascii():
        raise ValueError(
            f"{name!r} is not an origin: write the host as browsers send it, in ASCII, "
            "as 'https://xn--bcher-kva.example'"
        )
    return origin


def _is_same(origin: _Origin, scope: Mapping[str, Any]) -> bool:
    """Whether a page belongs to the host that its request names.

    A server behind a proxy that ends TLS does not know that the request came by TLS,
    so there a page may be of `http` or `https`.
    """
    hosts = _values(scope, b"host")
    found = _HOST.fullmatch(hosts[0]) if len(hosts) == 1 else None
    if found is None:
        return False
    schemes = ("https",) if scope.get("scheme") == "wss" else ("http", "https")
    host, port = found.groups()
    return origin.scheme in schemes and origin[1:] == (
        host.lower(),
        int(port) if port else _PORTS[origin.scheme],
    )
