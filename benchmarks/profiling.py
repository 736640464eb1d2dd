"""One cell under cProfile: where the server's time goes, per message."""

from __future__ import annotations

import pstats
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from benchmarks import measure, server

if TYPE_CHECKING:
    from collections.abc import Iterator

    # (file, line, name): (primitive calls, calls, own seconds, seconds, callers)
    Stats = dict[tuple[str, int, str], tuple[int, int, float, float, object]]

TOP = 45


@dataclass(frozen=True)
class Row:
    """One function of a profile; times in microseconds per message."""

    own: float
    cumulative: float
    calls: float
    file: str
    line: int
    name: str

    @property
    def package(self) -> str:
        """The package (of this checkout: the module) that the function belongs to."""
        if self.file == "~":
            return "(waiting)" if "poll" in self.name else "(built in)"
        if self.file.startswith("<"):
            return "(generated)"
        path = Path(self.file)
        for parent in path.parents:
            if parent.name == "site-packages":
                return path.relative_to(parent).parts[0]
        if not path.is_relative_to(server.ROOT):
            return "(standard library)"
        return ".".join(path.relative_to(server.ROOT).with_suffix("").parts)

    @property
    def where(self) -> str:
        """The function, and the line if it has one."""
        place = (
            f"{self.package}/{Path(self.file).name}:{self.line} " if self.line else ""
        )
        return f"{place}{self.name}"


def report(
    cell: measure.Cell, worker: str, stack: str, cores: measure.Cores, seconds: float
) -> Iterator[str]:
    """Measure the cell without the profiler, then with it, and yield the lines."""
    with server.running(stack, worker, core=cores.server) as target:
        plain = measure.load(target, cell, seconds)
    profiled, rows = _profile(cell, worker, stack, cores, seconds)
    yield f"{stack} on {worker}, {cell.title}: {plain.cpu_us:.1f} us of CPU a message;"
    yield f"under the profiler, as all that follows, {profiled.cpu_us:.1f}."
    yield ""
    yield "own us/message  package"
    for package, own in _by_package(rows):
        if own >= 0.05:
            yield f"{own:14.2f}  {package}"
    yield ""
    yield "own us/message  cumulative  calls/message  function"
    for row in rows[:TOP]:
        yield f"{row.own:14.2f}{row.cumulative:12.2f}{row.calls:15.2f}  {row.where}"


def _profile(
    cell: measure.Cell, worker: str, stack: str, cores: measure.Cores, seconds: float
) -> tuple[measure.Load, list[Row]]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "profile")
        with server.running(stack, worker, core=cores.server, profile=path) as target:
            measure.load(target, cell, measure.WARM_UP)  # all is imported now
            target.process.send_signal(server.START_PROFILE)
            load = measure.load(target, cell, seconds)
            target.process.send_signal(server.STOP_PROFILE)
            target.process.wait(timeout=30)
        stats = cast("Stats", vars(pstats.Stats(str(path)))["stats"])
    us_per_message = 1e6 / (load.count + load.warm_up_count)
    rows = [
        Row(
            own * us_per_message,
            cumulative * us_per_message,
            calls * us_per_message / 1e6,
            *function,
        )
        for function, (_, calls, own, cumulative, _) in stats.items()
    ]
    return load, sorted(rows, key=lambda row: row.own, reverse=True)


def _by_package(rows: list[Row]) -> list[tuple[str, float]]:
    total: defaultdict[str, float] = defaultdict(float)
    for row in rows:
        total[row.package] += row.own
    return sorted(total.items(), key=lambda item: item[1], reverse=True)
