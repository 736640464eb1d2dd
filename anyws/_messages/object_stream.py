"""A connection as AnyIO's stream of objects."""

from __future__ import annotations

from typing import Protocol

from anyio import BrokenResourceError, ClosedResourceError, EndOfStream
from anyio.abc import ObjectStream

from .._session.session import Session
from .._values.errors import ConnectionClosed


class Messenger(Protocol):
    """What the stream needs of a connection."""

    async def receive_message(self) -> str | bytes:
        """Receive the next message."""

    async def send_message(self, message: str | bytes) -> None:
        """Send a message."""

    async def aclose(self) -> None:
        """Close the connection."""


class MessageStream(ObjectStream[str | bytes]):
    """The messages of a connection: `str` for text, `bytes` for binary ones.

    Its ends are AnyIO's: `EndOfStream` once the peer has closed, or has left in a way
    that the server does not tell; `BrokenResourceError` once the connection is known to
    have broken, or a rule of `Options` has ended it; `ClosedResourceError` once it was
    closed from our side.
    """

    def __init__(self, messenger: Messenger, session: Session) -> None:
        self._messenger = messenger
        self._session = session

    async def receive(self) -> str | bytes:
        """Receive the next message.

        Raises:
            EndOfStream, BrokenResourceError, ClosedResourceError: See the class.
            BusyResourceError: Another task is receiving.
        Cancellation:
            Safe: a cancelled call loses no message.
        """
        try:
            return await self._messenger.receive_message()
        except ConnectionClosed as exc:
            raise self._failure(EndOfStream) from exc

    async def send(self, item: str | bytes) -> None:
        """Send a message; returns when it is queued.

        Raises:
            BrokenResourceError, ClosedResourceError: See the class.
        Cancellation:
            All or nothing: a cancelled call has not sent the message.
        """
        try:
            await self._messenger.send_message(item)
        except ConnectionClosed as exc:
            raise self._failure(BrokenResourceError) from exc

    async def send_eof(self) -> None:
        """Close the connection with 1000: WebSocket has no half-close.

        Cancellation:
            Safe: the connection is closed all the same.
        """
        await self._messenger.aclose()

    async def aclose(self) -> None:
        """Close the connection with 1000.

        Cancellation:
            Safe: the connection is closed all the same.
        """
        await self._messenger.aclose()

    def _failure(self, otherwise: type[Exception]) -> Exception:
        if self._session.closed_by_user:
            return ClosedResourceError()
        return BrokenResourceError() if self._session.broken else otherwise()
