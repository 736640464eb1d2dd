"""Python calls that an echo and a close cost: how long the road through the code is.

    python benchmarks/calls.py
    python benchmarks/calls.py --scenario engine --backend trio
    python benchmarks/calls.py --list engine-trio

Needs the extras `hypercorn` and `trio`. It traces the anyws that its Python has
installed, by public names alone: run by the Python of another checkout's environment,
it counts the calls of that checkout.

A call is a "call" event of `sys.setprofile` in the thread of the event loop, in a file
of anyws or of Hypercorn. Every task of the server is traced; the client has a thread of
its own. A coroutine counts once when it starts, and once more each time it is resumed:
of a task that waited, every frame between the event loop and what it waited for. Code
that has no file (of a dataclass, say), the handler, and other libraries do not count.

`engine` and `stock` are one echo by `@anyws.endpoint`, as its handler sees it: from the
call of one receive, which waits, over the send of what it has returned, to the return
of the next receive. So two messages come in and one goes out; what is under way between
two messages, of the tasks of the server, is counted too. `own-close` is `await
ws.close(4000)` up to the end of the block, on a channel in memory; `peer-close` goes
from the arrival of the disconnect, over a receive that raises it, to there. Each is
done several times, and the shortest is shown: trio takes tasks that are ready in a
random order, so that a close may take a call more; an echo never does.

The columns: calls, files that they are in, and how often a call is in another file than
the call before it. `--list` prints the calls in order, each with the line it is at: the
first line of the function, or where a resumed coroutine had waited.
"""

from __future__ import annotations

import argparse
import socket
import sys
from collections import deque
from collections.abc import Callable, Coroutine, MutableMapping
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anyio
import hypercorn
import hypercorn.asyncio
import hypercorn.trio
from anyio import from_thread, to_thread
from anyio.lowlevel import checkpoint

# Last, as the anyws that is installed comes first.
sys.path.append(str(Path(__file__).resolve().parent.parent))
import anyws
import anyws.hypercorn
from benchmarks import wire

if TYPE_CHECKING:
    from types import FrameType

Event = MutableMapping[str, Any]
BACKENDS: Final = ("trio", "asyncio")
REPEATS: Final = 20
FOLDERS: Final = [Path(str(package.__file__)).parent for package in (anyws, hypercorn)]
SCOPE: Final = {
    "type": "websocket",
    "path": "/",
    "query_string": b"",
    "headers": [],
    "subprotocols": [],
}


@dataclass(frozen=True)
class Call:
    """A call of a function, or a coroutine that is resumed."""

    file: str
    line: int
    name: str


