"""Real Hypercorn processes for the tests, and a client that writes exact frames.

A server is started as a user starts it, `python -m hypercorn -k WORKER module:app`, or
as `python -m anyws.hypercorn ...`, on a listening socket it inherits, so that no port
can be taken in between. What its handlers saw is asked for over HTTP (see
server_apps.py), its log is read from a file.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import importlib.util
import json
import os
import signal
import socket
import ssl
import struct
import subprocess
import sys
import time
import urllib.parse
import uuid
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from websockets.extensions import ClientExtensionFactory
    from websockets.sync.client import ClientConnection
    from websockets.typing import Subprotocol

HOST = "127.0.0.1"
HERE = Path(__file__).resolve().parent
WORKERS = ("asyncio", "uvloop", "trio")
ENGINE, ENGINE_APP = "anyws.hypercorn", "engine_apps:app"
#: Kernel buffers on the server's side, in bytes: a peer that does not read is then felt
#: after kilobytes. Sockets inherit it from the listening one.
SEND_BUFFER_BYTES = 32 * 1024
COMPLAINTS = (
    "Traceback",
    "never awaited",
    "never retrieved",
    "was destroyed but it is pending",
)


def eventually(check: Callable[[], Any], within: float = 5.0) -> Any:
    """Return the first true result of check, or its last one when time is up."""
    deadline = time.monotonic() + within
    while True:
        result = check()
        if result or time.monotonic() > deadline:
            return result
        time.sleep(0.02)


def at_rest(cost: Callable[[], tuple[int, ...]]) -> tuple[int, ...]:
    """Return what something costs once that has stopped to shrink."""
    lowest, since = cost(), time.monotonic()
    while time.monotonic() < since + 0.3:
        now = cost()
        if any(n < low for n, low in zip(now, lowest, strict=True)):
            lowest, since = tuple(map(min, now, lowest)), time.monotonic()
    return lowest


def expect_back(cost: Callable[[], tuple[int, ...]], before: tuple[int, ...]) -> None:
    """Hold that something soon costs no more than before.

    Each part may come back at its own time, as each had its own lowest one in
    `at_rest`: the requests that ask for the cost are connections too.
    """
    lowest = cost()

    def back() -> bool:
        nonlocal lowest
        lowest = tuple(map(min, cost(), lowest))
        return all(now <= then for now, then in zip(lowest, before, strict=True))

    assert eventually(back, within=10), f"{lowest} instead of {before}"


def resident_bytes(pid: int) -> int:
    """Return how much memory of a process is resident."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


