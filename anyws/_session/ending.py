"""How, and why, a connection has ended: a table. There is no I/O.

A connection is open until one of four things happens. What happens after that changes
nothing but what is known: a failure may be explained by the disconnect that follows.

    phase    our closing frame   alarm   what has happened first
    OPEN            no            no     nothing
    CLOSED          yes           no     the user's code closed it, or has ended
    FORCED          yes           yes    a rule of the options or a drain closed it
    LEFT            no            yes    the channel delivered the disconnect
    LOST            no            yes    the channel failed; it may still tell why

An alarm cancels the blocks of `cancel_on_disconnect()`. A channel may fail in any phase
(`failure`); a `defect` is a failure that is no end of a connection, and that the user
must hear of.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from enum import Enum
from typing import Final, Protocol

from starlette.websockets import WebSocketDisconnect, WebSocketDisconnected

from .._values.closing import CloseCode, CloseInfo
from .._values.errors import ConnectionClosed
from .._values.events import Event
from .._values.outcomes import leaves_of
from .._values.states import CLOSE


class Phase(Enum):
    """What a connection has come to."""

    OPEN = "open"
    CLOSED = "closed"
    FORCED = "forced"
    LEFT = "left"
    LOST = "lost"


class Cause(Enum):
    """What ends a connection."""

    USER = "user"
    RULE = "rule"
    DISCONNECT = "disconnect"
    FAILURE = "failure"


OPEN, CLOSED, FORCED = Phase.OPEN, Phase.CLOSED, Phase.FORCED
LEFT, LOST = Phase.LEFT, Phase.LOST

# phase -> cause -> next phase; only an open connection can be closed
TRANSITIONS: Final[Mapping[Phase, Mapping[Cause, Phase]]] = {
    OPEN: {
        Cause.USER: CLOSED,
        Cause.RULE: FORCED,
        Cause.DISCONNECT: LEFT,
        Cause.FAILURE: LOST,
    },
    CLOSED: {Cause.DISCONNECT: CLOSED, Cause.FAILURE: CLOSED},
    FORCED: {Cause.DISCONNECT: FORCED, Cause.FAILURE: FORCED},
    LEFT: {Cause.DISCONNECT: LEFT, Cause.FAILURE: LEFT},
    LOST: {Cause.DISCONNECT: LEFT, Cause.FAILURE: LOST},
}
OURS: Final = frozenset({CLOSED, FORCED})
ALARMING: Final = frozenset({FORCED, LEFT, LOST})


class Cancellable(Protocol):
    """A scope."""

    def cancel(self) -> None:
        """Cancel it."""


class Ending:
    """What is known of the end of one connection.

    Attributes:
        phase: What it has come to.
        info: How it ended; `None` while it is open. Set at once, by whoever ends it.
        failure: What the channel has failed with, if it has.
        defect: The same, as long as the user must hear of it.
        watchers: Scopes that an alarm cancels.
    """

    __slots__ = (
        "_cause",
        "_error",
        "_infos",
        "defect",
        "failure",
        "info",
        "phase",
        "watchers",
    )

    def __init__(self) -> None:
        self.phase: Phase = OPEN
        self.info: CloseInfo | None = None
        self.failure: BaseException | None = None
        self.defect: BaseException | None = None
        self.watchers: list[Cancellable] = []
        self._cause: BaseException | None = None  # the failure, if it came first
        self._infos: tuple[CloseInfo, ...] = ()  # all that `info` has been
        self._error: type[ConnectionClosed] = ConnectionClosed

    def end(
        self,
        cause: Cause,
        info: CloseInfo,
        error: type[ConnectionClosed] | None = None,
    ) -> None:
        """Go to the next phase, by what has happened; sound the alarm if it is one."""
        first = self.phase is OPEN
        self.phase = TRANSITIONS[self.phase][cause]
        if error is not None:
            self._error = error
        if self.phase in ALARMING:
            for scope in self.watchers:
                scope.cancel()  # before any waiter wakes
        if first or self.phase is LEFT:
            self.learn(info)

    def fail(self, failure: BaseException, info: CloseInfo, *, defect: bool) -> None:
        """Take note that the channel has failed."""
        if self.info is None:
            self._cause = failure
            self.end(Cause.FAILURE, info)
        self.failure = failure
        if defect:
            self.defect = failure

    def explain(
        self, info: CloseInfo, error: type[ConnectionClosed] | None = None
    ) -> None:
        """Take note of the disconnect, which explains a failed send."""
        self.defect = None
        self.end(Cause.DISCONNECT, info, None if self.ours else error)

    def learn(self, info: CloseInfo) -> None:
        """Know more of how it ended."""
        self.info = info
        self._infos += (info,)

    def learn_whether_clean(self, clean: bool | None) -> None:
        """Know whether the peer has answered our closing frame."""
        if self.info is not None:
            self.learn(replace(self.info, clean=clean))

    def take_defect(self) -> BaseException | None:
        """Return the defect once, for the user to hear of."""
        defect, self.defect = self.defect, None
        return defect

    # What follows from it

    @property
    def ours(self) -> bool:
        """Whether the closing frame that begins the closing handshake is ours."""
        return self.phase in OURS

    @property
    def closing_frame(self) -> Event | None:
        """The event of our closing frame, if the connection ends by it."""
        if self.phase not in OURS or self.info is None:
            return None
        return {"type": CLOSE, "code": self.info.code, "reason": self.info.reason}

    @property
    def alarmed(self) -> bool:
        """Whether it ended, and not by the user's own close."""
        return self.phase in ALARMING

    @property
    def explained(self) -> bool:
        """Whether the channel has failed, and that is no defect."""
        return self.failure is not None and self.defect is None

    @property
    def broken(self) -> bool:
        """Whether it is known not to have ended in order."""
        return self.phase is FORCED or (
            self.info is not None and self.info.clean is False
        )

    def error(self) -> ConnectionClosed:
        """Make the error that says how the connection ended."""
        error = self._error(self.info or CloseInfo(CloseCode.ABNORMAL_CLOSURE))
        error.__cause__ = self._cause
        return error

    def explains(self, exc: BaseException) -> bool:
        """Whether an exception tells of nothing but the end of this connection."""
        return all(map(self._explains_leaf, leaves_of(exc)))

    def _explains_leaf(self, exc: BaseException) -> bool:
        if isinstance(exc, ConnectionClosed):
            return any(exc.info is info for info in self._infos)
        # What Starlette's own class makes of our error.
        gone = isinstance(exc, WebSocketDisconnect | WebSocketDisconnected)
        return gone and self.alarmed
