"""Deadlines and cancellation under real Hypercorn processes, as both ends see them."""

from __future__ import annotations

import contextlib
import random
import time
import zlib
from typing import TYPE_CHECKING

import pytest
from websockets.exceptions import ConnectionClosed

from ..support import servers

if TYPE_CHECKING:
    from ..support.servers import Server

fleet, server, case = servers.fleet, servers.server, servers.case

#: The ways to cancel, by the workers that have them.
DEADLINES = [
    (worker, way)
    for worker in servers.WORKERS
    for way in ("scope", "wait_for", "timeout")
    if way == "scope" or worker != "trio"
]
INTERRUPTIONS = [
    *DEADLINES,
    *((worker, "task_cancel") for worker in servers.WORKERS if worker != "trio"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("server", "way"), DEADLINES, indirect=["server"])
def test_receives_under_deadlines_lose_nothing(
    server: Server, case: str, way: str
) -> None:
    """1500 messages race deadlines of 1.5 ms: each comes once, and in order."""
    rng, count = random.Random(1500), 1500
    with server.raw("/race", case, way=way) as client:
        for n in range(count):
            client.send_text(str(n))
            time.sleep(rng.choice((0, 0.001, 0.0014, 0.0016)))
        client.send_text("end")
        raced = server.note(case, "raced")
    assert raced["got"] == list(range(count))
    assert raced["missed"] > 100  # else there was no race


def test_cancelled_sends_are_whole_or_absent(server: Server, case: str) -> None:
    """64 senders cancelled anywhere, with compression, leave the stream valid."""
    received: list[str] = []
    with server.connect(
        "/senders", case, compression="deflate", receive_buffer_bytes=4096
    ) as client:
        assert client.response is not None
        assert "deflate" in client.response.headers["Sec-WebSocket-Extensions"]
        while (text := client.recv(timeout=10)) != "end":
            assert isinstance(text, str)
            time.sleep(0.0005)  # so that senders have to wait
            number, n, checksum, body = text.split(":")
            assert zlib.crc32(body.encode()) == int(checksum)
            received.append(f"{number}:{n}")
        sent = server.note(case, "sent")
    assert len(received) == len(set(received))
    assert set(sent["sent"]) <= set(received)
    assert set(received) <= set(sent["sent"]) | set(sent["cancelled"])
    for sender in range(64):
        mine = [int(r.split(":")[1]) for r in received if r.startswith(f"{sender}:")]
        assert mine == sorted(mine)
    assert len(sent["cancelled"]) > 100  # else nothing was tried
    assert len(sent["sent"]) > 100


def test_a_deadline_frees_sends_to_a_peer_that_does_not_read(
    server: Server, case: str
) -> None:
    """move_on_after(1) ends in about a second, and the handler goes on."""
    with server.raw("/stalled", case, receive_buffer_bytes=4096) as client:
        moved_on = server.note(case, "moved-on", within=8)
        client.send_text("still there")
        went_on = server.note(case, "went-on")
        client.reset()
        server.note(case, "done")
    assert moved_on["cancelled"]
    assert moved_on["took"] < 2
    assert went_on["received"] == "still there"


@pytest.mark.parametrize("overflow", ["wait", "drop_newest"])
@pytest.mark.parametrize(
    ("server", "way"),
    [pair for pair in DEADLINES if pair[1] != "wait_for"],
    indirect=["server"],
)
def test_a_deadline_ends_a_hot_send_loop(
    server: Server, case: str, way: str, overflow: str
) -> None:
    """A deadline of 0.01 s fires in time, also where no send ever has to wait."""
    with (
        server.connect(f"/hot-deadline/{overflow}", case, way=way) as client,
        contextlib.suppress(ConnectionClosed),
    ):
        while True:
            assert client.recv(timeout=5) == "x"
    assert server.note(case, "moved-on")["took"] < 1


def test_a_receive_can_follow_a_cancelled_one_at_once(
    server: Server, case: str
) -> None:
    """The receiver that was just cancelled is not taken for a second one."""
    with server.connect("/receive-again", case) as client:
        assert all(server.note(case, "cancelled")["cancelled"])
        client.send("hello")
        assert server.note(case, "received")["text"] == "hello"


@pytest.mark.parametrize("where", ["inside", "at-exit", "queued"])
@pytest.mark.parametrize(("server", "way"), INTERRUPTIONS, indirect=["server"])
def test_the_closing_frame_is_whole_whatever_hits_the_exit(
    server: Server, case: str, way: str, where: str
) -> None:
    """A block cancelled inside, or while it is left, still says goodbye."""
    turns = (0, 1, 3, 10) if way in ("scope", "task_cancel") else (25,)
    buffer = 4096 if where == "queued" else None
    with contextlib.ExitStack() as stack:
        clients = {
            n: stack.enter_context(
                server.raw(
                    "/interrupted",
                    f"{case}-{n}",
                    receive_buffer_bytes=buffer,
                    **{"way": way, "where": where, "after": n},
                )
            )
            for n in turns
        }
        for n, client in clients.items():
            server.note(f"{case}-{n}", "interrupted")
            payloads, code = client.receive_until_close()
            assert code in ([1012] if where == "inside" else [1000, 1012])
            assert payloads == [bytes(65536)] * (8 if where == "queued" else 0)
            client.send_close(code)
            client.wait_eof()
            server.note(f"{case}-{n}", "done")


def test_a_second_receiver_is_told(server: Server, case: str) -> None:
    """One of two concurrent receives raises; the other gets its message."""
    with server.connect("/two-receivers", case) as client:
        assert server.note(case, "busy")["error"] == "BusyResourceError"
        client.send("one")
        client.send("two")
        received = server.note(case, "received")
    assert (received["got"], received["then"]) == (["one"], "two")
