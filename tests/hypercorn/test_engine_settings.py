"""The keepalive and other settings of `anyws.hypercorn`, as files of settings say."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..support import servers
from ..support.servers import RawClient, Server, Servers, frame_bytes

server, case = servers.server, servers.case

SETTINGS = """
websocket_permessage_deflate = false
websocket_allowed_origins = ["https://example.com", "same-origin"]

[websocket_options]
ping_interval = 0.15
ping_timeout = 0.3
compression = { level = 1 }
"""


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Give servers that soon lose patience, set in a TOML file."""
    with contextlib.closing(
        servers.engine_servers(tmp_path_factory, SETTINGS, "conf.toml")
    ) as running:
        yield running


@pytest.fixture(params=["starlette", "anyws"])
def kind(request: pytest.FixtureRequest) -> str:
    """Give the class whose handlers are meant."""
    name: str = request.param
    return name


def answer_pings(client: RawClient, count: int) -> None:
    """Answer so many pings."""
    for _ in range(count):
        client.send(client.PONG, client.receive_opcode(client.PING))


def test_a_peer_that_answers_no_ping_is_closed(
    server: Server, case: str, kind: str
) -> None:
    """It is told 1011 in bounded time, and so is the handler."""
    begin = time.monotonic()
    with server.raw(f"/{kind}/receiver", case) as client:
        client.receive_opcode(client.PING)
        payload = client.receive_opcode(client.CLOSE)
        took = time.monotonic() - begin
        closed = server.note(case, "closed")
    assert servers.close_code(payload) == 1011
    assert 0.4 < took < 2
    assert closed["code"] == 1011
    if kind == "anyws":
        assert closed["initiator"] == "local"


def test_a_peer_that_answers_pings_stays(server: Server, case: str, kind: str) -> None:
    """Keepalive go on coming, and the connection is as usable as before."""
    with server.raw(f"/{kind}/echo", case) as client:
        answer_pings(client, 3)
        client.send_text("still there")
        assert client.receive() == (client.TEXT, b"still there")


def test_a_handler_that_only_sends_keeps_its_peer(
    server: Server, case: str, kind: str
) -> None:
    """Pongs are seen though the handler never receives, behind unread messages."""
    with server.raw(f"/{kind}/ticker", case) as client:
        client.socket.sendall(frame_bytes(client.TEXT, b"unread") * 60)
        answer_pings(client, 3)
        client.send_close(4001)
        assert server.note(case, "closed")["code"] in (4001, 1006)
        assert len(server.note(case, "read")["texts"]) == 60


def test_the_round_trip_time_is_known(server: Server, case: str) -> None:
    """It is told once a ping was answered."""
    with server.raw("/latency", case) as client:
        client.send_text("and now?")
        assert client.receive_opcode(client.TEXT) == b"null"
        answer_pings(client, 1)
        client.send_text("and now?")
        seconds = float(client.receive_opcode(client.TEXT))
    assert 0 <= seconds < 0.3  # uvloop counts in milliseconds


def test_compression_can_be_turned_off(server: Server, case: str) -> None:
    """A peer that offers it is not answered."""
    with server.connect("/starlette/echo", case, compression="deflate") as client:
        assert client.response is not None
        assert "Sec-WebSocket-Extensions" not in client.response.headers
        client.send("x" * 1000)
        assert client.recv(timeout=5) == "x" * 1000


def test_pages_of_other_origins_are_refused(server: Server, case: str) -> None:
    """By 403, before the application; a client without the header is no page."""
    origins = ("https://example.com", f"http://{servers.HOST}", "https://evil.test")
    answers = []
    for origin in origins:
        with contextlib.closing(RawClient(server.port)) as client:
            client.ask(f"/anyws/echo?case={case}", f"Origin: {origin}\r\n")
            answers.append(client.answer().split()[1])
    assert answers == [b"101", b"101", b"403"]


def test_hypercorns_own_ping_interval_holds(tmp_path: Path, case: str) -> None:
    """Keepalive come as often as Hypercorn's setting says."""
    server = Server(
        *("asyncio", tmp_path, "--websocket-ping-interval", "1"),
        module=servers.ENGINE,
        app=servers.ENGINE_APP,
    )
    try:
        with server.raw("/starlette/echo", case) as client:
            begin = time.monotonic()
            answer_pings(client, 1)
            assert 0.5 < time.monotonic() - begin < 2
    finally:
        server.stop()