class Server:
    """One Hypercorn process with one worker, serving server_apps.py or another."""

    def __init__(
        self,
        worker: str,
        folder: Path,
        *arguments: str,
        module: str = "hypercorn",
        app: str = "server_apps:app",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Start it, and wait until it answers."""
        self.worker, self.tls = worker, tls
        self.log_path = folder / f"{worker}-{uuid.uuid4().hex}.log"
        with socket.socket() as listener, self.log_path.open("wb") as log:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
            listener.bind((HOST, 0))
            listener.listen(128)
            self.port: int = listener.getsockname()[1]
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", module, "-k", worker),
                    *("--bind", f"fd://{listener.fileno()}"),
                    *("--graceful-timeout", "1", *arguments, app),
                ],
                cwd=HERE,
                env=os.environ | {"PYTHONPATH": _python_path()},
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=[listener.fileno()],
            )
        self.pid = self.process.pid
        try:
            self.pid = int(self.get("/stats", timeout=60)["pid"])
        except (OSError, http.client.HTTPException) as exc:
            self.stop()
            raise RuntimeError(f"no answer from Hypercorn: {self.log()}") from exc

    def get(self, path: str, timeout: float = 5.0) -> Any:
        """Return the JSON that the server answers to an HTTP request."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=timeout)
        if self.tls is not None:
            connection = http.client.HTTPSConnection(
                HOST, self.port, timeout=timeout, context=self.tls
            )
        with contextlib.closing(connection):
            connection.request("GET", path, headers={"connection": "close"})
            return json.loads(connection.getresponse().read())

    def alive(self) -> bool:
        """Tell whether the server still answers."""
        try:
            self.get("/stats", timeout=2)
        except (OSError, http.client.HTTPException):
            return False
        return True

    # What the handlers saw.

    def notes(self, case: str) -> list[dict[str, Any]]:
        """Return everything that the handlers of a case noted, in order."""
        notes: list[dict[str, Any]] = self.get(f"/notes?case={case}")
        return notes

    def note(self, case: str, name: str, within: float = 5.0) -> dict[str, Any]:
        """Wait for a note by name, and return it."""

        def find() -> dict[str, Any] | None:
            return next((n for n in self.notes(case) if n["name"] == name), None)

        found: dict[str, Any] | None = eventually(find, within)
        assert found is not None, f"no {name!r} in {self.notes(case)}\n{self.log()}"
        return found

    # What the process costs.

    def open_files(self) -> int:
        """Return how many file descriptors the worker has open."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def resident_bytes(self) -> int:
        """Return how much memory of the worker is resident."""
        return resident_bytes(self.pid)

    def peak_bytes(self) -> int:
        """Return the most of its memory that was resident since `reset_peak`."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        peak = next(row for row in status.splitlines() if row.startswith("VmHWM:"))
        return int(peak.split()[1]) * 1024

    def reset_peak(self) -> int:
        """Forget the peak of the worker's memory; return what is resident now."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")
        return self.resident_bytes()

    def stats(self) -> dict[str, int]:
        """Return what the worker counts itself: tasks, heartbeats, objects of anyws."""
        stats: dict[str, int] = self.get("/stats")
        return stats

    # Its log.

    def log(self, since: int = 0) -> str:
        """Return the log from a position on."""
        return self.log_path.read_bytes()[since:].decode(errors="replace")

    def log_position(self) -> int:
        """Return the position from which later lines of the log are new."""
        return self.log_path.stat().st_size

    # Its end.

    def terminate(self) -> None:
        """Ask it to end, as a supervisor does."""
        self.process.send_signal(signal.SIGTERM)

    def children(self) -> list[int]:
        """Return the ids of the processes it has started."""
        pid = self.process.pid
        try:
            return [
                *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
            ]
        except OSError:
            return []

    def stop(self) -> None:
        """End it whatever it does, by the ids of its own processes."""
        children = self.children()
        self.terminate()
        try:
            self.process.wait(3)
        except subprocess.TimeoutExpired:
            # Hypercorn-asyncio never ends while a connection is open (Python >= 3.12).
            self.process.kill()
            self.process.wait()
            for child in children:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)

    # Its clients.

    @contextlib.contextmanager
    def connect(
        self,
        path: str,
        case: str,
        *,
        compression: str | None = None,
        extensions: Sequence[ClientExtensionFactory] | None = None,
        subprotocols: Sequence[Subprotocol] | None = None,
        receive_buffer_bytes: int | None = None,
        **query: object,
    ) -> Iterator[ClientConnection]:
        """Connect an ordinary client, that of `websockets`."""
        with connect(
            f"ws://{HOST}:{self.port}{_target(path, case, query)}",
            sock=tcp_connect(self.port, receive_buffer_bytes),
            compression=compression,
            extensions=extensions,
            subprotocols=subprotocols,
            proxy=None,
            open_timeout=5,
            close_timeout=5,
        ) as client:
            yield client

    @contextlib.contextmanager
    def raw(
        self,
        path: str,
        case: str,
        *,
        receive_buffer_bytes: int | None = None,
        **query: object,
    ) -> Iterator[RawClient]:
        """Connect a client that does exactly what it is told."""
        client = RawClient(self.port, receive_buffer_bytes, self.tls)
        with contextlib.closing(client):
            client.open(_target(path, case, query))
            yield client

    @contextlib.contextmanager
    def raw_with(
        self, path: str, case: str, headers: str = "", trailing: bytes = b""
    ) -> Iterator[RawClient]:
        """Connect such a client with more in its handshake, or behind it."""
        client = RawClient(self.port)
        with contextlib.closing(client):
            client.open(_target(path, case, {}), headers, trailing)
            yield client


class Frame(NamedTuple):
    """A frame from the server."""

    opcode: int
    payload: bytes


class RawClient:
    """A WebSocket client on a bare socket: exact frames, no answers of its own."""

    CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10

    def __init__(
        self,
        port: int,
        receive_buffer_bytes: int | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Connect the TCP socket."""
        self.socket = tcp_connect(port, receive_buffer_bytes)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_hostname=HOST)
        self.buffer = bytearray()

    # The opening handshake, in one step or in two.

    def open(self, target: str, headers: str = "", trailing: bytes = b"") -> None:
        """Do the opening handshake."""
        self.ask(target, headers, trailing)
        head = self.answer()
        assert head.startswith(b"HTTP/1.1 101"), head

    def ask(self, target: str, headers: str = "", trailing: bytes = b"") -> None:
        """Send the opening handshake, and more bytes in one packet with it."""
        self.socket.sendall(
            f"GET {target} HTTP/1.1\r\nHost: {HOST}\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n".encode()
            + trailing
        )

    def answer(self) -> bytes:
        """Return the head of the HTTP answer, empty at the end of the stream."""
        while b"\r\n\r\n" not in self.buffer:
            if not self._read_more():
                return b""
        head, _, rest = bytes(self.buffer).partition(b"\r\n\r\n")
        self.buffer[:] = rest
        return head

    # Frames.

    def send(self, opcode: int, payload: bytes) -> None:
        """Send one masked frame."""
        self.socket.sendall(frame_bytes(opcode, payload))

    def send_text(self, text: str) -> None:
        """Send one text message."""
        self.send(self.TEXT, text.encode())

    def send_close(self, code: int = 1000, reason: str = "") -> None:
        """Send a closing frame."""
        self.send(self.CLOSE, struct.pack("!H", code) + reason.encode())

    def receive(self) -> Frame | None:
        """Return the next frame, or None at the end of the stream."""
        while (frame := self._take_frame()) is None:
            if not self._read_more():
                return None
        return frame

    def receive_opcode(self, opcode: int, within: float = 5.0) -> bytes:
        """Pass over other frames until one of a kind comes; return its payload."""
        deadline = time.monotonic() + within
        while (frame := self.receive()) is not None and time.monotonic() < deadline:
            if frame.opcode == opcode:
                return frame.payload
        raise AssertionError(f"no frame of opcode {opcode} came in {within} s")

    def receive_until_close(self) -> tuple[list[bytes], int | None]:
        """Return what came before the closing frame, and its code if there was one."""
        payloads: list[bytes] = []
        deadline = time.monotonic() + 20
        while (frame := self.receive()) is not None and time.monotonic() < deadline:
            if frame.opcode == self.CLOSE:
                return payloads, close_code(frame.payload)
            payloads.append(frame.payload)
        return payloads, None

    def wait_eof(self) -> None:
        """Read until the server ends the stream."""
        while self._read_more():
            pass

    # The ways to leave.

    def reset(self) -> None:
        """Abort the TCP connection (RST)."""
        linger = struct.pack("ii", 1, 0)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.socket.close()

    def finish(self) -> None:
        """End the sending half of the TCP connection (FIN)."""
        self.socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()

    def _read_more(self) -> bool:
        try:
            data = self.socket.recv(65536)
        except ConnectionError:
            return False
        self.buffer += data
        return bool(data)

    def _take_frame(self) -> Frame | None:
        buffer = self.buffer
        if len(buffer) < 2:
            return None
        size, start = buffer[1], 2
        if size >= 126:
            start = 4 if size == 126 else 10
            if len(buffer) < start:
                return None
            size = int.from_bytes(buffer[2:start])
        if len(buffer) < start + size:
            return None
        frame = Frame(buffer[0] & 15, bytes(buffer[start : start + size]))
        del buffer[: start + size]
        return frame


