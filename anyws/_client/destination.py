"""The destination of a connection: the address of its URL, or another one."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from types import UnionType
from typing import Any, Final

from anyio.abc import ByteStream
from websockets.uri import WebSocketURI

from .url import without_zone

# The type of each argument, and its name in error messages.
_TYPES: Final[dict[str, tuple[UnionType | type, str]]] = {
    "host": (str | None, "a str or None"),
    "port": (int | None, "an int or None"),
    "ssl_context": (ssl.SSLContext | None, "an ssl.SSLContext or None"),
    "server_hostname": (str | None, "a str or None"),
    "stream": (ByteStream | None, "an anyio.abc.ByteStream or None"),
}

# Characters that no name or address has. Some would change the request to a proxy.
_NOT_IN_A_HOST: Final = frozenset("/?#@[]\\")


@dataclass(frozen=True, kw_only=True, slots=True)
class Destination:
    """Where a connection is made to, and the name that its certificate has to have.

    Attributes:
        host, port: The address to dial in place of the URL's; `None`: the URL's own.
        unix_path: The path of a unix socket in place of an address.
        stream: A connected byte stream in place of an address.
        app: An application in this process in place of an address.
        ssl_context: For `wss`; by default the system's certificates are trusted.
        server_hostname: The name that TLS asks for and checks; `None`: the URL's host.
    """

    host: str | None = None
    port: int | None = None
    unix_path: str | None = None
    stream: ByteStream | None = None
    app: Callable[..., Any] | None = None
    ssl_context: ssl.SSLContext | None = None
    server_hostname: str | None = None

    def check(self, url: WebSocketURI, proxy: str | bool | None) -> None:
        """Refuse arguments without a meaning, alone or together.

        Raises:
            TypeError: An argument is of another type.
            ValueError: An argument is invalid; the message says which and why.
        """
        for name, (kind, spoken) in _TYPES.items():
            value = getattr(self, name)
            if not isinstance(value, kind) or isinstance(value, bool):
                raise TypeError(f"{name} must be {spoken}, not {type(value).__name__}")
        for name in ("host", "server_hostname"):
            value = getattr(self, name)
            if value is not None and not _is_host(value):
                raise ValueError(f"{name} is a name or an address, not {value!r}")
        if self.port is not None and not 0 < self.port < 65536:
            raise ValueError(f"port must be from 1 to 65535, not {self.port}")
        places = list(self._places())
        if len(places) > 1:
            raise ValueError(
                f"{' and '.join(places)} exclude each other: use one of them"
            )
        nearby = places and places != ["host or port"]
        if nearby and isinstance(proxy, str):
            raise ValueError(f"{places[0]} goes through no proxy")
        if self.app is not None and self.ssl_context is not None:
            raise ValueError("an application in this process is reached without TLS")
        if self.server_hostname is not None and (
            not url.secure or self.stream is not None or self.app is not None
        ):
            raise ValueError("server_hostname is for TLS, which is not used here")

    def _places(self) -> Iterator[str]:
        if self.host is not None or self.port is not None:
            yield "host or port"
        for name in ("unix_path", "stream", "app"):
            if getattr(self, name) is not None:
                yield name

    @property
    def for_one_origin(self) -> bool:
        """Whether it is the place, or the name, of the URL's own origin alone."""
        return self.server_hostname is not None or bool(list(self._places()))

    @property
    def for_one_connection(self) -> str | None:
        """Why there can be one connection only; `None` if there can be more."""
        if self.stream is not None:
            return "a stream is for one connection"
        if self.app is not None:
            return "an application in this process runs in one block"
        return None

    def dialled(self, url: WebSocketURI) -> WebSocketURI:
        """Return the URL with the address that is dialled."""
        host, port = self.host, self.port
        return replace(
            url,
            host=url.host if host is None else host,
            port=url.port if port is None else port,
        )

    def tls_name(self, url: WebSocketURI) -> str:
        """Return the name that TLS asks for and checks."""
        return self.server_hostname or without_zone(url.host)


def _is_host(value: str) -> bool:
    """Whether a value may be a name or an address; the resolver knows more."""
    odd = _NOT_IN_A_HOST.intersection(value)
    return value.isprintable() and bool(value) and " " not in value and not odd
