"""The clock that measures round trips."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic, perf_counter
from typing import Final

from anyio import current_time

# Seconds by which the clock of an event loop may differ from the system's. The clock of
# uvloop counts whole milliseconds, and stands still within a turn of the event loop.
_LAG: Final = 1.0


def stopwatch() -> Callable[[], float]:
    """Return the event loop's clock if tests have made it virtual; else a finer one."""
    return perf_counter if abs(current_time() - monotonic()) < _LAG else current_time
