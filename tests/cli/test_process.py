"""`python -m anyws`, as a process of its own, against real servers."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import socket
import ssl
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest
import trustme
from websockets.utils import accept_key

from ..support import servers
from ..support.servers import HERE, HOST, Servers, eventually

fleet, case = servers.engines, servers.case

LIMIT = 30  # (seconds) for anything to happen
NO_PROXY = {"wss_proxy": "", "ws_proxy": "", "https_proxy": "", "http_proxy": ""}
# A shell that leads its session gets the first terminal it opens as its own, and so
# its Ctrl-C.
IN_TERMINAL = 'exec "$@" <"$TTY" >"$TTY" 2>&1'


@pytest.fixture(params=["asyncio", "trio"])
def backend(request: pytest.FixtureRequest) -> str:
    """Give the client's backend."""
    return servers.need(request.param)


@pytest.fixture
def url(fleet: Servers, case: str) -> str:
    """Give the address of the handlers."""
    return f"ws://{HOST}:{fleet.get('asyncio').port}/anyws/PATH?case={case}"


def command(backend: str, *arguments: str) -> list[str]:
    """Return the command line of a client."""
    return [sys.executable, "-m", "anyws", "--backend", backend, *arguments]


def environment(**more: str) -> dict[str, str]:
    """Return the environment of a client: what is tested is what it imports."""
    path = {"PYTHONPATH": servers._python_path(), "PYTHONWARNINGS": "error"}
    return os.environ | NO_PROXY | path | more


class Client:
    """A client whose input and output are pipes."""

    def __init__(self, backend: str, *arguments: str) -> None:
        """Start it."""
        self.process = subprocess.Popen(
            command(backend, *arguments),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=HERE,
            env=environment(),
        )
        self.input, self.output, self.errors = map(
            cast_stream,
            (self.process.stdin, self.process.stdout, self.process.stderr),
        )

    def write(self, lines: bytes) -> None:
        """Write to its input, which stays open."""
        self.input.write(lines)
        self.input.flush()

    def wait_connected(self) -> None:
        """Wait until it says that it is connected."""
        assert self.errors.readline().startswith(b"connected to ws")

    def end(self, signum: int | None = None) -> tuple[int, bytes, str]:
        """Wait for its end, with its input still open; return all that it left."""
        if signum is not None:
            self.process.send_signal(signum)
        status = self.process.wait(LIMIT)
        return status, self.output.read(), self.errors.read().decode()


def cast_stream(stream: IO[bytes] | None) -> IO[bytes]:
    """Return a stream of a process that has it."""
    assert stream is not None
    return stream


@contextlib.contextmanager
def running(backend: str, *arguments: str) -> Iterator[Client]:
    """Run a client; end it in any case."""
    client = Client(backend, *arguments)
    try:
        with watched(client.process):
            yield client
    finally:
        for stream in client.input, client.output, client.errors:
            with contextlib.suppress(BrokenPipeError):
                stream.close()


