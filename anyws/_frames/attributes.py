"""The facts that a socket and the TLS over it tell, as AnyIO's typed attributes.

AnyIO's own streams have them; for the transports of asyncio and trio they are made
here, so that they have the same names everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from socket import AF_INET, AF_INET6
from ssl import SSLObject
from typing import Any, TypeAlias

from anyio.abc import SocketAttribute
from anyio.streams.tls import TLSAttribute

from .._session.channel import Address

Attributes: TypeAlias = Mapping[Any, Callable[[], Any]]


def attributes_of(plain: Any, tls: Any) -> Attributes:
    """Return the attributes of a connection.

    Args:
        plain: The socket.
        tls: An object with the methods of an `ssl.SSLObject`; `None` without TLS.
    """
    attributes: dict[Any, Callable[[], Any]] = {
        SocketAttribute.family: lambda: plain.family,
        SocketAttribute.local_address: lambda: _pair(plain.getsockname()),
        SocketAttribute.raw_socket: lambda: plain,
        SocketAttribute.remote_address: lambda: _pair(plain.getpeername()),
    }
    if plain.family in (AF_INET, AF_INET6):
        attributes[SocketAttribute.local_port] = lambda: plain.getsockname()[1]
        attributes[SocketAttribute.remote_port] = lambda: plain.getpeername()[1]
    if tls is not None:
        attributes |= {
            TLSAttribute.alpn_protocol: tls.selected_alpn_protocol,
            TLSAttribute.channel_binding_tls_unique: tls.get_channel_binding,
            TLSAttribute.cipher: tls.cipher,
            TLSAttribute.peer_certificate: lambda: tls.getpeercert(False),
            TLSAttribute.peer_certificate_binary: lambda: tls.getpeercert(True),
            TLSAttribute.server_side: lambda: tls.server_side,
            TLSAttribute.shared_ciphers: tls.shared_ciphers,
            TLSAttribute.tls_version: tls.version,
        }
        if isinstance(tls, SSLObject):  # and not trio's stream
            attributes[TLSAttribute.ssl_object] = lambda: tls
    return attributes


def _pair(address: Any) -> Any:
    """Return an address of IPv6 as host and port, with its zone; any other as it is."""
    if not isinstance(address, tuple) or len(address) != 4:
        return address
    host, port, _, zone = address
    return (f"{host}%{zone}" if zone else host), port


def peer_address_of(attributes: Attributes) -> Address:
    """Return the address of the other end, as `peer_address` has it."""
    remote = attributes.get(SocketAttribute.remote_address)
    address = None if remote is None else remote()
    if isinstance(address, tuple):
        return str(address[0]), int(address[1])
    return address or None
