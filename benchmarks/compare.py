"""Echo servers side by side: ours, their rivals, and TCP alone.

    python benchmarks/compare.py --save results.json --plot docs/images/results.svg
    python benchmarks/compare.py --read results.json --plot docs/images/results.svg
    python benchmarks/compare.py --quick
    python benchmarks/compare.py --profile pipelined trio engine+anyws

Needs the extras `hypercorn`, `trio` and `uvloop`, and the dependency group `bench`.

Every round starts a fresh server of each kind and measures them in turn, cell by cell,
so that what disturbs the machine disturbs all. Servers share one core, the client has
another. Reported are medians of the rounds, and medians of the ratios *within* a round.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks import measure, profiling, rounds
from benchmarks.results import Results
from benchmarks.stacks import STACKS, USUAL, WORKERS
from benchmarks.tables import tables

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PACKAGES = (
    *("aiohttp", "anyio", "hypercorn", "picows", "starlette", "trio"),
    *("trio-websocket", "uvicorn", "uvloop", "websockets", "wsproto"),
)


def main() -> None:
    """Measure, or read, and print."""
    parser = _parser()
    options = parser.parse_args()
    if options.profile:
        _say(_profile(parser, options))
        return
    if options.quick:
        options.seconds, options.rounds, options.idle = 0.05, 1, [40]
    results = Results.load(options.read) if options.read else _measure(options)
    _say(tables(results))
    if options.plot:
        from benchmarks.plot import draw  # only this needs Matplotlib

        draw(results, options.plot)


def _parser() -> argparse.ArgumentParser:
    summary = (__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser(description=summary)
    add = parser.add_argument
    add("--seconds", type=float, default=1.0, help="of each load (default: 1)")
    add("--rounds", type=int, default=7, help="0: memory only (default: 7)")
    add("--worker", nargs="+", choices=WORKERS, default=WORKERS)
    add(
        "--stack",
        nargs="+",
        choices=STACKS,
        default=USUAL,
        metavar="STACK",
        help=f"of {', '.join(STACKS)} (default: {', '.join(USUAL)})",
    )
    add("--cell", nargs="+", choices=measure.CELLS, default=list(measure.CELLS))
    add(
        "--idle",
        nargs="*",
        type=int,
        default=[1000, 5000],
        metavar="CONNECTIONS",
        help="for memory per idle connection; none: not measured (default: 1000 5000)",
    )
    add("--quick", action="store_true", help="a smoke run, not a measurement")
    add("--save", type=Path, metavar="JSON", help="keep the results, after each round")
    add("--read", type=Path, metavar="JSON", help="show kept results; measure nothing")
    add("--plot", type=Path, metavar="SVG", help="draw the results")
    add(
        "--profile",
        nargs=3,
        metavar=("CELL", "WORKER", "STACK"),
        help="profile one server instead",
    )
    return parser


def _profile(
    parser: argparse.ArgumentParser, options: argparse.Namespace
) -> Iterator[str]:
    cell, worker, stack = options.profile
    known: list[Iterable[str]] = [measure.CELLS, WORKERS, STACKS]
    for value, choices in zip(options.profile, known, strict=True):
        if value not in choices:
            parser.error(f"--profile: {value!r} is none of {', '.join(choices)}")
    if worker not in STACKS[stack].workers:
        parser.error(f"--profile: {stack} does not run on {worker}")
    return profiling.report(
        measure.CELLS[cell], worker, stack, measure.prepare(), options.seconds
    )


def _measure(options: argparse.Namespace) -> Results:
    cores = measure.prepare()
    plan = rounds.Plan(
        options.worker,
        options.stack,
        options.cell,
        options.seconds,
        options.rounds,
        options.idle,
        options.quick,
    )
    for name in options.stack:
        if missing := STACKS[name].missing:
            print(f"{name} is left out: {missing} is not installed", file=sys.stderr)
    results = Results(_about(cores, options))
    for samples in chain(rounds.loads(plan, cores), rounds.idle(plan, cores)):
        results.samples += samples
        if options.save:
            results.save(options.save)
        for last in samples[-1:]:  # there, it does not mix with the tables
            where = f"{last.worker}, {last.stack}, {last.cell}"
            print(f"round {last.round + 1}: {where}: done", file=sys.stderr)
    return results


def _about(cores: measure.Cores, options: argparse.Namespace) -> list[str]:
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    pinned = f"Server on core {cores.server}, client on core {cores.client}"
    return [
        f"Python {platform.python_version()}, {versions}.",
        f"{options.rounds} rounds of {options.seconds:g} s a load.",
        f"{'Not pinned' if cores.server is None else pinned}.",
        f"Load average at the start: {os.getloadavg()[0]:.2f}.",
    ]


def _say(lines: Iterable[str]) -> None:
    for line in lines:
        print(line, flush=True)


if __name__ == "__main__":
    main()
