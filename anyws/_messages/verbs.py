"""The verbs: the methods that receive and send messages, at both ends."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager
from typing import Any, Self, TypeVar

from starlette.websockets import WebSocketDisconnect

from .._session.entrance import Entrance
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
    """The methods that `WebSocket` and `ClientWebSocket` have in common.

    *Guarded mode* is inside `async with websocket:`, where the connection has a
    session. *Plain mode* is the server's class outside of that. Methods that need a
    session raise a `RuntimeError` in plain mode, which names `async with`.
    """

    _session: Session | None
    _entrance: Entrance | None = None  # where a middleware wraps this object's `send`

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

        Silent when the connection was closed before, by either side. Does not wait for
        the peer's answer; leaving the `async with` block does.

        Cancellation:
            Safe in guarded mode: once the call has begun, the closing frame is sent all
            the same. In plain mode a cancelled call may be tried again.
        """
        await self.close()

    # Receiving messages

    async def receive_message(self) -> str | bytes:
        """Receive the next message, of either kind.

        Returns:
            `str` for a text message, `bytes` for a binary one.
        Raises:
            ConnectionClosed: The connection has ended; carries its code and reason.
                Messages that arrived before the end are returned first.
            WebSocketDisconnected: `accept()` has not been called.
            BusyResourceError: Another task is receiving (guarded mode only).
        Cancellation:
            Safe in guarded mode: a cancelled call loses no message, and the next call
            returns it. In plain mode, whatever the server's own `receive` does.
        Source: RFC 6455 section 5.6; ASGI "websocket.receive".
        """
        return payload_of(await self._next())

    async def receive_text(self) -> str:
        """Receive the next message, which must be a text message.

        Raises:
            MessageTypeError: The message is a binary message. It is consumed; the
                connection stays usable.
            ConnectionClosed: The connection has ended; carries its code and reason.
                Messages that arrived before the end are returned first.
            WebSocketDisconnected: `accept()` has not been called.
            BusyResourceError: Another task is receiving (guarded mode only).
        Cancellation:
            Safe in guarded mode: a cancelled call loses no message, and the next call
            returns it. In plain mode, whatever the server's own `receive` does.
        Source: RFC 6455 section 5.6; ASGI "websocket.receive".
        """
        return text_of(await self._next())

    async def receive_bytes(self) -> bytes:
        """Receive the next message, which must be a binary message.

        Raises:
            MessageTypeError: The message is a text message. It is consumed; the
                connection stays usable.
            ConnectionClosed: The connection has ended; carries its code and reason.
                Messages that arrived before the end are returned first.
            WebSocketDisconnected: `accept()` has not been called.
            BusyResourceError: Another task is receiving (guarded mode only).
        Cancellation:
            Safe in guarded mode: a cancelled call loses no message, and the next call
            returns it. In plain mode, whatever the server's own `receive` does.
        Source: RFC 6455 section 5.6; ASGI "websocket.receive".
        """
        return bytes_of(await self._next())

    async def receive_json(self, mode: str = "text") -> Any:
        """Receive the next message and decode it as JSON.

        Args:
            mode: `"text"` or `"binary"`: the kind of message that is expected.
        Returns:
            Whatever `json.loads` makes of the payload.
        Raises:
            MessageDecodeError: The payload is not JSON, not UTF-8, or nested too deep.
                The message is consumed; the connection stays usable.
            MessageTypeError: The message is of the other kind. It is consumed; the
                connection stays usable.
            RuntimeError: The mode is neither. Nothing was received.
            ConnectionClosed: The connection has ended; carries its code and reason.
                Messages that arrived before the end are returned first.
            WebSocketDisconnected: `accept()` has not been called.
            BusyResourceError: Another task is receiving (guarded mode only).
        Cancellation:
            Safe in guarded mode: a cancelled call loses no message, and the next call
            returns it. In plain mode, whatever the server's own `receive` does.
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

        The end of the connection ends the iteration, and raises nothing.

        Raises:
            MessageTypeError: A binary message came. It is consumed.
            WebSocketDisconnected: `accept()` has not been called.
            BusyResourceError: Another task is receiving (guarded mode only).
        Cancellation:
            Safe in guarded mode: a cancelled step loses no message; iterate anew, and
            it comes first. In plain mode, whatever the server's own `receive` does.
        """
        return _until_the_end(self.receive_text)

    def iter_bytes(self) -> AsyncIterator[bytes]:
        """Receive binary messages until the connection ends, in whatever way.

        The end of the connection ends the iteration, and raises nothing.

        Raises:
            MessageTypeError: A text message came. It is consumed.
            WebSocketDisconnected: `accept()` has not been called.
            BusyResourceError: Another task is receiving (guarded mode only).
        Cancellation:
            Safe in guarded mode: a cancelled step loses no message; iterate anew, and
            it comes first. In plain mode, whatever the server's own `receive` does.
        """
        return _until_the_end(self.receive_bytes)

    def iter_json(self) -> AsyncIterator[Any]:
        """Receive JSON in text messages until the connection ends, in whatever way.

        The end of the connection ends the iteration, and raises nothing.

        Raises:
            MessageDecodeError: The text is not JSON, or nested too deep. The message is
                consumed.
            MessageTypeError: A binary message came. It is consumed.
            WebSocketDisconnected: `accept()` has not been called.
            BusyResourceError: Another task is receiving (guarded mode only).
        Cancellation:
            Safe in guarded mode: a cancelled step loses no message; iterate anew, and
            it comes first. In plain mode, whatever the server's own `receive` does.
        """
        return _until_the_end(self.receive_json)

    def __aiter__(self) -> Self:
        """Iterate over the messages, of either kind, until the connection ends."""
        return self

    async def __anext__(self) -> str | bytes:
        """Receive the next message of the iteration.

        Returns:
            `str` for a text message, `bytes` for a binary one.
        Raises:
            StopAsyncIteration: The connection has ended in order, or in a way that the
                server does not tell.
            ConnectionClosed: The connection is known to have broken, or a rule of
                `Options` closed it; carries its code and reason (guarded mode only).
            WebSocketDisconnected: `accept()` has not been called.
            BusyResourceError: Another task is receiving (guarded mode only).
        Cancellation:
            Safe in guarded mode: a cancelled call loses no message, and the next call
            returns it. In plain mode, whatever the server's own `receive` does.
        Source: RFC 6455 section 5.6; ASGI "websocket.receive".
        """
        try:
            return await self.receive_message()
        except ConnectionClosed:
            if self._session is not None and self._session.broken:
                raise
            raise StopAsyncIteration from None

    # Sending messages

    async def send_message(self, message: str | Binary) -> None:
        """Send a message: `str` as a text message, bytes as a binary one.

        In guarded mode the call returns when the message is queued, and waits while the
        queue is full (`Options.send_buffer`, `send_overflow`). In plain mode it returns
        when the server's own `send` does.

        Args:
            message: The payload. A `bytearray` or a `memoryview` is copied.
        Raises:
            ConnectionClosed: The connection has ended; carries its code and reason.
            RuntimeError: `accept()` has not been called; or, in plain mode, the
                connection was closed from this side.
            TypeError: The message is neither `str` nor bytes.
            UnicodeEncodeError: The text holds a lone surrogate, which is no text.
        Cancellation:
            All or nothing in guarded mode: a cancelled call has not sent the message.
            In plain mode, whatever the server's own `send` does: on some servers a send
            that is cut short breaks the connection.
        Source: RFC 6455 section 5.6; ASGI "websocket.send".
        """
        await self.send(_send_event(message))

    async def send_text(self, data: str) -> None:
        """Send a text message.

        In guarded mode the call returns when the message is queued, and waits while the
        queue is full (`Options.send_buffer`, `send_overflow`). In plain mode it returns
        when the server's own `send` does.

        Raises:
            ConnectionClosed: The connection has ended; carries its code and reason.
            RuntimeError: `accept()` has not been called; or, in plain mode, the
                connection was closed from this side.
            TypeError: The data is no `str`.
            UnicodeEncodeError: The text holds a lone surrogate, which is no text.
        Cancellation:
            All or nothing in guarded mode: a cancelled call has not sent the message.
            In plain mode, whatever the server's own `send` does: on some servers a send
            that is cut short breaks the connection.
        Source: RFC 6455 section 5.6; ASGI "websocket.send".
        """
        await self.send({"type": SEND, "text": data})

    async def send_bytes(self, data: Binary) -> None:
        """Send a binary message.

        In guarded mode the call returns when the message is queued, and waits while the
        queue is full (`Options.send_buffer`, `send_overflow`). In plain mode it returns
        when the server's own `send` does.

        Args:
            data: The payload. A `bytearray` or a `memoryview` is copied.
        Raises:
            ConnectionClosed: The connection has ended; carries its code and reason.
            RuntimeError: `accept()` has not been called; or, in plain mode, the
                connection was closed from this side.
            TypeError: The data is neither `bytes`, `bytearray` nor `memoryview`.
        Cancellation:
            All or nothing in guarded mode: a cancelled call has not sent the message.
            In plain mode, whatever the server's own `send` does: on some servers a send
            that is cut short breaks the connection.
        Source: RFC 6455 section 5.6; ASGI "websocket.send".
        """
        await self.send({"type": SEND, "bytes": data})

    async def send_json(self, data: Any, mode: str = "text") -> None:
        """Send data as compact JSON.

        In guarded mode the call returns when the message is queued, and waits while the
        queue is full (`Options.send_buffer`, `send_overflow`). In plain mode it returns
        when the server's own `send` does.

        Args:
            data: Whatever `json.dumps` takes.
            mode: `"text"` or `"binary"`: the kind of message.
        Raises:
            ConnectionClosed: The connection has ended; carries its code and reason.
            RuntimeError: `accept()` has not been called; or, in plain mode, the
                connection was closed from this side; or the mode is neither.
            TypeError, ValueError, RecursionError: `json.dumps` does not take the data.
            UnicodeEncodeError: The JSON holds a lone surrogate, which is no text.
        Cancellation:
            All or nothing in guarded mode: a cancelled call has not sent the message.
            In plain mode, whatever the server's own `send` does: on some servers a send
            that is cut short breaks the connection.
        Source: RFC 6455 section 5.6; ASGI "websocket.send".
        """
        _check_mode(mode)
        text = json.dumps(data, separators=(",", ":"), ensure_ascii=False)
        await self.send_message(text if mode == "text" else text.encode())

    # Beyond Starlette's class

    def send_nowait(self, message: str | Binary) -> None:
        """Queue a message now: never a checkpoint. Needs the guarded mode.

        Where a middleware wraps `send`, the message is kept, and a task of the session
        calls the middleware, in the order of all messages of the connection. What the
        middleware raises then ends the connection as an exception of the block does,
        with 1011 or the code of a `WebSocketException`; the exception leaves the block
        when that ends, unless another one does. Leaving the block waits for the
        middleware, at most `close_timeout`, and cancels it after that, or once nothing
        can be written any more.

        Args:
            message: `str` is sent as a text message, bytes as a binary one.
        Raises:
            WouldBlock: The queue is full, or other senders wait for it, and
                `send_overflow` is `"wait"`. Another rule is applied instead.
            ConnectionClosed: The connection has ended; carries its code and reason.
            RuntimeError: `accept()` has not been called, or this is plain mode.
            TypeError: The message is neither `str` nor bytes.
            UnicodeEncodeError: The text holds a lone surrogate, which is no text.
        Source: RFC 6455 section 5.6; ASGI "websocket.send".
        """
        way = self._entrance or self._guarded("send_nowait")
        way.send_nowait(_send_event(message))

    async def wait_closed(self) -> CloseInfo:
        """Wait until the connection has ended and its closing handshake is over.

        Needs the guarded mode. Messages can be received meanwhile. With
        `receive_overflow="wait"` they must be, as the end may be behind them.

        Raises:
            RuntimeError: This is plain mode.
        Cancellation:
            Safe: waiting changes nothing.
        """
        return await self._guarded("wait_closed").wait_closed()

    def cancel_on_disconnect(self) -> AbstractContextManager[None]:
        """Cancel the block when the connection ends, unless by your own `close()`.

        Needs the guarded mode. Inside the block, the peer's leaving is noticed even if
        no task receives: a message that the receive buffer has no room for is dropped
        and counted.

        Raises:
            RuntimeError: This is plain mode.
            ConnectionClosed: On entry, if the connection has ended already; on leaving,
                if it ended inside, unless another exception leaves the block.
        Cancellation:
            Not a checkpoint.
        """
        return DisconnectScope(self._guarded("cancel_on_disconnect"))

    def statistics(self) -> Statistics:
        """Return the counters as they stand now; in plain mode a RuntimeError."""
        return self._guarded("statistics").statistics()

    @property
    def messages(self) -> MessageStream:
        """The messages as an `anyio.abc.ObjectStream`; in plain mode a RuntimeError."""
        return MessageStream(self, self._guarded("messages"))


def outside(name: str) -> RuntimeError:
    """Make the error of a method that needs a session and has none."""
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
