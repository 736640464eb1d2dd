"""The last events of a connection, and where its application waits; for errors."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from anyio import current_time

from ..._values.events import INFO, Event

_KEPT: Final = 12  # events
_SHOWN: Final = 60  # characters of a value

# Packages whose stack frames say nothing about where the application waits.
_MACHINERY: Final = frozenset(
    {"anyio", "anyws", "asyncio", "contextlib", "fastapi", "starlette", "trio"}
)


class History:
    """The last events of one connection, and the calls that are under way.

    Attributes:
        outcome: How the application ended, in words; `None` while it runs.
        application: The coroutine of the application, if it is one.
    """

    def __init__(self) -> None:
        self.outcome: str | None = None
        self.application: object = None
        self._began = current_time()
        self._called: float | None = None
        self._calls = Counter[str]()
        self._events = deque[tuple[float, str, Event]](maxlen=_KEPT)

    @contextmanager
    def calling(self, name: str) -> Iterator[None]:
        """Note that the application calls `receive` or `send`, until it returns."""
        self._called = current_time()
        self._calls[name] += 1
        try:
            yield
        finally:
            self._calls[name] -= 1

    def received(self, event: Event) -> None:
        """Note an event that the application has received."""
        self._events.append((current_time(), "to the application", event))

    def sent(self, event: Event) -> None:
        """Note an event that the application sends."""
        self._events.append((current_time(), "from the application", event))

    def report(self) -> str:
        """Return where the application waits, and the last events, as lines of text."""
        lines = [f"the application {self._state()}"]
        for at, way, event in self._events:
            fields = ", ".join(
                f"{name}={_shortened(value)}"
                for name, value in event.items()
                if name not in ("type", INFO)
            )
            seconds = f"{at - self._began:.3f} s"
            lines.append(f"{seconds:>10} {way:<20} {event['type']} {fields}".rstrip())
        if not self._events:
            lines.append("no event in either direction")
        return "\n".join(lines)

    def _state(self) -> str:
        if self.outcome is not None:
            return self.outcome
        if calls := " and ".join(f"a {name}" for name, n in self._calls.items() if n):
            state = f"has {calls} under way"
        elif self._called is None:
            state = "has not called receive or send yet"
        else:
            ago = current_time() - self._called
            state = f"has not called receive or send for {ago:.3f} s"
        where = _whereabouts(self.application)
        return f"is {where}, and {state}" if where else state


def _shortened(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= _SHOWN else f"{shown[: _SHOWN - 1]}…"


def _whereabouts(coroutine: Any) -> str | None:
    """Return where a coroutine waits: its innermost frame outside the machinery."""
    where = None
    while coroutine is not None:
        frame = getattr(coroutine, "cr_frame", None) or getattr(
            coroutine, "gi_frame", None
        )
        if frame is None:
            break
        package = str(frame.f_globals.get("__name__")).partition(".")[0]
        if package not in _MACHINERY:
            code = frame.f_code
            where = f"at {code.co_filename}:{frame.f_lineno} in {code.co_name}"
        coroutine = getattr(coroutine, "cr_await", None) or getattr(
            coroutine, "gi_yieldfrom", None
        )
    return where
