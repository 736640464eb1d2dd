"""The block that a message of the peer cancels."""

from __future__ import annotations

from collections.abc import Callable
from inspect import iscoroutinefunction
from types import TracebackType
from typing import Generic, Self, TypeVar

from anyio import CancelScope, get_cancelled_exc_class

from .._session.session import Session
from .._values.errors import MessageDecodeError
from .._values.events import Event, payload_of
from .._values.outcomes import is_cancellation

MessageT = TypeVar("MessageT")


class InterruptScope(Generic[MessageT]):
    """Cancels its block when a message arrives for which a predicate returns true.

    `cancel_on` creates it. It is entered with `with`, once.

    Attributes:
        interrupted: Whether the predicate has taken a message. This can be true
            although the block has run to its end.
        message: The message; `None` if none was taken.
    """

    def __init__(
        self,
        session: Session,
        predicate: Callable[[MessageT], bool],
        decode: Callable[[str | bytes], MessageT],
    ) -> None:
        if not callable(predicate) or iscoroutinefunction(predicate):
            raise TypeError(
                "cancel_on() takes a function of a message, which is not async; "
                f"not {predicate!r}"
            )
        self.interrupted: bool = False
        self.message: MessageT | None = None
        self._session = session
        self._predicate = predicate
        self._decode = decode
        self._failure: Exception | None = None  # what the predicate has raised
        self._scope = CancelScope()

    def __enter__(self) -> Self:
        """Ask the predicate for the messages that wait, and from now on for each."""
        self._session.interrupt(self._takes)
        if self._failure is not None:
            self._session.interrupt_no_more(self._takes)
            self._raise_failure()
        self._scope.__enter__()
        return self

    def _takes(self, event: Event) -> bool:
        """Whether the predicate takes a message; called by the task that reads it."""
        if self.interrupted or self._failure is not None:
            return False
        try:
            message = self._decode(payload_of(event))
            taken = self._predicate(message)
        except MessageDecodeError:
            return False  # a receive will raise it
        except Exception as exc:
            self._failure = exc
            self._scope.cancel()
            return False
        if taken:
            self.interrupted, self.message = True, message
            self._scope.cancel()
        return bool(taken)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        """Swallow the scope's own cancellation; raise what the predicate has raised."""
        self._session.interrupt_no_more(self._takes)
        try:
            suppressed = bool(self._scope.__exit__(kind, error, traceback))
        except BaseExceptionGroup:  # a group, less the scope's cancellations
            self._raise_failure()
            raise
        # A cancellation from further out goes on: whoever cancels must see it arrive.
        cancelled = error is not None and is_cancellation(
            error, get_cancelled_exc_class()
        )
        if suppressed or not cancelled:
            self._raise_failure()
        return suppressed

    def _raise_failure(self) -> None:
        failure, self._failure = self._failure, None
        if failure is not None:
            try:
                raise failure
            finally:
                del failure  # its traceback holds this frame