@contextlib.contextmanager
def watched(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """End a process in any case, also if a test waits for it for ever."""
    watchdog = threading.Timer(LIMIT, process.kill)
    watchdog.start()
    try:
        yield
    finally:
        watchdog.cancel()
        process.kill()
        process.wait()


def run(backend: str, *arguments: str, lines: bytes = b"") -> tuple[int, bytes, str]:
    """Run a client to its end; return status, output and errors."""
    done = subprocess.run(
        command(backend, *arguments),
        input=lines,
        capture_output=True,
        cwd=HERE,
        env=environment(),
        timeout=LIMIT,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr.decode()


# Pipes


def test_lines_and_messages(backend: str, url: str) -> None:
    """Each line goes out as a message, each message comes as a line; then it closes."""
    url = url.replace("PATH", "echo")
    lines = b"one\n\n//two\r\n/binary 00ff\n\x1b[2J\xe2\x80\xae\xc2\x9b\rx\nlast"

    status, output, errors = run(backend, url, "-n", "6", "-w", "20", lines=lines)

    assert output.splitlines() == [
        *(b"one", b"", b"/two", b"(binary, 2 bytes) 00ff"),
        *(rb"\u001b[2J\u202e\u009b\rx", b"last"),
    ]
    shown = url.partition("?")[0]
    assert errors == f"connected to {shown}\nclosed: 1000 (normal closure)\n"
    assert status == 0


def test_silence(backend: str, url: str) -> None:
    """After the end of input it waits for answers for a time, and closes with 1000."""
    status, output, _ = run(
        backend, url.replace("PATH", "echo"), "-w", "2", lines=b"hello\n"
    )

    assert (status, output) == (0, b"hello\n")


def test_messages_that_do_not_come(backend: str, url: str) -> None:
    """Less than --count asks for is a failure that a script can see."""
    status, _, errors = run(
        backend, url.replace("PATH", "echo"), "-n", "2", "-w", "0.1", "--quiet"
    )

    assert (status, errors) == (1, "0 of 2 messages have come\n")


def test_quiet(backend: str, url: str) -> None:
    """Quiet means messages only."""
    ran = run(backend, url.replace("PATH", "echo"), "-q1", "-w", "20", lines=b"x\n")

    assert ran == (0, b"x\n", "")


@pytest.mark.parametrize(
    ("path", "status", "ending"),
    [
        ("close", 1, "closed by the peer: 4321: ciao\n"),
        ("return", 0, "closed by the peer: 1000 (normal closure)\n"),
    ],
)
def test_the_peer_closes(
    backend: str, url: str, path: str, status: int, ending: str
) -> None:
    """It ends at once, though its input is still open, and tells how that came."""
    with running(backend, url.replace("PATH", path), "-q") as client:
        client.write(b"x\n")
        ended, output, errors = client.end()

    quiet = "" if status == 0 else ending
    assert (ended, output, errors) == (status, b"", quiet)


def test_close(fleet: Servers, backend: str, url: str, case: str) -> None:
    """A code and a reason can be given, and nothing is sent after it."""
    status, output, errors = run(
        backend, url.replace("PATH", "receiver"), lines=b"/close 4000 so be it\nx\n"
    )

    assert (status, output) == (0, b"")
    assert "\nclosed: 4000: so be it\n" in errors
    note = fleet.get("asyncio").note(case, "closed")
    assert (note["code"], note["reason"]) == (4000, "so be it")
    assert len(fleet.get("asyncio").notes(case)) == 1


def test_ping(backend: str, url: str) -> None:
    """A ping's latency is told, and is no message."""
    url = url.replace("PATH", "echo")
    status, output, errors = run(backend, url, "-w0", lines=b"/ping\n/ping x\n/help\n")

    assert (status, output) == (0, b"")
    assert errors.count("\npong after ") == errors.count(" ms\n") == 2
    assert "\n//TEXT " in errors


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        (b"/help\n/nonsense\nx\n", "line 2 is not sent: '/nonsense' is not a command"),
        (b"\xff\nx\n", "line 1 is not sent: it is not utf-8: invalid start byte"),
    ],
)
def test_a_bad_line(
    fleet: Servers, backend: str, url: str, case: str, lines: bytes, complaint: str
) -> None:
    """A script ends with a line that has no meaning, and sends nothing after it."""
    with running(backend, url.replace("PATH", "receiver")) as client:
        client.write(lines)
        status, _, errors = client.end()

    assert status == 2
    assert complaint in errors
    assert "Traceback" not in errors
    assert fleet.get("asyncio").note(case, "closed")["code"] == 1000
    assert len(fleet.get("asyncio").notes(case)) == 1


def test_nobody_reads_on(backend: str, url: str) -> None:
    """As before `| head -1`: what cannot be written ends it, without a word."""
    with running(backend, url.replace("PATH", "ticker")) as client:
        client.wait_connected()
        assert client.output.readline() == b"tick\n"
        client.output.close()
        status = client.process.wait(LIMIT)
        errors = client.errors.read()

    assert (status, errors) == (0, b"closed: 1000 (normal closure)\n")


def test_an_output_that_is_full(backend: str, url: str) -> None:
    """What cannot be written otherwise is an error that is told."""
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            command(backend, url.replace("PATH", "ticker"), "-q"),
            stdin=subprocess.DEVNULL,
            stdout=full,
            stderr=subprocess.PIPE,
            cwd=HERE,
            env=environment(),
            timeout=LIMIT,
            check=False,
        )

    assert done.returncode == 1
    assert done.stderr == b"cannot write a message: No space left on device\n"


