"""The messages of a connection as values of declared types, encoded by a codec."""

from __future__ import annotations

from collections.abc import Callable
from inspect import iscoroutinefunction
from typing import Any, Final, Generic, Literal, Protocol, Self, TypeAlias, TypeVar

from anyio import get_cancelled_exc_class

from .._session.session import Session
from .._values.closing import CloseInfo, checked_code, fitted_reason
from .._values.errors import ConnectionClosed, MessageDecodeError
from .._values.events import Binary
from .._values.message_codec import Codec, decoded
from .interrupt_scope import InterruptScope

InT = TypeVar("InT")
OutT = TypeVar("OutT")

OnInvalid: TypeAlias = Literal["raise"] | int | Callable[[MessageDecodeError], OutT]

_NONE: Final = object()  # no answer is owed; an answer may be any value


class Messenger(Protocol):
    """The part of a connection that the view uses."""

    _session: Session | None

    def _guarded(self, name: str) -> Session:
        """Return the session; raise RuntimeError in plain mode."""

    async def receive_message(self) -> str | bytes:
        """Receive the next message."""

    async def send_message(
        self, message: str | Binary, *, compress: bool = True
    ) -> None:
        """Send a message."""

    def send_nowait(self, message: str | Binary, *, compress: bool = True) -> None:
        """Queue a message now."""

    async def close(self, code: int = 1000, reason: str | None = None) -> None:
        """Close the connection."""


