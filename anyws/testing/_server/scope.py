"""The ASGI scope of a connection under test."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import unquote, urlsplit

from ..._client.handshake import USER_AGENT, checked_subprotocols
from ..._values.headers import HeadersLike, check_value, checked_request_headers
from .dialects import Dialect

_KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # the one of RFC 6455 section 1.3
_CLIENT = ("127.0.0.1", 50000)


def make_scope(
    url: str,
    subprotocols: Sequence[str],
    headers: HeadersLike | None,
    cookies: Mapping[str, str] | None,
    extra: Mapping[str, Any] | None,
    dialect: Dialect,
) -> dict[str, Any]:
    """Return the scope that a server makes of a client's request."""
    parts = urlsplit(url)
    is_path = url.startswith("/") and not parts.netloc
    if not (is_path or (parts.scheme in ("ws", "wss") and parts.netloc)):
        raise ValueError(f"url must be a path, or ws:// or wss://, not {url!r}")
    if not url.isascii():
        raise ValueError(f"url must be ASCII, others %-escaped: {url!r}")
    secure = parts.scheme == "wss"
    host, port = parts.hostname or "testserver", parts.port or (443 if secure else 80)
    offered = checked_subprotocols(subprotocols)
    pairs = [
        ("host", parts.netloc.rpartition("@")[2] or host),
        ("upgrade", "websocket"),
        ("connection", "Upgrade"),
        ("sec-websocket-key", _KEY),
        ("sec-websocket-version", "13"),
        *([("sec-websocket-protocol", ", ".join(offered))] if offered else []),
        ("user-agent", USER_AGENT),
        *([("cookie", _cookie(cookies))] if cookies else []),
    ]
    given = list(_given(headers))
    names = {name for name, _ in given}
    pairs = [pair for pair in pairs if pair[0] not in names] + given
    path = parts.path or "/"
    scope: dict[str, Any] = {
        "type": "websocket",
        "asgi": {"version": "3.0", "spec_version": dialect.spec_version},
        "http_version": "1.1",
        "scheme": "wss" if secure else "ws",
        "path": unquote(path),
        "raw_path": path.encode("ascii"),
        "query_string": parts.query.encode("ascii"),
        "root_path": "",
        "headers": [(name.encode(), value.encode()) for name, value in pairs],
        "client": _address(*_CLIENT, dialect),
        "server": _address(host, port, dialect),
        "subprotocols": offered,
        "state": {},
        "extensions": {name: {} for name in dialect.extensions},
    }
    scope |= extra or {}
    scope["state"] = dict(scope["state"])  # each connection has a copy
    return scope


def _given(headers: HeadersLike | None) -> Iterable[tuple[str, str]]:
    """Return the test's headers, checked; `Origin` is allowed, as in browsers."""
    pairs = headers.items() if isinstance(headers, Mapping) else headers or ()
    origins: list[tuple[str, str]] = []
    others: list[tuple[str, str]] = []
    for pair in pairs:
        is_origin = isinstance(pair[0], str) and pair[0].lower() == "origin"
        (origins if is_origin else others).append(pair)
    for _, value in origins:
        check_value("origin", value)
    for name, value in (*origins, *checked_request_headers(others)):
        yield name.lower(), value


def _cookie(cookies: Mapping[str, str]) -> str:
    if not isinstance(cookies, Mapping):
        raise TypeError(f"cookies must be a mapping, not {cookies!r}")
    value = "; ".join(f"{name}={value}" for name, value in cookies.items())
    check_value("a cookie", value)
    return value


def _address(host: str, port: int, dialect: Dialect) -> tuple[str, int | str]:
    return host, str(port) if dialect.text_ports else port