class Trace:
    """The calls that the thread makes inside the `with` block, in order."""

    def __init__(self) -> None:
        self._folders = tuple(f"{folder}/" for folder in FOLDERS)
        self.calls: list[Call] = []

    def __enter__(self) -> Trace:
        sys.setprofile(self._note)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def _note(self, frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(self._folders):
            call = Call(code.co_filename, frame.f_lineno, code.co_qualname)
            self.calls.append(call)


class Channel:
    """An ASGI server's `receive` and `send` in memory; the peer answers a close."""

    def __init__(self) -> None:
        self._events = deque[Event]([{"type": "websocket.connect"}])
        self._arrived = anyio.Event()

    def leave(self, code: int) -> None:
        """Let the peer leave."""
        self._events.append({"type": "websocket.disconnect", "code": code})
        self._arrived.set()

    async def receive(self) -> Event:
        """Return the next event."""
        await checkpoint()
        while not self._events:
            self._arrived = anyio.Event()
            await self._arrived.wait()
        return self._events.popleft()

    async def send(self, event: Event) -> None:
        """Take an event, in two turns of the event loop, as servers may."""
        await checkpoint()
        await checkpoint()
        if event["type"] == "websocket.close":
            self.leave(1000)


async def _close(scenario: str, _: str) -> list[list[Call]]:
    return [await _close_once(scenario) for _ in range(REPEATS)]


async def _close_once(scenario: str) -> list[Call]:
    channel = Channel()
    ws = anyws.WebSocket(dict(SCOPE), channel.receive, channel.send)
    with Trace() as trace:
        async with ws:
            await ws.accept()
            await anyio.wait_all_tasks_blocked()
            begun = len(trace.calls)
            if scenario == "own-close":
                await ws.close(4000)
            else:
                channel.leave(1001)
                try:
                    await ws.receive_text()
                except anyws.WebSocketDisconnect:
                    pass
    return trace.calls[begun:]


async def _echo(scenario: str, backend: str) -> list[list[Call]]:
    """Serve a client that has a thread of its own, and return the calls per echo."""
    begun: list[int] = []  # of each receive, the calls before it
    ended: list[int] = []

    @anyws.endpoint
    async def app(ws: anyws.WebSocket) -> None:
        await ws.accept()
        while True:
            begun.append(len(trace.calls))
            message = await ws.receive_text()
            ended.append(len(trace.calls))
            await ws.send_text(message)

    over = anyio.Event()
    listener = socket.create_server(("127.0.0.1", 0))
    address = listener.getsockname()
    config = hypercorn.Config()
    config.errorlog = None
    config.bind = [f"fd://{listener.detach()}"]  # which the server closes
    serve = _server(scenario, backend)
    with Trace() as trace:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(partial(serve, app, config, shutdown_trigger=over.wait))
            await to_thread.run_sync(_talk, address)
            over.set()
    # Not from the first receive, which nothing was sent before.
    windows = zip(begun[1:], ended[2:], strict=False)
    return [trace.calls[begin:end] for begin, end in windows]


def _server(scenario: str, backend: str) -> Callable[..., Coroutine[Any, Any, None]]:
    if scenario == "engine":
        return anyws.hypercorn.serve
    return hypercorn.trio.serve if backend == "trio" else hypercorn.asyncio.serve


def _talk(address: tuple[str, int]) -> None:
    """Exchange messages, each when the server has done all that the last one takes."""
    peer = wire.WebSocketPeer()
    exchange = peer.exchange(32)
    with wire.connect(peer, address) as connection:
        for _ in range(REPEATS + 1):
            from_thread.run(anyio.wait_all_tasks_blocked)
            peer.echo_once(connection, exchange)


SCENARIOS: Final[
    dict[str, Callable[[str, str], Coroutine[Any, Any, list[list[Call]]]]]
] = {"engine": _echo, "stock": _echo, "own-close": _close, "peer-close": _close}


def traced(scenario: str, backend: str) -> list[Call]:
    """Return the calls of the scenario, of several times the shortest."""
    windows = anyio.run(SCENARIOS[scenario], scenario, backend, backend=backend)
    return min(windows, key=figures)


def figures(calls: list[Call]) -> tuple[int, int, int]:
    """Return the numbers of calls, of files, and of moves between files."""
    files = [call.file for call in calls]
    return len(files), len(set(files)), sum(a != b for a, b in pairwise(files))


def main() -> None:
    """Trace, and print a table or a list."""
    options = _parser().parse_args()
    if options.list:
        scenario, _, backend = options.list.rpartition("-")
        for call in traced(scenario, backend):
            print(f"{_short(call.file)}:{call.line} {call.name}")
        return
    print(f"anyws of {FOLDERS[0].parent}\n")
    print(f"{'':22}{'calls':>8}{'files':>8}{'moves between files':>22}")
    for scenario in options.scenario:
        for backend in options.backend:
            calls, files, moves = figures(traced(scenario, backend))
            print(f"{scenario}-{backend:{21 - len(scenario)}}", end="")
            print(f"{calls:>8}{files:>8}{moves:>22}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    names = [f"{scenario}-{backend}" for scenario in SCENARIOS for backend in BACKENDS]
    add("--scenario", nargs="+", choices=SCENARIOS, default=list(SCENARIOS))
    add("--backend", nargs="+", choices=BACKENDS, default=BACKENDS)
    add("--list", choices=names, help="print the calls of one scenario instead")
    return parser


def _short(file: str) -> str:
    """Return the path inside the folder that the package is in."""
    folder = next(folder for folder in FOLDERS if file.startswith(f"{folder}/"))
    return str(Path(file).relative_to(folder.parent))


if __name__ == "__main__":
    main()
