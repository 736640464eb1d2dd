"""The results as Markdown."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from benchmarks.measure import CELLS, IDLE
from benchmarks.stacks import STACKS, YARDSTICKS
from benchmarks.targets import HEAD, aims

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from benchmarks.results import Results, Sample

    Show = Callable[[str, str], str]  # (stack, cell): what stands there

MISSING = "–"  # noqa: RUF001  # a dash, as in any table
LEGEND = (
    "Medians of the rounds, ± half the range; ratios are medians of the ratios within "
    "a round. †: the client was the limit. Memory was measured once."
)


def tables(results: Results) -> Iterator[str]:
    """Yield the lines of all tables."""
    yield from results.about
    yield LEGEND
    measured = {sample.cell for sample in results.samples}
    cells = [name for name in CELLS if name in measured]
    idle = _idle_cells(measured)
    for worker in results.workers:
        yield from ("", f"## {worker}")
        if cells:
            yield from _load_tables(results, worker, cells)
        if idle:
            yield from _idle_tables(results, worker, idle)
    rows = list(aims(results))
    if rows:
        yield from ("", "## Aims: ratios of server CPU time, and memory", "")
        yield from (_line(HEAD), _line(["---"] * 4 + ["---:"] * 2), *map(_line, rows))


def _idle_cells(measured: set[str]) -> dict[str, str]:
    """Return the names of the cells of idle connections, and their titles."""
    counts = sorted(
        {int(name.split("-")[1]) for name in measured if name.startswith("idle-")}
    )
    titles = {
        f"idle-{count}{end}": f"{count:,}: {title}"
        for count in counts
        for end, title in IDLE.items()
    }
    return {name: title for name, title in titles.items() if name in measured}


def _load_tables(results: Results, worker: str, cells: Sequence[str]) -> Iterator[str]:
    titles = [CELLS[name].title for name in cells]

    def rate(stack: str, cell: str) -> str:
        return _spread(results.of(worker, stack, cell))

    def cpu(stack: str, cell: str) -> str:
        times = [sample.cpu_us for sample in results.of(worker, stack, cell)]
        return f"{median(filter(None, times)):.1f}" if times else MISSING

    yield from ("", "### Messages echoed (connections) a second", "")
    yield from _table(results, worker, cells, titles, rate)
    yield from _ratio_tables(results, worker, cells, titles, "rate")
    yield from ("", "### Server CPU time per message (connection), microseconds", "")
    yield from _table(results, worker, cells, titles, cpu)


def _idle_tables(results: Results, worker: str, cells: dict[str, str]) -> Iterator[str]:
    titles = list(cells.values())

    def kib(stack: str, cell: str) -> str:
        value = results.value(worker, stack, cell)
        return MISSING if value is None else f"{value:.1f}"

    yield from ("", "### Resident memory per idle connection, KiB", "")
    yield from _table(results, worker, list(cells), titles, kib)
    yield from _ratio_tables(results, worker, list(cells), titles, "memory")


def _ratio_tables(
    results: Results,
    worker: str,
    cells: Sequence[str],
    titles: Sequence[str],
    what: str,
) -> Iterator[str]:
    for base in YARDSTICKS[worker]:
        if base not in results.stacks(worker):
            continue

        def ratio(stack: str, cell: str, base: str = base) -> str:
            value = results.ratio(worker, stack, base, cell)
            return MISSING if value is None else f"{value:.2f}"

        title = STACKS[base].title_on(worker)
        yield from ("", f"### Ratio of {what} to that of {title}", "")
        yield from _table(results, worker, cells, titles, ratio)


def _table(
    results: Results,
    worker: str,
    cells: Sequence[str],
    titles: Sequence[str],
    show: Show,
) -> Iterator[str]:
    yield _line(["", *titles])
    yield _line(["---", *["---:"] * len(cells)])
    for stack in results.stacks(worker):
        title = STACKS[stack].title_on(worker)
        yield _line([title, *(show(stack, cell) for cell in cells)])


def _spread(samples: list[Sample]) -> str:
    """Format the median, half the range in percent, and who was the limit."""
    if not samples:
        return MISSING
    values = [sample.value for sample in samples]
    middle = median(values)
    range_percent = (max(values) - min(values)) / 2 / middle * 100
    plus_minus = f" ±{range_percent:.0f}%" if len(values) > 1 else ""
    bound = sum(sample.client_bound for sample in samples) * 2 > len(samples)
    return f"{middle:,.0f}{plus_minus}{'†' if bound else ''}"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
