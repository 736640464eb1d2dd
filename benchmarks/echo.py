"""Echo under stock Hypercorn: anyws against Starlette's `WebSocket` class.

    python benchmarks/echo.py [--seconds S] [--rounds N] [--worker trio asyncio uvloop]
    python benchmarks/echo.py --quick
    python benchmarks/echo.py --profile pipelined trio anyws

Every round starts a fresh server of each class and measures them in turn, cell by cell,
so that what disturbs the machine disturbs all. Servers share one core, the client has
another. Reported are medians of the rounds, and medians of the ratios *within* a round.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import sys
from collections import defaultdict
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks import measure, profiling, server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

# (deflate, echo): title of a row of the memory table
MEMORY = {
    (False, False): "no compression, nothing sent",
    (False, True): "no compression, after one echo",
    (True, False): "permessage-deflate, nothing sent",
    (True, True): "permessage-deflate, after one echo",
}
Key = tuple[str, str, str]  # worker, cell, app
Results = dict[Key, list[measure.Load]]


def main() -> None:
    """Measure and print."""
    options = _options()
    cores = measure.pin()
    _raise_file_limit(2 * options.connections + 200)
    if options.profile:
        cell, worker, app = options.profile
        _say(profiling.report(measure.CELLS[cell], worker, app, cores, options.seconds))
        return
    _say(_machine(cores, options))
    if options.rounds:
        _say(_tables(_measure_loads(options, cores), options))
    if options.connections:
        _say(_memory_table(options, cores))
    _say([f"Load average at the end: {os.getloadavg()[0]:.2f}."])


def _options() -> argparse.Namespace:
    summary = (__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser(description=summary)
    add = parser.add_argument
    add("--seconds", type=float, default=1.0, help="of each load (default: 1)")
    add("--rounds", type=int, default=7, help="0: memory only (default: 7)")
    add(
        "--worker",
        nargs="+",
        choices=server.WORKERS,
        default=["trio", "asyncio"],
        help="of Hypercorn (default: trio asyncio)",
    )
    add(
        "--app",
        nargs="+",
        choices=server.APPS,
        default=["starlette", "anyws", "anyws-iter"],
        help="what to compare; the first is the yardstick (default: the guarded twin, "
        "and `async for`, against Starlette)",
    )
    add("--cell", nargs="+", choices=measure.CELLS, default=list(measure.CELLS))
    add(
        "--connections",
        type=int,
        default=1000,
        help="idle, for the memory table; 0: none (default: 1000)",
    )
    add("--quick", action="store_true", help="a smoke run, not a measurement")
    add(
        "--profile",
        nargs=3,
        metavar=("CELL", "WORKER", "APP"),
        help="profile one server instead",
    )
    options = parser.parse_args()
    if options.profile:
        _check_profile(parser, options.profile)
    if options.quick:
        options.seconds, options.rounds, options.connections = 0.1, 1, 40
    return options


def _check_profile(parser: argparse.ArgumentParser, values: list[str]) -> None:
    known = [[*measure.CELLS], [*server.WORKERS], [*server.APPS]]
    for value, choices in zip(values, known, strict=True):
        if value not in choices:
            parser.error(f"--profile: {value!r} is none of {', '.join(choices)}")


def _raise_file_limit(files: int) -> None:
    """Raise the limit on open files, which the servers inherit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < files:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))


def _measure_loads(options: argparse.Namespace, cores: measure.Cores) -> Results:
    results: Results = defaultdict(list)
    for number in range(options.rounds):
        for worker in options.worker:
            with ExitStack() as stack:
                servers = {
                    app: stack.enter_context(
                        server.running(app, worker, core=cores.server)
                    )
                    for app in options.app
                }
                _measure_round(results, options, worker, servers, number)
    return results


def _measure_round(
    results: Results,
    options: argparse.Namespace,
    worker: str,
    servers: dict[str, server.Server],
    number: int,
) -> None:
    turn = number % len(servers)
    order = [*servers.items()][turn:] + [*servers.items()][:turn]
    for name in options.cell:
        for app, target in order:
            result = measure.load(target, measure.CELLS[name], options.seconds)
            results[worker, name, app].append(result)


def _tables(results: Results, options: argparse.Namespace) -> Iterator[str]:
    yield "### Messages echoed a second"
    yield ""
    yield from _table(results, options, lambda load: load.rate, "{:,.0f}")
    yield ""
    yield "### Server CPU time per message (microseconds)"
    yield ""
    yield from _table(results, options, lambda load: load.cpu_us, "{:.1f}")
    yield ""


def _table(
    results: Results,
    options: argparse.Namespace,
    value: Callable[[measure.Load], float],
    form: str,
) -> Iterator[str]:
    base, *others = options.app
    columns = ["worker", "cell", base]
    for app in others:
        columns += [app, f"{app} ÷ {base}"]
    yield from _head(columns, left=2)
    for worker in options.worker:
        for name in options.cell:
            values = {
                app: [value(load) for load in results[worker, name, app]]
                for app in options.app
            }
            cells = [worker, measure.CELLS[name].title, _spread(values[base], form)]
            for app in others:
                pairs = zip(values[app], values[base], strict=True)
                cells.append(_spread(values[app], form))
                cells.append(f"**{_spread([a / b for a, b in pairs], '{:.2f}')}**")
            yield _line(cells)


def _memory_table(options: argparse.Namespace, cores: measure.Cores) -> Iterator[str]:
    base, *others = options.app
    columns = ["worker", "connections", base]
    for app in others:
        columns += [app, "difference", "ratio"]
    yield f"### Resident memory per idle connection, of {options.connections} (KiB)"
    yield ""
    yield from _head(columns, left=2)
    for worker in options.worker:
        for (deflate, echo), title in MEMORY.items():
            if options.quick and not (deflate and echo):
                continue
            kib = {}
            for app in options.app:
                with server.running(app, worker, core=cores.server) as target:
                    kib[app] = measure.idle_kib(
                        target, options.connections, deflate=deflate, echo=echo
                    )
            yield _line([worker, title, *_compared(kib.pop(base), kib.values())])
    yield ""


def _compared(base: float, others: Iterable[float]) -> Iterator[str]:
    """Format a number of KiB and, with differences and ratios, others."""
    yield f"{base:.1f}"
    for kib in others:
        yield f"{kib:.1f}"
        yield f"{kib - base:+.1f}"
        # In a smoke run all may fit into what the server had free.
        yield f"**{kib / base:.2f}**" if base > 1 else ""


def _spread(values: list[float], form: str) -> str:
    """Format the median and, if there are several values, the range."""
    middle = form.format(median(values))
    if len(values) == 1:
        return middle
    return f"{middle} ({form.format(min(values))}-{form.format(max(values))})"


def _head(columns: list[str], *, left: int) -> Iterator[str]:
    yield _line(columns)
    yield _line(["---"] * left + ["---:"] * (len(columns) - left))


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _machine(cores: measure.Cores, options: argparse.Namespace) -> Iterator[str]:
    packages = ("hypercorn", "starlette", "anyio", "trio", "wsproto")
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    yield f"Python {platform.python_version()}, {versions}."
    yield (
        f"{options.rounds} rounds of {options.seconds:g} s a load: "
        "median (lowest-highest); ratios are taken within a round."
    )
    pinned = f"server on core {cores.server}, client on core {cores.client}"
    yield f"{'Not pinned' if cores.server is None else pinned}."
    yield f"Load average at the start: {os.getloadavg()[0]:.2f}."
    yield ""


def _say(lines: Iterable[str]) -> None:
    for line in lines:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
