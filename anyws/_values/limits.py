"""Two options beyond buffers: heartbeats, and a limit on connections per client."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Iterator, MutableMapping
from contextlib import contextmanager
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Any, Final, Literal, NamedTuple, TypeAlias

Scope: TypeAlias = MutableMapping[str, Any]
Key: TypeAlias = Callable[[Scope], Hashable | None]

# A hop with a port: `192.0.2.1:4711`, `[2001:db8::1]:4711`; or only with brackets.
_HOP: Final = re.compile(r"\[([^]]*)\](?::[0-9]+)?|([0-9.]+):[0-9]+")
# The key of the scope for the limits that count the connection.
_COUNTED: Final = "anyws.counted"
_PREFIX: Final = 64  # bits of an IPv6 address that one customer usually gets


class Heartbeat(NamedTuple):
    """A text message that is sent at intervals, and the answer to it.

    Attributes:
        interval: Seconds from an answer to the next heartbeat.
        timeout: Seconds that the peer may take to answer.
        message: The text that is sent. If the peer sends it, it is answered, too.
        answer: The text that answers it.
    """

    interval: float = 20.0
    timeout: float = 20.0
    message: str = "ping"
    answer: str = "pong"


class ConnectionLimit:
    """How many connections one client may have at a time, in this process.

    All guards (endpoints, middlewares, servers) that share one object count together. A
    connection that passes several of them counts once.

    Args:
        limit: The number of connections.
        per: The key that the connections of one client share. `"address"` (default):
            the IP address, or the first 64 bits of an IPv6 address. `"user"`: the
            `display_name` of `scope["user"]`, which Starlette's
            `AuthenticationMiddleware` sets; that middleware must therefore be outside
            this guard. Or a function that takes the ASGI scope, and returns a hashable
            key. A connection whose key is `None` (no address is known, or nobody has
            logged in) is not limited.
        trusted_proxies: Addresses and networks of proxies whose `X-Forwarded-For` is
            believed. Without any, the address is that of the server's own peer.

    Raises:
        ValueError: The limit is below 1, or a proxy is neither an address nor a
            network.
        TypeError: `per` is none of the above.
    """

    def __init__(
        self,
        limit: int,
        per: Literal["address", "user"] | Key = "address",
        *,
        trusted_proxies: Iterable[str] = (),
    ) -> None:
        if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
            raise ValueError(f"limit must be an int of at least 1, not {limit!r}")
        if per not in ("address", "user") and not callable(per):
            raise TypeError(f"per is 'address', 'user' or a function, not {per!r}")
        self.limit: int = limit
        self._per = per
        self._trusted = [ip_network(proxy) for proxy in trusted_proxies]
        self._counts: dict[Hashable, int] = {}

    def __deepcopy__(self, memo: object) -> ConnectionLimit:
        """Return itself: a copy of options counts the same connections."""
        return self

    def __getstate__(self) -> dict[str, Any]:
        """Leave the counts out of a pickle: another process counts its own."""
        return {**vars(self), "_counts": {}}

    @contextmanager
    def counting(self, scope: Scope) -> Iterator[bool]:
        """Count a connection in the block; give whether it is within the limit.

        A connection that passes several guards with this limit counts once.
        """
        counted = scope.get(_COUNTED, ())
        if self in counted:
            yield True
            return
        key = self.key_of(scope)
        count = self._counts.get(key, 0)
        if key is None or count >= self.limit:
            yield key is None
            return
        self._counts[key] = count + 1
        scope[_COUNTED] = (*counted, self)
        try:
            yield True
        finally:
            scope[_COUNTED] = counted
            self._counts[key] -= 1
            if not self._counts[key]:
                del self._counts[key]

    def key_of(self, scope: Scope) -> Hashable | None:
        """Return the key of a connection's client."""
        if self._per == "address":
            return _address_of(scope, self._trusted)
        if self._per == "user":
            user = scope.get("user")
            return getattr(user, "display_name", None) or None
        return self._per(scope)


def _address_of(scope: Scope, trusted: list[IPv4Network | IPv6Network]) -> str | None:
    """Return a client's address: the nearest one that is not of a trusted proxy."""
    client = scope.get("client")
    if not client:
        return None
    hops = [
        hop.strip()
        for name, value in scope.get("headers") or ()
        if name == b"x-forwarded-for"
        for hop in value.decode("latin-1").split(",")
    ]
    address = None
    for hop in (client[0], *reversed(hops)):
        address = _parsed(hop)
        if address is None:
            return str(hop)  # not an address: a name, or invented by the client
        if not any(address in network for network in trusted):
            break
    if isinstance(address, IPv6Address):
        return str(ip_network((address, _PREFIX), strict=False))
    return str(address)


def _parsed(hop: str) -> IPv4Address | IPv6Address | None:
    """Return the address of a hop; `None` if it is not an address.

    Some proxies write the client's port behind the address. A server that listens on
    IPv6 for both families shows a client's IPv4 address as one of IPv6.
    """
    found = _HOP.fullmatch(hop)
    try:
        address = ip_address(hop if found is None else found[1] or found[2])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
