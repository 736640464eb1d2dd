"""The items that travel between a peer and its server, and the way to the server."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

from starlette.datastructures import Headers

# Bytes in transit in one direction at which the sender has to wait. The kernels'
# buffers hold some megabytes; a test should not have to fill as much.
BUFFER_BYTES: Final = 64 * 1024

NO_CODE: Final = 1005  # of a closing frame without a code (RFC 6455 section 7.4.1)

_OVERHEAD: Final = 16  # bytes that a message takes besides its payload


@dataclass(frozen=True, slots=True)
class Message:
    """A text message (`str`) or a binary one (`bytes`)."""

    payload: str | bytes

    @property
    def size(self) -> int:
        """The bytes that the message takes in a buffer."""
        payload = self.payload
        if isinstance(payload, str):
            payload = payload.encode("utf-8", "surrogatepass")
        return len(payload) + _OVERHEAD


def checked(payload: str | bytes) -> Message:
    """Make a message of the payload that a test sends.

    Raises:
        TypeError: The payload is neither `str` nor `bytes`.
        UnicodeEncodeError: The payload has a lone surrogate, which UTF-8 cannot encode.
    """
    if isinstance(payload, str):
        payload.encode()
    elif not isinstance(payload, bytes):
        raise TypeError(f"a message is str or bytes, not {type(payload).__name__}")
    return Message(payload)


@dataclass(frozen=True, slots=True)
class PingFrame:
    """A ping of the peer, or the pong that answers it."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class CloseFrame:
    """A closing frame; with code 1005 it has no payload.

    Attributes:
        defect: Why the peer refuses the frame, in words; `None` if it is valid.
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
    """The items that have arrived at a server's socket, and were not read yet.

    Attributes:
        has_reset: Whether a reset is among the items.
    """

    def __init__(self) -> None:
        self.has_reset: bool = False
        self._items = deque[Item]()
        self._bytes = 0

    @property
    def empty(self) -> bool:
        """Whether there are no items."""
        return not self._items

    @property
    def full(self) -> bool:
        """Whether the peer has to wait before it sends more."""
        return self._bytes >= BUFFER_BYTES

    def put(self, item: Item) -> None:
        """Add an item that arrives."""
        self._items.append(item)
        self._bytes += item.size if isinstance(item, Message) else 0
        self.has_reset = self.has_reset or (isinstance(item, End) and item.reset)

    def take(self) -> Item:
        """Remove and return the item that arrived first."""
        item = self._items.popleft()
        self._bytes -= item.size if isinstance(item, Message) else 0
        if isinstance(item, End):
            self.has_reset = False  # items behind the end are never read
        return item


@dataclass(frozen=True, slots=True)
class Answer:
    """A server's answer to the opening handshake.

    Attributes:
        code, reason: The fields of the `websocket.close` that has rejected the
            handshake, if one did.
        broken: Whether the peer reads something that is not an HTTP response.
    """

    status: int
    headers: Headers
    body: bytes = b""
    code: int | None = None
    reason: str | None = None
    subprotocol: str | None = None
    broken: bool = False


class Client(Protocol):
    """The peer's end of the transport, as the server sees it."""

    def written(self, item: Item) -> None:
        """Take an item that the server has written."""

    @property
    def full(self) -> bool:
        """Whether the server has to wait before it writes more."""
