"""The verbs: the methods that receive and send messages, at both ends."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar, overload

from starlette.websockets import WebSocketDisconnect

from .._session.entrance import Entrance
from .._session.session import Session
from .._values.closing import CloseInfo
from .._values.errors import ConnectionClosed
from .._values.events import Binary, Event, bytes_of, payload_of, text_of
from .._values.message_codec import Codec, check_codec, decode_error, decoded
from .._values.options import Options
from .._values.states import SEND
from .._values.statistics import Statistics
from .disconnect_scope import DisconnectScope
from .frame_verbs import FrameVerbs
from .interrupt_scope import InterruptScope
from .json_types import JsonTypes
from .object_stream import MessageStream
from .typed import OnInvalid, TypedMessages

if TYPE_CHECKING:
    # Python has none yet (PEP 747), and type checkers know this one.
    from typing_extensions import TypeForm

MessageT = TypeVar("MessageT")
InT = TypeVar("InT")
OutT = TypeVar("OutT")

_NOT_GIVEN: Final = object()  # `None` is a type of messages


class Messaging(FrameVerbs):
    """The methods that `WebSocket` and `ClientWebSocket` have in common.

    *Guarded mode* is inside `async with websocket:`, where the connection has a
    session. *Plain mode* is the server's class outside of that. Methods that need a
    session raise a `RuntimeError` in plain mode, which names `async with`.
    """

    _session: Session | None
    _entrance: Entrance | None = None  # where a middleware wraps this object's `send`
    _options: Options | None

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

    @property
    def _json(self) -> Codec[Any, Any] | None:
        """The codec that the options name for JSON."""
        options = self._options if self._session is None else self._session.options
        return None if options is None else options.json

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
            Whatever `json.loads`, or the codec `Options.json`, makes of the payload.
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
            returns it. In plain mode, whatever the server's own `receive` does.
        Source: RFC 8259; ASGI "websocket.receive".
        """
        _check_mode(mode)
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

    async def send_message(
        self, message: str | Binary, *, compress: bool = True
    ) -> None:
        """Send a message: `str` as a text message, bytes as a binary one.

        In guarded mode the call returns when the message is queued, and waits while the
        queue is full (`Options.send_buffer`, `send_overflow`). In plain mode it returns
        when the server's own `send` does.

        Args:
            message: The payload. A `bytearray` or a `memoryview` is copied.
            compress: `False` has the message sent as it is where compression was
                negotiated. It needs `anyws.hypercorn`, `anyws.uvicorn` or
                `anyws.serve`; a middleware that wraps `send` must pass the event on.
        Raises:
            ConnectionClosed: The connection has ended; carries its code and reason.
            RuntimeError: `accept()` has not been called; or, in plain mode, the
                connection was closed from this side; or the server does not let a
                message go uncompressed.
            TypeError: The message is neither `str` nor bytes.
            UnicodeEncodeError: The text holds a lone surrogate, which is no text.
        Cancellation:
            All or nothing in guarded mode: a cancelled call has not sent the message.
            In plain mode, whatever the server's own `send` does: on some servers a send
            that is cut short breaks the connection.
        Source: RFC 6455 section 5.6; ASGI "websocket.send".
        """
        event = _send_event(message)
        await self.send(event if compress else self._plain(event))

    async def send_text(self, data: str, *, compress: bool = True) -> None:
        """Send a text message.

        In guarded mode the call returns when the message is queued, and waits while the
        queue is full (`Options.send_buffer`, `send_overflow`). In plain mode it returns
        when the server's own `send` does.

        Args:
            data: The payload.
            compress: `False` has the message sent as it is where compression was
                negotiated. It needs `anyws.hypercorn`, `anyws.uvicorn` or
                `anyws.serve`; a middleware that wraps `send` must pass the event on.
        Raises:
            ConnectionClosed: The connection has ended; carries its code and reason.
            RuntimeError: `accept()` has not been called; or, in plain mode, the
                connection was closed from this side; or the server does not let a
                message go uncompressed.
            TypeError: The data is no `str`.
            UnicodeEncodeError: The text holds a lone surrogate, which is no text.
        Cancellation:
            All or nothing in guarded mode: a cancelled call has not sent the message.
            In plain mode, whatever the server's own `send` does: on some servers a send
            that is cut short breaks the connection.
        Source: RFC 6455 section 5.6; ASGI "websocket.send".
        """
        event = {"type": SEND, "text": data}
        await self.send(event if compress else self._plain(event))

    async def send_bytes(self, data: Binary, *, compress: bool = True) -> None:
        """Send a binary message.

        In guarded mode the call returns when the message is queued, and waits while the
        queue is full (`Options.send_buffer`, `send_overflow`). In plain mode it returns
        when the server's own `send` does.

        Args:
            data: The payload. A `bytearray` or a `memoryview` is copied.
            compress: `False` has the message sent as it is where compression was
                negotiated. It needs `anyws.hypercorn`, `anyws.uvicorn` or
                `anyws.serve`; a middleware that wraps `send` must pass the event on.
        Raises:
            ConnectionClosed: The connection has ended; carries its code and reason.
            RuntimeError: `accept()` has not been called; or, in plain mode, the
                connection was closed from this side; or the server does not let a
                message go uncompressed.
            TypeError: The data is neither `bytes`, `bytearray` nor `memoryview`.
        Cancellation:
            All or nothing in guarded mode: a cancelled call has not sent the message.
            In plain mode, whatever the server's own `send` does: on some servers a send
            that is cut short breaks the connection.
        Source: RFC 6455 section 5.6; ASGI "websocket.send".
        """
        event = {"type": SEND, "bytes": data}
        await self.send(event if compress else self._plain(event))

    async def send_json(
        self, data: Any, mode: str = "text", *, compress: bool = True
    ) -> None:
        """Send data as JSON: compact, or as the codec `Options.json` writes it.

        In guarded mode the call returns when the message is queued, and waits while the
        queue is full (`Options.send_buffer`, `send_overflow`). In plain mode it returns
        when the server's own `send` does.

        Args:
            data: Whatever `json.dumps`, or the codec, takes.
            mode: `"text"` or `"binary"`: the kind of message.
            compress: `False` has the message sent as it is where compression was
                negotiated. It needs `anyws.hypercorn`, `anyws.uvicorn` or
                `anyws.serve`; a middleware that wraps `send` must pass the event on.
        Raises:
            ConnectionClosed: The connection has ended; carries its code and reason.
            RuntimeError: `accept()` has not been called; or, in plain mode, the
                connection was closed from this side; or the server does not let a
                message go uncompressed; or the mode is neither.
            TypeError, ValueError, RecursionError: `json.dumps` does not take the data;
                or whatever the codec raises. Nothing was sent.
            UnicodeEncodeError: The JSON holds a lone surrogate, which is no text.
        Cancellation:
            All or nothing in guarded mode: a cancelled call has not sent the message.
            In plain mode, whatever the server's own `send` does: on some servers a send
            that is cut short breaks the connection.
        Source: RFC 6455 section 5.6; ASGI "websocket.send".
        """
        _check_mode(mode)
        codec = self._json
        message: str | bytes
        if codec is None:
            message = json.dumps(data, separators=(",", ":"), ensure_ascii=False)
        else:
            message = codec.encode(data)
        if mode == "text" and isinstance(message, bytes):
            message = message.decode()
        elif mode == "binary" and isinstance(message, str):
            message = message.encode()
        await self.send_message(message, compress=compress)

    # Beyond Starlette's class

    @overload
    def typed(
        self, received: TypeForm[InT], /, *, on_invalid: OnInvalid[InT] = "raise"
    ) -> TypedMessages[InT, InT]: ...

    @overload
    def typed(
        self,
        received: TypeForm[InT],
        sent: TypeForm[OutT],
        /,
        *,
        on_invalid: OnInvalid[OutT] = "raise",
    ) -> TypedMessages[InT, OutT]: ...

    @overload
    def typed(
        self, *, codec: Codec[InT, OutT], on_invalid: OnInvalid[OutT] = "raise"
    ) -> TypedMessages[InT, OutT]: ...

    def typed(
        self,
        received: Any = _NOT_GIVEN,
        sent: Any = _NOT_GIVEN,
        *,
        codec: Codec[Any, Any] | None = None,
        on_invalid: OnInvalid[Any] = "raise",
    ) -> TypedMessages[Any, Any]:
        """Return the messages as values of types: JSON, validated as it is decoded.

            messages = ws.typed(Question | Stop, Answer)
            async for question in messages:
                await messages.send(answer_to(question))

        Types of msgspec, dataclasses, TypedDicts and types of Python need the extra
        `msgspec`; without it they are left to pydantic, if that is installed. Types in
        which something of pydantic's stands (models, `Field`, discriminated unions)
        need pydantic. What both libraries make of a type is kept for further calls.

        Args:
            received: The type of what the peer sends.
            sent: The type of what is sent; the same one if it is left out. It is the
                type checker that holds values against it.
            codec: Another codec in the place of both types.
            on_invalid: What is done with an invalid message. `"raise"` (default): a
                receive raises. A close code, 1007, 1008 or another: the connection is
                closed with it, the reason says what is wrong, and a receive raises
                `ConnectionClosed`. A function that makes a value of the error: the
                value is sent, and the next message waited for.
        Raises:
            ModuleNotFoundError: The library for a type is not installed.
            TypeError: A type is none of messages; or there are no types and no codec,
                or both; or `on_invalid` is none of these.
            ValueError: No closing frame may carry the code.
        """
        if (codec is None) == (received is _NOT_GIVEN):
            raise TypeError("typed() takes the types of messages, or codec=")
        if codec is None:
            codec = JsonTypes(received, received if sent is _NOT_GIVEN else sent)
        check_codec(codec, "codec")
        return TypedMessages(self, codec, on_invalid)

    def send_nowait(self, message: str | Binary, *, compress: bool = True) -> None:
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
            compress: `False` has the message sent as it is where compression was
                negotiated. It needs `anyws.hypercorn`, `anyws.uvicorn` or
                `anyws.serve`; a middleware that wraps `send` must pass the event on.
        Raises:
            WouldBlock: The queue is full, or other senders wait for it, and
                `send_overflow` is `"wait"`. Another rule is applied instead.
            ConnectionClosed: The connection has ended; carries its code and reason.
            RuntimeError: `accept()` has not been called, or this is plain mode; or the
                server does not let a message go uncompressed.
            TypeError: The message is neither `str` nor bytes.
            UnicodeEncodeError: The text holds a lone surrogate, which is no text.
        Source: RFC 6455 section 5.6; ASGI "websocket.send".
        """
        way = self._entrance or self._guarded("send_nowait")
        event = _send_event(message)
        way.send_nowait(event if compress else self._plain(event))

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

    def cancel_on(
        self, predicate: Callable[[str | bytes], bool]
    ) -> InterruptScope[str | bytes]:
        """Cancel the block when a message comes that the predicate takes.

            with ws.cancel_on(lambda message: message == "stop") as scope:
                async for token in answer:
                    await ws.send_text(token)
            if scope.interrupted:
                ...  # scope.message is the one that was taken

        Needs the guarded mode. The predicate is asked for each whole message as it
        arrives, and on entry for those that wait to be received. The first one that it
        takes cancels the block, is `scope.message`, and reaches no receiver. It is
        asked before `receive_buffer` and the overflow rule, but not for a message over
        `max_message_bytes`. The other messages stay in order; a task may receive them
        inside. Where blocks are nested, or stand in several tasks, the one that was
        entered last is asked first.

        With `receive_overflow="wait"` a full receive buffer stops the reading, and then
        no predicate sees a message: receive inside the block, or choose `"drop_oldest"`
        or `"close"`. Where anyws reads the frames itself, that is so only behind the
        read-ahead of 256 messages and 1 MiB (`Options.receive_buffer`). The end of the
        connection is not looked at: `cancel_on_disconnect()` is for that.

        Args:
            predicate: Called with `str` for a text message, `bytes` for a binary one,
                in whatever task has read it. It must not block. An exception of it
                cancels the block and is raised by leaving it; the message stays.
        Raises:
            RuntimeError: This is plain mode.
            TypeError: The predicate is no function, or an async one.
        Cancellation:
            Not a checkpoint.
        """
        session = self._guarded("cancel_on")
        return InterruptScope(session, predicate, lambda message: message)

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
