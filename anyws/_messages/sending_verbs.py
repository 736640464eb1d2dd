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
            compress: `False` sends the message uncompressed, even if compression was
                negotiated. It needs `anyws.hypercorn`, `anyws.uvicorn` or
                `anyws.serve`; a middleware that wraps `send` must pass the event on.
        Raises:
            ConnectionClosed: The connection has ended; carries its code and reason.
            RuntimeError: `accept()` has not been called; or, in plain mode, this end
                has closed the connection; or the server cannot send a message
                uncompressed.
            TypeError: The message is neither `str` nor bytes.
            UnicodeEncodeError: The text contains a lone surrogate, which UTF-8 cannot
                encode.
        Cancellation:
            All or nothing in guarded mode: a cancelled call has not sent the message.
            In plain mode, it depends on the server's own `send`: on some servers, a
            cancelled send breaks the connection.
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
            compress: `False` sends the message uncompressed, even if compression was
                negotiated. It needs `anyws.hypercorn`, `anyws.uvicorn` or
                `anyws.serve`; a middleware that wraps `send` must pass the event on.
        Raises:
            ConnectionClosed: The connection has ended; carries its code and reason.
            RuntimeError: `accept()` has not been called; or, in plain mode, this end
                has closed the connection; or the server cannot send a message
                uncompressed.
            TypeError: The data is not a `str`.
            UnicodeEncodeError: The text contains a lone surrogate, which UTF-8 cannot
                encode.
        Cancellation:
            All or nothing in guarded mode: a cancelled call has not sent the message.
            In plain mode, it depends on the server's own `send`: on some servers, a
            cancelled send breaks the connection.
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
            compress: `False` sends the message uncompressed, even if compression was
                negotiated. It needs `anyws.hypercorn`, `anyws.uvicorn` or
                `anyws.serve`; a middleware that wraps `send` must pass the event on.
        Raises:
            ConnectionClosed: The connection has ended; carries its code and reason.
            RuntimeError: `accept()` has not been called; or, in plain mode, this end
                has closed the connection; or the server cannot send a message
                uncompressed.
            TypeError: The data is neither `bytes`, `bytearray` nor `memoryview`.
        Cancellation:
            All or nothing in guarded mode: a cancelled call has not sent the message.
            In plain mode, it depends on the server's own `send`: on some servers, a
            cancelled send breaks the connection.
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
            data: Any value that `json.dumps`, or the codec, can encode.
            mode: `"text"` or `"binary"`: the kind of message.
            compress: `False` sends the message uncompressed, even if compression was
                negotiated. It needs `anyws.hypercorn`, `anyws.uvicorn` or
                `anyws.serve`; a middleware that wraps `send` must pass the event on.
        Raises:
            ConnectionClosed: The connection has ended; carries its code and reason.
            RuntimeError: `accept()` has not been called; or, in plain mode, this end
                has closed the connection; or the server cannot send a message
                uncompressed; or the mode is neither.
            TypeError, ValueError, RecursionError: `json.dumps` cannot encode the data.
                A codec may raise other exceptions. Nothing was sent.
            UnicodeEncodeError: The JSON contains a lone surrogate, which UTF-8 cannot
                encode.
        Cancellation:
            All or nothing in guarded mode: a cancelled call has not sent the message.
            In plain mode, it depends on the server's own `send`: on some servers, a
            cancelled send breaks the connection.
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

        If a middleware wraps `send`, the message is queued, and a task of the session
        calls the middleware, in the order of all messages of the connection. If the
        middleware raises an exception, the connection ends as if the block had raised
        it, with 1011 or the code of a `WebSocketException`. The exception leaves the
        block when the block ends, unless another one does. Leaving the block waits for
        the middleware, at most `close_timeout`, and then cancels it. It is cancelled
        earlier if nothing can be written any more.

        Args:
            message: `str` is sent as a text message, bytes as a binary one.
            compress: `False` sends the message uncompressed, even if compression was
                negotiated. It needs `anyws.hypercorn`, `anyws.uvicorn` or
                `anyws.serve`; a middleware that wraps `send` must pass the event on.
        Raises:
            WouldBlock: The queue is full, or other senders wait for it, and
                `send_overflow` is `"wait"`. Another rule is applied instead.
            ConnectionClosed: The connection has ended; carries its code and reason.
            RuntimeError: `accept()` has not been called, or this is plain mode; or the
                server cannot send a message uncompressed.
            TypeError: The message is neither `str` nor bytes.
            UnicodeEncodeError: The text contains a lone surrogate, which UTF-8 cannot
                encode.
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
