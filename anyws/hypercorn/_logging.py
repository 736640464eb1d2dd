"""The log of the engine: a peer chooses neither its characters nor its amount."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from time import monotonic
from typing import Any, Final

# C0, DEL and C1: a line break begins a line of the log, and terminals obey some others.
_ESCAPES: Final = {
    code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))
}

# The loggers that report an accept without a free descriptor, and the beginnings of
# their messages. asyncio # logs it for each place in the backlog, and again after a
# second; trio logs it ten times a second.
_LOGGERS: Final = {
    "asyncio": "socket.accept() out of system resource",
    "trio.serve_listeners": "accept returned ",
}
_QUIET_SECONDS: Final = 60.0


class EscapedAtoms(Mapping[str, Any]):
    """The parts of a line of the access log, without control characters."""

    def __init__(self, atoms: Mapping[str, Any]) -> None:
        self._atoms = atoms

    def __getitem__(self, name: str) -> Any:
        """Return a part; Hypercorn's own class has "-" for a missing part."""
        value = self._atoms[name]
        return value.translate(_ESCAPES) if isinstance(value, str) else value

    def __iter__(self) -> Iterator[str]:
        """Name the parts there are."""
        return iter(self._atoms)

    def __len__(self) -> int:
        """Count the parts."""
        return len(self._atoms)


def escape_access(log: Any) -> None:
    """Have a Hypercorn logger escape what it writes of requests and responses."""
    atoms = log.atoms

    def escaped(*arguments: Any) -> EscapedAtoms:
        return EscapedAtoms(atoms(*arguments))

    log.atoms = escaped


class ExhaustionFilter(logging.Filter):
    """Reports once a minute, as one line, that descriptors have run out."""

    def __init__(self) -> None:
        super().__init__()
        self._next = 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        """Drop a record of the kind, or shorten it; let others pass."""
        if not str(record.msg).startswith(_LOGGERS.get(record.name, "\0")):
            return True
        if monotonic() < self._next:
            return False
        self._next = monotonic() + _QUIET_SECONDS
        record.msg = "no file descriptor is left: new connections wait for one"
        record.args, record.exc_info, record.exc_text = (), None, None
        return True


_exhaustion: Final = ExhaustionFilter()


def quieten() -> None:
    """Install the filter for messages that descriptors have run out."""
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(
            _exhaustion
        )  # once, however often it is added
