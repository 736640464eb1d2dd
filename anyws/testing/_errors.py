"""The errors of a test, and those that `send` raises in the application under test."""

from __future__ import annotations

from types import TracebackType

from anyio import get_cancelled_exc_class
from starlette.datastructures import Headers

from .._values.errors import HandshakeRejected


class DeadlineExceeded(TimeoutError):
    """The application did not act in time, while the test waited for it.

    The message shows the last events in both directions, and where the application was
    waiting.
    """


class ApplicationStillRunning(DeadlineExceeded):
    """The application did not end after its peer had left, and was cancelled.

    The message shows the last events in both directions, and where the application was
    waiting before it was cancelled.
    """


class LifespanFailed(Exception):
    """The startup or shutdown failed, or the application ended without an answer."""


class Rejected(HandshakeRejected):
    """The application answered the opening handshake with another status than 101.

    Attributes:
        status, headers, body: The HTTP response, as in `anyws.HandshakeRejected`.
        code, reason: The fields of the `websocket.close` event with which the
            application rejected the handshake; `None` if it rejected in another way. No
            real client sees them.
    """

    def __init__(
        self,
        status: int,
        headers: Headers,
        body: bytes = b"",
        code: int | None = None,
        reason: str | None = None,
    ) -> None:
        super().__init__(status, headers, body)
        self.code = code
        self.reason = reason

    def __str__(self) -> str:
        """Return the status, and the code and reason of the application's close."""
        said = super().__str__()
        if self.code is None:
            return said
        reason = f" {self.reason!r}" if self.reason else ""
        return f"{said} (closed by the application with {self.code}{reason})"

    def __reduce__(self) -> tuple[type[HandshakeRejected], tuple[object, ...]]:
        """Pickle the arguments that it was made of."""
        arguments = (self.status, self.headers, self.body, self.code, self.reason)
        return type(self), arguments


class ClientDisconnected(OSError):
    """The peer has gone. `send` in the application raises it, if the server does so.

    A test does not fail if the application does not catch it.
    """


class UnexpectedMessageError(Exception):
    """Raised by `send` in the application; Hypercorn's error of that name."""


class LocalProtocolError(Exception):
    """Raised by `send` in the application; h11's error of that name."""


class Kept:
    """Keeps the exceptions of its blocks, which a task group would put into a group.

    A cancellation is not kept: it leaves the block.

    Attributes:
        error: The first exception; later ones are notes of it.
    """

    def __init__(self) -> None:
        self.error: BaseException | None = None

    def __enter__(self) -> None:
        """Begin a block."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        """Keep the exception that leaves the block."""
        if exc is None or isinstance(exc, get_cancelled_exc_class()):
            return False
        self.error = preferred(self.error, exc)
        return True


def preferred(
    error: BaseException | None, other: BaseException | None
) -> BaseException | None:
    """Return the first error, with the other one as its note; or the only one."""
    if error is None or other is None or error is other:
        return error or other
    error.add_note(f"besides, {type(other).__name__}: {other}")
    return error
