"""The interface between the verbs and the end of a connection that they work on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from .._session.entrance import Entrance
from .._session.session import Session
from .._values.events import Event
from .._values.message_codec import Codec
from .._values.options import Options


class ConnectionEnd(ABC):
    """One end of a connection: what the server's and the client's class supply."""

    _session: Session | None
    _entrance: Entrance | None = None  # where a middleware wraps this object's `send`
    _options: Options | None

    @abstractmethod
    async def _next(self) -> Event:
        """Receive the next message event, or raise how the connection ended."""

    @abstractmethod
    async def send(self, message: Any) -> None:
        """Send an ASGI event."""

    @abstractmethod
    async def close(self, code: int = 1000, reason: str | None = None) -> None:
        """Close the connection."""

    def _guarded(self, name: str) -> Session:
        if self._session is None:
            raise outside(name)
        return self._session

    @property
    def _json(self) -> Codec[Any, Any] | None:
        """The codec that the options name for JSON."""
        options = self._options if self._session is None else self._session.options
        return None if options is None else options.json


def outside(name: str) -> RuntimeError:
    """Make the error of a method that needs a session and has none."""
    return RuntimeError(
        f"{name} needs the guarded mode: use it inside 'async with websocket:'"
    )


def check_mode(mode: str) -> None:
    """Refuse an invalid mode of JSON."""
    if mode not in {"text", "binary"}:
        raise RuntimeError('The "mode" argument should be "text" or "binary".')
