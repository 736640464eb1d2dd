"""The results as a picture: a row of bars for each stack, a panel for each cell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl
from matplotlib.figure import Figure

from benchmarks.measure import CELLS
from benchmarks.stacks import STACKS

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes

    from benchmarks.results import Results

# Cell: title of its panels. Those are drawn that were measured.
PANELS = {
    "ping-pong-64": "ping-pong, 64 connections\nmessages/s",
    "pipelined": f"{CELLS['pipelined'].title}\nmessages/s",
    "64KiB": "64 KiB messages\nmessages/s",
    "handshakes": "connections\nopened and closed/s",
    "idle-5000": "KiB per idle\nconnection, of 5,000",
}
OURS, THEIRS, STOCK, LIMIT = "#1f6feb", "#8c959f", "#57606a", "#d8dee4"


def draw(results: Results, path: Path) -> None:
    """Write an SVG."""
    measured = {sample.cell for sample in results.samples}
    cells = [name for name in PANELS if name in measured]
    workers = results.workers
    bars = [len(results.stacks(worker)) for worker in workers]
    with mpl.rc_context():
        # One font and no clipping keep the file small; viewers have another sans-serif.
        mpl.rc("font", **{"size": 8, "sans-serif": "DejaVu Sans"})
        # Text stays text, and the same results make the same file.
        mpl.rc("svg", fonttype="none", hashsalt="anyws")
        figure = Figure(
            figsize=(1.4 + 1.75 * len(cells), 0.7 + 0.2 * sum(bars) + 0.3 * len(bars)),
            layout="constrained",
        )
        axes = figure.subplots(
            len(workers), len(cells), squeeze=False, height_ratios=bars
        )
        for row, worker in zip(axes, workers, strict=True):
            for panel, cell in zip(row, cells, strict=True):
                _draw_panel(panel, results, worker, cell)
            _name_bars(row[0], results, worker)
        for panel, cell in zip(axes[0], cells, strict=True):
            panel.set_title(PANELS[cell], fontsize=8)
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})


def _draw_panel(panel: Axes, results: Results, worker: str, cell: str) -> None:
    stacks = results.stacks(worker)
    values = [results.value(worker, stack, cell) or 0.0 for stack in stacks]
    # TCP alone may be far off: its bar then ends at the edge, and its number stands.
    rivals = [
        value
        for stack, value in zip(stacks, values, strict=True)
        if not STACKS[stack].raw
    ]
    edge = 1.1 * max(rivals or values) or 1.0
    panel.barh(
        range(len(stacks)),
        [min(value, edge) for value in values],
        color=[_color(stack) for stack in stacks],
        height=0.75,
        clip_on=False,
    )
    for place, value in enumerate(values):
        at_end, sign = min(value, edge) + edge * 0.02, "» " if value > edge else ""
        panel.text(at_end, place, sign + _short(value), va="center", fontsize=7)
    panel.set_xlim(0, edge * 1.35)  # room for the numbers
    panel.invert_yaxis()
    panel.set_xticks([])
    panel.set_yticks([])
    panel.spines[["top", "right", "bottom"]].set_visible(False)


def _name_bars(panel: Axes, results: Results, worker: str) -> None:
    stacks = results.stacks(worker)
    panel.set_yticks(
        range(len(stacks)), [STACKS[stack].title_on(worker) for stack in stacks]
    )
    panel.tick_params(axis="y", length=0)
    panel.set_ylabel(worker, fontsize=9, fontweight="bold")


def _color(stack: str) -> str:
    if STACKS[stack].raw:
        return LIMIT
    if stack == "hypercorn+starlette":
        return STOCK
    return OURS if stack.startswith("engine") else THEIRS


def _short(value: float) -> str:
    """Format three digits."""
    if not value:
        return "–"  # noqa: RUF001  # a dash, as in any table
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if value >= 0.9995 * size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"
