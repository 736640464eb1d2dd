"""The dependency that hands a handler the messages of its connection, typed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, TypeVar

from fastapi import Depends

from .._messages.json_types import JsonTypes
from .._messages.typed import OnInvalid, TypedMessages, checked_policy
from ._guarded import Guarded

if TYPE_CHECKING:
    from typing_extensions import TypeForm

InT = TypeVar("InT")
OutT = TypeVar("OutT")


class Typing:
    """A dependency of FastAPI's; equal to another one with the same settings.

    Attributes:
        received: The type of the messages that the peer sends.
        sent: The type of the messages that the handler sends.
    """

    def __init__(self, received: Any, sent: Any, on_invalid: OnInvalid[Any]) -> None:
        self.received = received
        self.sent = sent
        self._on_invalid = checked_policy(on_invalid)
        # Made here, so that a type that is none of messages fails where it is written.
        self._codec = JsonTypes(received, sent)

    def __eq__(self, other: object) -> bool:
        """Whether the other one has the same settings."""
        return isinstance(other, Typing) and self._key == other._key

    def __hash__(self) -> int:
        """Return the hash of the types' texts; what annotates a type may have none."""
        return hash(self._key[:2])

    @property
    def _key(self) -> tuple[str, str, Any, Any, Any]:
        # By their text, too: `A | B` equals `B | A`, but pydantic tries them in order.
        types = repr(self.received), repr(self.sent), self.received, self.sent
        return (*types, self._on_invalid)

    async def __call__(self, ws: Guarded) -> TypedMessages[Any, Any]:
        """Return the view of the connection."""
        return ws.typed(codec=self._codec, on_invalid=self._on_invalid)


def typed(
    received: TypeForm[InT],
    sent: TypeForm[OutT],
    /,
    *,
    on_invalid: OnInvalid[OutT] = "raise",
) -> Typing:
    """Return a `Typed` dependency with its own rule for invalid messages.

        @app.websocket("/ws")
        async def handler(
            ws: Guarded,
            messages: Annotated[
                anyws.TypedMessages[Question, Answer],
                Depends(typed(Question, Answer, on_invalid=1007)),
            ],
        ): ...

    `Typed[Question, Answer]` is the same with `on_invalid="raise"`.

    Args:
        received: The type of the messages that the peer sends; `typing.Never` if it
            sends none.
        sent: The type of the messages that the handler sends.
        on_invalid: What an invalid message does, as in `WebSocket.typed`.

    Raises:
        ModuleNotFoundError: The library for a type is not installed.
        TypeError: A type cannot be the type of a message, or `on_invalid` is invalid.
        ValueError: No closing frame may carry the code.
    """
    return Typing(received, sent, on_invalid)


if TYPE_CHECKING:
    Typed: TypeAlias = TypedMessages[InT, OutT]
else:

    class Typed:
        """The typed messages of the connection, injected into a handler.

            @app.websocket("/ask")
            async def ask(ws: Guarded, messages: Typed[Question | Stop, Answer]):
                await ws.accept()
                async for question in messages:
                    await messages.send(answer_to(question))

        The handler gets the result of `ws.typed(Question | Stop, Answer)`, for the
        connection that `Guarded` injects. Because the signature has the types,
        `asyncapi` can document them. Type checkers see `anyws.TypedMessages`.

        Raises:
            TypeError: There are not two types, or one cannot be the type of a message.
            ModuleNotFoundError: The library for a type is not installed.
        """

        def __class_getitem__(cls, types: Any) -> Any:
            """Return the annotation with the dependency."""
            if not isinstance(types, tuple) or len(types) != 2:
                raise TypeError("Typed takes two types: Typed[Received, Sent]")
            received, sent = types
            dependency = Depends(typed(received, sent))
            return Annotated[TypedMessages[received, sent], dependency]
