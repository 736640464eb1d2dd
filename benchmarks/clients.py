"""Clients side by side, against one fast echo server.

    python benchmarks/clients.py
    python benchmarks/clients.py --rounds 3 --seconds 0.5 --client anyws websockets
    python benchmarks/clients.py --profile pipelined trio anyws

Needs the extras `trio` and `uvloop`, and the dependency group `bench`.

Every round runs each client in turn, in a process of its own on one core; the server,
picows, has the other. Reported are medians of the rounds: messages echoed in a second,
CPU time of the client for each (microseconds), and the median of the ratios to anyws
*within* a round.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections import defaultdict
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Final

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks.client_programs import CELLS, CLIENTS
from benchmarks.measure import prepare
from benchmarks.stacks import WORKERS

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).resolve().parent.parent


def main() -> None:
    """Measure, and print a table for each backend."""
    options = _parser().parse_args()
    cores = prepare()
    with _server(cores.server) as url:
        if options.profile:
            cell, worker, client = options.profile
            _run(client, worker, cell, url, options.seconds, cores.client, profile=True)
            return
        for worker in options.worker:
            _report(worker, options, url, cores.client)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("--seconds", type=float, default=1.0, help="of each load (default: 1)")
    add("--rounds", type=int, default=7, help="(default: 7)")
    add("--worker", nargs="+", choices=WORKERS, default=WORKERS)
    add("--client", nargs="+", choices=CLIENTS, default=list(CLIENTS))
    add("--cell", nargs="+", choices=CELLS, default=list(CELLS))
    add("--profile", nargs=3, metavar=("CELL", "WORKER", "CLIENT"))
    return parser


def _report(
    worker: str, options: argparse.Namespace, url: str, core: int | None
) -> None:
    clients = [name for name in options.client if worker in CLIENTS[name].workers]
    rates: dict[tuple[str, str], list[float]] = defaultdict(list)
    costs: dict[tuple[str, str], list[float]] = defaultdict(list)
    for number in range(options.rounds):
        for cell in options.cell:
            for place in range(len(clients)):
                name = clients[(place + number) % len(clients)]
                rate, cost = _run(name, worker, cell, url, options.seconds, core)
                rates[name, cell].append(rate)
                costs[name, cell].append(cost)
    print(f"\n{worker}: echoes a second, CPU us, anyws / this one")
    print(f"{'':22}" + "".join(f"{cell:>28}" for cell in options.cell))
    for name in clients:
        line = f"{CLIENTS[name].title_on(worker):22}"
        for cell in options.cell:
            ours, theirs = rates["anyws", cell], rates[name, cell]
            ratio = [a / b for a, b in zip(ours, theirs, strict=False)]
            shown = f"{median(ratio):.2f}" if ratio else "-"
            line += (
                f"{median(theirs):>12,.0f}{median(costs[name, cell]):>8.1f}{shown:>8}"
            )
        print(line, flush=True)


@contextmanager
def _server(core: int | None) -> Iterator[str]:
    """Run the echo server on a port of the system's choice."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.echo_server", str(core)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield f"ws://127.0.0.1:{int(process.stdout.readline())}/"
    finally:
        process.terminate()
        process.wait()


def _run(
    name: str,
    worker: str,
    cell: str,
    url: str,
    seconds: float,
    core: int | None,
    *,
    profile: bool = False,
) -> tuple[float, float]:
    """Run one client once; return its rate and what a message cost it (us)."""
    program = [name, worker, cell, url, str(seconds), str(core)]
    if profile:
        program.append("profile")
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.client_programs", *program],
        cwd=ROOT,
        stdout=None if profile else subprocess.PIPE,
        text=True,
        check=True,
    )
    if profile:
        return 0, 0
    result = json.loads(done.stdout)
    return result["count"] / result["seconds"], result["cpu"] / result["count"] * 1e6


if __name__ == "__main__":
    main()
