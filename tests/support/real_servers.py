"""Real ASGI servers of several makes, and a client whose transport can misbehave."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
import uuid
from collections.abc import (
    AsyncGenerator,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from concurrent.futures import ThreadPoolExecutor
from contextlib import (
    AbstractAsyncContextManager,
    asynccontextmanager,
    contextmanager,
    suppress,
)
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import anyio
import pytest
from anyio.abc import ByteStream, SocketAttribute, SocketStream

import anyws

from . import probes
from .probes import Boom, Check, Row
from .servers import HERE, HOST, _python_path, frame_bytes

Notes = dict[str, list[Any]]

GRACE: Final = "3"  # seconds that a server gives its connections; Hypercorn's default

#: Classes of uvicorn's beside the one that it takes by itself.
OTHERS_OF_UVICORN: Final = ("websockets", "wsproto")

#: What starts each server, given a port and an application.
COMMANDS: dict[str, Callable[[str], Sequence[str]]] = {
    **{
        f"hypercorn-{worker}": lambda port, worker=worker: (  # type: ignore[misc]  # cannot infer
            *("-m", "hypercorn", "-k", worker, "--graceful-timeout", GRACE),
            *("--bind", f"{HOST}:{port}"),
        )
        for worker in ("asyncio", "uvloop", "trio")
    },
    **{
        f"engine-{worker}": lambda port, worker=worker: (  # type: ignore[misc]  # cannot infer
            *("-m", "anyws.hypercorn", "-k", worker, "--graceful-timeout", GRACE),
            *("--bind", f"{HOST}:{port}"),
        )
        for worker in ("asyncio", "uvloop", "trio")
    },
    **{
        f"anycorn-{worker}": lambda port, worker=worker: (  # type: ignore[misc]  # cannot infer
            *("-m", "anycorn", "-k", worker, "--graceful-timeout", GRACE),
            *("--bind", f"{HOST}:{port}"),
        )
        for worker in ("asyncio", "trio")
    },
    "uvicorn": lambda port: (
        *("-m", "uvicorn", "--ws", "websockets-sansio"),
        *("--host", HOST, "--port", port),
    ),
    **{
        f"uvicorn-{name}": lambda port, name=name: (  # type: ignore[misc]  # cannot infer
            *("-m", "uvicorn", "--ws", name),
            *("--host", HOST, "--port", port),
        )
        for name in OTHERS_OF_UVICORN
    },
    "uvicorn_anyws-asyncio": lambda port: (
        *("-m", "uvicorn", "--ws", "anyws.uvicorn:WebSocketProtocol"),
        *("--loop", "asyncio", "--host", HOST, "--port", port),
    ),
    "uvicorn_anyws-uvloop": lambda port: (
        *("-m", "uvicorn", "--ws", "anyws.uvicorn:WebSocketProtocol"),
        *("--loop", "uvloop", "--host", HOST, "--port", port),
    ),
    **{
        f"serve-{worker}": lambda port, worker=worker: (  # type: ignore[misc]  # cannot infer
            *("-m", "anyws", "serve", "--backend", worker),
            *("--host", HOST, "--port", port),
        )
        for worker in ("asyncio", "uvloop", "trio")
    },
    "granian": lambda port: (
        *("-m", "granian", "--interface", "asgi"),
        *("--host", HOST, "--port", port),
    ),
    "daphne": lambda port: ("-m", "daphne", "-b", HOST, "-p", port),
}


#: What makes a server expect answers to its pings soon; Granian sends none.
PINGS: Final = {
    "uvicorn": ("--ws-ping-interval", "0.3", "--ws-ping-timeout", "0.3"),
    "uvicorn_anyws": ("--ws-ping-interval", "0.3", "--ws-ping-timeout", "0.3"),
    "serve": ("--ping-interval", "0.3", "--ping-timeout", "0.3"),
    "hypercorn": ("-c", f"file:{HERE / 'keepalive.py'}"),
    "engine": ("-c", f"file:{HERE / 'keepalive.py'}"),
}


def missing(name: str) -> str | None:
    """Return the module that a server needs and that is not installed, if any."""
    package, _, worker = name.partition("-")
    needed = {"engine": "hypercorn", "serve": "anyws", "uvicorn_anyws": "uvicorn"}
    package = needed.get(package, package)
    for module in filter(None, (package, worker)):
        if find_spec(module) is None:
            return module
    return None


def need(name: str) -> str:
    """Skip where a server cannot be had; return its name."""
    if module := missing(name):
        pytest.skip(f"{module} is not installed")
    return name


@contextmanager
def serving(
    name: str,
    app: str,
    folder: Path,
    *arguments: str,
    pings: bool = False,
    **environment: str,
) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """Run a server; give its port and its process."""
    with socket.socket() as found:
        found.bind((HOST, 0))
        port: int = found.getsockname()[1]
    more = PINGS.get(name.partition("-")[0], ()) if pings else ()
    with (folder / f"{name}.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, *COMMANDS[name](str(port)), *more, *arguments, app],
            cwd=HERE,
            env=os.environ | {"PYTHONPATH": _python_path()} | environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        wait_until_served(port, process)
        yield port, process
    finally:
        # Some servers have workers in processes of their own.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_until_served(port: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until a server answers plain requests."""
    deadline = time.monotonic() + 30
    while True:
        connection = http.client.HTTPConnection(HOST, port, timeout=2)
        try:
            connection.request("GET", "/", headers={"connection": "close"})
            connection.getresponse().read()
        except (OSError, http.client.HTTPException):
            assert process.poll() is None, "the server has ended"
            assert time.monotonic() < deadline, "the server does not answer"
            time.sleep(0.05)
        else:
            return
        finally:
            connection.close()


