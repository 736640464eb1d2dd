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

    *Guarded mode* is inside `async with websocket:`, where the connection has a
    session. *Plain mode* is the server's class outside of that. Methods that need a
    session raise a `RuntimeError` in plain mode, which names `async with`.
    """

    async def aclose(self) -> None:
        """Close the connection with 1000; the same as `close()`.

        Silent when the connection was closed before, by either side. Does not wait for
        the peer's answer; leaving the `async with` block does.

        Cancellation:
            Safe in guarded mode: once the call has begun, the closing frame is sent all
            the same. In plain mode a cancelled call may be tried again.
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
