"""Limits of size and of patience under `anyws.hypercorn`, and what they protect."""

from __future__ import annotations

import contextlib
import functools
import sys
import time
from collections.abc import Iterator

import pytest

from ..support import servers
from ..support.servers import RawClient, Server, Servers, frame_bytes

server, case = servers.server, servers.case

SETTINGS = """
websocket_max_message_size = 1_000_000
websocket_options = {"send_timeout": 0.5, "close_timeout": 1.0}
"""
DEFLATE = "Sec-WebSocket-Extensions: permessage-deflate\r\n"
MIB = 2**20


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Give servers with small limits, set in a Python file."""
    with contextlib.closing(
        servers.engine_servers(tmp_path_factory, SETTINGS)
    ) as running:
        yield running


@pytest.fixture(params=["starlette", "anyws"])
def kind(request: pytest.FixtureRequest) -> str:
    """Give the class whose handlers are meant."""
    name: str = request.param
    return name


# Messages that are too big.


def oversize() -> dict[str, list[bytes]]:
    """Return messages over a megabyte, in pieces to be sent."""
    text, binary, cont = RawClient.TEXT, RawClient.BINARY, RawClient.CONT
    bomb, part = servers.bomb(), b"x" * 300_000
    return {
        "message": [frame_bytes(binary, bytes(20_000_000))],
        "text": [frame_bytes(text, b"x" * 1_000_001)],
        "bomb": [
            frame_bytes(binary, bomb[:600_000], 0x40),
            frame_bytes(cont, bomb[600_000:]),
        ],
        "fragments": [
            frame_bytes(text, part, 0),
            *[frame_bytes(cont, part, 0)] * 4,
            frame_bytes(cont, part),
        ],
        "empty-fragments": [
            frame_bytes(text, b"", 0),
            frame_bytes(cont, b"", 0) * 100_000,
            frame_bytes(cont, b"x"),
        ],
    }


def send_all(client: RawClient, pieces: list[bytes]) -> None:
    """Send what the server takes, without reading."""
    with contextlib.suppress(ConnectionError):
        for piece in pieces:
            client.socket.sendall(piece)


def test_messages_over_the_servers_limit_are_a_1009(
    server: Server, case: str, kind: str
) -> None:
    """The closing frame arrives, the handler is told, the process holds little."""
    pieces = oversize()
    with contextlib.ExitStack() as stack:
        clients = {
            name: stack.enter_context(
                server.raw_with(f"/{kind}/receiver", f"{case}-{name}", DEFLATE)
            )
            for name in pieces
        }
        grown: dict[str, int] = {}
        for name, client in clients.items():
            before = server.reset_peak()
            send_all(client, pieces[name])
            assert client.receive_until_close() == ([], 1009), name
            grown[name] = (server.peak_bytes() - before) // MIB
        for client in clients.values():
            client.socket.settimeout(3)
            client.wait_eof()
        closed = {name: server.note(f"{case}-{name}", "closed") for name in pieces}
    assert {name: mib for name, mib in grown.items() if mib >= 16} == {}
    assert {note["code"] for note in closed.values()} == {1009}
    if kind == "anyws":
        assert {note["error"] for note in closed.values()} == {"MessageTooBig"}
    notes = [n["name"] for name in pieces for n in server.notes(f"{case}-{name}")]
    assert notes == ["closed"] * len(pieces)


@pytest.mark.parametrize("deflate", [False, True], ids=["plain", "deflate"])
def test_messages_up_to_the_limit_pass(
    server: Server, case: str, kind: str, deflate: bool
) -> None:
    """A million bytes are not more than a million bytes, whole or in fragments."""
    text = "x" * 999_998 + "é"
    with server.connect(
        f"/{kind}/receiver", case, compression="deflate" if deflate else None
    ) as client:
        client.send(text)
        client.send([text[:400_000], text[400_000:]])
        client.close(4001)
        assert server.note(case, "closed")["code"] == 4001
    sizes = [n["size"] for n in server.notes(case) if n["name"] == "received"]
    assert sizes == [999_999] * 2


# Peers that do not read, handlers that do not read.


def test_a_peer_that_does_not_read_is_given_up(server: Server, case: str) -> None:
    """The send raises, and the connection costs nothing though its peer holds on."""

    def cost() -> tuple[int, int]:
        return server.stats()["tasks"], server.open_files()

    # The tasks that all connections share begin with the first need, and stay.
    for kind in ("starlette", "anyws"):
        with server.raw(f"/{kind}/flood", f"{case}-first"):
            pass
    before = servers.at_rest(cost)
    at = time.monotonic()
    with contextlib.ExitStack() as stack:
        connect = functools.partial(server.raw, receive_buffer_bytes=4096)
        clients = [
            stack.enter_context(connect(f"/{kind}/flood", f"{case}-{kind}"))
            for kind in ("starlette", "anyws")
        ]
        theirs = server.note(f"{case}-starlette", "closed")
        ours = server.note(f"{case}-anyws", "closed")
        servers.expect_back(cost, before)
        for client in clients:
            client.wait_eof()
    assert max(theirs["at"], ours["at"]) - at < 3
    assert (theirs["code"], ours["code"]) == (1006, 1006)
    assert ours["initiator"] == "network"


def test_a_peer_that_never_answers_the_closing_frame_is_left(
    server: Server, case: str, kind: str
) -> None:
    """The TCP connection ends all the same, after the close time-out."""
    with contextlib.ExitStack() as stack:
        clients = [
            stack.enter_context(server.raw(f"/{kind}/{path}", case))
            for path in ("close", "return", "boom")
        ]
        for client in clients:
            client.send_text("go")
        codes = [client.receive_until_close()[1] for client in clients]
        for client in clients:
            client.socket.settimeout(3)
            client.wait_eof()
    assert codes == [4321, 1000, 1011]


def push(client: RawClient, limit: int) -> tuple[int, bytes]:
    """Send numbered messages while that is possible: their count, and a last piece."""
    client.socket.settimeout(0.4)
    for number in range(limit // 65536):
        data = frame_bytes(client.BINARY, number.to_bytes(4) + bytes(65532))
        sent = 0
        try:
            while sent < len(data):
                sent += client.socket.send(data[sent:])
        except TimeoutError:
            return number, data[sent:]
    raise AssertionError(f"{limit} bytes were taken")


def test_a_handler_that_does_not_read_stops_its_peer(
    server: Server, case: str, kind: str
) -> None:
    """The process holds little of a flood; later all of it is read, in order."""
    with server.raw(f"/{kind}/deaf", case) as client:
        before = server.reset_peak()
        number, rest = push(client, 100_000_000)
        grown = server.peak_bytes() - before
        client.socket.settimeout(10)
        server.get(f"/release?case={case}")
        client.socket.sendall(rest)
        client.send_close(4001, "bye")
        closed = server.note(case, "closed")
        assert client.receive_until_close() == ([], 4001)
    assert grown < 16 * MIB
    assert (closed["count"], closed["whole"]) == (number + 1, True)
    assert (closed["code"], closed["reason"]) == (4001, "bye")


@pytest.mark.skipif(sys.platform != "linux", reason="it looks into /proc")
def test_the_kernel_holds_little_that_is_not_sent(server: Server, kind: str) -> None:
    """A ping does not wait behind megabytes."""
    client = RawClient(server.port)
    with contextlib.closing(client):
        port = client.socket.getsockname()[1]
        client.open(f"/{kind}/unsent?port={port}")
        frame = client.receive()
        assert frame is not None
        assert int(frame.payload) == 64 * 1024