class FaultyStream(ByteStream):
    """A TCP connection that does not read, is cut, or says more than it should.

    Attributes:
        trailing: What is sent in one go with the first bytes.
        stalled: Set while nothing is read.
    """

    def __init__(self, stream: SocketStream, trailing: bytes = b"") -> None:
        self._stream = stream
        self.trailing = trailing
        self._flowing = anyio.Event()
        self._flowing.set()

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """Receive, unless it is stalled."""
        await self._flowing.wait()
        data = await self._stream.receive(max_bytes)
        await self._flowing.wait()
        return data

    async def send(self, item: bytes) -> None:
        """Send, at first with what trails."""
        trailing, self.trailing = self.trailing, b""
        await self._stream.send(item + trailing)

    async def send_eof(self) -> None:
        """End the sending half."""
        await self._stream.send_eof()

    async def aclose(self) -> None:
        """Close the socket."""
        self._flowing.set()
        await self._stream.aclose()

    def stall(self) -> None:
        """Read nothing more."""
        self._flowing = anyio.Event()

    def resume(self) -> None:
        """Read on."""
        self._flowing.set()

    @property
    def socket(self) -> socket.socket:
        """The socket itself."""
        return self._stream.extra(SocketAttribute.raw_socket)


class RealPeer:
    """A client of a real server, with the faults of `anyws.testing.Peer`."""

    def __init__(
        self, ws: anyws.ClientWebSocket, stream: FaultyStream, stop: Callable[[], None]
    ) -> None:
        self._ws = ws
        self._stream = stream
        self.shut_down_server = stop

    def __getattr__(self, name: str) -> Any:
        """Be the client in all else."""
        return getattr(self._ws, name)

    async def close(self, code: int | None = 1000, reason: str = "") -> None:
        """Close; with `None`, by an empty frame."""
        if code is None:
            await self._stream.send(frame_bytes(8, b""))
        else:
            await self._ws.close(code, reason)

    def abort(self) -> None:
        """Reset the connection, as far as it is one."""
        # What the stream holds open is a copy; the other end sees the reset now.
        with socket.socket(fileno=os.dup(self._stream.socket.fileno())) as copy:
            copy.setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
            )
            disconnect(copy)
        self._stream.resume()

    def send_eof(self) -> None:
        """End the sending half of the connection."""
        self._stream.socket.shutdown(socket.SHUT_WR)

    def stall(self) -> None:
        """Read nothing more."""
        self._stream.stall()

    ignore_pings = stall  # what is not read is not answered

    def resume(self) -> None:
        """Read on."""
        self._stream.resume()


def disconnect(sock: socket.socket) -> None:
    """Have the kernel reset a connection that other descriptors hold open.

    Linux does so for a connect() to an address of no family.
    """
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    libc.connect(sock.fileno(), bytes(16), 16)


@asynccontextmanager
async def real_peer(
    port: int,
    path: str,
    stop: Callable[[], None],
    *,
    early: Sequence[str] = (),
    subprotocols: Sequence[str] = (),
    compression: bool = False,
) -> AsyncGenerator[RealPeer]:
    """Connect to a real server."""
    trailing = b"".join(frame_bytes(1, text.encode()) for text in early)
    tcp = await anyio.connect_tcp(HOST, port)
    tcp.extra(SocketAttribute.raw_socket).setsockopt(
        socket.SOL_SOCKET, socket.SO_RCVBUF, 32 * 1024
    )
    stream = FaultyStream(tcp, trailing)
    async with anyws.connect(
        f"ws://{HOST}:{port}{path}",
        stream=stream,
        subprotocols=subprotocols,
        compression="deflate" if compression else None,
    ) as ws:
        try:
            yield RealPeer(ws, stream, stop)
        finally:
            stream.resume()


