"""How connections end under real Hypercorn processes, as both ends see it."""

from __future__ import annotations

import contextlib
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from websockets.exceptions import InvalidStatus

from ..support import servers
from ..support.servers import end_of

if TYPE_CHECKING:
    from pathlib import Path

    from ..support.servers import RawClient, Server

fleet, server, case = servers.fleet, servers.server, servers.case

LEAVES = ("reset", "close", "finish")


def leave(client: RawClient, how: str) -> float:
    """Leave in one of several ways; return when."""
    at = time.monotonic()
    if how == "close":
        client.send_close(1000, "bye")
    elif how == "finish":
        client.finish()
    else:
        client.reset()
    return at


# The peer leaves.


@pytest.mark.parametrize("how", LEAVES)
@pytest.mark.parametrize("path", ["/ticker", "/plain/ticker"])
def test_a_handler_that_only_sends_learns_that_its_client_left(
    server: Server, case: str, path: str, how: str
) -> None:
    """A send raises within 2 s of the client's leaving, with our class and theirs."""
    with server.raw(path, case) as client:
        assert client.receive() == (client.TEXT, b"tick")
        for _ in range(5):
            client.send_text("never read by the handler")
        left = leave(client, how)
        closed = server.note(case, "closed")
    assert closed["at"] - left < 2
    assert closed["code"] == 1006  # all that stock Hypercorn tells
    if path == "/ticker":
        assert closed["error"] == "ConnectionClosed"
        assert closed["clean"] is None
        assert server.note(case, "done")["error"] is None


@pytest.mark.parametrize("how", LEAVES)
@pytest.mark.parametrize("path", ["/ticker", "/group", "/guarded-work"])
def test_a_client_that_goes_away_is_no_error(
    server: Server, case: str, path: str, how: str
) -> None:
    """Nothing gets out to the server, also from the handler's own task group."""
    with server.raw(path, case) as client:
        assert client.receive() is not None
        left = leave(client, how)
        done = server.note(case, "done")
    assert done["error"] is None
    assert done["at"] - left < 2


@pytest.mark.parametrize("how", LEAVES)
def test_a_hot_sender_whose_client_left_does_not_freeze_the_server(
    server: Server, case: str, how: str
) -> None:
    """Other tasks run on, and the sender learns that it is alone."""
    with server.raw("/hot", case) as client:
        for _ in range(100):
            assert client.receive() is not None
        before = server.stats()["beats"]
        left = leave(client, how)

        def beaten() -> bool:
            return server.stats()["beats"] > before + 20

        assert servers.eventually(beaten, within=2)
        assert server.note(case, "closed")["at"] - left < 2


def test_what_arrived_before_the_peer_closed_stays_readable(
    server: Server, case: str
) -> None:
    """Sends raise at once; receives return what is left, in order, and then raise."""
    texts = [f"message {n}" for n in range(5)]
    with server.raw("/late", case) as client:
        for text in texts:
            client.send_text(text)
        client.send_close()
        read = server.note(case, "read")
    assert read["sent"] == "ConnectionClosed"
    assert read["received"] == [*texts, "ConnectionClosed", "ConnectionClosed"]
    assert read["iterated"] == []


# The handler leaves.


@pytest.mark.parametrize("path", ["/return", "/plain/return"])
def test_returning_closes_with_1000(server: Server, case: str, path: str) -> None:
    """A handler that returns ends its connection normally, ours and Starlette's."""
    with server.connect(path, case) as client:
        client.send("that is all")
        assert end_of(client, within=10) == (1000, "")
    assert server.note(case, "done")["error"] is None


def test_raising_closes_with_1011_and_one_traceback(server: Server, case: str) -> None:
    """A handler that raises ends its connection with an error, logged once."""
    since = server.log_position()
    with server.connect("/boom", case) as client:
        client.send("go")
        assert end_of(client, within=10)[0] == 1011
    assert server.note(case, "done")["error"] == "Boom"
    assert servers.eventually(lambda: case in server.log(since))
    assert server.alive()
    assert server.log(since).count("Traceback") == 1
    assert server.log(since).count(f"Boom: {case}") == 1


def test_raising_before_accepting_is_the_servers_500(server: Server, case: str) -> None:
    """Nothing is sent for a handler that raises early; the server answers and logs."""
    with (
        pytest.raises(InvalidStatus) as caught,
        server.connect("/boom", case, early=1),
    ):
        pass
    assert caught.value.response.status_code == 500
    assert server.note(case, "done")["error"] == "Boom"


def test_an_exception_leaves_the_block_as_itself(server: Server, case: str) -> None:
    """It is not wrapped into a group, on any backend."""
    with server.connect("/leaves", case) as client:
        assert end_of(client, within=10)[0] == 1011
    assert server.note(case, "done")["error"] == "Boom"


def test_groups_of_the_users_own_making_stay_theirs(server: Server, case: str) -> None:
    """An exception out of the user's task group is in that one group and no other."""
    with server.connect("/leaves", case, nested=1) as client:
        assert end_of(client, within=10)[0] == 1011
    done = server.note(case, "done")
    assert (done["error"], done["leaves"]) == ("ExceptionGroup", ["Boom"])


