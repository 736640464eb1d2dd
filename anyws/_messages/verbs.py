"""The verbs: the methods that both ends of a connection have."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Final, TypeVar, overload

from .._values.closing import CloseInfo
from .._values.message_codec import Codec, check_codec
from .._values.statistics import Statistics
from .disconnect_scope import DisconnectScope
from .interrupt_scope import InterruptScope
from .json_types import JsonTypes
from .object_stream import MessageStream
from .receiving_verbs import ReceivingVerbs
from .sending_verbs import SendingVerbs
from .typed import OnInvalid, TypedMessages

if TYPE_CHECKING:
    # Python has none yet (PEP 747), and type checkers know this one.
    from typing_extensions import TypeForm

InT = TypeVar("InT")
OutT = TypeVar("OutT")

_NOT_GIVEN: Final = object()  # `None` is a type of messages


class Messaging(ReceivingVerbs, SendingVerbs):
    """The methods that `WebSocket` and `ClientWebSocket` have in common.

    A connection is in *guarded mode* inside `async with websocket:`, where it has a
    session. Outside of that block, the server's class is in *plain mode*. Methods that
    need a session raise a `RuntimeError` in plain mode; its message names `async with`.
    """

    async def aclose(self) -> None:
        """Close the connection with 1000; the same as `close()`.

        Does nothing if the connection was closed before, by either side. Does not wait
        for the peer's answer; leaving the `async with` block does.

        Cancellation:
            Safe in guarded mode: once the call has begun, the closing frame is still
            sent. In plain mode, a cancelled call can be tried again.
        """
        await self.close()

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
        """Return a view of the messages as typed values: JSON, validated when decoded.

            messages = ws.typed(Question | Stop, Answer)
            async for question in messages:
                await messages.send(answer_to(question))

        msgspec's types, dataclasses, TypedDicts and Python's built-in types need the
        extra `msgspec`; without it, pydantic handles them, if it is installed. Types
        that contain pydantic's (models, `Field`, discriminated unions) need pydantic.
        Encoders and decoders are kept for later calls with the same type.

        Args:
            received: The type of the messages that the peer sends.
            sent: The type of the messages that are sent (default: the same type). Only
                the type checker checks them.
            codec: A codec to use instead of both types.
            on_invalid: What happens when an invalid message arrives. `"raise"`
                (default): a receive raises an error. A close code, for instance 1007 or
                1008: the connection is closed with it, the close reason says what is
                wrong, and a receive raises `ConnectionClosed`. A function that takes
                the error and returns a value: the value is sent, and the receive waits
                for the next message.
        Raises:
            ModuleNotFoundError: The library for a type is not installed.
            TypeError: A type cannot be the type of a message; or there are no types and
                no codec, or both; or `on_invalid` is none of these.
            ValueError: No closing frame may carry the code.
        """
        if (codec is None) == (received is _NOT_GIVEN):
            raise TypeError("typed() takes the types of messages, or codec=")
        if codec is None:
            codec = JsonTypes(received, received if sent is _NOT_GIVEN else sent)
        check_codec(codec, "codec")
        return TypedMessages(self, codec, on_invalid)

    async def wait_closed(self) -> CloseInfo:
        """Wait until the connection has ended and its closing handshake is over.

        Needs the guarded mode. Another task can receive messages meanwhile. With
        `receive_overflow="wait"` one has to, because the end may arrive after unread
        messages.

        Raises:
            RuntimeError: This is plain mode.
        Cancellation:
            Safe: waiting changes nothing.
        """
        return await self._guarded("wait_closed").wait_closed()

    def cancel_on_disconnect(self) -> AbstractContextManager[None]:
        """Cancel the block when the connection ends, except by your own `close()`.

        Needs the guarded mode. Inside the block, the connection notices that the peer
        has left even if no task receives: if the receive buffer is full, further
        messages are dropped and counted.

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
        """Cancel the block when a message comes for which the predicate returns true.

            with ws.cancel_on(lambda message: message == "stop") as scope:
                async for token in answer:
                    await ws.send_text(token)
            if scope.interrupted:
                ...  # scope.message is the one that was taken

        Needs the guarded mode. The predicate is called with each whole message as it
        arrives, and on entry with the messages that wait to be received. The first
        message for which it returns true is *taken*: it cancels the block, becomes
        `scope.message`, and reaches no receiver. The call comes before `receive_buffer`
        and the overflow rule apply; there is none for a message over
        `max_message_bytes`. The other messages stay in order, and a task may receive
        them inside the block. If several such blocks are active, nested or in several
        tasks, the predicate of the block that was entered last is called first.

        With `receive_overflow="wait"` a full receive buffer stops the reading, and then
        no predicate sees a message: receive inside the block, or choose `"drop_oldest"`
        or `"close"`. Where anyws reads the frames itself, reading stops only after a
        read-ahead of 256 messages and 1 MiB (`Options.receive_buffer`). The end of the
        connection does not cancel the block; use `cancel_on_disconnect()` for that.

        Args:
            predicate: A function that is called with `str` for a text message and
                `bytes` for a binary one, in the task that has read the message. It must
                not block. If it raises, the block is cancelled, the exception is raised
                when the block is left, and the message can still be received.
        Raises:
            RuntimeError: This is plain mode.
            TypeError: The predicate is not a function, or it is async.
        Cancellation:
            Not a checkpoint.
        """
        session = self._guarded("cancel_on")
        return InterruptScope(session, predicate, lambda message: message)

    def statistics(self) -> Statistics:
        """Return the current counters; raise RuntimeError in plain mode."""
        return self._guarded("statistics").statistics()

    @property
    def messages(self) -> MessageStream:
        """The messages as an `anyio.abc.ObjectStream`; in plain mode a RuntimeError."""
        return MessageStream(self, self._guarded("messages"))
