"""What goes wrong in a test, and what an application meets when its peer is gone."""

from __future__ import annotations

from types import TracebackType

from anyio import get_cancelled_exc_class
from starlette.datastructures import Headers

from .._values.errors import HandshakeRejected


class DeadlineExceeded(TimeoutError):
    """What a test waits for did not come in time.

    The message shows the last events in both directions, and what the application was
    waiting for.
    """


class ApplicationStillRunning(DeadlineExceeded):
    """The application did not end after its peer had left, and was cancelled.

    The message shows the same, as it was before the cancellation.
    """


class LifespanFailed(Exception):
    """The application said that its startup or shutdown has failed, or did not say."""


class Rejected(HandshakeRejected):
    """The application answered the opening handshake with another status than 101.

    Attributes:
        status, headers, body: Of the HTTP response, as `anyws.HandshakeRejected`.
        code, reason: Of the `websocket.close` event that the application rejected the
            handshake by; `None` where it did not. No client sees these.
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
        """Say what the client sees, and what the application said of it."""
        said = super().__str__()
        if self.code is None:
            return said
        reason = f" {self.reason!r}" if self.reason else ""
        return f"{said} (closed by the application with {self.code}{reason})"

    def __reduce__(self) -> tuple[type[HandshakeRejected], tuple[object, ...]]:
        """Pickle by what it was made of."""
        arguments = (self.status, self.headers, self.body, self.code, self.reason)
        return type(self), arguments


class ClientDisconnected(OSError):
    """Raised by `send` in the application, where the server says so: the peer is gone.

    An application that lets it out has not failed.
    """


class UnexpectedMessageError(Exception):
    """Raised by `send` in the application; Hypercorn's error of that name."""


class Kept:
    """Keeps what its blocks raise: a task group would make a group of it.

    A cancellation goes on.

    Attributes:
        error: What came first; what came later is in its notes.
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
        """Keep what leaves the block."""
        if exc is None or isinstance(exc, get_cancelled_exc_class()):
            return False
        self.error = preferred(self.error, exc)
        return True


def preferred(
    error: BaseException | None, other: BaseException | None
) -> BaseException | None:
    """Return the first; the other one becomes a note of it."""
    if error is None or other is None or error is other:
        return error or other
    error.add_note(f"besides, {type(other).__name__}: {other}")
    return error
