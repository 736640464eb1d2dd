"""A connection as AnyIO's stream of objects."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from anyio import BrokenResourceError, ClosedResourceError, EndOfStream
from anyio.abc import ObjectStream

from .._session.session import Session
from .._values.errors import ConnectionClosed


class Messenger(Protocol):
    """The part of a connection that the stream uses."""

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        """AnyIO's typed attributes of the transport."""

    async def receive_message(self) -> str | bytes:
        """Receive the next message."""

    async def send_message(self, message: str | bytes) -> None:
        """Send a message."""

    async def aclose(self) -> None:
        """Close the connection."""


class MessageStream(ObjectStream[str | bytes]):
    """The messages of a connection: `str` for text, `bytes` for binary ones.

    When the connection has ended, calls raise AnyIO's own exceptions. Their cause is
    the `ConnectionClosed` that carries the close code.
    """

    def __init__(self, messenger: Messenger, session: Session) -> None:
        self._messenger = messenger
        self._session = session

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        """The attributes of the transport, if known, for AnyIO's `extra()`."""
        return self._messenger.extra_attributes

    async def receive(self) -> str | bytes:
        """Receive the next message.

        Returns:
            `str` for a text message, `bytes` for a binary one.
        Raises:
            EndOfStream: The peer has closed the connection, or has left in a way that
                the server does not report.
            BrokenResourceError: The connection is known to have broken, or a rule of
                `Options` has closed it.
            ClosedResourceError: This end has closed the connection.
            WebSocketDisconnected: `accept()` has not been called.
            BusyResourceError: Another task is receiving.
        Cancellation:
            Safe: a cancelled call loses no message, and the next call returns it.
        """
        try:
            return await self._messenger.receive_message()
        except ConnectionClosed as exc:
            raise self._failure(EndOfStream) from exc

    async def send(self, item: str | bytes) -> None:
        """Send a message; returns when the message is queued.

        Args:
            item: `str` is sent as a text message, bytes as a binary one.
        Raises:
            BrokenResourceError: The connection has ended, but not from this side.
            ClosedResourceError: This end has closed the connection.
            RuntimeError: `accept()` has not been called.
            TypeError: The message is neither `str` nor bytes.
            UnicodeEncodeError: The text contains a lone surrogate, which UTF-8 cannot
                encode.
        Cancellation:
            All or nothing: a cancelled call has not sent the message.
        """
        try:
            await self._messenger.send_message(item)
        except ConnectionClosed as exc:
            raise self._failure(BrokenResourceError) from exc

    async def send_eof(self) -> None:
        """Close the connection with 1000, because WebSocket has no half-close.

        Does nothing if the connection was closed before, by either side.

        Cancellation:
            Safe: the closing frame is still sent.
        """
        await self._messenger.aclose()

    async def aclose(self) -> None:
        """Close the connection with 1000.

        Does nothing if the connection was closed before, by either side. Does not wait
        for the peer's answer.

        Cancellation:
            Safe: the closing frame is still sent.
        """
        await self._messenger.aclose()

    def _failure(self, otherwise: type[Exception]) -> Exception:
        if self._session.closed_by_user:
            return ClosedResourceError()
        return BrokenResourceError() if self._session.broken else otherwise()
