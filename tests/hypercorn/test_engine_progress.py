"""Peers that write and never read, under `anyws.hypercorn`: they are closed."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Iterator
from typing import Final

import pytest
import trustme

from ..support import servers
from ..support.h2_client import connected
from ..support.h2_client import frame as h2_frame
from ..support.servers import HOST, RawClient, Server, Servers, frame_bytes

server, case = servers.server, servers.case

SETTINGS = """
websocket_ping_interval = 0.2
websocket_options = {"ping_timeout": 0.3, "close_timeout": 0.5}
"""


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Give what the certificates are signed by."""
    return trustme.CA()


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    """Return the TLS context of a client."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.fixture(scope="module", params=["tcp", "tls"])
def fleet(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    authority: trustme.CA,
) -> Iterator[Servers]:
    """Give servers that expect answers to their pings soon."""
    folder = tmp_path_factory.mktemp("progress")
    (folder / "conf.py").write_text(SETTINGS)
    arguments, client = ["-c", f"file:{folder / 'conf.py'}"], None
    if request.param == "tls":
        certificate = str(folder / "cert.pem")
        pair = authority.issue_cert(HOST)
        pair.private_key_and_cert_chain_pem.write_to_path(certificate)
        arguments += ["--certfile", certificate, "--keyfile", certificate]
        client = trusting(authority)
    fleet = Servers(
        folder,
        *arguments,
        module=servers.ENGINE,
        app=servers.ENGINE_APP,
        tls=client,
    )
    with contextlib.closing(fleet):
        yield fleet


# What such a peer writes: 8 MiB of messages, or 4 MB of pings.
WRITTEN: Final = [
    pytest.param(frame_bytes(RawClient.BINARY, bytes(2**16)) * 128, id="messages"),
    pytest.param(frame_bytes(RawClient.PING, bytes(125)) * 2**15, id="pings"),
]


def is_given_up(server: Server, case: str) -> bool:
    """Tell whether the handler has seen the end that the keepalive makes."""
    note = server.note(case, "closed", within=30)
    return (note["code"], note["reason"]) == (1011, "keepalive ping timeout")


@pytest.mark.parametrize("data", WRITTEN)
def test_over_http1(server: Server, case: str, data: bytes) -> None:
    """The handler is woken, and the connection ends."""
    with server.raw("/anyws/echo", case) as client:
        client.socket.settimeout(0.5)
        with contextlib.suppress(OSError):
            client.socket.sendall(data)
        assert is_given_up(server, case)
        client.socket.settimeout(10)
        client.wait_eof()


@pytest.mark.parametrize("data", WRITTEN)
def test_over_http2(
    server: Server, case: str, data: bytes, authority: trustme.CA
) -> None:
    """The stream ends; others on the connection go on."""
    context = None if server.tls is None else trusting(authority)
    if context is not None:
        context.set_alpn_protocols(["h2"])
    with connected(server.port, context) as client:
        stream = client.connect("/anyws/echo", case)
        stream.reading = False
        stream.send_some(data, within=0.5)
        assert is_given_up(server, case)
        other = client.connect("/anyws/echo", f"{case}-other")
        other.send_raw(h2_frame(RawClient.TEXT, b"hello"))
        found = other.receive()
        while found is not None and found.opcode != RawClient.TEXT:
            found = other.receive()  # a ping
        assert found is not None
        assert found.payload == b"hello"
