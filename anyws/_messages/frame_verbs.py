"""The verbs of frames: those that need a connection whose frames are ours.

A client always has such a connection. A server's end has one under `anyws.hypercorn`,
under uvicorn with `anyws.uvicorn.WebSocketProtocol`, and under `anyws.serve` and
`accept_stream`. Other servers keep their frames to themselves: ASGI has no event for a
ping, a fragment, or one message's compression. `anyws.testing.connect` stands in for
any server and has no frames; `anyws.connect(app=...)` has.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from secrets import token_bytes
from typing import Any, Final, Literal

from anyio import TypedAttributeProvider

from .._session.channel import Address, DirectChannel
from .._session.session import Session
from .._values.events import COMPRESS, Binary, Event
from .connection_end import ConnectionEnd
from .parts import ReceiveStream, SendStream, receiving, sending

# The most bytes that a control frame carries (RFC 6455 section 5.5).
_PING_BYTES: Final = 125


class FrameVerbs(ConnectionEnd, TypedAttributeProvider):
    """The methods of both ends that need frames of our own."""

    @abstractmethod
    def _framed(self, name: str) -> Session:
        """Return the session of the connection, whose frames are ours.

        Raises:
            RuntimeError: There is none; the message says what `name` needs.
        """

    @abstractmethod
    def _frames(self) -> DirectChannel | None:
        """Return the channel of our frames; `None`: there is none."""

    @abstractmethod
    def _check_direct(self, name: str, session: Session) -> None:
        """Raise RuntimeError if a middleware stands between this object and a session.

        Args:
            name: `"send_stream"` or `"receive_stream"`.
            session: The session.
        """

    async def ping(self, data: bytes = b"") -> float:
        """Send a ping and wait for its pong.

        On a server it needs `anyws.hypercorn`, `anyws.uvicorn` or `anyws.serve`, but
        not the guarded mode. If the receive buffer and the read-ahead behind it are
        full, nothing is read, not even the pong; this method waits until reading goes
        on. A middleware does not see pings.

        Args:
            data: The ping's payload, at most 125 bytes. If it is empty, a random
                payload is sent, so that pings under way can be told apart.
        Returns:
            The round-trip time, in seconds.
        Raises:
            ConnectionClosed: The connection has ended, or ended before the pong came.
            ValueError: The payload is over 125 bytes.
            TypeError: The payload is not bytes.
            RuntimeError: A ping with this payload is under way; `accept()` has not been
                called; the client's block was not entered; or the server is none of
                these.
        Cancellation:
            Safe: a ping that is not written yet is not sent, and the pong of one that
            is written is ignored.
        Source: RFC 6455 sections 5.5.2 and 5.5.3.
        """
        if not isinstance(data, Binary):
            raise TypeError(f"a ping carries bytes, not {type(data).__name__}")
        payload = bytes(data)
        if len(payload) > _PING_BYTES:
            raise ValueError(
                f"a ping carries at most {_PING_BYTES} bytes, not {len(payload)}"
            )
        return await self._framed("ping()").ping(payload or token_bytes(4))

    @property
    def latency(self) -> float | None:
        """Round-trip time in seconds of the last ping that was answered, or `None`.

        The keepalive's pings count: see `Options.ping_interval`. On a server it needs
        `anyws.hypercorn`, `anyws.uvicorn` or `anyws.serve`, and raises RuntimeError
        under others; `statistics().latency` is `None` there.
        """
        return self._framed("latency").keepalive.latency

    @property
    def peer_address(self) -> Address:
        """The address of the other end of the transport, known from the start.

        This is the host and port of a TCP connection, or the path of a unix socket, if
        it has one. It is `None` if the transport has no address. If there is a proxy,
        it is the address of the proxy. `WebSocket.client`, in contrast, is read from
        the scope, where a server or a middleware may have stored an address from a
        proxy's headers. On a server it needs `anyws.hypercorn`, `anyws.uvicorn` or
        `anyws.serve`, and raises RuntimeError under others.
        """
        channel = self._frames()
        if channel is None:
            channel = self._framed("peer_address").connection.frames
        return None if channel is None else channel.peer_address

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        """The attributes of the transport, for AnyIO's `extra()`.

            certificate = ws.extra(TLSAttribute.peer_certificate, None)
            version = ws.extra(TLSAttribute.tls_version, None)

        They are those of `anyio.abc.SocketAttribute` and, under TLS, of
        `anyio.streams.tls.TLSAttribute`, at both ends. Servers other than
        `anyws.hypercorn`, `anyws.uvicorn` and `anyws.serve` have none. In the scope of
        these three, the ASGI extension `tls` has the same data about the client.
        """
        channel = self._frames()
        return {} if channel is None else channel.extra_attributes

    def send_stream(
        self, kind: Literal["text", "binary"], *, compress: bool = True
    ) -> AbstractAsyncContextManager[SendStream]:
        """Send one message in parts, as fragments, in an `async with` block.

            async with ws.send_stream("binary") as out:
                async for part in file:
                    await out.send(part)

        Leaving the block ends the message. Until then every other send waits, while
        pings are still sent and answered. So a `ws.send_text()` inside the block waits
        for ever: use `out.send()`. If an exception or a cancellation leaves the block,
        the message cannot be taken back: the connection is closed with 1011, unless no
        part has been sent yet.

        On a server it needs `anyws.hypercorn`, `anyws.uvicorn` or `anyws.serve`, but
        not the guarded mode. ASGI has no event for a part, so a part cannot pass a
        middleware that wraps `send`; Starlette's and FastAPI's own wrapper does not
        count.

        Args:
            kind: `"text"` or `"binary"`.
            compress: Whether the parts are compressed, if compression was negotiated.
        Raises:
            ConnectionClosed: On entry or leaving: the connection has ended, and the
                message was not sent whole.
            ValueError: The kind is neither of the two.
            RuntimeError: The client's block was not entered; the server is none of
                these; a middleware wraps `send`; or, on entry, `accept()` has not been
                called.
        Cancellation:
            All or nothing while entering waits for other senders; then as above.
        Source: RFC 6455 section 5.4.
        """
        if kind not in ("text", "binary"):
            raise ValueError(f"kind is 'text' or 'binary', not {kind!r}")
        session = self._framed("send_stream()")
        self._check_direct("send_stream", session)
        return sending(session, kind, compress=compress)

    def receive_stream(self) -> AbstractAsyncContextManager[ReceiveStream]:
        """Receive the next message in parts, as it comes, in an `async with` block.

            async with ws.receive_stream() as message:
                async for part in message:
                    await file.write(part)

        Entering waits for the message to begin. Each frame of the peer is one part; the
        frames that arrived before the block was entered are one part together. The size
        of the message is not limited; a part is limited to `max_message_bytes`. If the
        block is left before the end of the message, the rest is dropped as it arrives.
        Until then, no other task can receive.

        On a server it needs `anyws.hypercorn`, `anyws.uvicorn` or `anyws.serve`, but
        not the guarded mode. A part cannot pass a middleware that wraps `receive`.

        Raises:
            ConnectionClosed: On entry or in the loop: the connection has ended.
            WebSocketDisconnected: On entry: `accept()` has not been called.
            BusyResourceError: On entry: another task is receiving.
            RuntimeError: The client's block was not entered; the server is none of
                these; or a middleware wraps `receive`.
        Cancellation:
            Safe: cancelled on entry, no message is lost; cancelled in the block, the
            rest of the message is dropped.
        Source: RFC 6455 section 5.4.
        """
        session = self._framed("receive_stream()")
        self._check_direct("receive_stream", session)
        return receiving(session)

    def _plain(self, event: Event) -> Event:
        """Mark a message as one that is not to be compressed."""
        self._framed("compress=False")
        event[COMPRESS] = False
        return event


def frames_needed(name: str) -> RuntimeError:
    """Make the error of a verb that needs our frames, under a server of its own."""
    return RuntimeError(
        f"{name} needs a server whose frames are those of anyws: anyws.hypercorn, "
        "uvicorn with anyws.uvicorn.WebSocketProtocol, or anyws.serve; in a test, the "
        "client anyws.connect(..., app=app)"
    )
