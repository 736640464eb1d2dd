"""This checkout beside another one: what a message, and an idle connection, costs.

    python benchmarks/paired.py --before ../before --python ../before/.venv/bin/python
    python benchmarks/paired.py --before ../before --rounds 3 --cell pipelined idle

Needs the extras `hypercorn`, `trio` and `uvloop`, and the dependency group `bench`, in
the environments of both.

Every round starts fresh servers of both, each with the code (that of `benchmarks/` too)
and the Python of its checkout, and puts each load on one and then on the other, several
times; which of them is first changes each time. The load comes from this process. Shown
are medians of server CPU time per message or connection (microseconds) and of resident
memory per idle connection (KiB), and the median and the range of the ratios of what was
measured side by side: below 1, this checkout takes less. How far a ratio is to be
trusted, this checkout beside itself shows (`--before .`).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections import defaultdict
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Final, Generic, TypeVar

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks import measure
from benchmarks.server import HERE, Checkout, Server, running
from benchmarks.stacks import STACKS, WORKERS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager

    # `running`, of which the keyword `checkout` alone is missing.
    Start = Callable[..., AbstractContextManager[Server]]

T = TypeVar("T")
V = TypeVar("V")
IDLE: Final = "idle"
USUAL: Final = ["ping-pong-64", "ping-pong-512", "pipelined", "64KiB", "handshakes"]
HEAD: Final = ("worker", "stack", "cell", "before", "after", "ratio", "range")


@dataclass(frozen=True)
class Both(Generic[T]):
    """Something of either checkout, and which of them has its turn first."""

    before: T
    after: T
    after_first: bool

    def each(self, work: Callable[[T], V]) -> Both[V]:
        """Do the work for both, in turn, and return what comes of it."""
        if self.after_first:
            after = work(self.after)
            return Both(work(self.before), after, self.after_first)
        return Both(work(self.before), work(self.after), self.after_first)

    def turned(self) -> Both[T]:
        """Return both, the other one first."""
        return replace(self, after_first=not self.after_first)


def main() -> None:
    """Measure, and print the table."""
    options = _parser().parse_args()
    cores = measure.prepare()
    # Not resolved, as the Python of an environment is a link to another one.
    before = Checkout(options.before.resolve(), str(options.python.absolute()))
    for line in _about(options, cores, before):
        print(line, flush=True)
    costs: dict[tuple[str, str, str], list[Both[float]]] = defaultdict(list)
    for worker, stack, cell, cost in _measure(options, cores, before):
        costs[worker, stack, cell].append(cost)
    print(_line(HEAD))
    print(_line(["---"] * 3 + ["---:"] * 4))
    for key, turns in costs.items():
        print(_line([*key, *_figures(turns)]))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("--before", type=Path, required=True, help="the root of the other checkout")
    add(
        "--python",
        type=Path,
        default=Path(sys.executable),
        help="the path of the Python of its servers (default: this one)",
    )
    add("--seconds", type=float, default=0.5, help="of each load (default: 0.5)")
    add("--turns", type=int, default=3, help="of each load in a round (default: 3)")
    add("--rounds", type=int, default=7, help="(default: 7)")
    add("--worker", nargs="+", choices=WORKERS, default=["trio", "asyncio"])
    add(
        "--stack",
        nargs="+",
        choices=STACKS,
        default=["engine+anyws", "hypercorn+anyws"],
        metavar="STACK",
        help=f"of {', '.join(STACKS)} (default: engine+anyws hypercorn+anyws)",
    )
    cells = [*measure.CELLS, IDLE]
    add("--cell", nargs="+", choices=cells, default=[*USUAL, IDLE])
    add("--idle", type=int, default=1000, help="connections (default: 1000)")
    return parser


def _about(
    options: argparse.Namespace, cores: measure.Cores, before: Checkout
) -> Iterator[str]:
    yield f"Before: {_traits(before)}. After: {_traits(HERE)}."
    times = f"{options.turns} times {options.seconds:g} s a load"
    yield f"{options.rounds} rounds, in each {times}."
    yield f"Server on core {cores.server}, client on core {cores.client}."
    yield f"Load average at the start: {os.getloadavg()[0]:.2f}."
    yield ""


def _traits(checkout: Checkout) -> str:
    """Return what a server of the checkout imports, and its version of Python."""
    program = "import anyws, platform as p; print(anyws.__file__, p.python_version())"
    command = [checkout.python, "-c", program]
    done = subprocess.run(
        command, cwd=checkout.root, stdout=subprocess.PIPE, text=True, check=True
    )
    return "{}, Python {}".format(*done.stdout.split())


def _measure(
    options: argparse.Namespace, cores: measure.Cores, before: Checkout
) -> Iterator[tuple[str, str, str, Both[float]]]:
    """Yield worker, stack, cell, and what a message or a connection cost in a turn."""
    for number in range(options.rounds):
        for worker, stack in product(options.worker, options.stack):
            if worker not in STACKS[stack].workers:
                continue
            start = partial(running, stack, worker, core=cores.server)
            checkouts = Both(before, HERE, after_first=number % 2 == 1)
            for cell, cost in _round(options, start, checkouts):
                yield worker, stack, cell, cost
            print(f"round {number + 1}: {worker}, {stack}: done", file=sys.stderr)


def _round(
    options: argparse.Namespace, start: Start, checkouts: Both[Checkout]
) -> Iterator[tuple[str, Both[float]]]:
    cells = [cell for cell in options.cell if cell != IDLE]
    if cells:
        with ExitStack() as exits:
            targets = checkouts.each(
                lambda checkout: exits.enter_context(start(checkout=checkout))
            )
            targets.each(_warm_up)
            for cell, _ in product(cells, range(options.turns)):
                load = partial(_cpu_us, cell=cell, seconds=options.seconds)
                yield cell, targets.each(load)
                targets = targets.turned()
    if IDLE in options.cell:
        memory = checkouts.each(partial(_idle_kib, start=start, count=options.idle))
        yield f"idle-{options.idle}", memory.each(lambda kib: kib[0])
        yield f"idle-{options.idle}-echo", memory.each(lambda kib: kib[1])


def _warm_up(target: Server) -> None:
    """Let the server import all that it needs."""
    measure.load(target, measure.CELLS["ping-pong-1"], measure.WARM_UP)


def _cpu_us(target: Server, *, cell: str, seconds: float) -> float:
    return measure.load(target, measure.CELLS[cell], seconds).cpu_us


def _idle_kib(checkout: Checkout, *, start: Start, count: int) -> tuple[float, float]:
    """Return the memory of a silent connection, and of one that has echoed."""
    with start(checkout=checkout) as target:
        return measure.idle_kib(target, count, deflate=False)


def _figures(turns: list[Both[float]]) -> Iterator[str]:
    yield f"{median(cost.before for cost in turns):.1f}"
    yield f"{median(cost.after for cost in turns):.1f}"
    # In a short run all memory may fit into what the server had free.
    ratios = [cost.after / cost.before for cost in turns if cost.before > 0]
    if not ratios:
        yield from ("-", "-")
        return
    yield f"{median(ratios):.2f}"
    yield f"{min(ratios):.2f} to {max(ratios):.2f}"


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