def go_on_sending(server: Server, case: str, *, polite: bool) -> int | None:
    """Send on while the handler returns; return the code of the closing frame."""
    with server.raw("/return", case) as client:
        client.socket.settimeout(0.01)
        block, closed = servers.frame_bytes(client.TEXT, b"more") * 20, None
        client.socket.sendall(block * 10)  # more than all the buffers hold
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            try:
                client.socket.sendall(block)
                frame = client.receive()
            except TimeoutError:
                continue
            except ConnectionError:
                break
            if frame is None:
                break
            closed = servers.close_code(frame.payload)
            if polite:
                client.send_close(closed)
                break
            deadline = time.monotonic() + 0.5
    return closed


@pytest.mark.slow
@pytest.mark.parametrize("polite", [True, False])
def test_clients_that_go_on_sending_see_1000_and_cost_nothing(
    server: Server, case: str, polite: bool
) -> None:
    """A full queue hides no closing frame and holds no socket and no task."""

    def cost() -> tuple[int, int]:
        return server.stats()["tasks"], server.open_files()

    before = servers.at_rest(cost)
    with ThreadPoolExecutor(8) as pool:
        codes = [
            pool.submit(go_on_sending, server, f"{case}-{n}", polite=polite)
            for n in range(8)
        ]
    assert [code.result() for code in codes] == [1000] * 8
    servers.expect_back(cost, before)


@pytest.mark.alone
def test_both_ends_may_leave_at_once(server: Server, case: str) -> None:
    """A handler that returns just as its client leaves sees no error of the server's.

    Hypercorn-trio raises trio.BusyResourceError from the send that meets its own
    closing of the socket, a fraction of a millisecond after the last message.
    """
    rounds = 800
    for n in range(rounds):
        with server.raw("/return", case) as client:
            client.send_text("bye")
            at = time.perf_counter() + n * 1.5e-6
            while time.perf_counter() < at:
                pass
            client.send_close()
            client.wait_eof()

    def ended() -> list[str | None]:
        return [n["error"] for n in server.notes(case) if n["name"] == "done"]

    assert servers.eventually(lambda: len(ended()) == rounds)
    assert ended() == [None] * rounds


# close() itself.


@pytest.mark.parametrize("first", ["handler", "peer"])
def test_closing_again_is_silent(server: Server, case: str, first: str) -> None:
    """Second closes, closes after the peer's and closes in finally do nothing."""
    with server.connect("/close", case, first=first) as client:
        if first == "handler":
            assert end_of(client, within=10) == (4000, "first")
    assert server.note(case, "closed")["send"] == "ConnectionClosed"
    assert server.note(case, "done")["error"] is None


@pytest.mark.parametrize("kind", ["long", "list"])
def test_a_reason_that_does_not_fit_is_cut_at_a_character(
    server: Server, case: str, kind: str
) -> None:
    """A reason that is too long, or no text at all, is sent as far as it goes."""
    with server.connect("/reason", case, kind=kind) as client:
        code, reason = end_of(client, within=10)
    assert code == 1008
    assert 100 < len(reason.encode()) <= 123
    assert kind == "list" or reason == "é" * 61
    assert server.note(case, "done")["error"] is None


# What would have killed the server.


def test_an_unoffered_subprotocol_is_the_handlers_error(
    server: Server, case: str
) -> None:
    """It is refused by name, and the handler can accept without it."""
    with server.connect("/unoffered", case, caught=1) as client:
        assert client.recv(timeout=5) == "accepted"
        refused = server.note(case, "refused")
    assert "ValueError" in refused["bases"]
    assert "not-offered" in refused["text"]


def test_an_unoffered_subprotocol_harms_no_other_connection(
    server: Server, case: str
) -> None:
    """The worker and its other connections live, though the handler raises."""
    with server.connect("/echo", f"{case}-bystander") as bystander:
        with (
            pytest.raises(InvalidStatus) as caught,
            server.connect("/unoffered", case),
        ):
            pass
        assert caught.value.response.status_code == 500
        bystander.send("still there?")
        assert bystander.recv(timeout=5) == "still there?"
    assert server.alive()


def test_a_fastapi_validation_error_before_accept_is_a_403(
    server: Server, case: str
) -> None:
    """FastAPI's own handler, which closes with a list for a reason, does not crash."""
    with (
        pytest.raises(InvalidStatus) as caught,
        server.connect("/plain/validated", case, number="none"),
    ):
        pass
    assert caught.value.response.status_code == 403
    assert server.note(case, "done")["error"] is None


def test_a_fastapi_validation_error_after_accept_is_a_1008(
    server: Server, case: str
) -> None:
    """The list that FastAPI gives for a reason is put into words."""
    with server.connect("/plain/validated-late", case, number="none") as client:
        code, reason = end_of(client, within=10)
    assert code == 1008
    assert reason.startswith("query.number: Input should be a valid integer")
    assert server.note(case, "done")["error"] is None


# The server leaves.


@pytest.mark.slow
@pytest.mark.parametrize("worker", ["uvloop", "trio"])
def test_a_server_that_shuts_down_closes_with_1012(
    tmp_path: Path, case: str, worker: str
) -> None:
    """SIGTERM reaches the client as a closing frame where Hypercorn cancels the app."""
    server = servers.Server(servers.need(worker), tmp_path)
    paths = ("/echo", "/guarded-work", "/ticker", "/plain/ticker")
    try:
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(server.connect(p, case)) for p in paths]
            clients[0].send("hello")
            assert all(client.recv(timeout=5) for client in clients)
            server.terminate()
            assert [end_of(client, within=10)[0] for client in clients] == [1012] * len(
                paths
            )
            server.process.wait(5)
        # Python 3.11 logs a traceback of its own for each connection that is cancelled.
        assert "Error in ASGI Framework" not in server.log()
    finally:
        server.stop()