class TypedMessages(Generic[InT, OutT]):
    """The messages of a connection as values of two types; made by `typed`.

    It is a view: the connection keeps its own methods, and several views of one
    connection may be used in turn.

    Attributes:
        codec: The codec that turns values into messages, and messages into values.
    """

    def __init__(
        self,
        messenger: Messenger,
        codec: Codec[InT, OutT],
        on_invalid: OnInvalid[OutT] = "raise",
    ) -> None:
        self.codec: Codec[InT, OutT] = codec
        self._messenger = messenger
        self._on_invalid = checked_policy(on_invalid)
        self._owed: Any = _NONE  # the answer to an invalid message, until it is sent

    async def receive(self) -> InT:
        """Receive the next message, decoded.

        `on_invalid` of `typed` decides what an invalid message does: it raises an
        error; or it closes the connection; or it is answered, and this call waits for
        the next message. Sending the answer waits for room as every `send` does.

        Raises:
            MessageDecodeError: The message is invalid: it is not JSON, or the codec
                refuses it. It is consumed; the connection stays usable.
            MessageValidationError: The message is not of the type; the error says
                where. It is a `MessageDecodeError`.
            ConnectionClosed: The connection has ended; carries its code and reason. If
                an invalid message ended it, the cause is its `MessageDecodeError`.
                Messages that arrived before the end are returned first.
            TypeError, ValueError: The codec cannot encode the answer, which is dropped.
            WebSocketDisconnected: `accept()` has not been called.
            BusyResourceError: Another task is receiving (guarded mode only).
        Cancellation:
            Safe in guarded mode: a cancelled call loses no message, and the next call
            returns it. The next call sends an answer that this call could not send. In
            plain mode, it depends on the server's own `receive` and `send`.
        Source: ASGI "websocket.receive".
        """
        while True:
            if self._owed is not _NONE:
                await self._answer()
            message = await self._messenger.receive_message()
            try:
                return decoded(self.codec, message)
            except MessageDecodeError as exc:
                if self._on_invalid == "raise":
                    raise
                error = exc
            if callable(self._on_invalid):
                self._owed = self._on_invalid(error)
            else:
                await self._close(int(self._on_invalid), error)

    async def _answer(self) -> None:
        """Send the answer that is owed; in vain if the peer has gone meanwhile.

        An answer that the codec does not take is owed no longer.
        """
        answer, self._owed = self._owed, _NONE
        try:
            await self.send(answer)
        except get_cancelled_exc_class():
            self._owed = answer
            raise
        except ConnectionClosed:
            pass  # what was received before the end is still to be read

    async def _close(self, code: int, error: MessageDecodeError) -> None:
        """Close because of an invalid message; raise how the connection ended."""
        reason, session = fitted_reason(str(error)), self._messenger._session
        if session is None:
            await self._messenger.close(code, reason)
            raise ConnectionClosed(CloseInfo(code, reason, "local")) from error
        session.connection.close_by_rule(code, reason)
        raise session.error() from error

    async def send(self, value: OutT, *, compress: bool = True) -> None:
        """Send a value; returns as `send_message` of the connection does.

        Args:
            value: The value.
            compress: As for `send_message`.
        Raises:
            ConnectionClosed: The connection has ended; carries its code and reason.
            RuntimeError: `accept()` has not been called; or, in plain mode, this end
                has closed the connection; or the server cannot send a message
                uncompressed.
            TypeError, ValueError: The codec does not take the value. Nothing was sent.
        Cancellation:
            All or nothing in guarded mode: a cancelled call has not sent the message.
            In plain mode, it depends on the server's own `send`.
        Source: RFC 6455 section 5.6; ASGI "websocket.send".
        """
        message = self.codec.encode(value)
        await self._messenger.send_message(message, compress=compress)

    def send_nowait(self, value: OutT, *, compress: bool = True) -> None:
        """Queue a value now: never a checkpoint. Needs the guarded mode.

        Args:
            value: The value.
            compress: As for `send_message`.
        Raises:
            WouldBlock: The queue is full, or other senders wait for it, and
                `send_overflow` is `"wait"`. Another rule is applied instead.
            ConnectionClosed: The connection has ended; carries its code and reason.
            RuntimeError: `accept()` has not been called, or this is plain mode; or the
                server cannot send a message uncompressed.
            TypeError, ValueError: The codec does not take the value. Nothing was sent.
        Source: RFC 6455 section 5.6; ASGI "websocket.send".
        """
        self._messenger.send_nowait(self.codec.encode(value), compress=compress)

    def cancel_on(self, predicate: Callable[[InT], bool]) -> InterruptScope[InT]:
        """Cancel the block when a message comes that the predicate takes, decoded.

        It works like `cancel_on` of the connection, with decoded messages. An invalid
        message is never taken; a receive gets it. A message that is not taken is
        decoded a second time when it is received.

        Raises:
            RuntimeError: This is plain mode.
            TypeError: The predicate is not a function, or it is async.
        Cancellation:
            Not a checkpoint.
        """
        session, codec = self._messenger._guarded("cancel_on"), self.codec
        return InterruptScope(session, predicate, lambda data: decoded(codec, data))

    def __aiter__(self) -> Self:
        """Iterate over the messages, decoded, until the connection ends."""
        return self

    async def __anext__(self) -> InT:
        """Receive the next message of the iteration, decoded.

        Raises:
            StopAsyncIteration: The connection has ended properly, or in a way that the
                server does not report.
            ConnectionClosed: The connection is known to have broken, or a rule closed
                it; an invalid message may do that, too (`on_invalid`).
            MessageDecodeError: The message is invalid, as for `receive`. The iteration
                can go on.
            WebSocketDisconnected: `accept()` has not been called.
            BusyResourceError: Another task is receiving (guarded mode only).
        Cancellation:
            Safe in guarded mode: a cancelled call loses no message, and the next call
            returns it. In plain mode, it depends on the server's own `receive`.
        Source: ASGI "websocket.receive".
        """
        try:
            return await self.receive()
        except ConnectionClosed as exc:
            session = self._messenger._session
            invalid = isinstance(exc.__cause__, MessageDecodeError)
            if invalid or (session is not None and session.broken):
                raise
            raise StopAsyncIteration from None


def checked_policy(policy: OnInvalid[OutT]) -> OnInvalid[OutT]:
    """Return the checked value of `on_invalid`.

    Raises:
        TypeError: It is not a valid value of `on_invalid`, or it is an async function.
        ValueError: No closing frame may carry the code.
    """
    if isinstance(policy, int) and not isinstance(policy, bool):
        return checked_code(policy)
    if iscoroutinefunction(policy) or not (policy == "raise" or callable(policy)):
        raise TypeError(
            "on_invalid is 'raise', a close code as 1007 or 1008, or a function, not "
            f"async, that makes the answer; not {policy!r}"
        )
    return policy
