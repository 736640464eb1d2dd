"""The verbs that receive messages, at both ends."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Self, TypeVar

from starlette.websockets import WebSocketDisconnect

from .._values.errors import ConnectionClosed
from .._values.events import bytes_of, payload_of, text_of
from .._values.message_codec import decode_error, decoded
from .connection_end import ConnectionEnd, check_mode

MessageT = TypeVar("MessageT")


class ReceivingVerbs(ConnectionEnd):
    """The methods that receive messages."""

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
            returns it. In plain mode, it depends on the server's own `receive`.
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
            returns it. In plain mode, it depends on the server's own `receive`.
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
            returns it. In plain mode, it depends on the server's own `receive`.
        Source: RFC 6455 section 5.6; ASGI "websocket.receive".
        """
        return bytes_of(await self._next())

    async def receive_json(self, mode: str = "text") -> Any:
        """Receive the next message and decode it as JSON.

        Args:
            mode: `"text"` or `"binary"`: the kind of message that is expected.
        Returns:
            The value that `json.loads`, or the codec `Options.json`, decodes from the
            payload.
        Raises:
            MessageDecodeError: The payload is not JSON, not UTF-8, or nested too deep,
                or the codec does not take it. The message is consumed; the connection
                stays usable.
            MessageTypeError: The message is of the other kind. It is consumed; the
                connection stays usable.
            RuntimeError: The mode is neither. Nothing was received.
            ConnectionClosed: The connection has ended; carries its code and reason.
                Messages that arrived before the end are returned first.
            WebSocketDisconnected: `accept()` has not been called.
            BusyResourceError: Another task is receiving (guarded mode only).
        Cancellation:
            Safe in guarded mode: a cancelled call loses no message, and the next call
            returns it. In plain mode, it depends on the server's own `receive`.
        Source: RFC 8259; ASGI "websocket.receive".
        """
        check_mode(mode)
        event = await self._next()
        payload = text_of(event) if mode == "text" else bytes_of(event)
        codec = self._json
        if codec is not None:
            return decoded(codec, payload)
        try:
            text = payload if isinstance(payload, str) else payload.decode()
            return json.loads(text)
        except (ValueError, RecursionError) as exc:  # not UTF-8, too long, too deep
            raise decode_error(exc) from exc

    def iter_text(self) -> AsyncIterator[str]:
        """Receive text messages until the connection ends, in any way.

        The end of the connection ends the iteration, and raises nothing.

        Raises:
            MessageTypeError: A binary message came. It is consumed.
            WebSocketDisconnected: `accept()` has not been called.
            BusyResourceError: Another task is receiving (guarded mode only).
        Cancellation:
            Safe in guarded mode: a cancelled step loses no message; a new iteration
            begins with it. In plain mode, it depends on the server's own `receive`.
        """
        return _until_the_end(self.receive_text)

    def iter_bytes(self) -> AsyncIterator[bytes]:
        """Receive binary messages until the connection ends, in any way.

        The end of the connection ends the iteration, and raises nothing.

        Raises:
            MessageTypeError: A text message came. It is consumed.
            WebSocketDisconnected: `accept()` has not been called.
            BusyResourceError: Another task is receiving (guarded mode only).
        Cancellation:
            Safe in guarded mode: a cancelled step loses no message; a new iteration
            begins with it. In plain mode, it depends on the server's own `receive`.
        """
        return _until_the_end(self.receive_bytes)

    def iter_json(self) -> AsyncIterator[Any]:
        """Receive JSON in text messages until the connection ends, in any way.

        The end of the connection ends the iteration, and raises nothing.

        Raises:
            MessageDecodeError: The text is not JSON, or nested too deep. The message is
                consumed.
            MessageTypeError: A binary message came. It is consumed.
            WebSocketDisconnected: `accept()` has not been called.
            BusyResourceError: Another task is receiving (guarded mode only).
        Cancellation:
            Safe in guarded mode: a cancelled step loses no message; a new iteration
            begins with it. In plain mode, it depends on the server's own `receive`.
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
            StopAsyncIteration: The connection has ended properly, or in a way that the
                server does not report.
            ConnectionClosed: The connection is known to have broken, or a rule of
                `Options` closed it; carries its code and reason (guarded mode only).
            WebSocketDisconnected: `accept()` has not been called.
            BusyResourceError: Another task is receiving (guarded mode only).
        Cancellation:
            Safe in guarded mode: a cancelled call loses no message, and the next call
            returns it. In plain mode, it depends on the server's own `receive`.
        Source: RFC 6455 section 5.6; ASGI "websocket.receive".
        """
        try:
            return await self.receive_message()
        except ConnectionClosed:
            if self._session is not None and self._session.broken:
                raise
            raise StopAsyncIteration from None


async def _until_the_end(
    receive: Callable[[], Awaitable[MessageT]],
) -> AsyncIterator[MessageT]:
    try:
        while True:
            yield await receive()
    except WebSocketDisconnect:
        pass