def test_a_slow_reader(backend: str, url: str) -> None:
    """Time in which it is the output that waits is no silence: nothing is lost."""
    url = url.replace("PATH", "echo")
    line = b"x" * 9999 + b"\n"
    with running(backend, url, "-w", "0.4", "-n", "100") as client:

        def write() -> None:
            client.write(line * 100)
            client.input.close()

        writer = threading.Thread(target=write)
        writer.start()
        stdout = client.output.fileno()

        def full() -> bool:
            held = fcntl.ioctl(stdout, termios.FIONREAD, bytes(4))
            return int.from_bytes(held, sys.byteorder) > 40_000

        assert eventually(full, LIMIT)
        time.sleep(1)
        output = client.output.read()
        writer.join()
        assert client.process.wait(LIMIT) == 0

    assert output == line * 100


def test_a_message_too_big(backend: str, url: str) -> None:
    """Its size can be bounded; a larger one ends the connection."""
    url = url.replace("PATH", "echo")
    with running(backend, url, "--max-message-bytes", "9", "-q") as client:
        client.write(b"x" * 10 + b"\n")
        status, _, errors = client.end()

    assert status == 1
    assert errors.startswith("closed: 1009 (message too big)")


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_signals(
    fleet: Servers, backend: str, url: str, case: str, signum: signal.Signals
) -> None:
    """A signal closes the connection in order, and is the exit status."""
    with running(backend, url.replace("PATH", "receiver")) as client:
        client.wait_connected()
        status, _, errors = client.end(signum)

    assert (status, errors) == (128 + signum, "closed: 1001 (going away)\n")
    assert fleet.get("asyncio").note(case, "closed")["code"] == 1001


def test_rejected(backend: str, url: str) -> None:
    """Another HTTP status has an exit status of its own, and its body is shown."""
    status, _, errors = run(backend, url.replace("PATH", "deny"))

    said = "the server rejected the WebSocket: 401 Unauthorized: 'not you'\n"
    assert (status, errors) == (4, said)


# Servers that do exactly what they are told


class Listener:
    """A server that takes one connection and answers as a test says."""

    def __init__(self, family: int = socket.AF_INET, address: Any = (HOST, 0)) -> None:
        """Listen."""
        self.listener = socket.socket(family)
        self.listener.bind(address)
        self.listener.listen()
        self.listener.settimeout(LIMIT)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"ws://{HOST}:{self.listener.getsockname()[1]}/path"

    def accept(self, tls: ssl.SSLContext | None = None) -> tuple[socket.socket, str]:
        """Take a connection, under TLS if asked to; return it, and the request."""
        connection, _ = self.listener.accept()
        connection.settimeout(LIMIT)
        try:
            if tls is not None:
                connection = tls.wrap_socket(connection, server_side=True)
            request = b""
            while not request.endswith(b"\r\n\r\n"):
                request += connection.recv(10_000)
        except OSError:
            connection.close()
            raise
        return connection, request.decode()


@pytest.fixture
def listener() -> Iterator[Listener]:
    """Give a server on TCP."""
    listener = Listener()
    with contextlib.closing(listener.listener):
        yield listener


def upgrade(connection: socket.socket, request: str, chosen: str) -> None:
    """Answer an opening handshake as it should be, with a line more."""
    [key] = [
        line.partition(": ")[2]
        for line in request.split("\r\n")
        if line.startswith("Sec-WebSocket-Key")
    ]
    connection.sendall(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
        b"Connection: Upgrade\r\n"
        + f"{chosen}Sec-WebSocket-Accept: {accept_key(key)}\r\n\r\n".encode()
    )


def test_the_request(listener: Listener, backend: str) -> None:
    """Headers, origin and subprotocols are what the arguments say."""
    asked = ("-H", "X-One: 1:1", "--header", "x-two:", "-o", "http://here")
    offered = ("-s", "a", "--subprotocol", "b", "--no-compression")
    with running(backend, listener.url, *asked, *offered) as client:
        connection, request = listener.accept()
        with connection:
            upgrade(connection, request, "Sec-WebSocket-Protocol: b\r\n")
            connected = client.errors.readline()
        status, _, errors = client.end()

    lines = request.lower().split("\r\n")
    for expected in ("x-one: 1:1", "x-two: ", "origin: http://here"):
        assert expected in lines
    assert "sec-websocket-protocol: a, b" in lines
    assert "permessage-deflate" not in request
    assert connected.decode() == f"connected to {listener.url}, subprotocol b\n"
    assert (status, errors) == (1, "connection lost: 1006 (abnormal closure)\n")


