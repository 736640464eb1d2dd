"""An HTTP response that a connection cannot have, and the close that says the same.

An exception handler of FastAPI or Starlette answers an `HTTPException` by a response,
whatever has happened before. An accepted connection cannot have one, nor can one that
is not yet accepted on a server without denial responses.

Source: ASGI "websocket.http.response".
"""

from __future__ import annotations

import json
from typing import Final

from .._values.events import Event
from .._values.outcomes import close_of_status
from .._values.states import CLOSE, RESPONSE_BODY

# A longer body tells nothing that a close reason could hold.
_MAX_BODY_BYTES: Final = 64 * 1024


class UnsentResponse:
    """A response, from its start to its last part.

    Args:
        start: The "websocket.http.response.start", checked.
    """

    __slots__ = ("_body", "_kind", "_status")

    def __init__(self, start: Event) -> None:
        self._status: int = start["status"]
        self._kind = dict(start["headers"]).get(b"content-type", b"")
        self._body = bytearray()

    def add(self, event: Event) -> bool:
        """Take another event; return whether the response is whole.

        Raises:
            RuntimeError: The event is no part of a response's body.
        """
        if event["type"] != RESPONSE_BODY:
            raise RuntimeError(
                f"{event['type']!r} cannot be sent within a response: "
                f"{RESPONSE_BODY!r} is to follow its start"
            )
        if len(self._body) <= _MAX_BODY_BYTES:
            self._body += event["body"]
        return not event["more_body"]

    def close(self) -> Event:
        """Return the "websocket.close" in its place."""
        code, reason = close_of_status(self._status, self._detail())
        return {"type": CLOSE, "code": code, "reason": reason}

    def _detail(self) -> object:
        """Return what the response says, if it is text, or JSON with a "detail"."""
        if len(self._body) > _MAX_BODY_BYTES:
            return None
        if self._kind.startswith(b"text/plain"):
            return self._body.decode("utf-8", "replace")
        try:
            content = json.loads(self._body)
        except ValueError:
            return None
        return content.get("detail") if isinstance(content, dict) else None
