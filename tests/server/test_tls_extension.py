"""The ASGI extension `tls`, and AnyIO's attributes of the TLS below a connection."""

from __future__ import annotations

import ssl
from typing import Any

import anyio
import pytest
import trustme
from anyio.streams.tls import TLSAttribute, TLSListener

import anyws
from anyws._server.tls_extension import distinguished_name, tls_extension

HOST = "127.0.0.1"


def contexts(*, certified: bool) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return what both ends need; the client may have a certificate of its own."""
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(HOST).configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    if certified:
        server.verify_mode = ssl.CERT_REQUIRED
        authority.configure_trust(server)
        mine = authority.issue_cert(
            "me@example.org", common_name="me", organization_name="Us, Inc."
        )
        mine.configure_cert(client)
    return server, client


@pytest.mark.parametrize("certified", [False, True])
@pytest.mark.parametrize("given", [False, True])
async def test_both_ends_know_of_the_tls(certified: bool, given: bool) -> None:
    """By the scope and by `extra`; also of a listener that has TLS already."""
    seen = list[Any]()

    async def handler(ws: anyws.WebSocket) -> None:
        await ws.accept()
        seen.append((ws.scope["scheme"], ws.scope["extensions"]["tls"]))
        seen.append(ws.extra(TLSAttribute.peer_certificate_binary, None))
        seen.append(ws.extra(TLSAttribute.tls_version))

    theirs, ours = contexts(certified=certified)
    where: dict[str, Any] = {"host": HOST, "ssl_context": theirs}
    if given:
        plain = await anyio.create_tcp_listener(local_host=HOST)
        where = {"listeners": [TLSListener(plain, theirs, standard_compatible=False)]}
    async with anyws.serve(handler, **where) as server:
        url = f"wss://{HOST}:{server.port}"
        async with anyws.connect(url, ssl_context=ours) as client:
            assert client.extra(TLSAttribute.peer_certificate_binary)
            version = client.extra(TLSAttribute.tls_version)
            name, _, _ = client.extra(TLSAttribute.cipher)
            assert (await client.wait_closed()).code == 1000
    (scheme, tls), certificate, told = seen
    assert (scheme, told, version) == ("wss", "TLSv1.3", "TLSv1.3")
    suites = {each["name"]: each["id"] & 0xFFFF for each in ours.get_ciphers()}
    chain = [ssl.DER_cert_to_PEM_cert(certificate)] if certified else []
    assert tls == {
        "server_cert": None,
        "client_cert_chain": chain,
        "client_cert_name": tls["client_cert_name"],
        "client_cert_error": None,
        "tls_version": 0x0304,
        "cipher_suite": suites[name],
    }
    if certified:
        assert "CN=me" in tls["client_cert_name"]
        assert r"O=Us\, Inc." in tls["client_cert_name"]
    else:
        assert (certificate, tls["client_cert_name"]) == (None, None)


async def test_a_plain_connection_has_no_extension() -> None:
    """ASGI: the key is there under TLS alone."""
    seen = list[Any]()

    async def handler(ws: anyws.WebSocket) -> None:
        await ws.accept()
        seen.extend((ws.scope["scheme"], "tls" in ws.scope["extensions"]))
        seen.append(ws.extra(TLSAttribute.tls_version, None))

    async with anyws.serve(handler, HOST) as server:
        async with anyws.connect(server.url) as client:
            assert client.extra(TLSAttribute.tls_version, None) is None
            await client.wait_closed()
    assert seen == ["ws", False, None]


def test_what_is_not_known() -> None:
    """A transport that tells nothing, and a cipher that OpenSSL does not list."""
    nothing = tls_extension({})
    assert nothing["client_cert_chain"] == []
    del nothing["client_cert_chain"]
    assert set(nothing.values()) == {None}
    odd = tls_extension({TLSAttribute.cipher: lambda: ("ODD", "TLSv1.3", 256)})
    assert odd["cipher_suite"] is None


@pytest.mark.parametrize(
    ("subject", "name"),
    [
        ((), ""),
        (((("countryName", "DE"),), (("commonName", "a"),)), "CN=a,C=DE"),
        (((("commonName", "a"), ("userId", "b")),), "CN=a+UID=b"),
        (((("emailAddress", "a@b"),),), "emailAddress=a@b"),
        (((("commonName", '#a,b+"c"\\<d>;'),),), r"CN=\#a\,b\+\"c\"\\\<d\>\;"),
        (((("commonName", "  a  "),),), r"CN=\  a \ "),
        (((("commonName", " "),),), r"CN=\ "),
        (((("commonName", "a\0"),),), r"CN=a\00"),
    ],
)
def test_a_name_as_a_string(subject: Any, name: str) -> None:
    """RFC 4514: the last part first, and what has a meaning escaped."""
    assert distinguished_name(subject) == name
