"""How connections end under `anyws.hypercorn`, as both ends see it.

The handlers are served with Starlette's own class and with ours.
"""

from __future__ import annotations

import contextlib
import struct
import time

import pytest
from websockets.exceptions import InvalidStatus

from ..support import servers
from ..support.servers import RawClient, Server, end_of, frame_bytes

fleet, server, case = servers.engines, servers.server, servers.case

FIN, RSV1, RSV2, RSV3 = 0x80, 0x40, 0x20, 0x10


@pytest.fixture(params=["starlette", "anyws"])
def kind(request: pytest.FixtureRequest) -> str:
    """Give the class whose handlers are meant."""
    name: str = request.param
    return name


def expect_end(client: RawClient, within: float) -> None:
    """Hold that the server ends the stream in time."""
    client.socket.settimeout(within)
    client.wait_eof()


# The peer leaves.


def hang_up(client: RawClient, how: str) -> None:
    """Leave in one of several ways; hold that the server ends the stream too."""
    if how == "reset":
        client.reset()
        return
    if how == "finish":
        client.finish()
    elif how == "empty":
        client.send(client.CLOSE, b"")
        assert client.receive() == (client.CLOSE, b"")
    else:
        client.send_close()
    expect_end(client, 1)


def test_the_peers_code_and_reason_reach_the_handler(
    server: Server, case: str, kind: str
) -> None:
    """4001 "bye" is what the handler is told, and what the peer gets back."""
    with server.raw(f"/{kind}/receiver", case) as client:
        client.send_close(4001, "bye")
        assert client.receive_until_close() == ([], 4001)
        expect_end(client, 1)
    closed = server.note(case, "closed")
    assert (closed["code"], closed["reason"]) == (4001, "bye")
    if kind == "anyws":
        assert (closed["initiator"], closed["clean"]) == ("peer", True)


@pytest.mark.parametrize(
    ("how", "code"), [("reset", 1006), ("finish", 1006), ("empty", 1005)]
)
def test_other_ends_have_their_own_codes(
    server: Server, case: str, kind: str, how: str, code: int
) -> None:
    """Only a closing frame without a code is a 1005; no frame at all is a 1006."""
    with server.raw(f"/{kind}/receiver", case) as client:
        hang_up(client, how)
        closed = server.note(case, "closed")
    assert (closed["code"], closed["reason"]) == (code, "")
    if kind == "anyws":
        peer = how == "empty"
        assert closed["initiator"] == ("peer" if peer else "network")
        assert closed["clean"] is peer


@pytest.mark.parametrize("how", ["reset", "finish", "close"])
def test_an_uncaught_disconnect_is_no_error(
    server: Server, case: str, kind: str, how: str
) -> None:
    """A handler that catches nothing logs nothing when its client leaves."""
    since = server.log_position()
    with server.raw(f"/{kind}/careless", case) as client:
        client.send_text("hello")
        assert client.receive() == (client.TEXT, b"hello")
        hang_up(client, how)
    assert server.alive()
    assert server.log(since) == ""


def test_a_handler_that_only_sends_is_told_at_once(
    server: Server, case: str, kind: str
) -> None:
    """Ping and close are answered behind 60 unread messages, and the send raises."""
    texts = [f"message {n}" for n in range(60)]
    with server.raw(f"/{kind}/ticker", case) as client:
        assert client.receive() == (client.TEXT, b"tick")
        for text in texts:
            client.send_text(text)
        client.send(client.PING, b"are you there")
        assert client.receive_opcode(client.PONG, within=1) == b"are you there"
        at = time.monotonic()
        client.send_close(4001, "bye")
        assert client.receive_until_close()[1] == 4001
        expect_end(client, 1)
        closed = server.note(case, "closed")
        read = server.note(case, "read")
    assert closed["at"] - at < 1
    # Starlette has but one code for a send that failed.
    assert closed["code"] == (1006 if kind == "starlette" else 4001)
    assert read["texts"] == texts
    if kind == "starlette":
        assert (read["code"], read["reason"]) == (4001, "bye")


