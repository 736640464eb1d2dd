"""What has been measured, and what follows from it; as JSON, too."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.stacks import STACKS, WORKERS

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Sample:
    """One measurement: of a load a rate, of idle connections KiB."""

    worker: str
    stack: str
    cell: str
    round: int
    value: float
    cpu_us: float | None = None  # server CPU time per message
    client_bound: bool = False  # the client was slower than the server


@dataclass
class Results:
    """All samples of a run, and the lines that say what and where it was."""

    about: list[str]
    samples: list[Sample] = field(default_factory=list)

    @classmethod
    def load(cls, path: Path) -> Results:
        """Read what `save` has written."""
        data = json.loads(path.read_text())
        return cls(data["about"], [Sample(**sample) for sample in data["samples"]])

    def save(self, path: Path) -> None:
        """Write all to a file, one sample a line."""
        samples = ",\n  ".join(json.dumps(asdict(sample)) for sample in self.samples)
        about = json.dumps(self.about, indent=2)
        path.write_text(f'{{"about": {about},\n"samples": [\n  {samples}\n]}}\n')

    @property
    def workers(self) -> list[str]:
        """The workers that were measured, in the usual order."""
        found = {sample.worker for sample in self.samples}
        return [worker for worker in WORKERS if worker in found]

    def stacks(self, worker: str) -> list[str]:
        """Return the stacks that were measured, in the usual order."""
        found = {sample.stack for sample in self.samples if sample.worker == worker}
        return [stack for stack in STACKS if stack in found]

    def of(self, worker: str, stack: str, cell: str) -> list[Sample]:
        """Return the samples of one cell, in the order of the rounds."""
        return [
            sample
            for sample in self.samples
            if (sample.worker, sample.stack, sample.cell) == (worker, stack, cell)
        ]

    def value(self, worker: str, stack: str, cell: str) -> float | None:
        """Return the median."""
        values = [sample.value for sample in self.of(worker, stack, cell)]
        return median(values) if values else None

    def ratio(self, worker: str, stack: str, base: str, cell: str) -> float | None:
        """Return the median of the ratios to `base` within each round."""
        bases = {sample.round: sample.value for sample in self.of(worker, base, cell)}
        ratios = [
            sample.value / bases[sample.round]
            for sample in self.of(worker, stack, cell)
            # In a smoke run all memory may fit into what the server had free.
            if bases.get(sample.round, 0) > 0
        ]
        return median(ratios) if ratios else None
