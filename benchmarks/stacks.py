"""What is compared: servers with applications, libraries that serve alone, and TCP."""

from __future__ import annotations

from dataclasses import dataclass
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
    "uvicorn+starlette",
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

    def title_on(self, worker: str) -> str:
        """Return the title under this worker."""
        return self.title.format(family="trio" if worker == "trio" else "asyncio")


def _hypercorn(app: str, module: str = "hypercorn") -> Callable[[str, str], list[str]]:
    return lambda worker, fd: [
        *(module, "--workers", "0", "--worker-class", worker),
        *("--bind", f"fd://{fd}", app),
    ]


def _uvicorn(app: str) -> Callable[[str, str], list[str]]:
    return lambda worker, fd: [
        *("uvicorn", "--loop", worker, "--fd", fd),
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
        stacks[f"uvicorn+{name}"] = Stack(
            f"uvicorn + {title}", _uvicorn(app), workers=ASYNCIO_WORKERS
        )
    stacks["websockets"] = Stack("websockets.{family}", _alone("websockets"))
    stacks["trio-websocket"] = Stack(
        "trio-websocket", _alone("trio-websocket"), workers=("trio",), deflate=False
    )
    stacks["raw"] = Stack("TCP alone", _alone("raw"), deflate=False, raw=True)
    return {name: stacks[name] for name in dict.fromkeys((*USUAL, *stacks))}


STACKS = _catalogue()