@pytest.mark.parametrize("how", ["reset", "finish"])
def test_a_handler_that_only_sends_is_told_of_an_abort(
    server: Server, case: str, kind: str, how: str
) -> None:
    """Its send raises within a second, with 60 messages unread."""
    with server.raw(f"/{kind}/ticker", case) as client:
        assert client.receive() == (client.TEXT, b"tick")
        client.socket.sendall(frame_bytes(client.TEXT, b"unread") * 60)
        at = time.monotonic()
        client.finish() if how == "finish" else client.reset()
        closed = server.note(case, "closed")
        server.note(case, "read")
    assert closed["at"] - at < 1
    assert closed["code"] == 1006


# The handler leaves.


def test_the_handlers_code_and_reason_reach_the_peer(
    server: Server, case: str, kind: str
) -> None:
    """The closing frame says what was said to close()."""
    with server.connect(f"/{kind}/close", case) as client:
        client.send("go")
        assert end_of(client) == (4321, "ciao")


@pytest.mark.parametrize(("path", "code"), [("return", 1000), ("boom", 1011)])
def test_leaving_the_handler_closes(
    server: Server, case: str, kind: str, path: str, code: int
) -> None:
    """A handler that returns closes normally, one that raises with an error."""
    since = server.log_position()
    with server.connect(f"/{kind}/{path}", case) as client:
        client.send("go")
        assert end_of(client)[0] == code
    if path == "boom":
        assert servers.eventually(lambda: f"Boom: {case}" in server.log(since))
    assert server.alive()
    assert server.log(since).count("Traceback") == (path == "boom")


@pytest.mark.parametrize(
    ("path", "status"), [("reject", 403), ("boom", 500), ("deny", 401)]
)
def test_leaving_before_accepting_is_an_answer(
    server: Server, case: str, kind: str, path: str, status: int
) -> None:
    """Returning is a 403, raising a 500; a response of one's own arrives whole."""
    with (
        pytest.raises(InvalidStatus) as caught,
        server.connect(f"/{kind}/{path}", case, early=1),
    ):
        pass
    response = caught.value.response
    assert response.status_code == status
    if path == "deny":
        assert response.headers["x-why"] == "because"
        assert response.body == b"not you"


# The peer breaks the rules.

VIOLATIONS: dict[str, tuple[int, bytes]] = {
    "unmasked": (1002, b"\x81\x02hi"),
    "rsv1": (1002, frame_bytes(1, b"hi", FIN | RSV1)),
    "rsv2": (1002, frame_bytes(1, b"hi", FIN | RSV2)),
    "rsv3": (1002, frame_bytes(1, b"hi", FIN | RSV3)),
    "opcode-3": (1002, frame_bytes(3, b"hi")),
    "opcode-7": (1002, frame_bytes(7, b"")),
    "opcode-11": (1002, frame_bytes(11, b"hi")),
    "opcode-15": (1002, frame_bytes(15, b"")),
    "fragmented-ping": (1002, frame_bytes(9, b"hi", 0)),
    "long-ping": (1002, frame_bytes(9, b"x" * 126)),
    "long-close": (1002, frame_bytes(8, struct.pack("!H", 1000) + b"x" * 124)),
    "no-start": (1002, frame_bytes(0, b"hi")),
    "no-end": (1002, frame_bytes(1, b"a", 0) + frame_bytes(1, b"b")),
    "utf-8": (1007, frame_bytes(1, b"ab\xff")),
    "utf-8-cut": (1007, frame_bytes(1, b"\xe2\x82")),
    "utf-8-fragments": (1007, frame_bytes(1, b"\xe2", 0) + frame_bytes(0, b"(")),
    "utf-8-surrogate": (1007, frame_bytes(1, b"\xed\xa0\x80")),
    "close-of-one-byte": (1002, frame_bytes(8, b"\x03")),
    "close-reason": (1007, frame_bytes(8, struct.pack("!H", 1000) + b"\xff")),
    **{
        f"close-{code}": (1002, frame_bytes(8, struct.pack("!H", code)))
        for code in (0, 999, 1004, 1005, 1006, 1015, 2999, 5000, 65535)
    },
}


