"""The arguments of a hub, checked before anything has changed."""

from __future__ import annotations

from math import inf

from starlette.websockets import WebSocket as StarletteWebSocket

from .._messages.verbs import Messaging
from .._session.scope import session_in
from .._session.session import Session
from .._values.events import Binary


def check_number(
    name: str, value: object, types: type | tuple[type, ...], *, least: float
) -> None:
    if (
        not isinstance(value, types)
        or isinstance(value, bool)
        or not least <= value < inf  # type: ignore[operator]  # it is a number
    ):
        raise ValueError(f"{name} must be a number of at least {least}, not {value!r}")


def checked_message(message: object) -> tuple[str | bytes, int]:
    """Return a message and the size of its payload in bytes."""
    if isinstance(message, str):
        return message, len(message) if message.isascii() else len(message.encode())
    if isinstance(message, Binary):
        data = bytes(message)
        return data, len(data)
    raise TypeError(f"a message is str or bytes, not {type(message).__name__}")


def session_of(websocket: object, what: str) -> Session:
    """Return the session of a connection in guarded mode.

    Raises:
        TypeError: It is not a connection.
        RuntimeError: It is not in guarded mode.
    """
    if isinstance(websocket, Messaging):
        return websocket._guarded(what)
    if not isinstance(websocket, StarletteWebSocket):
        raise TypeError(f"{what} takes a WebSocket, not {type(websocket).__name__}")
    session = session_in(websocket.scope)
    if session is None:
        raise RuntimeError(
            f"{what} needs the guarded mode: add anyws.WebSocketMiddleware"
        )
    return session
