"""The streams of an HTTP/2 connection: what each one keeps, and how it waits."""

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
    """What a stream has that may ask for its peer to be held up.

    Attributes:
        paused: Whether to let the peer send no more for now.
        on_resume: To be called when `paused` has ended, by whatever task.
    """

    paused: bool
    on_resume: Callable[[], None] | None


@dataclass(slots=True)
class Account:
    """What is known of a stream until both sides have ended it."""

    held_bytes: int = 0  # received, and not acknowledged
    peer_ended: bool = False
    deadline: float | None = None  # for the peer's end


class HypercornEvent:
    """An event of Hypercorn's kind, which can also be set without awaiting anything.

    It is no `Wakeup`: Hypercorn's code sets and clears it, and it stays set for a task
    that is not waiting yet.
    """

    def __init__(self) -> None:
        self._signal = Signal()

    def set_nowait(self) -> None:
        """Set it."""
        self._signal.set()

    async def set(self) -> None:
        """Set it, as Hypercorn does."""
        self._signal.set()

    async def clear(self) -> None:
        """Make it one that is not set."""
        self._signal = Signal()

    async def wait(self) -> None:
        """Wait until it is set."""
        await self._signal.wait()

    def is_set(self) -> bool:
        """Tell whether it is set."""
        return self._signal.is_set()


class EngineStreamBuffer(StreamBuffer):
    """What a stream has to send, which makes its sender wait while it is much."""

    @property
    def ended(self) -> bool:
        """Tell whether nothing more will be added."""
        return self._complete

    @property
    def full(self) -> bool:
        """Tell whether a sender is to wait."""
        return len(self.buffer) >= BUFFER_HIGH_WATER

    async def push(self, data: bytes) -> None:
        """Add bytes, then wait for room."""
        await self.put(data)
        await self.wait_room()

    async def put(self, data: bytes) -> None:
        """Add bytes; those that come after the end are dropped."""
        if not self._complete:
            self.buffer.extend(data)
            await self._is_empty.clear()

    async def wait_room(self) -> None:
        """Wait until the buffer is not full; closing empties it."""
        while self.full:
            # Hypercorn sets this event also for a pop that took nothing. It is
            # replaced only when set: another sender may be waiting for it.
            if self._paused.is_set():
                await self._paused.clear()
            await self._paused.wait()

    async def pop(self, max_length: int) -> bytes:
        """Take bytes, and wake the senders if there is room again."""
        data = await super().pop(max_length)
        if not self.full:
            await self._paused.set()
        return data


class EngineHTTPStream(HTTPStream):
    """A request whose body waits for the application, and not the reader for it.

    Attributes:
        on_resume: As `Stallable` has it.
    """

    def __init__(self, app: AppWrapper, *args: Any) -> None:
        super().__init__(self._run, *args)  # type: ignore[arg-type]  # is called only
        self.on_resume: Callable[[], None] | None = None
        self._served = app
        self._body = bytearray()  # received, and not taken by the application
        self._body_ended = self._end_taken = self._gone = False
        self._arrived = SharedWakeup()

    @property
    def paused(self) -> bool:
        """Whether the peer is to send no more for now."""
        return bool(self._body) and not self.closed

    async def handle(self, event: StreamEvent) -> None:
        """Take in what the connection has found."""
        await super().handle(event)
        if isinstance(event, Request) and not self.closed:
            self.app_put = self._put

    async def _run(self, scope: Any, _: object, *rest: Any) -> None:
        await self._served(scope, self._receive, *rest)

    async def _put(self, event: Any) -> None:
        """Keep an event for the application; Hypercorn's own queue may be full."""
        if event["type"] == "http.disconnect":
            self._gone = True
        else:
            self._body += event["body"]
            self._body_ended = not event["more_body"]
        self._arrived.wake()

    async def _receive(self) -> Any:
        """Return the next event, as ASGI has it."""
        while True:
            if self._body or (self._body_ended and not self._end_taken):
                body, more = bytes(self._body), not self._body_ended
                self._body.clear()
                self._end_taken = not more
                if self.on_resume is not None:
                    self.on_resume()
                return {"type": "http.request", "body": body, "more_body": more}
            if self._gone:
                return {"type": "http.disconnect"}
            await self._arrived.wait()


def refusal(headers: Any) -> int | None:
    """Return the status to refuse a request with, if it is none that can be served.

    Source: RFC 8441 section 4; RFC 9220 section 3 for the 501.
    """
    pseudo = {bytes(name): bytes(value) for name, value in headers if name[:1] == b":"}
    method, path = pseudo.get(b":method", b""), pseudo.get(b":path", b"")
    is_connect = method.upper() == b"CONNECT"
    if is_connect and pseudo.get(b":protocol") != b"websocket":
        return 501
    return None if method.isascii() and path and path.isascii() else 400
