"""What the opening handshake is answered with, beyond Starlette's own methods."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from starlette.responses import Response
from starlette.websockets import WebSocket as StarletteWebSocket

from .._values.errors import ConnectionClosed
from .._values.events import BEARER, has_responses
from .._values.states import CONNECTED, CONNECTING

# Over HTTP/2 a success accepts the WebSocket (RFC 8441 section 5).
_REJECTIONS: Final = range(300, 600)


async def reject(
    websocket: StarletteWebSocket[Any],
    status: int,
    body: str | bytes | None,
    headers: Mapping[str, str] | None,
) -> None:
    """Reject a client, as `WebSocket.reject` describes."""
    response = _response(status, body, headers)
    if websocket.application_state is CONNECTED:
        raise RuntimeError(
            "reject() answers the opening handshake, which is accepted already: "
            "close() ends the connection"
        )
    try:
        if websocket.client_state is CONNECTING:
            await websocket.receive()
        if websocket.application_state is CONNECTING and has_responses(websocket.scope):
            await response(websocket.scope, websocket.receive, websocket.send)
        else:
            await websocket.close(1008)
    except ConnectionClosed:
        pass  # there is no client to answer


def _response(
    status: int, body: str | bytes | None, headers: Mapping[str, str] | None
) -> Response:
    """Return the response; raise TypeError or ValueError for what is none."""
    if not isinstance(status, int) or isinstance(status, bool):
        raise TypeError(f"status must be an int, not {type(status).__name__}")
    if status not in _REJECTIONS:
        raise ValueError(f"status {status} rejects nobody: it is one of 300 to 599")
    if body is not None and not isinstance(body, str | bytes):
        raise TypeError(f"body must be str or bytes, not {type(body).__name__}")
    is_text = isinstance(body, str)
    return Response(body, status, headers, "text/plain" if is_text else None)


def selected(subprotocol: str | None, token: str) -> str:
    """Return the subprotocol for the answer to a client that offers a token.

    Raises:
        ValueError: It is the token.
    """
    if subprotocol == token:
        raise ValueError(
            "the subprotocol is the client's token, which must not be sent back: "
            f"leave it out, or accept {BEARER!r}"
        )
    return BEARER if subprotocol is None else subprotocol
