"""The verbs that send messages, at both ends."""

from __future__ import annotations

import json
from typing import Any

from .._values.events import Binary, Event
from .._values.states import SEND
from .connection_end import check_mode
from .frame_verbs import FrameVerbs


class SendingVerbs(FrameVerbs):
    """The methods that send messages."""

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
        check_mode(mode)
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


def _send_event(message: str | Binary) -> Event:
    if isinstance(message, str):
        return {"type": SEND, "text": message}
    if isinstance(message, Binary):
        return {"type": SEND, "bytes": message}
    raise TypeError(f"a message is str or bytes, not {type(message).__name__}")
