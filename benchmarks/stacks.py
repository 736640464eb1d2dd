"""What is compared: servers with applications, libraries that serve alone, and TCP."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

WORKERS = ("trio", "asyncio", "uvloop")
ASYNCIO_WORKERS = ("asyncio", "uvloop")
# Measured unless others are named; first in the tables and in the plot.
USUAL = (
    "hypercorn+starlette",
    "hypercorn+anyws",
    "engine+starlette",
    "engine+anyws",
    "serve+anyws",
    "uvicorn+starlette",
    "uvicorn-sansio+starlette",
    "uvicorn-class+starlette",
    "granian+starlette",
    "aiohttp",
    "picows",
    "websockets",
    "trio-websocket",
    "raw",
)
# The first is the yardstick on every worker, the other on trio as well.
YARDSTICKS = {
    "trio": ("hypercorn+starlette", "websockets"),
    "asyncio": ("hypercorn+starlette",),
    "uvloop": ("hypercorn+starlette",),
}


@dataclass(frozen=True)
class Stack:
    """A server with what runs on it.

    `command` makes, of a worker and the file descriptor of a listening socket, the name
    of a module to run as a script, and its arguments.
    """

    title: str  # {family}: "trio" or "asyncio"
    command: Callable[[str, str], list[str]]
    workers: tuple[str, ...] = WORKERS
    deflate: bool = True
    raw: bool = False  # an echo of bytes, not of messages
    package: str | None = None  # without which it is left out

    @property
    def missing(self) -> str | None:
        """Return the package that is not installed, if there is one."""
        absent = self.package and find_spec(self.package) is None
        return self.package if absent else None

    def title_on(self, worker: str) -> str:
        """Return the title under this worker."""
        return self.title.format(family="trio" if worker == "trio" else "asyncio")


def _hypercorn(app: str, module: str = "hypercorn") -> Callable[[str, str], list[str]]:
    return lambda worker, fd: [
        *(module, "--workers", "0", "--worker-class", worker),
        *("--bind", f"fd://{fd}", app),
    ]


def _uvicorn(app: str, ws: str = "auto") -> Callable[[str, str], list[str]]:
    return lambda worker, fd: [
        *("uvicorn", "--loop", worker, "--fd", fd, "--ws", ws),
        *("--log-level", "warning", "--no-access-log", app),
    ]


def _alone(name: str) -> Callable[[str, str], list[str]]:
    def command(worker: str, fd: str) -> list[str]:
        family = "trio" if worker == "trio" else "asyncio"
        return [f"benchmarks.{family}_servers", name, worker, fd]

    return command


def _catalogue() -> dict[str, Stack]:
    stacks = {}
    for name, app, title in (
        ("starlette", "benchmarks.starlette_apps:echo", "Starlette"),
        ("anyws", "benchmarks.anyws_apps:echo", "anyws"),
        ("anyws-iter", "benchmarks.anyws_apps:iterate", "anyws, `async for`"),
        ("anyws-plain", "benchmarks.anyws_apps:plain", "anyws, the class alone"),
    ):
        engine = _hypercorn(app, "anyws.hypercorn")
        stacks[f"hypercorn+{name}"] = Stack(f"Hypercorn + {title}", _hypercorn(app))
        stacks[f"engine+{name}"] = Stack(f"anyws.hypercorn + {title}", engine)
        for end, ws, words in (
            ("", "auto", ""),
            ("-sansio", "websockets-sansio", " (sansio)"),
            ("-class", "anyws.uvicorn:WebSocketProtocol", " (our class)"),
        ):
            stacks[f"uvicorn{end}+{name}"] = Stack(
                f"uvicorn{words} + {title}", _uvicorn(app, ws), workers=ASYNCIO_WORKERS
            )
    stacks["serve+anyws"] = Stack(
        "anyws.serve", lambda worker, fd: ["benchmarks.anyws_server", worker, fd]
    )
    for name, title in (
        ("granian+starlette", "granian + Starlette"),
        ("aiohttp", "aiohttp"),
        ("picows", "picows"),
    ):
        stacks[name] = Stack(
            title,
            _alone(name),
            workers=ASYNCIO_WORKERS,
            deflate=name == "aiohttp",
            package=name.partition("+")[0],
        )
    stacks["websockets"] = Stack("websockets.{family}", _alone("websockets"))
    stacks["trio-websocket"] = Stack(
        "trio-websocket", _alone("trio-websocket"), workers=("trio",), deflate=False
    )
    stacks["raw"] = Stack("TCP alone", _alone("raw"), deflate=False, raw=True)
    return {name: stacks[name] for name in dict.fromkeys((*USUAL, *stacks))}


STACKS = _catalogue()
