"""The block that is cancelled when its connection ends."""

from __future__ import annotations

from types import TracebackType

from anyio import CancelScope

from .._session.session import Session


class DisconnectScope:
    """Cancels its block when the connection ends, unless by the user's own close.

    A class, since a generator that raises behind its scope leaves a reference cycle.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._scope = CancelScope()

    def __enter__(self) -> None:
        """Watch the connection; raise if it has ended already."""
        self._session.watch(self._scope)
        self._scope.__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        """Raise how the connection ended, if it did and nothing else is raised."""
        session = self._session
        ended = session.unwatch(self._scope)
        try:
            suppressed = bool(self._scope.__exit__(kind, error, traceback))
        except BaseExceptionGroup as rest:  # a group, less the scope's cancellations
            if ended and session.explains(rest):
                raise session.error() from rest
            raise
        if not ended:
            return suppressed
        if error is None or suppressed:
            raise session.error() from None
        if isinstance(error, BaseExceptionGroup) and session.explains(error):
            raise session.error() from error
        return False
