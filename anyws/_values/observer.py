"""What an observer is told of connections."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

from .closing import CloseInfo
from .statistics import Statistics

Direction: TypeAlias = Literal["received", "sent"]


class ObservedConnection:
    """One connection, as its observer knows it: the same object in every call.

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
    """What there is to say of a connection that is over.

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
    """What is told of connections; `Options.observer` names one.

    The calls come from the tasks of the connection. They must not block, and what they
    raise is logged, once: the connection is not observed any more. An observer may
    serve many connections.
    """

    def opened(self, connection: ObservedConnection, /) -> None:
        """Hear that the opening handshake is complete."""

    def message(
        self, connection: ObservedConnection, direction: Direction, size: int, /
    ) -> None:
        """Hear of one message, and the bytes of its payload.

        A message is received when it enters the receive buffer, and sent when the
        server or the transport has taken it. One in parts is told of once, with the
        bytes of its last part.
        """

    def dropped(
        self, connection: ObservedConnection, direction: Direction, count: int, /
    ) -> None:
        """Hear how many messages a rule of the options has dropped.

        Told with the next message in this direction, or just before `closed`.
        """

    def closed(
        self, connection: ObservedConnection, summary: ConnectionSummary, /
    ) -> None:
        """Hear that a connection that was opened is over, as the last thing of it."""


_CALLS = ("opened", "message", "dropped", "closed")


def check_observer(observer: object) -> None:
    """Raise TypeError for what is no observer; a class is none, but its objects are."""
    methods = (getattr(observer, name, None) for name in _CALLS)
    if isinstance(observer, type) or not all(map(callable, methods)):
        raise TypeError(
            f"observer must be an object with the methods {', '.join(_CALLS)}, "
            f"not {observer!r}"
        )
