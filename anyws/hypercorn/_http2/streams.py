"""The streams of an HTTP/2 connection: their buffers and their records."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from anyio import Event as Signal
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.events import Request
from hypercorn.protocol.h2 import BUFFER_HIGH_WATER, StreamBuffer
from hypercorn.protocol.http_stream import HTTPStream
from hypercorn.typing import AppWrapper

from ..._session.wakeup import SharedWakeup


class Stallable(Protocol):
    """A stream that can ask for the peer's window to stay closed.

    Attributes:
        paused: Whether the peer's window for this stream is to stay closed.
        on_resume: The stream calls it when `paused` has ended, from any task.
    """

    paused: bool
    on_resume: Callable[[], None] | None


@dataclass(slots=True)
class Account:
    """The record of a stream, kept until both ends have ended the stream."""

    held_bytes: int = 0  # received, and not returned to the peer's window
    peer_ended: bool = False
    window_closed: bool = False  # when its bytes were last looked at
    deadline: float | None = None  # for the peer to end the stream


class HypercornEvent:
    """An event of Hypercorn's kind that can also be set without awaiting.

    It is no `Wakeup`: Hypercorn's code sets and clears it, and it stays set for a task
    that does not wait yet.
    """

    def __init__(self) -> None:
        self._signal = Signal()

    def set_nowait(self) -> None:
        """Set the event."""
        self._signal.set()

    async def set(self) -> None:
        """Set the event, by Hypercorn's name for it."""
        self._signal.set()

    async def clear(self) -> None:
        """Unset the event."""
        self._signal = Signal()

    async def wait(self) -> None:
        """Wait until the event is set."""
        await self._signal.wait()

    def is_set(self) -> bool:
        """Tell whether the event is set."""
        return self._signal.is_set()


class EngineStreamBuffer(StreamBuffer):
    """The bytes that a stream has queued to send; a full buffer makes senders wait."""

    @property
    def ended(self) -> bool:
        """Tell whether the end has been queued."""
        return self._complete

    @property
    def full(self) -> bool:
        """Tell whether senders wait for room."""
        return len(self.buffer) >= BUFFER_HIGH_WATER

    async def push(self, data: bytes) -> None:
        """Add bytes, then wait for room."""
        await self.put(data)
        await self.wait_room()

    async def put(self, data: bytes) -> None:
        """Add bytes; after the end they are dropped."""
        if not self._complete:
            self.buffer.extend(data)
            await self._is_empty.clear()

    async def wait_room(self) -> None:
        """Wait until the buffer has room; closing the buffer empties it."""
        while self.full:
            # Hypercorn sets this event also for a pop that took nothing. A set event
            # is cleared; one that is not may have other senders waiting for it.
            if self._paused.is_set():
                await self._paused.clear()
            await self._paused.wait()

    async def pop(self, max_length: int) -> bytes:
        """Take bytes, and wake the senders if there is room."""
        data = await super().pop(max_length)
        if not self.full:
            await self._paused.set()
        return data


class EngineHTTPStream(HTTPStream):
    """A plain request; its body waits here for the application.

    Hypercorn's own class makes the reader task wait for the application, and with it
    every other stream of the connection.

    Attributes:
        on_resume: Called when `paused` has ended, from any task.
    """

    def __init__(self, app: AppWrapper, *args: Any) -> None:
        super().__init__(self._run, *args)  # type: ignore[arg-type]  # is called only
        self.on_resume: Callable[[], None] | None = None
        self._served = app
        self._body = bytearray()  # received, and not taken by the application
        self._body_ended = self._end_taken = self._disconnected = False
        self._arrived = SharedWakeup()

    @property
    def paused(self) -> bool:
        """Whether the application has still to take what the peer has sent."""
        return bool(self._body) and not self.closed

    async def handle(self, event: StreamEvent) -> None:
        """Take in an event of the connection."""
        await super().handle(event)
        if isinstance(event, Request) and not self.closed:
            self.app_put = self._put

    async def _run(self, scope: Any, _: object, *rest: Any) -> None:
        await self._served(scope, self._receive, *rest)

    async def _put(self, event: Any) -> None:
        """Keep an event for the application, where Hypercorn would wait for room."""
        if event["type"] == "http.disconnect":
            self._disconnected = True
        else:
            self._body += event["body"]
            self._body_ended = not event["more_body"]
        self._arrived.wake()

    async def _receive(self) -> Any:
        """Return the next ASGI event."""
        while True:
            if self._body or (self._body_ended and not self._end_taken):
                body, more = bytes(self._body), not self._body_ended
                self._body.clear()
                self._end_taken = not more
                if self.on_resume is not None:
                    self.on_resume()
                return {"type": "http.request", "body": body, "more_body": more}
            if self._disconnected:
                return {"type": "http.disconnect"}
            await self._arrived.wait()


def refusal(headers: Any) -> int | None:
    """Return the status that refuses a request; `None` if it can be served.

    Source: RFC 8441 section 4; RFC 9220 section 3 for the 501.
    """
    pseudo = {bytes(name): bytes(value) for name, value in headers if name[:1] == b":"}
    method, path = pseudo.get(b":method", b""), pseudo.get(b":path", b"")
    is_connect = method.upper() == b"CONNECT"
    if is_connect and pseudo.get(b":protocol") != b"websocket":
        return 501
    return None if method.isascii() and path and path.isascii() else 400
