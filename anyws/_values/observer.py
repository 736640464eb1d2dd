"""Observers, and the records that they get of connections."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

from .closing import CloseInfo
from .statistics import Statistics

Direction: TypeAlias = Literal["received", "sent"]


class ObservedConnection:
    """A connection that is observed: its observer gets the same object in every call.

    Attributes:
        scope: The ASGI scope, at a server; `None` at a client.
        url: The URL that a client is connected to, without its user, password and
            query; `None` at a server.
    """

    __slots__ = ("__weakref__", "scope", "url")

    def __init__(self, scope: Mapping[str, Any] | None, url: str | None = None) -> None:
        self.scope: Mapping[str, Any] | None = scope
        self.url: str | None = url

    @property
    def role(self) -> Literal["client", "server"]:
        """Which end this is."""
        return "client" if self.scope is None else "server"

    @property
    def path(self) -> str | None:
        """The path of the URL, at a server."""
        return None if self.scope is None else self.scope.get("path")

    @property
    def client(self) -> str | None:
        """The address of the peer, at a server that knows it."""
        client = None if self.scope is None else self.scope.get("client")
        return client[0] if client else None


@dataclass(frozen=True, slots=True)
class ConnectionSummary:
    """The summary of a connection that is over.

    Attributes:
        info: The close code and reason, who closed, and whether the closing handshake
            was completed.
        duration: Seconds from the accept to the end.
        statistics: The counters.
        receive_peak, send_peak: The most messages that the two buffers have held.
    """

    info: CloseInfo
    duration: float
    statistics: Statistics
    receive_peak: int
    send_peak: int


class Observer(Protocol):
    """The protocol of an object that is called about connections.

    `Options.observer` sets it; one observer may serve many connections. The calls come
    from the tasks of the connection, so they must not block. If one raises, the
    exception is logged, and the observer gets no more calls for that connection.
    """

    def opened(self, connection: ObservedConnection, /) -> None:
        """Called when the opening handshake is complete."""

    def message(
        self, connection: ObservedConnection, direction: Direction, size: int, /
    ) -> None:
        """Called for one message, with the size of its payload in bytes.

        A message is received when it enters the receive buffer, and sent when the
        server or the transport has taken it. For a message in parts there is one call,
        with the size of its last part.
        """

    def dropped(
        self, connection: ObservedConnection, direction: Direction, count: int, /
    ) -> None:
        """Called with the number of messages that a rule of the options has dropped.

        The call comes with the next message in this direction, or just before `closed`.
        """

    def closed(
        self, connection: ObservedConnection, summary: ConnectionSummary, /
    ) -> None:
        """Called last, when a connection that was opened is over."""


_CALLS = ("opened", "message", "dropped", "closed")


def check_observer(observer: object) -> None:
    """Raise TypeError unless this is an observer: an object, not a class."""
    methods = (getattr(observer, name, None) for name in _CALLS)
    if isinstance(observer, type) or not all(map(callable, methods)):
        raise TypeError(
            f"observer must be an object with the methods {', '.join(_CALLS)}, "
            f"not {observer!r}"
        )