def test_a_unix_socket(tmp_path: Path, backend: str) -> None:
    """The way can be a unix socket."""
    path = str(tmp_path / "socket")
    listener = Listener(socket.AF_UNIX, path)
    with contextlib.closing(listener.listener):
        with running(backend, "ws://name/", "--unix", path) as client:
            connection, request = listener.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 418 x\r\nContent-Length: 0\r\n\r\n")
                status, _, errors = client.end()

    assert "Host: name\r\n" in request
    assert (status, "418" in errors) == (4, True)


def test_a_proxy(listener: Listener, backend: str) -> None:
    """The way can be a proxy; one that refuses is no server that does."""
    proxy = listener.url.replace("ws://", "http://").removesuffix("/path")
    with running(backend, "ws://nowhere.invalid/", "--proxy", proxy) as client:
        connection, request = listener.accept()
        with connection:
            connection.sendall(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n")
            status, _, errors = client.end()

    assert request.startswith("CONNECT nowhere.invalid:80 HTTP/1.1\r\n")
    assert status == 3
    assert "the tunnel to nowhere.invalid:80 through the proxy" in errors


def test_nobody_listens(backend: str) -> None:
    """A connection that cannot be made has an exit status of its own."""
    status, _, errors = run(backend, "ws://127.0.0.1:1/", "--proxy", "none")

    assert status == 3
    assert errors == "connecting to 127.0.0.1:1 failed: Connection refused\n"


def test_a_url_that_is_none(listener: Listener, backend: str) -> None:
    """One's own is a matter of usage; where a server sends one on to, of connecting."""
    status, _, errors = run(backend, "ws://a%3Ab:secret@localhost/")
    assert status == 2
    assert errors.splitlines()[-1].startswith("python -m anyws: error: the URL")
    assert "Traceback" not in errors

    with running(backend, listener.url) as client:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(b"HTTP/1.1 302 x\r\nLocation: //[\r\n\r\n")
            connection.shutdown(socket.SHUT_WR)
            status, _, errors = client.end()
    assert (status, errors) == (
        3,
        "the server redirects to '//[': its host is missing or invalid\n",
    )


def test_a_server_that_says_nothing(listener: Listener, backend: str) -> None:
    """It is given up after a time, or by Ctrl-C."""
    with running(backend, listener.url, "--open-timeout", "0.2") as client:
        connection, _ = listener.accept()
        with connection:
            status, _, errors = client.end()
    assert (status, "timed out" in errors) == (3, True)

    with running(backend, listener.url, "--open-timeout", "inf") as client:
        connection, _ = listener.accept()
        with connection:
            assert client.end(signal.SIGINT) == (130, b"", "")


def test_the_second_ctrl_c(listener: Listener, backend: str) -> None:
    """Who has no patience with a server that does not answer need not wait for it."""
    with running(backend, listener.url) as client:
        connection, request = listener.accept()
        with connection:
            upgrade(connection, request, "")
            client.wait_connected()
            client.process.send_signal(signal.SIGINT)
            assert connection.recv(1000)[0] == 0x88  # a closing frame
            status, _, errors = client.end(signal.SIGINT)

    assert (status, errors) == (-signal.SIGINT, "")


def test_certificates(listener: Listener, backend: str, tmp_path: Path) -> None:
    """A certificate is verified, by authorities of one's own too, or not at all."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(HOST).configure_cert(context)
    file = str(tmp_path / "ca.pem")
    authority.cert_pem.write_to_path(file)
    url = listener.url.replace("ws", "wss")

    for arguments in ["--insecure"], ["--cacert", file]:
        with running(backend, url, *arguments) as client:
            connection, _ = listener.accept(context)
            with connection:
                connection.sendall(b"HTTP/1.1 418 x\r\nContent-Length: 0\r\n\r\n")
                assert client.end()[0] == 4

    with running(backend, url) as client:
        with pytest.raises(ssl.SSLError):
            listener.accept(context)
        status, _, errors = client.end()
    assert (status, "CERTIFICATE_VERIFY_FAILED" in errors) == (3, True)


# A terminal


class Terminal:
    """A terminal with a client in it."""

    def __init__(self, backend: str, *arguments: str, term: str = "xterm") -> None:
        """Start it."""
        self.outside, self.inside = os.openpty()
        self.settings = termios.tcgetattr(self.inside)
        name = os.ttyname(self.inside)
        self.process = subprocess.Popen(
            ["/bin/sh", "-c", IN_TERMINAL, "sh", *command(backend, *arguments)],
            cwd=HERE,
            env=environment(TTY=name, TERM=term),
            start_new_session=True,
        )
        self.seen = ""

    def type(self, text: str) -> None:
        """Type."""
        os.write(self.outside, text.encode())

    def expect(self, text: str) -> str:
        """Wait for what the terminal should show; return what it did, up to that."""
        while text not in self.seen:
            ready, _, _ = select.select([self.outside], [], [], LIMIT)
            assert ready, f"no {text!r} in {self.seen!r}"
            self.seen += os.read(self.outside, 10_000).decode()
        shown, _, self.seen = self.seen.partition(text)
        return shown

    def end(self) -> int:
        """Wait for the end of the client; hold that the terminal is as it was."""
        status = self.process.wait(LIMIT)
        assert termios.tcgetattr(self.inside) == self.settings
        return status


@contextlib.contextmanager
def terminal(backend: str, *arguments: str, term: str = "xterm") -> Iterator[Terminal]:
    """Run a client in a terminal; wait for its prompt, and end it in any case."""
    terminal = Terminal(backend, *arguments, term=term)
    try:
        with watched(terminal.process):
            terminal.expect("connected to ws")
            terminal.expect("Ctrl-D to close\r\n")
            if term != "dumb":
                terminal.expect("> ")
            yield terminal
    finally:
        os.close(terminal.inside)
        os.close(terminal.outside)


def test_typing(backend: str, url: str) -> None:
    """What is typed goes out, what comes is shown, until Ctrl-C, which closes."""
    with terminal(backend, url.replace("PATH", "echo")) as user:
        user.type("hello\n")
        user.expect("hello\r\n")
        user.expect("< hello")
        user.type("/ping\n")
        user.expect("pong after ")
        float(user.expect(" ms"))
        user.type("/binary " + "ff" * 100 + "\n")
        user.expect("(binary, 100 bytes) " + "ff" * 64 + "...")
        user.type("/nonsense\n")
        user.expect("not sent: '/nonsense' is not a command")
        user.type("half a li")
        user.expect("half a li")
        user.type("\x03")
        user.expect("\r\x1b[Kclosed: 1001 (going away)\r\n")

        assert user.end() == 130


def test_pings_without_pongs(listener: Listener, backend: str) -> None:
    """A ping that is not answered holds nothing up, and ends with the connection."""
    connections: list[socket.socket] = []

    def serve() -> None:
        connection, request = listener.accept()
        upgrade(connection, request, "")
        connections.append(connection)

    server = threading.Thread(target=serve)
    server.start()
    with terminal(backend, listener.url) as user:
        user.type("/ping x\n/ping x\n")
        user.expect("a ping with the payload b'x' is under way")
        server.join()
        connections[0].close()
        user.expect("connection lost: 1006")

        assert user.end() == 1


def test_the_peer_closes_while_a_line_is_typed(backend: str, url: str) -> None:
    """Nobody has to press a key to be told that the peer has gone."""
    with terminal(backend, url.replace("PATH", "close")) as user:
        user.type("x\nhalf a li")
        user.expect("\r\x1b[Kclosed by the peer: 4321: ciao\r\n")

        assert user.end() == 1


def test_messages_come_above_the_line(backend: str, url: str) -> None:
    """A message does not break up the line that is being typed."""
    with terminal(backend, url.replace("PATH", "ticker")) as user:
        user.expect("\x1b7\r\n\x1b[1A\x1b[1L\r< tick\x1b8\x1b[1B")
        user.type("\x04")
        user.expect("\r\x1b[Kclosed: 1000 (normal closure)\r\n")

        assert user.end() == 0


def test_a_terminal_that_cannot_draw(backend: str, url: str) -> None:
    """There, lines are lines, and there is no prompt."""
    with terminal(backend, url.replace("PATH", "echo"), term="dumb") as user:
        user.type("hello\n")
        assert "\x1b" not in user.expect("< hello\r\n")
        user.type("/close\n")
        assert "\x1b" not in user.expect("closed: 1000 (normal closure)\r\n")

        assert user.end() == 0
