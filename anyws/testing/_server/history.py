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

    def report(self, *, past: bool = False, events: bool = True) -> str:
        """Return where the application waits, and the last events, as lines of text.

        Args:
            past: Whether the application no longer waits there.
            events: Whether to show the events.
        """
        state = self._state("was", "had") if past else self._state("is", "has")
        lines = [f"the application {state}"]
        if not events:
            return lines[0]
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

    def _state(self, is_: str, has: str) -> str:
        if self.outcome is not None:
            return self.outcome
        where = _whereabouts(self.application)
        calls = [f"a {name}" for name, number in self._calls.items() if number]
        if calls:
            # The receive may be that of the reader task of a session, so it does not
            # say what the handler waits for; the place does.
            shown = [call for call in calls if not where or "send" in call]
            state = f"{has} {' and '.join(shown)} under way" if shown else ""
        elif self._called is None:
            state = f"{has} not called receive or send yet"
        else:
            ago = current_time() - self._called
            state = f"{has} not called receive or send for {ago:.3f} s"
        return ", and ".join(filter(None, (where and f"{is_} {where}", state)))


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