def tcp_connect(port: int, receive_buffer_bytes: int | None) -> socket.socket:
    """Connect a socket, with a small buffer for what it receives if one is wanted."""
    client = socket.socket()
    if receive_buffer_bytes is not None:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
    client.settimeout(10)
    client.connect((HOST, port))
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return client


@functools.lru_cache(64)
def frame_bytes(opcode: int, payload: bytes, flags: int = 0x80) -> bytes:
    """Return one masked frame, with the final one's flags unless others are given."""
    size, mask, first = len(payload), b"\x37\xfa\x21\x3d", flags | opcode
    if size < 126:
        head = bytes([first, 0x80 | size])
    elif size < 65536:
        head = struct.pack("!BBH", first, 0x80 | 126, size)
    else:
        head = struct.pack("!BBQ", first, 0x80 | 127, size)
    key = (mask * (size // 4 + 1))[:size]
    masked = int.from_bytes(payload) ^ int.from_bytes(key)
    return head + mask + masked.to_bytes(size)


@functools.cache
def bomb() -> bytes:
    """Return a megabyte that inflates to a gibibyte of zeros, as one message."""
    deflate = zlib.compressobj(9, wbits=-15)
    mebibyte = deflate.compress(bytes(2**20)) + deflate.flush(zlib.Z_FULL_FLUSH)
    return (mebibyte * 1024)[:-4]  # RFC 7692 section 7.2.1: without the flush's tail


def end_of(client: ClientConnection, within: float = 5) -> tuple[int, str]:
    """Read until the closing frame, each time for so long; return code and reason."""
    with contextlib.suppress(ConnectionClosed):
        while True:
            client.recv(timeout=within)
    assert client.protocol.close_rcvd, "the connection ended without a closing frame"
    return client.protocol.close_rcvd.code, client.protocol.close_rcvd.reason


def close_code(payload: bytes) -> int:
    """Return the code in a closing frame, 1005 where there is none."""
    return int.from_bytes(payload[:2]) if payload else 1005


class Servers:
    """The servers of one test module, one of each worker, started when wanted."""

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        module: str = "hypercorn",
        app: str = "server_apps:app",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Remember where the logs go, and what to start."""
        self.start = functools.partial(Server, module=module, app=app, tls=tls)
        self.folder, self.arguments = folder, arguments
        self.running: dict[str, Server] = {}

    def get(self, worker: str) -> Server:
        """Return the server of that worker; one that no longer answers is replaced."""
        server = self.running.get(worker)
        if server is None or not server.alive():
            if server is not None:
                server.stop()
            server = self.running[worker] = self.start(
                worker, self.folder, *self.arguments
            )
        return server

    def close(self) -> None:
        """End them all."""
        for server in self.running.values():
            server.terminate()
        for server in self.running.values():
            server.stop()


def engine_servers(
    tmp_path_factory: pytest.TempPathFactory, settings: str = "", name: str = "conf.py"
) -> Servers:
    """Return servers with our engine in them, and settings in a Python or TOML file."""
    folder = tmp_path_factory.mktemp("engine")
    path = folder / name
    path.write_text(settings)
    config = f"file:{path}" if name.endswith(".py") else str(path)
    return Servers(folder, "-c", config, module=ENGINE, app=ENGINE_APP)


@contextlib.contextmanager
def quiet(server: Server) -> Iterator[Server]:
    """Hold that the log gets no complaint that the test did not ask for by a Boom."""
    since = server.log_position()
    yield server
    entries = server.log(since).replace("\n[", "\n\0[").split("\0")
    for entry in entries:
        wrong = any(word in entry for word in COMPLAINTS) and "Boom" not in entry
        assert not wrong, f"unexpected in the log:\n{entry}"


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Give the servers of one module."""
    with contextlib.closing(Servers(tmp_path_factory.mktemp("hypercorn"))) as servers:
        yield servers


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Give the servers of one module, with our engine in them."""
    with contextlib.closing(engine_servers(tmp_path_factory)) as servers:
        yield servers


@pytest.fixture(params=WORKERS)
def server(request: pytest.FixtureRequest, fleet: Servers) -> Iterator[Server]:
    """Give a running server, and hold that nothing unexpected gets into its log."""
    with quiet(fleet.get(need(request.param))) as server:
        yield server


@pytest.fixture
def case() -> str:
    """Give a name that no other test uses."""
    return uuid.uuid4().hex


def need(worker: str) -> str:
    """Skip where the worker cannot be had; return its name."""
    if worker != "asyncio":
        pytest.importorskip(worker, reason=f"{worker} is not installed here")
    return worker


def _python_path() -> str:
    """Return where the tests themselves import anyws from, and what was there."""
    spec = importlib.util.find_spec("anyws")
    assert spec is not None
    assert spec.origin is not None
    folder = str(Path(spec.origin).parent.parent)
    return os.pathsep.join([folder, *filter(None, [os.environ.get("PYTHONPATH")])])


def _target(path: str, case: str, query: dict[str, object]) -> str:
    return f"{path}?{urllib.parse.urlencode({'case': case} | query)}"
