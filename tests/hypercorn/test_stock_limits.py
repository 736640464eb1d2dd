"""Messages of the wrong kind, limits, and what connections cost, under Hypercorn."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

import pytest
from websockets.exceptions import ConnectionClosed

from ..support import servers

if TYPE_CHECKING:
    from ..support.servers import RawClient, Server

fleet, server, case = servers.fleet, servers.server, servers.case

# Messages.


def test_messages_of_the_wrong_kind_leave_the_connection_usable(
    server: Server, case: str
) -> None:
    """Each is a typed error that says what was wrong; the next message is received."""
    with server.connect("/types", case) as client:
        client.send(b"bytes for receive_text")
        client.send("text for receive_bytes")
        client.send("{not JSON")
        client.send("fine")
        assert client.recv(timeout=5) == "fine"
    for name in ("receive_text", "receive_bytes"):
        error = server.note(case, name)
        assert error["error"] == "MessageTypeError"
        assert "text" in error["text"]
        assert "bytes" in error["text"] or "binary" in error["text"]
    error = server.note(case, "receive_json")
    assert error["error"] == "MessageDecodeError"
    assert "ValueError" in error["bases"]


def test_a_message_over_the_limit_is_a_1009(server: Server, case: str) -> None:
    """The limit counts bytes; the peer is told, and so is the handler."""
    with server.connect("/too-big", case) as client:
        client.send("é" * 500)
        client.send("é" * 501)
        with pytest.raises(ConnectionClosed) as caught:
            client.recv(timeout=5)
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == 1009
    notes = [n.get("size") for n in server.notes(case) if n["name"] == "received"]
    assert notes == [1000]
    assert server.note(case, "too-big")["code"] == 1009
    assert server.note(case, "done")["error"] is None


# Buffers.


def test_a_full_receive_buffer_can_close_with_1008(server: Server, case: str) -> None:
    """What had been received stays readable for the handler."""
    with server.raw("/full/close", case) as client:
        for n in range(50):
            client.send_text(str(n))
        assert client.receive_until_close() == ([], 1008)
        client.send_close(1008)
        closed = server.note(case, "closed")
    assert (closed["code"], closed["initiator"]) == (1008, "local")
    assert closed["received"] == ["0", "1", "2", "3", "ConnectionClosed"]


def test_a_full_receive_buffer_can_drop_the_oldest(server: Server, case: str) -> None:
    """The handler finds the newest, and the peer's leaving is seen behind them."""
    with server.raw("/full/drop_oldest", case) as client:
        for n in range(50):
            client.send_text(str(n))
        client.send_close()
        closed = server.note(case, "closed")
    assert closed["received"] == ["46", "47", "48", "49", "ConnectionClosed"]


def stuck(server: Server, case: str, rule: str) -> RawClient:
    """Connect a client that does not read until the handler has sent everything."""
    client = servers.RawClient(server.port, 4096)
    client.open(f"/stuck/{rule}?case={case}")
    return client


def test_a_full_send_buffer_can_close_with_1013(server: Server, case: str) -> None:
    """The send raises; the peer, when it reads on, finds out why."""
    with contextlib.closing(stuck(server, case, "close")) as client:
        sent = server.note(case, "sent")
        payloads, code = client.receive_until_close()
        client.send_close(1013)
        done = server.note(case, "done")
    assert (sent["error"], sent["code"]) == ("ConnectionClosed", 1013)
    assert code == 1013
    numbers = [int.from_bytes(payload[:2]) for payload in payloads]
    assert numbers == list(range(len(numbers)))
    assert done["error"] is None


@pytest.mark.parametrize("rule", ["drop_oldest", "drop_newest"])
def test_a_full_send_buffer_can_drop(server: Server, case: str, rule: str) -> None:
    """No send waits for a peer that does not read; what is left comes in order."""
    with contextlib.closing(stuck(server, case, rule)) as client:
        assert server.note(case, "sent")["error"] is None
        client.send_text("now I read")
        payloads, code = client.receive_until_close()
        client.send_close()
    numbers = [int.from_bytes(payload[:2]) for payload in payloads]
    assert code == 1000
    assert all(len(payload) == 2 + 65536 for payload in payloads)
    assert numbers == sorted(set(numbers))
    assert 4 <= len(numbers) < 100
    assert numbers[0 if rule == "drop_newest" else -1] in (0, 99)


# Time.


def test_a_peer_that_says_nothing_is_closed_with_1001(
    server: Server, case: str
) -> None:
    """Messages keep the connection open beyond its idle time-out; silence ends it."""
    with server.raw("/idle", case) as client:
        for _ in range(5):
            client.send_text("here")
            time.sleep(0.1)
        assert client.receive_until_close() == ([], 1001)
        client.send_close(1001)
        closed = server.note(case, "closed")
    assert (closed["code"], closed["initiator"]) == (1001, "local")
    assert [n["name"] for n in server.notes(case)].count("received") == 5


def test_a_send_timeout_gives_the_peer_up(server: Server, case: str) -> None:
    """The handler is freed from a peer that does not read, and told 1006."""
    with server.raw("/send-timeout", case, receive_buffer_bytes=4096) as client:
        closed = server.note(case, "closed")
        client.reset()
        done = server.note(case, "done")
    assert closed["error"] == "ConnectionClosed"
    assert (closed["code"], closed["initiator"]) == (1006, "network")
    assert closed["took"] < 3
    assert done["error"] is None


# Cost.


def use_connections(server: Server, case: str, count: int) -> None:
    """Open, use and close connections, fifty at a time, in three ways to leave."""
    for _ in range(count // 50):
        clients = [servers.RawClient(server.port) for _ in range(50)]
        for client in clients:
            client.ask(f"/echo?case={case}")
        for client in clients:
            assert client.answer().startswith(b"HTTP/1.1 101")
            client.send_text("hello")
        for n, client in enumerate(clients):
            assert client.receive() == (client.TEXT, b"hello")
            if n % 3 == 0:
                client.reset()
            elif n % 3 == 1:
                client.send_close()
        for n, client in enumerate(clients):
            if n % 3 == 1:
                assert client.receive_until_close()[0] == []
            client.close()


@pytest.mark.slow
def test_connections_leave_nothing_behind(server: Server, case: str) -> None:
    """After 5000 connections, memory, tasks and files are back where they were."""

    def cost() -> tuple[int, int, int]:
        objects = server.get("/objects")["anyws"]
        return objects, server.stats()["tasks"], server.open_files()

    # The C heap reaches its size only after some thousands: a memory stream's deque has
    # blocks that are too large for Python's own allocator.
    use_connections(server, case, 2500)
    before, memory = servers.at_rest(cost), server.resident_bytes()
    use_connections(server, case, 4500)
    servers.expect_back(cost, before)
    grown = server.resident_bytes() - memory
    assert grown < 8 * 2**20, f"{grown / 2**20:.1f} MiB for 4500 connections"