# Questions


async def client_of(
    row: Row | Check, connecting: AbstractAsyncContextManager[Any]
) -> Any:
    """Be the client of a row; return what it notes."""
    notes: list[Any] = []

    def note(*values: Any) -> None:
        notes.append(probes.plain(values))

    try:
        async with connecting as ws:
            note("open", ws.subprotocol, ws.response.headers.get("x-a"))
            await row.client(ws, note)
    except anyws.HandshakeRejected as exc:
        note("rejected", exc.status, exc.headers.get("x-a"), exc.body)
    except anyws.HandshakeError as exc:
        note(type(exc).__name__)
    except OSError:
        pass  # the client's own end, or the application's that is none
    except Exception as exc:
        # The application's, which only the fake lets out; what it has caused is noted.
        if not isinstance(exc, Boom) and str(exc) != "Invalid Subprotocol":
            raise
        if isinstance(exc.__context__, anyws.HandshakeRejected):
            caused = exc.__context__
            note("rejected", caused.status, caused.headers.get("x-a"), caused.body)
    return notes


class Asked:
    """The answers of the real servers, each asked once, many questions at a time.

    Several servers are asked at a time too, as their clients wait more than they work.
    """

    def __init__(
        self, servers: Iterable[str], rows: Mapping[str, Row | Check], folder: Path
    ) -> None:
        self._rows = rows
        self._folder = folder
        found = [server for server in servers if not missing(server)]
        shared = [name for name, row in rows.items() if not row.alone]
        alone = [[name] for name, row in rows.items() if row.alone]
        self._answers: dict[str, dict[str, Notes]] = {name: {} for name in found}
        # Those that wait for the longest come first.
        rounds = [(s, names) for names in (*alone[::-1], shared) for s in found]
        with ThreadPoolExecutor(6) as pool:
            asked = pool.map(lambda each: anyio.run(self._ask, *each), rounds)
            for (server, _), answers in zip(rounds, asked, strict=True):
                self._answers[server] |= answers

    def answer(
        self, server: str, name: str, expected: Notes, again: bool = True
    ) -> Notes:
        """Return what a server answers to a question.

        An answer that is not expected is asked for again: some depend on the time that
        things take, and this machine may have been busy.
        """
        answers = self._answers[server]
        for _ in range(2):
            if again and answers[name] != expected:
                answers |= anyio.run(self._ask, server, [name])
        return answers[name]

    async def _ask(self, server: str, names: list[str]) -> dict[str, Notes]:
        cases = {name: uuid.uuid4().hex for name in names}
        clients: Notes = {}
        environment = {probes.FOLDER: str(self._folder)}
        pings = any(self._rows[name].pings for name in names)
        running = serving(
            server, "probes:app", self._folder, pings=pings, **environment
        )
        with running as (port, it):
            stop = partial(it.send_signal, signal.SIGTERM)

            async def ask(name: str) -> None:
                row = self._rows[name]
                connecting = real_peer(
                    port,
                    f"/{name}?case={cases[name]}",
                    stop,
                    early=row.early,
                    subprotocols=row.subprotocols,
                    compression=row.compression,
                )
                with anyio.move_on_after(15):
                    clients[name] = await client_of(row, connecting)

            async with anyio.create_task_group() as tasks:
                for name in names:
                    tasks.start_soon(ask, name)
            await self._wait_for_all(list(cases.values()))
        return {
            name: {"client": clients.get(name, ["?"]), "app": self._notes(case)}
            for name, case in cases.items()
        }

    def _notes(self, case: str) -> list[Any]:
        path = self._folder / case
        text = path.read_text() if path.exists() else ""
        return [json.loads(line) for line in text.splitlines()]

    async def _wait_for_all(self, cases: list[str]) -> None:
        """Wait until every application has ended, if they do."""
        with anyio.move_on_after(3):
            for case in cases:
                while not self._is_over(case):  # noqa: ASYNC110  # it is in a file
                    await anyio.sleep(0.05)

    def _is_over(self, case: str) -> bool:
        notes = self._notes(case)
        return bool(notes) and notes[-1][0] == "over"
