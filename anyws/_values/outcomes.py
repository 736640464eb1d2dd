"""The closing frame that follows from how the user's code ended."""

from __future__ import annotations

from collections.abc import Iterator

from starlette.exceptions import HTTPException, WebSocketException

from .closing import CloseCode, fitted_reason, may_be_sent
from .errors import MessageDecodeError, MessageTypeError

Ending = tuple[int, str]

_STOPS = (KeyboardInterrupt, SystemExit)
FIRST_REFUSAL = 300  # the first status that is no success
_FIRST_SERVER_ERROR = 500


def leaves_of(exc: BaseException) -> Iterator[BaseException]:
    """Yield the exceptions that a group holds, at any depth; or the exception."""
    if isinstance(exc, BaseExceptionGroup):
        for inner in exc.exceptions:
            yield from leaves_of(inner)
    else:
        yield exc


def sole_cause_of(exc: BaseException) -> BaseException:
    """Return the only exception that a group holds, at any depth.

    Nurseries and task groups make a group of a single exception too. Another exception,
    or a group of several, is returned as it is.
    """
    while isinstance(exc, BaseExceptionGroup) and len(exc.exceptions) == 1:
        exc = exc.exceptions[0]
    return exc


def is_cancellation(
    outcome: BaseException | None, cancelled: type[BaseException]
) -> bool:
    """Whether an outcome is the backend's cancellation, and nothing else.

    Trio's nurseries raise the cancellation in groups.
    """
    return outcome is not None and all(
        isinstance(leaf, cancelled) for leaf in leaves_of(outcome)
    )


def ending_of(outcome: BaseException | None, cancelled: type[BaseException]) -> Ending:
    """Choose the close code and reason for what left the user's code.

    Args:
        outcome: The exception, or `None` if the code returned.
        cancelled: The backend's cancellation exception.
    """
    if outcome is None:
        return CloseCode.NORMAL_CLOSURE, ""
    if is_cancellation(outcome, cancelled):
        return CloseCode.SERVICE_RESTART, ""
    leaves = list(leaves_of(outcome))
    if any(isinstance(leaf, _STOPS) for leaf in leaves):
        return CloseCode.GOING_AWAY, ""
    first = leaves[0]
    if any(type(leaf) is not type(first) for leaf in leaves):
        return CloseCode.INTERNAL_ERROR, ""
    if isinstance(first, WebSocketException):
        code = first.code if may_be_sent(first.code) else CloseCode.INTERNAL_ERROR
        return code, fitted_reason(first.reason)
    if isinstance(first, HTTPException):
        return close_of_status(first.status_code, first.detail)
    if isinstance(first, MessageDecodeError):
        return CloseCode.INVALID_FRAME_PAYLOAD_DATA, ""
    if isinstance(first, MessageTypeError):
        return CloseCode.UNSUPPORTED_DATA, ""
    return CloseCode.INTERNAL_ERROR, ""


def close_of_status(status: int, detail: object) -> Ending:
    """Return the close that says what an HTTP response would have said.

    That is 1011 for what is the server's fault, 1008 for another refusal, and 1000 for
    a success.

    Args:
        status: The status of the response.
        detail: Why; it becomes the reason.
    """
    if status >= _FIRST_SERVER_ERROR:
        code = CloseCode.INTERNAL_ERROR
    elif status >= FIRST_REFUSAL:
        code = CloseCode.POLICY_VIOLATION
    else:
        code = CloseCode.NORMAL_CLOSURE
    return code, fitted_reason("" if detail is None else str(detail))
