"""The ASGI extension `tls`: the facts in a scope about the TLS below its connection.

Source: ASGI "TLS Extension", version 0.2.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Final

from anyio.streams.tls import TLSAttribute

# The numbers of the versions (RFC 8446 section 4.2.1), by the names of OpenSSL.
_VERSIONS: Final = {
    "TLSv1": 0x0301,
    "TLSv1.1": 0x0302,
    "TLSv1.2": 0x0303,
    "TLSv1.3": 0x0304,
}

# The types of attributes that RFC 4514 section 3 gives a short name, by the names of
# OpenSSL. Others keep the name of OpenSSL.
_SHORT: Final = {
    "commonName": "CN",
    "localityName": "L",
    "stateOrProvinceName": "ST",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "countryName": "C",
    "streetAddress": "STREET",
    "domainComponent": "DC",
    "userId": "UID",
}
_ESCAPED: Final = {ord(c): f"\\{c}" for c in '\\",+;<>'} | {0: "\\00"}


def tls_extension(attributes: Mapping[Any, Callable[[], Any]]) -> dict[str, Any]:
    """Return the extension for a connection under TLS.

    Python's `ssl` does not show the server's certificate, so that is `None`. Of the
    client's chain it shows the first certificate alone, which was verified: if it had
    not been, the TLS handshake would have failed.

    Args:
        attributes: AnyIO's typed attributes of the connection.
    """

    def told(attribute: Any) -> Any:
        return attributes[attribute]() if attribute in attributes else None

    certificate, cipher = told(TLSAttribute.peer_certificate_binary), None
    if (chosen := told(TLSAttribute.cipher)) is not None:
        cipher = _cipher_suites().get(chosen[0])
    subject = (told(TLSAttribute.peer_certificate) or {}).get("subject")
    return {
        "server_cert": None,
        "client_cert_chain": (
            [] if certificate is None else [ssl.DER_cert_to_PEM_cert(certificate)]
        ),
        "client_cert_name": None if subject is None else distinguished_name(subject),
        "client_cert_error": None,
        "tls_version": _VERSIONS.get(told(TLSAttribute.tls_version)),
        "cipher_suite": cipher,
    }


@cache
def _cipher_suites() -> dict[str, int]:
    """Return the numbers of all cipher suites that OpenSSL knows, by its names."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("ALL")
    return {each["name"]: each["id"] & 0xFFFF for each in context.get_ciphers()}


def distinguished_name(subject: tuple[tuple[tuple[str, str], ...], ...]) -> str:
    """Return a name as a string: the last part first.

    Args:
        subject: The name as `ssl.SSLObject.getpeercert` has it.

    Source: RFC 4514 section 2.
    """
    return ",".join(
        "+".join(f"{_SHORT.get(kind, kind)}={_escaped(value)}" for kind, value in part)
        for part in reversed(subject)
    )


def _escaped(value: str) -> str:
    """Return a value with a backslash before each character that needs one.

    Source: RFC 4514 section 2.4.
    """
    text = value.translate(_ESCAPED)
    if text.startswith((" ", "#")):
        text = f"\\{text}"
    if text.endswith(" ") and text != "\\ ":
        text = f"{text[:-1]}\\ "
    return text
