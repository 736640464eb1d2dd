"""WebSockets over HTTP/2 under `python -m anyws.hypercorn`, as both ends see them.

Real server processes; the peer is a client that does exactly what it is told
(h2_client.py), and Chromium.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import trustme

from ..support import chromium, servers
from ..support.chromium import Tab, browser, tab
from ..support.h2_client import (
    HOST,
    PING,
    PONG,
    TEXT,
    H2Client,
    H2Stream,
    connected,
    frame,
)
from ..support.servers import RawClient

case = servers.case

WINDOW = 65535  # bytes that a stream may have under way


class Server:
    """One process of the engine, serving h2_app.py."""

    def __init__(self, worker: str, folder: Path, *arguments: str) -> None:
        """Start it, and wait until it answers."""
        self.log_path = folder / f"{worker}-{uuid.uuid4().hex}.log"
        self.tls = "--certfile" in arguments
        with socket.socket() as listener, self.log_path.open("wb") as log:
            listener.bind((HOST, 0))
            listener.listen(128)
            self.port: int = listener.getsockname()[1]
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "anyws.hypercorn", "-k", worker),
                    *("--bind", f"fd://{listener.fileno()}"),
                    *("--graceful-timeout", "2", *arguments, "h2_app:app"),
                ],
                cwd=servers.HERE,
                env=os.environ | {"PYTHONPATH": servers._python_path()},
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=[listener.fileno()],
            )
        try:
            self.get("/notes?case=", within=30)
        except (OSError, http.client.HTTPException) as exc:
            self.stop()
            raise RuntimeError(f"no answer: {self.log()}") from exc

    def get(self, target: str, within: float = 5) -> Any:
        """Return the JSON that is at a target, asked for by HTTP/1.1."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=within)
        if self.tls:
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            connection = http.client.HTTPSConnection(
                HOST, self.port, timeout=within, context=context
            )
        with contextlib.closing(connection):
            connection.request("GET", target, headers={"connection": "close"})
            return json.loads(connection.getresponse().read())

    def note(self, case: str, name: str, within: float = 5) -> list[Any]:
        """Wait for a note of that name; return what it says."""

        def find() -> list[Any] | None:
            notes = self.get(f"/notes?case={case}")
            return next((note for note in notes if note[0] == name), None)

        found: list[Any] | None = servers.eventually(find, within)
        assert found is not None, f"no {name!r}: {self.log()}"
        return found[1:]

    def ended(self, case: str, within: float = 5) -> list[Any]:
        """Wait for the end that the application was told."""
        return self.note(case, "end", within)

    def open_files(self) -> int:
        """Return how many file descriptors its processes have open."""
        pids = [self.process.pid, *_children(self.process.pid)]
        return sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in pids)

    def resident_bytes(self) -> int:
        """Return how much memory is resident, of the worker alone."""
        pages = 0
        for pid in [self.process.pid, *_children(self.process.pid)]:
            statm = Path(f"/proc/{pid}/statm").read_text()
            pages = max(pages, int(statm.split()[1]))
        return pages * os.sysconf("SC_PAGE_SIZE")

    def log(self) -> str:
        """Return what it has logged."""
        return self.log_path.read_text(errors="replace")

    def terminate(self) -> None:
        """Ask it to end."""
        self.process.send_signal(signal.SIGTERM)

    def stop(self) -> None:
        """End it whatever it does, and its worker."""
        children = _children(self.process.pid)
        self.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            for pid in children:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def _children(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    return [int(child) for child in children.split()]


@pytest.fixture(scope="module", params=servers.WORKERS)
def worker(request: pytest.FixtureRequest) -> str:
    """Give the name of a worker that is installed."""
    return servers.need(request.param)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder for logs and certificates."""
    return tmp_path_factory.mktemp("h2")


@pytest.fixture(scope="module")
def shared(worker: str, folder: Path) -> Iterator[Server]:
    """Give one server to all tests of a worker."""
    server = Server(worker, folder)
    yield server
    server.stop()


@pytest.fixture
def server(shared: Server) -> Iterator[Server]:
    """Give the server, and hold that it survives without a complaint."""
    since = len(shared.log())
    yield shared
    log = shared.log()[since:]
    assert shared.process.poll() is None, log
    for entry in log.replace("\n[", "\n\0[").split("\0"):
        wrong = any(word in entry for word in servers.COMPLAINTS)
        assert "Boom" in entry or not wrong, entry


@pytest.fixture
def client(server: Server) -> Iterator[H2Client]:
    """Give a connection."""
    with connected(server.port) as client:
        yield client


def test_a_handshake_with_a_body_is_refused(
    server: Server, client: H2Client, case: str
) -> None:
    """Its bytes are not taken for frames, and no other stream notices."""
    sibling = client.connect("/echo", f"{case}-2")
    body = frame(TEXT, b"hello")
    stream = client.ask(
        {
            ":method": "CONNECT",
            ":protocol": "websocket",
            ":scheme": client.scheme,
            ":authority": client.authority,
            ":path": f"/echo?case={case}",
            "sec-websocket-version": "13",
            "content-length": str(len(body)),
        }
    )
    stream.send_raw(body, end=True)

    assert stream.wait_end() is None
    assert (stream.status, bytes(stream.data)) == (400, b"")
    echoes(sibling)
    assert client.get(f"/notes?case={case}") == []


# What an application may not answer


def test_a_header_that_is_refused_leaves_the_handshake_open(
    server: Server, client: H2Client, case: str
) -> None:
    """Also an application of bare events can accept then; no other stream notices."""
    sibling = client.connect("/echo", f"{case}-2")
    stream = client.connect("/picky", case)

    assert stream.status == 200
    assert stream.headers["set-cookie"] == "a=1; Path=/"
    assert "te" not in stream.headers
    echoes_nothing_but(stream, "open")
    echoes(sibling)
    assert server.note(case, "refused") == [5]


def test_a_denial_has_headers_that_are_checked_and_defaults(
    server: Server, client: H2Client, case: str
) -> None:
    """A header on two lines does not go out; a response without headers does."""
    sibling = client.connect("/echo", f"{case}-2")
    stream = client.connect("/picky-deny", case)

    assert stream.status == 401
    assert "x-a" not in stream.headers
    assert stream.wait_end() is None
    echoes(sibling)
    assert server.note(case, "refused") == [5]


def test_the_same_over_http_1(server: Server, case: str) -> None:
    """What is refused, repaired and left out is no matter of the HTTP version."""
    accepted, denied = RawClient(server.port), RawClient(server.port)
    with contextlib.closing(accepted), contextlib.closing(denied):
        accepted.ask(f"/picky?case={case}")
        head = accepted.answer()
        denied.ask(f"/picky-deny?case={case}-2")
        denial = denied.answer()

    assert head.startswith(b"HTTP/1.1 101")
    assert b"\r\nset-cookie: a=1; Path=/\r\n" in head
    assert denial.startswith(b"HTTP/1.1 401")
    assert b"x-a" not in head + denial
    assert server.note(case, "refused") == [5]
    assert server.note(f"{case}-2", "refused") == [5]


def echoes_nothing_but(stream: H2Stream, text: str) -> None:
    """Hold that a handler answers one message with that text."""
    stream.send_text("anything")
    assert stream.receive() == (TEXT, text.encode())


def own(worker: str, folder: Path, *arguments: str) -> Any:
    """Run a server for one test."""

    @contextlib.contextmanager
    def run() -> Iterator[Server]:
        server = Server(worker, folder, *arguments)
        try:
            yield server
        finally:
            server.stop()

    return run()


def echoes(stream: H2Stream, text: str = "hello") -> None:
    """Hold that an echoing handler answers."""
    stream.send_text(text)
    assert stream.receive() == (TEXT, text.encode())


def close_normally(stream: H2Stream) -> None:
    """Close as a browser does: a frame, and the end when the server has answered."""
    stream.send_close(1000)
    assert stream.receive_close()[0] == 1000
    stream.end()
    assert stream.wait_end() is None


# Ordinary connections


def test_streams_echo_side_by_side(client: H2Client) -> None:
    """Each of several WebSockets on one connection gets its own messages."""
    streams = [client.connect("/echo") for _ in range(20)]
    for number, stream in enumerate(streams):
        stream.send_text(f"{number}")
    for number, stream in enumerate(streams):
        assert stream.status == 200
        assert stream.receive() == (TEXT, b"%d" % number)


def test_the_scope_says_http_2(server: Server, client: H2Client, case: str) -> None:
    """The application sees the version, and no key is needed."""
    echoes(client.connect("/echo", case))
    assert server.note(case, "http") == ["2"]


def test_the_transport_is_that_of_the_connection(
    server: Server, client: H2Client, case: str
) -> None:
    """A stream has the address of the connection that carries it."""
    client.connect("/transport", case)
    mine = list(client.socket.getsockname())
    assert server.note(case, "transport") == [mine, mine, None, None]


def test_the_peers_code_reaches_the_application(
    server: Server, client: H2Client, case: str
) -> None:
    """Code and reason come with the disconnect; the closing frame is answered."""
    stream = client.connect("/echo", case)
    stream.send_close(4001, "bye")
    assert stream.receive_close() == (4001, "bye")
    assert server.ended(case) == [4001, "bye"]
    stream.end()
    assert stream.wait_end() is None


def test_the_applications_code_reaches_the_peer(
    server: Server, client: H2Client, case: str
) -> None:
    """Code and reason are in the closing frame, and the answer ends the stream."""
    stream = client.connect("/close", case)
    stream.send_text("close")
    assert stream.receive_close() == (4001, "bye")
    stream.send_close(4001, "bye")
    stream.end()
    assert stream.wait_end() is None
    server.note(case, "done")


@pytest.mark.parametrize("first", ["peer", "application"])
def test_streams_are_freed(
    server: Server, client: H2Client, case: str, first: str
) -> None:
    """The normal closing handshake can be done more often than streams may be open."""
    for _ in range(150):
        stream = client.connect("/echo" if first == "peer" else "/return", case)
        stream.send_text("x")
        if first == "peer":
            close_normally(stream)
        else:
            assert stream.receive_close() == (4001, "bye")
            stream.send_close(4001)
            stream.end()
            assert stream.wait_end() is None
    echoes(client.connect("/echo"))


def test_a_stream_that_the_peer_does_not_end_is_reset(client: H2Client) -> None:
    """The server ends its half at once and waits for the other in bounded time."""
    live = client.connect("/echo")
    stream = client.connect("/return")
    stream.send_text("x")
    stream.receive_close()
    stream.send_close(4001)
    stream.wait_end()
    deadline = time.monotonic() + 15
    while stream.reset is None:
        client.pump_until(deadline)
    echoes(live)


@pytest.mark.parametrize("first", ["peer", "application"])
def test_data_after_the_end_hurts_nobody(
    server: Server, client: H2Client, case: str, first: str
) -> None:
    """What comes late for a stream that is over is ignored, and costs no window."""
    live = client.connect("/echo", case)
    for _ in range(5):
        stream = client.connect("/echo" if first == "peer" else "/return")
        stream.send_text("x")
        if first == "peer":
            stream.send_close(1000)
        stream.receive_close()
        if first != "peer":
            stream.send_close(4001)
        stream.wait_end()
        stream.send_raw(frame(TEXT, bytes(WINDOW // 2)))
        stream.send_raw(frame(TEXT, b"later"), end=True)
        echoes(live)
    assert ["done"] not in server.get(f"/notes?case={case}")


def test_a_handler_that_fails_ends_its_own_stream(client: H2Client) -> None:
    """The peer gets 1011, others go on."""
    live, stream = client.connect("/echo"), client.connect("/boom")
    stream.send_text("x")
    assert stream.receive_close()[0] == 1011
    echoes(live)


# Streams that end without a closing handshake


@pytest.mark.parametrize("path", ["/echo", "/deaf", "/firehose"])
@pytest.mark.parametrize("how", ["end", "cancel"])
def test_an_end_without_a_closing_frame_is_1006(
    server: Server, client: H2Client, case: str, path: str, how: str
) -> None:
    """The application learns of the end of its stream and of a reset; others go on."""
    live, stream = client.connect("/echo"), client.connect(path, case)
    if path == "/echo":
        echoes(stream)
    getattr(stream, how)()
    if path == "/deaf":
        server.get(f"/release?case={case}")
    if path == "/firehose":
        server.note(case, "raised")
    else:
        assert server.ended(case)[0] == 1006
    server.note(case, "done")
    if how == "end":
        stream.wait_end()
    echoes(live)


def test_a_reset_mends_the_window(client: H2Client, case: str) -> None:
    """What a stream had not read when it was reset does not count any more."""
    live = client.connect("/echo")
    for _ in range(250):  # 16 MB; the connection's window has 13
        stream = client.connect("/deaf", case)
        stream.send_raw((frame(TEXT, b"") * WINDOW)[:WINDOW])
        stream.cancel()
    client.get(f"/release?case={case}")
    echoes(live)


def test_the_end_of_the_connection_ends_every_stream(server: Server, case: str) -> None:
    """All handlers end when TCP does, also those that wait to send."""
    names = [f"{case}-{n}" for n in range(20)]
    with connected(server.port) as client:
        for name in names:
            client.connect("/echo", name)
            client.connect("/firehose", f"{name}-sender").reading = False
            client.request(f"/download?case={name}-download").reading = False
        client.settle(0.2)
    for name in names:
        assert server.ended(name)[0] == 1006
        server.note(name, "done")
        server.note(f"{name}-sender", "done")
        server.note(f"{name}-download", "done")


# Back-pressure


def test_an_application_that_does_not_read_holds_up_its_own_stream(
    server: Server, client: H2Client, case: str
) -> None:
    """Its peer's window closes; other streams, and requests, go on; nothing is lost."""
    live, deaf = client.connect("/echo"), client.connect("/deaf", case)
    before = server.resident_bytes()
    message = frame(TEXT, bytes(1000))
    sent = deaf.send_some(message * 20_000, within=1)
    assert sent < 4_000_000
    for _ in range(3):
        echoes(live)
    assert client.get("/notes?case=") is not None
    assert server.resident_bytes() - before < 16_000_000

    server.get(f"/release?case={case}")
    deaf.send_raw((message * 20_000)[sent:])
    deaf.send_close(1000)
    deaf.receive_close()
    assert server.note(case, "read") == [20_000]


def test_every_application_may_stop_reading(
    server: Server, client: H2Client, case: str
) -> None:
    """The connection's window is large enough for all streams but one to stall."""
    live = client.connect("/echo")
    for n in range(99):
        deaf = client.connect("/deaf", f"{case}-{n}")
        sent = deaf.send_some(frame(TEXT, bytes(400)) * 800, within=0.05)
        assert sent < 300_000
    for _ in range(20):
        echoes(live, "x" * 10_000)


def test_a_closed_window_makes_the_application_wait(
    server: Server, client: H2Client, case: str
) -> None:
    """A peer that does not read holds up its own stream, within bounded memory."""
    live = client.connect("/echo")
    before = server.resident_bytes()
    hoses = [client.connect("/firehose", f"{case}-{n}") for n in range(5)]
    for hose in hoses:
        hose.reading = False
    client.settle(1)
    counts = [server.note(f"{case}-{n}", "sent")[0] for n in range(5)]
    received = [len(hose.data) for hose in hoses]
    client.settle(0.5)
    assert received == [len(hose.data) for hose in hoses]
    assert server.resident_bytes() - before < 32_000_000
    for _ in range(3):
        echoes(live)
    assert counts == [server.note(f"{case}-{n}", "sent")[0] for n in range(5)]


def test_a_window_that_opens_again_lets_it_go_on(
    server: Server, client: H2Client, case: str
) -> None:
    """What waited for the window is sent when there is one."""
    hose = client.connect("/firehose", case)
    hose.reading = False
    client.settle(0.5)
    [before] = server.note(case, "sent")
    hose.reading = True
    client.connection.acknowledge_received_data(len(hose.data), hose.stream_id)
    client.flush()

    def goes_on() -> bool:
        client.settle(0.1)
        return bool(server.note(case, "sent")[0] > before + 1_000_000)

    assert servers.eventually(goes_on)


def test_pings_whose_answers_are_not_read_are_bounded(
    server: Server, client: H2Client
) -> None:
    """A flood of pings beside a closed window ends with the peer's own window."""
    live, hose = client.connect("/echo"), client.connect("/firehose")
    hose.reading = False
    before = server.resident_bytes()
    ping = frame(PING, bytes(125))
    assert hose.send_some(ping * 100_000, within=1) < 5_000_000
    echoes(live)
    assert server.resident_bytes() - before < 16_000_000


def test_a_ping_is_answered_though_the_application_does_not_read(
    client: H2Client,
) -> None:
    """Control frames are seen while there is room ahead of the application."""
    deaf = client.connect("/deaf")
    for _ in range(50):
        deaf.send_text("unread")
    deaf.send(PING, b"there?")
    assert deaf.receive() == (PONG, b"there?")


def test_a_request_that_is_not_read_holds_up_its_own_stream(
    server: Server, client: H2Client, case: str
) -> None:
    """An upload that its handler does not read yet blocks no WebSocket."""
    live = client.connect("/echo")
    upload = client.request(f"/upload?case={case}", method="POST", end=False)
    body = bytes(1_000_000)
    sent = upload.send_some(body, within=0.5)
    assert sent <= 2 * WINDOW
    echoes(live)
    client.get(f"/release?case={case}")
    upload.send_raw(body[sent:], end=True)
    assert upload.wait_end() is None
    assert json.loads(upload.data) == len(body)


def test_a_request_that_is_never_read_can_be_answered(
    server: Server, client: H2Client, case: str
) -> None:
    """A handler that returns without reading ends its stream, and no other."""
    live = client.connect("/echo")
    upload = client.request(f"/refuse?case={case}", method="POST", end=False)
    for _ in range(20):
        upload.send_raw(bytes(1000))
    client.get(f"/release?case={case}")
    upload.wait_end()
    assert upload.status == 413
    upload.send_raw(bytes(1000), end=True)
    echoes(live)


def test_a_response_passes_a_window_that_closes_and_opens(client: H2Client) -> None:
    """Responses larger than any buffer arrive whole beside WebSockets that stall."""
    client.connect("/firehose").reading = False
    download = client.request("/download")
    assert download.wait_end() is None
    assert len(download.data) == 64 * 16384


# Opening handshakes that come to nothing


@pytest.mark.parametrize(
    ("path", "status"), [("/reject", 403), ("/deny", 418), ("/echo", 200)]
)
def test_the_application_decides(client: H2Client, path: str, status: int) -> None:
    """Refusals are complete responses, after which the connection goes on."""
    live = client.connect("/echo")
    stream = client.connect(path)
    assert stream.status == status
    if status != 200:
        assert stream.wait_end() is None
    echoes(live)


@pytest.mark.parametrize(
    "changes",
    [
        {"protocol": "bogus"},
        {"protocol": "websocket2"},
        {"protocol": None, "path": None, "scheme": None},
    ],
    ids=["bogus", "longer", "tunnel"],
)
def test_other_protocols_are_refused(
    client: H2Client, changes: dict[str, str | None]
) -> None:
    """A CONNECT that does not ask for a WebSocket is answered with 501."""
    live = client.connect("/echo")
    stream = client.connect("/echo", **changes)
    assert stream.status == 501
    assert stream.wait_end() is None
    echoes(live)


def test_what_cannot_be_decoded_is_refused(client: H2Client) -> None:
    """A path beyond ASCII is a 400 for that stream, and nothing for the others."""
    live, begin = client.connect("/echo"), time.monotonic()
    headers = {
        ":method": "CONNECT",
        ":protocol": "websocket",
        ":scheme": "http",
        ":authority": client.authority,
        ":path": "/echo",
        "sec-websocket-version": "13",
    }
    stream = client.ask(headers | {":path": "/\xe9"})
    stream.wait_end()
    assert stream.status == 400
    request = client.request("/\xe9")
    request.wait_end()
    assert request.status == 400
    echoes(live)
    assert time.monotonic() - begin < 2


# The connection


def test_priorities_starve_nobody(client: H2Client) -> None:
    """A stream that depends on a busy one is served all the same."""
    hose = client.connect("/firehose")
    live = client.connect("/echo")
    client.connection.prioritize(
        live.stream_id, depends_on=hose.stream_id, exclusive=True
    )
    for stream_id in range(1001, 4001, 2):  # streams that never come to be
        client.connection.prioritize(stream_id)
    client.flush()
    echoes(live)


def test_a_connection_with_many_requests_keeps_its_streams(
    worker: str, folder: Path
) -> None:
    """At Hypercorn's limit of requests, the peer is told to go, and may finish."""
    config = folder / "limit.py"
    config.write_text("keep_alive_max_requests = 3\n")
    with own(worker, folder, "--config", f"file:{config}") as server:
        with connected(server.port) as client:
            streams = [client.connect("/echo") for _ in range(4)]
            for stream in streams:
                echoes(stream)
            assert client.gone_away == 0
            assert client.connect("/echo").reset == 7  # refused: it is safe to retry
            for stream in streams:
                close_normally(stream)


@pytest.mark.parametrize("protocol", ["websocket", None])
def test_a_flood_of_resets_is_cut_off_and_hurts_nobody(
    server: Server, client: H2Client, protocol: str | None
) -> None:
    """Ten thousand requests, each taken back at once, delay no neighbour's echo.

    Each cost a traceback, and together they kept the neighbour waiting for 10 s.
    """
    pseudo = {"method": "CONNECT", "protocol": protocol, "path": "/echo?case="}
    if protocol is None:
        pseudo |= {"method": "GET", "path": "/notes?case="}
    pseudo |= {"scheme": "http", "authority": client.authority}
    headers = [(f":{name}", value) for name, value in pseudo.items() if value]
    with connected(server.port) as other, ThreadPoolExecutor(1) as pool:
        neighbour, since = other.connect("/echo"), len(server.log())
        for stream_id in range(1, 20_001, 2):
            client.connection.send_headers(stream_id, headers)
            client.connection.reset_stream(stream_id)
        flooding = pool.submit(client.flush)
        worst, begin = 0.0, time.monotonic()
        while time.monotonic() - begin < 0.5:
            asked = time.monotonic()
            echoes(neighbour)
            worst = max(worst, time.monotonic() - asked)
        flooding.exception()  # the server may have cut it short
        with pytest.raises(ConnectionError):
            client.settle(5)
        assert worst < 1
        assert server.log()[since:] == ""


def test_only_an_idle_connection_is_closed(worker: str, folder: Path) -> None:
    """Hypercorn's time-out begins when the last stream has ended."""
    config = folder / "hasty.py"
    config.write_text("keep_alive_timeout = 0.5\n")
    with own(worker, folder, "--config", f"file:{config}") as server:
        with connected(server.port) as client:
            streams = [client.connect(path) for path in ("/echo", "/reject", "/echo")]
            client.settle(1)
            echoes(streams[0])
            for stream in streams[::2]:
                close_normally(stream)
            streams[1].end()
            with pytest.raises(ConnectionError):
                client.settle(5)


def test_a_connection_that_nobody_reads_is_closed(worker: str, folder: Path) -> None:
    """When all its streams have failed, one whose peer reads nothing is given up."""
    config = folder / "impatient.py"
    config.write_text(
        "websocket_options = "
        "{'ping_interval': 0.3, 'ping_timeout': 0.3, 'close_timeout': 0.5}\n"
    )
    with own(worker, folder, "--config", f"file:{config}") as server:
        [before] = servers.at_rest(lambda: (server.open_files(),))
        with connected(server.port) as client:
            for _ in range(4):
                stream = client.connect("/firehose")
                stream.reading = False
                client.connection.increment_flow_control_window(2**26, stream.stream_id)
            client.flush()
            assert server.open_files() > before
            assert servers.eventually(lambda: server.open_files() <= before, 15)


@pytest.mark.alone
@pytest.mark.parametrize("path", ["/echo", "/deaf"])
def test_stopping_closes_every_stream(
    worker: str, folder: Path, case: str, path: str
) -> None:
    """Each peer gets 1012 on each of its streams, and the server ends in time."""
    with own(worker, folder) as server:
        with connected(server.port) as one, connected(server.port) as other:
            streams = [c.connect(path, case) for c in (one, other) for _ in range(5)]
            begin = time.monotonic()
            server.terminate()
            for stream in streams:
                assert stream.receive_close()[0] == 1012
                stream.send_close(1012)
                with contextlib.suppress(ConnectionError):
                    stream.end()
            assert server.process.wait(10) == 0
            assert time.monotonic() - begin < (2 if path == "/echo" else 6)


def test_a_handshake_while_stopping_is_refused(worker: str, folder: Path) -> None:
    """A connection that is still open takes no new WebSocket: 503, no reset."""
    with own(worker, folder) as server:
        with connected(server.port) as client:
            deaf = client.connect("/deaf")
            server.terminate()
            assert deaf.receive_close()[0] == 1012
            stream = client.connect("/echo")
            assert stream.status == 503
            assert stream.wait_end() is None


# TLS, and a browser


@pytest.fixture(scope="module")
def secure(worker: str, folder: Path) -> Iterator[Server]:
    """Give a server that speaks TLS."""
    authority = trustme.CA()
    certificate = authority.issue_cert(HOST)
    key, chain = folder / "key.pem", folder / "chain.pem"
    certificate.private_key_pem.write_to_path(key)
    chain.write_bytes(b"".join(b.bytes() for b in certificate.cert_chain_pems))
    authority.cert_pem.write_to_path(folder / "authority.pem")
    server = Server(worker, folder, "--certfile", f"{chain}", "--keyfile", f"{key}")
    yield server
    server.stop()


def test_over_tls(secure: Server, folder: Path, case: str) -> None:
    """ALPN chooses HTTP/2; messages, windows and ends are as in clear text."""
    context = ssl.create_default_context(cafile=folder / "authority.pem")
    context.set_alpn_protocols(["h2"])
    with connected(secure.port, context) as client:
        stream = client.connect("/echo", case)
        echoes(stream, "x" * 200_000)
        close_normally(stream)
        client.connect("/transport", f"{case}-transport")
        told = secure.note(f"{case}-transport", "transport")
        assert told[2:] == ["TLSv1.3", 0x0304]
        client.connect("/echo", f"{case}-left")
    assert secure.ended(case)[0] == 1000
    assert secure.ended(f"{case}-left")[0] == 1006


SCRIPT = """
window.done = null;
(async () => {
  const seen = {echo: 0, codes: new Set(), slowest: 0};
  const open = (path) => new Promise((resolve, reject) => {
    const ws = new WebSocket(`wss://${location.host}${path}`);
    ws.onopen = () => resolve(ws);
    ws.onerror = () => reject(new Error(`no ${path}`));
  });
  const closed = (ws) => new Promise((resolve) => {
    const begin = performance.now();
    ws.onclose = (event) => {
      seen.slowest = Math.max(seen.slowest, performance.now() - begin);
      seen.codes.add(`${event.code} ${event.reason} ${event.wasClean}`);
      resolve();
    };
  });
  for (let n = 0; n < COUNT; n++) {
    const ws = await open(n % 2 ? '/close?case=CASE' : '/echo?case=CASE');
    const end = closed(ws);
    if (n % 2) {
      ws.send('close');
    } else {
      await new Promise((resolve) => {
        ws.onmessage = (event) => { seen.echo += event.data === `${n}`; resolve(); };
        ws.send(`${n}`);
      });
      ws.close(4000, 'browser');
    }
    await end;
  }
  seen.codes = [...seen.codes];
  window.done = JSON.stringify(seen);
})().catch((error) => { window.done = JSON.stringify({error: `${error}`}); });
"""


def test_chromium(
    secure: Server, tmp_path: Path, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chromium closes its WebSockets over HTTP/2 a hundred times, each at once."""
    flags = (*chromium.FLAGS, "--ignore-certificate-errors")
    monkeypatch.setattr(chromium, "FLAGS", flags)
    with browser(tmp_path) as devtools:
        with tab(devtools, f"https://{HOST}:{secure.port}/page") as page:
            page.wait_for("document.title", "page")
            seen = run_script(page, case, 100)
    assert seen.get("error") is None, secure.log()
    assert seen["echo"] == 50
    assert sorted(seen["codes"]) == ["4000 browser true", "4001 bye true"]
    assert seen["slowest"] < 500
    assert secure.note(case, "http") == ["2"]
    assert secure.ended(case) == [4000, "browser"]


def run_script(page: Tab, case: str, count: int) -> Any:
    """Run the script in a page; return what it has seen."""
    page.run(SCRIPT.replace("CASE", case).replace("COUNT", f"{count}"))
    deadline = time.monotonic() + 60
    while (done := page.run("window.done")) is None:
        assert time.monotonic() < deadline, "the page is not done"
        time.sleep(0.1)
    return json.loads(done)