def test_a_violation_is_answered_by_its_code(
    server: Server, case: str, kind: str
) -> None:
    """The closing frame arrives, TCP ends without an answer, the handler is told."""
    with contextlib.ExitStack() as stack:
        clients = {
            name: stack.enter_context(server.raw(f"/{kind}/receiver", f"{case}-{name}"))
            for name in VIOLATIONS
        }
        at = time.monotonic()
        for name, client in clients.items():
            client.socket.sendall(VIOLATIONS[name][1])
        answers = {
            name: client.receive_until_close() for name, client in clients.items()
        }
        assert answers == {name: ([], code) for name, (code, _) in VIOLATIONS.items()}
        notes = {name: server.note(f"{case}-{name}", "closed") for name in clients}
        for client in clients.values():
            expect_end(client, 7)
    codes = {name: closed["code"] for name, closed in notes.items()}
    assert codes == {name: code for name, (code, _) in VIOLATIONS.items()}
    assert all(closed["at"] - at < 2 for closed in notes.values())
    if kind == "anyws":
        assert {closed["initiator"] for closed in notes.values()} == {"local"}


@pytest.mark.parametrize("what", ["message", "bomb"])
def test_an_endpoints_own_limit_is_a_1009(server: Server, case: str, what: str) -> None:
    """It holds for what is read and inflated, not only for what is handed over."""
    headers = "Sec-WebSocket-Extensions: permessage-deflate\r\n"
    before = server.reset_peak()
    with server.raw_with("/anyws/limited", case, headers) as client:
        client.send_text("x" * 1_000_000)
        server.note(case, "received")
        if what == "message":
            client.send_text("x" * 10_000_000)
        else:
            client.socket.sendall(
                frame_bytes(client.BINARY, servers.bomb(), FIN | RSV1)
            )
        assert client.receive_until_close() == ([], 1009)
        closed = server.note(case, "closed")
        grown = server.peak_bytes() - before
        expect_end(client, 7)
    assert (closed["error"], closed["code"]) == ("MessageTooBig", 1009)
    assert grown < 16 * 2**20


# Cost.


def leave(server: Server, case: str, client: RawClient, n: int) -> None:
    """Leave, or be left, in one of ten ways."""
    way = n % 10
    if way == 0:
        client.send_close(4001, "bye")
    elif way == 1:
        client.reset()
    elif way == 2:
        client.finish()
    elif way in (3, 4, 5):
        client.send_text("go")
    elif way == 6:
        client.socket.sendall(VIOLATIONS["utf-8"][1])
    elif way == 7:
        client.send_text("x" * 1001)
    elif way == 8:
        client.socket.sendall(frame_bytes(client.TEXT, bytes(1000)) * 300)
        client.reset()


PATHS = ("echo", "echo", "echo", "close", "return", "boom", "echo", "", "ticker")


def use_connections(server: Server, case: str, kind: str, count: int) -> None:
    """Open and end connections, fifty at a time."""
    for _ in range(count // 50):
        clients = [RawClient(server.port) for _ in range(50)]
        for n, client in enumerate(clients):
            name = [*PATHS, "reject"][n % 10]
            client.ask(
                f"/{kind}/{name}?case={case}" if name else f"/too-big?case={case}"
            )
        for n, client in enumerate(clients):
            status = b"403" if n % 10 == 9 else b"101"
            assert client.answer().startswith(b"HTTP/1.1 " + status)
        for n, client in enumerate(clients):
            leave(server, case, client, n)
        for n, client in enumerate(clients):
            if n % 10 not in (1, 8, 9):
                client.receive_until_close()
            client.close()


@pytest.mark.slow
def test_no_ending_leaves_anything_behind(server: Server, case: str, kind: str) -> None:
    """1000 connections ended in ten ways leave no object, no task and no file."""

    def cost() -> tuple[int, int, int]:
        objects = server.get("/objects")["anyws"]
        return objects, server.stats()["tasks"], server.open_files()

    use_connections(server, case, kind, 100)
    before = servers.at_rest(cost)
    use_connections(server, case, kind, 1000)
    servers.expect_back(cost, before)
