"""A message that goes to many connections, and the forms in which they send it."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

from .events import Event
from .states import SEND

# The key under which the event of a shared message carries the message itself, for a
# channel of our own. No event with this key reaches a server.
SHARED: Final = "anyws.shared"


class SharedMessage:
    """A message that goes to many connections.

    Connections that have negotiated the same write the same bytes. The first one that
    needs a form makes it and leaves it in `forms`; what a form is, the frames decide.

    Args:
        message: The payload; it is a text message if it is a `str`.

    Attributes:
        text: Whether it is a text message.
        data: The payload in bytes.
        size: The size of the payload, in bytes.
        event: The `websocket.send` for a channel of our own.
        plain: The `websocket.send` for a server's channel.
        forms: The frames that were made of it, by what was negotiated.

    Raises:
        TypeError: The message is neither `str` nor `bytes`.
        UnicodeEncodeError: The text contains a lone surrogate, which UTF-8 cannot
            encode.
    """

    __slots__ = ("data", "event", "forms", "plain", "size", "text")

    def __init__(self, message: str | bytes) -> None:
        if not isinstance(message, str | bytes):
            raise TypeError(f"a message is str or bytes, not {type(message).__name__}")
        self.text: bool = isinstance(message, str)
        self.data: bytes = message.encode() if isinstance(message, str) else message
        self.plain: Event = {"type": SEND, "text" if self.text else "bytes": message}
        self.event: Event = {**self.plain, SHARED: self}
        self.size: int = len(self.data)
        self.forms: dict[Hashable, bytes] = {}
