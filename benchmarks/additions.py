"""What typed messages, `Guarded` and an observer add to the cost of a message.

    python benchmarks/additions.py
    python benchmarks/additions.py --worker trio --rounds 3 --addition typed

Needs the extras `fastapi`, `hypercorn`, `msgspec`, `trio` and `uvloop`. Each round
starts a server without and one with the addition, and puts each load on one and then on
the other, several times; which is first changes each time. Shown are medians of server
CPU time per message (microseconds), and of the ratios of what was measured side by
side.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import defaultdict
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from statistics import median
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks import measure
from benchmarks.server import running
from benchmarks.stacks import STACKS, WORKERS, Stack
from benchmarks.wire import TEXT, Exchange, WebSocketPeer, frame


class JsonPeer(WebSocketPeer):
    """A peer whose messages are JSON, as `Said` in addition_apps.py."""

    def exchange(self, size: int, *, binary: bool = False) -> Exchange:
        """Make a message of `size` bytes."""
        payload = b'{"text":"%s"}' % (b"m" * (size - 11))
        return Exchange(frame(TEXT, payload, masked=True), frame(TEXT, payload))


@dataclass(frozen=True)
class Addition:
    """An application without and with something, a server, and the ratio aimed at."""

    without: str
    with_it: str
    server: str
    aim: float


_APPS: Final = "addition_apps"
_FASTAPI: Final = "addition_fastapi_apps"
ADDITIONS: Final = {
    "typed": Addition(f"{_APPS}:untyped", f"{_APPS}:typed", "anyws.hypercorn", 1.2),
    "guarded": Addition(
        f"{_FASTAPI}:middleware", f"{_FASTAPI}:guarded", "hypercorn", 1.1
    ),
    "observer": Addition(
        f"{_APPS}:untyped", f"{_APPS}:observed", "anyws.hypercorn", 1.05
    ),
}


def main() -> None:
    """Measure, and print the table."""
    options = _parser().parse_args()
    cores = measure.prepare()
    print(f"Load average at the start: {os.getloadavg()[0]:.2f}.\n")
    costs: dict[tuple[str, str, str], list[tuple[float, float]]] = defaultdict(list)
    for _, worker, name in product(
        range(options.rounds), options.worker, options.addition
    ):
        each = ADDITIONS[name]
        with ExitStack() as exits:
            targets = []
            for app in (each.without, each.with_it):
                start = running(_stack(each.server, app), worker, core=cores.server)
                target = replace(exits.enter_context(start), peer=JsonPeer())
                # One at a time: an import of all that is needed takes seconds.
                measure.load(target, measure.CELLS["ping-pong-1"], measure.WARM_UP)
                targets.append(target)
            for cell, turn in product(options.cell, range(options.turns)):
                order = (0, 1) if turn % 2 else (1, 0)
                found = {
                    index: measure.load(
                        targets[index], measure.CELLS[cell], options.seconds
                    ).cpu_us
                    for index in order
                }
                costs[name, worker, cell].append((found[0], found[1]))
    print("| addition | worker | cell | without | with | ratio | aim |")
    print("| --- | --- | --- | ---: | ---: | ---: | ---: |")
    for (name, worker, cell), turns in costs.items():
        without, with_it = (median(turn[index] for turn in turns) for index in (0, 1))
        ratio = median(turn[1] / turn[0] for turn in turns)
        figures = f"{without:.1f} | {with_it:.1f} | {ratio:.2f} | {ADDITIONS[name].aim}"
        print(f"| {name} | {worker} | {cell} | {figures} |")


def _stack(server: str, app: str) -> str:
    """Return the name of a stack that runs one of the applications."""
    name = f"{server}+{app}"
    STACKS.setdefault(
        name,
        Stack(
            name,
            lambda worker, fd: [
                *(server, "--workers", "0", "--worker-class", worker),
                *("--bind", f"fd://{fd}", f"benchmarks.{app}"),
            ],
        ),
    )
    return name


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("--seconds", type=float, default=0.5, help="of each load (default: 0.5)")
    add("--turns", type=int, default=4, help="of each load in a round (default: 4)")
    add("--rounds", type=int, default=5, help="(default: 5)")
    add("--worker", nargs="+", choices=WORKERS, default=["trio", "asyncio"])
    add("--addition", nargs="+", choices=ADDITIONS, default=list(ADDITIONS))
    add("--cell", nargs="+", choices=measure.CELLS, default=["ping-pong-64"])
    return parser


if __name__ == "__main__":
    main()
