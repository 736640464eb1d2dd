"""The server's end of a channel, in memory, for tests of what stands on one.

It behaves as stock Hypercorn does where that matters: events come out of a queue that
cancellation cannot rob, a send is a checkpoint, a close is answered by the peer with a
disconnect. What a test wants otherwise it says.
"""

from __future__ import annotations

from collections import deque
from collections.abc import MutableMapping
from typing import Any

import anyio
from anyio.lowlevel import checkpoint

import anyws
from anyws._values.options import Options

Event = MutableMapping[str, Any]
SCOPE = {
    "type": "websocket",
    "path": "/",
    "query_string": b"",
    "headers": [],
    "subprotocols": ["chat", "graphql-ws"],
    "extensions": {"websocket.http.response": {}},
}


def message(payload: str | bytes) -> Event:
    """Return the event of a message, as Hypercorn spells it."""
    text = isinstance(payload, str)
    return {
        "type": "websocket.receive",
        "text": payload if text else None,
        "bytes": None if text else payload,
    }


class Channel:
    """An ASGI server's `receive` and `send` for one connection.

    Attributes:
        sent: The events that were sent whole.
        torn: The events whose send was cut short.
        answers: Whether the peer answers a close.
        error: What `send` raises, once it is set.
        receives_cut: How many receives were cancelled, and the one that is pending.
        holds_close: Whether a close waits behind a pending receive, as on Granian.
        clean: What is known of a close that the peer has answered.
        has_handshake: Whether it is yet to be accepted.
        reads_ahead: Whether the session takes more in than the bounds of the options.
    """

    clean: bool | None = None
    has_handshake = True
    reads_ahead = False

    def __init__(self, *events: Event) -> None:
        self._queue = deque[Event]([{"type": "websocket.connect"}, *events])
        self._arrived = anyio.Event()
        self._open_gate = anyio.Event()
        self._open_gate.set()
        self._shielded = False
        self.sent: list[Event] = []
        self.torn: list[Event] = []
        self.answers = True
        self.error: Exception | None = None
        self.holds_close = False
        self.receives_cut = 0
        self._pending = False

    def arrive(self, *events: Event | str | bytes) -> None:
        """Let events arrive; a `str` or bytes is a message."""
        for event in events:
            plain = isinstance(event, str | bytes)
            self._queue.append(message(event) if plain else event)  # type: ignore[arg-type]  # narrowed by plain
        self._arrived.set()

    def leave(self, code: int | None = 1006, reason: str | None = None) -> None:
        """Let the peer leave."""
        self.arrive({"type": "websocket.disconnect", "code": code, "reason": reason})

    def fail(self) -> None:
        """Let the next receive fail, or give what ends the connection."""
        self.arrive({"type": "websocket.connect"})

    def stall(self, *, shielded: bool = False) -> None:
        """Let every send wait; shielded, it cannot be cancelled (Hypercorn on trio)."""
        self._open_gate = anyio.Event()
        self._shielded = shielded

    def resume(self) -> None:
        """Let the sends go on."""
        self._open_gate.set()

    async def receive(self) -> Event:
        """Return the next event."""
        self._pending = True
        self.receives_cut += 1
        try:
            await checkpoint()
            while not self._queue:
                self._arrived = anyio.Event()
                await self._arrived.wait()
            self.receives_cut -= 1
            return self._queue.popleft()
        finally:
            self._pending = False

    async def send(self, event: Event) -> None:
        """Take an event."""
        held = self.holds_close and event["type"] == "websocket.close" and self._pending
        await self._pass_gate(event, held=held)
        self.sent.append(event)
        if event["type"] == "websocket.close" and self.answers:
            self.leave(1000)

    async def _pass_gate(self, event: Event, *, held: bool = False) -> None:
        """Wait, or fail, as the test has said."""
        try:
            await checkpoint()
            if held:
                await anyio.sleep_forever()
            with anyio.CancelScope(shield=self._shielded):
                await self._open_gate.wait()
            if self.error is not None:
                raise self.error
        except anyio.get_cancelled_exc_class():
            self.torn.append(event)
            raise

    @property
    def unread(self) -> int:
        """How many events wait to be received."""
        return len(self._queue)

    @property
    def messages(self) -> list[str | bytes]:
        """The messages that were sent whole."""
        return [
            event.get("text", event.get("bytes"))
            for event in self.sent
            if event["type"] == "websocket.send"
        ]

    @property
    def closes(self) -> list[tuple[int, str]]:
        """The closes that were sent, as code and reason."""
        return [
            (event["code"], event["reason"])
            for event in self.sent
            if event["type"] == "websocket.close"
        ]

    def websocket(self, **options: Any) -> anyws.WebSocket:
        """Return a WebSocket on this channel."""
        return anyws.WebSocket(
            dict(SCOPE), self.receive, self.send, options=Options(**options)
        )
