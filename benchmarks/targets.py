"""What a connection may cost beside other servers: the aims, and what was measured."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Final

from benchmarks.measure import CELLS
from benchmarks.stacks import STACKS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.results import Results

HEAD: Final = ("", "worker", "server", "beside", "at most", "measured")


@dataclass(frozen=True)
class Aim:
    """The most that something may cost, on one worker.

    Without `base` it is KiB of memory. `less` names the end of a cell whose memory is
    taken off.
    """

    cell: str
    worker: str
    stack: str
    base: str | None
    most: float
    less: str | None = None


_SERVE, _CLASS, _ENGINE = "serve+anyws", "uvicorn-class+starlette", "engine+anyws"
_SANSIO = "uvicorn-sansio+starlette"
AIMS: Final = (
    Aim("handshakes", "trio", _SERVE, "websockets", 0.8),
    Aim("handshakes", "trio", _SERVE, "trio-websocket", 0.95),
    Aim("handshakes", "asyncio", _SERVE, "websockets", 1.0),
    Aim("handshakes", "asyncio", _CLASS, "uvicorn+starlette", 1.1),
    Aim("handshakes", "trio", _ENGINE, "hypercorn+starlette", 1.1),
    Aim("handshakes", "asyncio", _ENGINE, "hypercorn+starlette", 1.25),
    *(
        Aim("idle", worker, stack, None, most)
        for stack, most in ((_SERVE, 16), (_ENGINE, 28))
        for worker in ("trio", "asyncio")
    ),
    *(
        Aim("idle-deflate", worker, stack, None, 2, "-deflate")
        for stack in (_SERVE, _ENGINE)
        for worker in ("trio", "asyncio")
    ),
    *(
        Aim(f"ping-pong-{count}", "trio", _SERVE, base, most)
        for count in (64, 512)
        for base, most in (("websockets", 0.5), ("raw", 1.5))
    ),
    Aim("ping-pong-64", "asyncio", _SERVE, "websockets", 0.85),
    Aim("ping-pong-512", "asyncio", _SERVE, "websockets", 0.7),
    Aim("ping-pong-64", "asyncio", _SERVE, _SANSIO, 0.75),
    Aim("ping-pong-512", "asyncio", _SERVE, _SANSIO, 0.75),
    Aim("ping-pong-64", "asyncio", _CLASS, _SANSIO, 0.7),
    Aim("ping-pong-512", "asyncio", _CLASS, _SANSIO, 0.9),
    Aim("pipelined", "trio", _SERVE, "websockets", 0.25),
    Aim("pipelined", "asyncio", _SERVE, _SANSIO, 0.9),
)


def aims(results: Results) -> Iterator[list[str]]:
    """Yield a row for each aim that the results tell of."""
    for aim in AIMS:
        if aim.base is None:
            measured = _kib(results, aim)
            beside, most = "–", f"{aim.most:g} KiB"  # noqa: RUF001  # a dash
        else:
            measured = _ratio(results, aim, aim.base)
            beside = STACKS[aim.base].title_on(aim.worker)
            most = f"{aim.most:g}"
        if measured is not None:
            title = STACKS[aim.stack].title_on(aim.worker)
            yield [_title(aim), aim.worker, title, beside, most, f"{measured:.2f}"]


def _title(aim: Aim) -> str:
    if aim.less:
        return "idle: deflate, unused"
    return CELLS[aim.cell].title if aim.cell in CELLS else aim.cell


def _ratio(results: Results, aim: Aim, base: str) -> float | None:
    """Return the median of the ratios of CPU time within each round."""
    others = {
        sample.round: sample.cpu_us
        for sample in results.of(aim.worker, base, aim.cell)
        if sample.cpu_us
    }
    ratios = [
        sample.cpu_us / other
        for sample in results.of(aim.worker, aim.stack, aim.cell)
        if sample.cpu_us and (other := others.get(sample.round))
    ]
    return median(ratios) if ratios else None


def _kib(results: Results, aim: Aim) -> float | None:
    """Return the memory of a connection, where most of them were opened."""
    counts = {
        int(sample.cell.split("-")[1])
        for sample in results.samples
        if sample.cell.startswith("idle-")
    }
    for count in sorted(counts, reverse=True):
        value = results.value(aim.worker, aim.stack, f"idle-{count}{aim.less or ''}")
        plain = results.value(aim.worker, aim.stack, f"idle-{count}")
        if value is not None and plain is not None:
            return value - plain if aim.less else value
    return None
