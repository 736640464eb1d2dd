"""What a connection does with messages, at either end of it."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager
from typing import Any, Self, TypeVar

from starlette.websockets import WebSocketDisconnect

from .._session.session import Session
from .._values.closing import CloseInfo
from .._values.errors import ConnectionClosed, MessageDecodeError
from .._values.events import Binary, Event, bytes_of, payload_of, text_of
from .._values.states import SEND
from .._values.statistics import Statistics
from .disconnect_scope import DisconnectScope
from .object_stream import MessageStream

MessageT = TypeVar("MessageT")


class Messaging(ABC):
    """The verbs that the server's class and the client's have in common.

    Without a session, as the server's class may be used, what needs one raises a
    `RuntimeError` that names `async with`.
    """

    _session: Session | None

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

    async def aclose(self) -> None:
        """Close the connection with 1000; the same as `close()`.

        Cancellation:
            As `close()`.
        """
        await self.close()

    # Receiving messages

    async def receive_message(self) -> str | bytes:
        """Receive the next message, of either kind.

        Returns:
            `str` for a text message, `bytes` for a binary one.
        Raises:
            ConnectionClosed: The connection has ended; carries its code and reason.
            WebSocketDisconnected: `accept()` has not been called.
            BusyResourceError: Guarded: another task is receiving.
        Cancellation:
            Safe: guarded, a cancelled call loses no message. Plain, as the server's.
        Source: RFC 6455 section 5.6; ASGI "websocket.receive".
        """
        return payload_of(await self._next())

    async def receive_text(self) -> str:
        """Receive the next message, which must be a text message.

        Raises:
            MessageTypeError: It is a binary one. It is consumed; the connection stays
                usable.
            ConnectionClosed, WebSocketDisconnected, BusyResourceError: As
                `receive_message`.
        Cancellation:
            As `receive_message`.
        Source: RFC 6455 section 5.6; ASGI "websocket.receive".
        """
        return text_of(await self._next())

    async def receive_bytes(self) -> bytes:
        """Receive the next message, which must be a binary message.

        Raises:
            MessageTypeError: It is a text one. It is consumed; the connection stays
                usable.
            ConnectionClosed, WebSocketDisconnected, BusyResourceError: As
                `receive_message`.
        Cancellation:
            As `receive_message`.
        Source: RFC 6455 section 5.6; ASGI "websocket.receive".
        """
        return bytes_of(await self._next())

    async def receive_json(self, mode: str = "text") -> Any:
        """Receive the next message and decode it as JSON.

        Args:
            mode: `"text"` or `"binary"`: the kind of message that is expected.
        Raises:
            MessageDecodeError: It is not JSON, not UTF-8, or nested too deep. It is
                consumed; the connection stays usable.
            RuntimeError: The mode is neither.
            MessageTypeError, ConnectionClosed, WebSocketDisconnected,
                BusyResourceError: As `receive_text` and `receive_bytes`.
        Cancellation:
            As `receive_message`.
        Source: RFC 8259; ASGI "websocket.receive".
        """
        _check_mode(mode)
        event = await self._next()
        try:
            text = text_of(event) if mode == "text" else bytes_of(event).decode()
            return json.loads(text)
        except json.JSONDecodeError as exc:
            raise MessageDecodeError(exc.msg, exc.doc, exc.pos) from exc
        except (ValueError, RecursionError) as exc:  # not UTF-8, too long, too deep
            raise MessageDecodeError(str(exc), "", 0) from exc

    def iter_text(self) -> AsyncIterator[str]:
        """Receive text messages until the connection ends, in whatever way.

        Cancellation:
            As `receive_message`.
        """
        return _until_the_end(self.receive_text)

    def iter_bytes(self) -> AsyncIterator[bytes]:
        """Receive binary messages until the connection ends, in whatever way.

        Cancellation:
            As `receive_message`.
        """
        return _until_the_end(self.receive_bytes)

    def iter_json(self) -> AsyncIterator[Any]:
        """Receive JSON in text messages until the connection ends, in whatever way.

        Cancellation:
            As `receive_message`.
        """
        return _until_the_end(self.receive_json)

    def __aiter__(self) -> Self:
        """Iterate over the messages, of either kind, until the connection ends."""
        return self

    async def __anext__(self) -> str | bytes:
        """Receive the next message.

        The end of the connection ends the iteration, unless it is known not to have
        been in order, or a rule of `Options` forced it: then it raises
        `ConnectionClosed`.

        Cancellation:
            As `receive_message`.
        """
        try:
            return await self.receive_message()
        except ConnectionClosed:
            if self._session is not None and self._session.broken:
                raise
            raise StopAsyncIteration from None

    # Sending messages

    async def send_message(self, message: str | Binary) -> None:
        """Send a message: `str` as text, bytes as binary.

        Guarded, it returns when the message is queued, and waits while the queue is
        full (`Options.send_buffer`, `send_overflow`).

        Raises:
            ConnectionClosed: The connection has ended.
            RuntimeError: `accept()` has not been called.
            TypeError: It is neither `str` nor bytes.
            UnicodeEncodeError: A lone surrogate is no text.
        Cancellation:
            Guarded, all or nothing: a cancelled call has not sent the message. Plain,
            as the server's.
        Source: RFC 6455 section 5.6; ASGI "websocket.send".
        """
        await self.send(_send_event(message))

    async def send_text(self, data: str) -> None:
        """Send a text message; as `send_message`.

        Cancellation:
            As `send_message`.
        """
        await self.send({"type": SEND, "text": data})

    async def send_bytes(self, data: Binary) -> None:
        """Send a binary message; as `send_message`.

        Cancellation:
            As `send_message`.
        """
        await self.send({"type": SEND, "bytes": data})

    async def send_json(self, data: Any, mode: str = "text") -> None:
        """Send data as compact JSON; as `send_message`.

        Args:
            data: Whatever `json.dumps` takes.
            mode: `"text"` or `"binary"`: the kind of message.
        Raises:
            TypeError: `json.dumps` does not take it; nothing was sent.
            RuntimeError: The mode is neither.
        Cancellation:
            As `send_message`.
        """
        _check_mode(mode)
        text = json.dumps(data, separators=(",", ":"), ensure_ascii=False)
        await self.send_message(text if mode == "text" else text.encode())

    # Beyond Starlette's class

    def send_nowait(self, message: str | Binary) -> None:
        """Queue a message now. Needs the guarded mode; never a checkpoint.

        Raises:
            WouldBlock: The queue is full and `send_overflow` is `"wait"`; with another
                rule, the rule is applied.
            ConnectionClosed, RuntimeError, TypeError: As `send_message`.
        """
        self._guarded("send_nowait").send_nowait(_send_event(message))

    async def wait_closed(self) -> CloseInfo:
        """Wait until the connection has ended and its closing handshake is over.

        Needs the guarded mode. Messages can be received meanwhile; with
        `receive_overflow="wait"` they must be, or the end may not be seen.

        Cancellation:
            Safe: waiting changes nothing.
        """
        return await self._guarded("wait_closed").wait_closed()

    def cancel_on_disconnect(self) -> AbstractContextManager[None]:
        """Cancel the block when the connection ends, unless by your own `close()`.

        Needs the guarded mode. Inside, the peer's leaving is noticed even if nobody
        receives: what overflows the receive buffer (the newest) is dropped and counted.

        Raises:
            ConnectionClosed: On entry, if the connection has ended already; on leaving,
                if it ended inside, unless another exception leaves the block.
        """
        return DisconnectScope(self._guarded("cancel_on_disconnect"))

    def statistics(self) -> Statistics:
        """Return the counters as they stand now. Needs the guarded mode."""
        return self._guarded("statistics").statistics()

    @property
    def messages(self) -> MessageStream:
        """The messages as an `anyio.abc.ObjectStream`. Needs the guarded mode."""
        return MessageStream(self, self._guarded("messages"))


def outside(name: str) -> RuntimeError:
    """Make the error for what needs a session, where there is none."""
    return RuntimeError(
        f"{name} needs the guarded mode: use it inside 'async with websocket:'"
    )


async def _until_the_end(
    receive: Callable[[], Awaitable[MessageT]],
) -> AsyncIterator[MessageT]:
    try:
        while True:
            yield await receive()
    except WebSocketDisconnect:
        pass


def _check_mode(mode: str) -> None:
    if mode not in {"text", "binary"}:
        raise RuntimeError('The "mode" argument should be "text" or "binary".')


def _send_event(message: str | Binary) -> Event:
    if isinstance(message, str):
        return {"type": SEND, "text": message}
    if isinstance(message, Binary):
        return {"type": SEND, "bytes": message}
    raise TypeError(f"a message is str or bytes, not {type(message).__name__}")
