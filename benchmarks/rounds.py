"""All stacks in turn, round after round, so that what disturbs one disturbs all."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks import measure
from benchmarks.results import Sample
from benchmarks.server import running
from benchmarks.stacks import STACKS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


@dataclass(frozen=True)
class Plan:
    """What to measure, and how long."""

    workers: Sequence[str]
    stacks: Sequence[str]
    cells: Sequence[str]
    seconds: float
    rounds: int
    idle: Sequence[int]  # numbers of connections
    quick: bool = False  # memory of compressed connections, of one worker, will do

    def stacks_on(self, worker: str) -> list[str]:
        """Return those of the stacks that run on this worker."""
        return [
            name
            for name in self.stacks
            if worker in STACKS[name].workers and STACKS[name].missing is None
        ]

    def deflate(self, stack: str) -> set[bool]:
        """Return whether idle connections are to be compressed, or are not, or both."""
        can = STACKS[stack].deflate
        return {can} if self.quick else {False, can}


def loads(plan: Plan, cores: measure.Cores) -> Iterator[list[Sample]]:
    """Measure the loads, and yield what came of each worker in each round.

    Every round has fresh servers, and another of them begins.
    """
    for number in range(plan.rounds):
        for worker in plan.workers:
            yield list(_round(plan, cores, worker, number))


def _round(
    plan: Plan, cores: measure.Cores, worker: str, number: int
) -> Iterator[Sample]:
    names = plan.stacks_on(worker)
    with ExitStack() as exits:
        servers = [
            (name, exits.enter_context(running(name, worker, core=cores.server)))
            for name in names
        ]
        for cell in plan.cells:
            for place in range(len(servers)):
                name, target = servers[(place + number) % len(servers)]
                load = measure.load(target, measure.CELLS[cell], plan.seconds)
                yield Sample(
                    worker,
                    name,
                    cell,
                    number,
                    load.rate,
                    load.cpu_us,
                    load.client_bound,
                )


def idle(plan: Plan, cores: measure.Cores) -> Iterator[list[Sample]]:
    """Measure the memory of idle connections once, each time in a fresh server."""
    for worker in plan.workers[:1] if plan.quick else plan.workers:
        for count in plan.idle:
            for name in plan.stacks_on(worker):
                yield list(_idle(plan, cores, worker, name, count))


def _idle(
    plan: Plan, cores: measure.Cores, worker: str, name: str, count: int
) -> Iterator[Sample]:
    for deflate in sorted(plan.deflate(name)):
        with running(name, worker, core=cores.server) as target:
            silent, used = measure.idle_kib(target, count, deflate=deflate)
        end = "-deflate" if deflate else ""
        yield Sample(worker, name, f"idle-{count}{end}", 0, silent)
        yield Sample(worker, name, f"idle-{count}{end}-echo", 0, used)
