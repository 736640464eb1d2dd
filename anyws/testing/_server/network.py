"""What is on its way between a peer and its server."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

from starlette.datastructures import Headers

# Bytes that are on their way in one direction before who sends has to wait; of the
# kernel's buffers on both ends, which hold some megabytes.
BUFFER_BYTES: Final = 64 * 1024

NO_CODE: Final = 1005  # of a closing frame: it has none

_OVERHEAD: Final = 16  # bytes that a message takes besides its payload


@dataclass(frozen=True, slots=True)
class Message:
    """A message in one of its two spellings."""

    payload: str | bytes

    @property
    def size(self) -> int:
        """What it takes of a buffer, in bytes."""
        payload = self.payload
        if isinstance(payload, str):
            payload = payload.encode("utf-8", "surrogatepass")
        return len(payload) + _OVERHEAD


def checked(payload: str | bytes) -> Message:
    """Make a message of what a test wants to send.

    Raises:
        TypeError: It is neither `str` nor bytes.
        UnicodeEncodeError: A lone surrogate is no text.
    """
    if isinstance(payload, str):
        payload.encode()
    elif not isinstance(payload, bytes):
        raise TypeError(f"a message is str or bytes, not {type(payload).__name__}")
    return Message(payload)


@dataclass(frozen=True, slots=True)
class PingFrame:
    """A ping of the peer's, or the pong that answers it."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class CloseFrame:
    """A closing frame; with code 1005 it carries none.

    Attributes:
        defect: What is wrong with it, in the words of the peer that meets it.
    """

    code: int
    reason: str = ""
    defect: str | None = None


@dataclass(frozen=True, slots=True)
class End:
    """The end of the transport: a FIN, or a reset."""

    reset: bool = False


Item: TypeAlias = Message | PingFrame | CloseFrame | End


class Uplink:
    """What has arrived at a server, and that has not looked at yet.

    Attributes:
        has_reset: Whether a reset is among it, so that no send has to search for one.
    """

    def __init__(self) -> None:
        self.has_reset: bool = False
        self._items = deque[Item]()
        self._bytes = 0

    @property
    def empty(self) -> bool:
        """Whether there is nothing."""
        return not self._items

    @property
    def full(self) -> bool:
        """Whether the peer has to wait with what it sends."""
        return self._bytes >= BUFFER_BYTES

    def put(self, item: Item) -> None:
        """Add what arrives."""
        self._items.append(item)
        self._bytes += item.size if isinstance(item, Message) else 0
        self.has_reset = self.has_reset or (isinstance(item, End) and item.reset)

    def take(self) -> Item:
        """Remove what came first."""
        item = self._items.popleft()
        self._bytes -= item.size if isinstance(item, Message) else 0
        if isinstance(item, End):
            self.has_reset = False  # nothing behind it is ever looked at
        return item


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server answers the opening handshake with."""

    status: int
    headers: Headers
    body: bytes = b""
    code: int | None = None
    reason: str | None = None
    subprotocol: str | None = None


class Client(Protocol):
    """Where a server writes to."""

    def written(self, item: Item) -> None:
        """Take what the server has written."""

    @property
    def full(self) -> bool:
        """Whether the peer reads so slowly that the server has to wait."""
