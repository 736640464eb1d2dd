"""Connections under TLS, by `anyws.hypercorn`: what ends them, and what does not."""

from __future__ import annotations

import contextlib
import os
import ssl
import time
from collections.abc import Iterator

import pytest
import trustme

from ..support import servers
from ..support.servers import HOST, Server, Servers

server, case = servers.server, servers.case

SETTINGS = 'websocket_options = {"send_timeout": 0.5, "close_timeout": 1.0}\n'


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Give servers with a certificate."""
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    pair = authority.issue_cert(HOST)
    pair.private_key_and_cert_chain_pem.write_to_path(str(folder / "cert.pem"))
    (folder / "conf.py").write_text(SETTINGS)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    certificate, config = str(folder / "cert.pem"), f"file:{folder / 'conf.py'}"
    with contextlib.closing(
        Servers(
            folder,
            *("--certfile", certificate, "--keyfile", certificate, "-c", config),
            module=servers.ENGINE,
            app=servers.ENGINE_APP,
            tls=client,
        )
    ) as running:
        yield running


def test_closing_frames_arrive(server: Server, case: str) -> None:
    """However a connection ends, its peer gets the frame before the stream ends."""
    close, violation = b"\x88\x85\0\0\0\0\x0f\xa1bye", b"\x81\x02hi"
    ends = [("receiver", close, 4001), ("receiver", violation, 1002)]
    ends += [
        (path, b"\x81\x82\0\0\0\0go", code)
        for path, code in [("close", 4321), ("return", 1000), ("boom", 1011)]
    ]
    for path, data, code in ends * 20:
        with server.raw(f"/starlette/{path}", case) as client:
            client.socket.sendall(data)
            assert client.receive_until_close() == ([], code)
            client.send_close()
            client.wait_eof()


def test_the_application_knows_of_the_tls(server: Server, case: str) -> None:
    """By the scope, whatever its class, and by `extra` of ours."""
    for path, version in (("starlette", None), ("anyws", "TLSv1.3")):
        with server.raw(f"/{path}/transport", f"{case}{path}"):
            told = server.note(f"{case}{path}", "transport")
        assert told["extension"] == 0x0304
        assert (told["version"], told["certificate"]) == (version, None)


@pytest.mark.parametrize("how", ["reset", "cut"])
def test_ends_without_a_closing_frame_are_a_1006(
    server: Server, case: str, how: str
) -> None:
    """Also where TLS was not ended either; nothing of it gets into the log."""
    since = server.log_position()
    with server.raw("/starlette/ticker", case) as client:
        assert client.receive() == (client.TEXT, b"tick")
        if how == "reset":
            client.reset()
        else:
            os.close(client.socket.detach())
        closed = server.note(case, "closed")
    assert closed["code"] == 1006
    assert server.alive()
    assert server.log(since) == ""


def test_a_peer_that_does_not_read_is_given_up(server: Server, case: str) -> None:
    """The send raises, and the connection costs nothing though its peer holds on."""

    def cost() -> tuple[int, int]:
        return server.stats()["tasks"], server.open_files()

    # The tasks that all connections share begin with the first need, and stay.
    with server.raw("/starlette/flood", f"{case}-first"):
        pass
    before = servers.at_rest(cost)
    at = time.monotonic()
    with server.raw("/starlette/flood", case, receive_buffer_bytes=4096):
        closed = server.note(case, "closed")
        servers.expect_back(cost, before)
    assert closed["at"] - at < 3


def test_what_is_not_tls_harms_nobody(server: Server, case: str) -> None:
    """A live connection goes on beside garbage, and beside plain requests."""
    with server.raw("/starlette/echo", case) as live:
        for data in (b"GET / HTTP/1.1\r\n\r\n", bytes(1000), b"\x16\x03\x01"):
            with servers.tcp_connect(server.port, None) as client:
                client.sendall(data)
        live.send_text("still there")
        assert live.receive() == (live.TEXT, b"still there")
