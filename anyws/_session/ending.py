"""How, and why, a connection has ended: a table of phases and causes.

Three rules hold here:

1. What a connection has come to, and by which kind of cause, is decided in this file
   alone. Close codes are not: a rule that closes the connection brings its own.
2. The file does no I/O, has no clock, and wakes no task. It cancels what is registered
   in `watchers`, and knows no more of a watcher than that.
3. A cause that the table refuses changes nothing.

A connection is open until one of five causes ends it. That cause chooses the phase, and
the phase stays, with one exception: a channel that has failed may still deliver the
disconnect, which says why. So uvicorn's `send` raises `ClientDisconnected` while the
disconnect with the peer's close code still waits to be received.

    phase      our closing frame   alarm   what has happened first
    OPEN              no            no     nothing
    CLOSED            yes           no     the user's code closed it, or has ended
    FORCED            yes           yes    a rule of the options, or a drain, closed it
    LEFT              no            yes    the channel delivered the disconnect
    LOST              no            yes    the channel failed, and may still say why
    REJECTED          no            no     the user's code ended without an accept

The alarm cancels the blocks of `cancel_on_disconnect()`. It sounds once, when an open
connection ends, and it sounds within the call that ends the connection: no task that
waits for the end has been woken by then.

What is known in each phase:

    phase      info                                failure      cause of `error()`
    OPEN       None                                None         none
    CLOSED     our code, "local"; later, if clean  may be set   none
    FORCED     our code, "local"; later, if clean  may be set   none
    LEFT       what the disconnect says            may be set   after LOST, as there
    LOST       1006, "network"                     set          the first failure
    REJECTED   1006, "local"                       None         none

Not tabular:

- A failure is a `defect` besides, if it is no way for a channel to say that the peer is
  gone. The user must hear of a defect, once, unless the disconnect follows: that
  explains the failure, in any phase.
- Whether a closing handshake was clean is learned later, and changes no phase.
- The disconnect that answers our closing frame says nothing new, so CLOSED and FORCED
  do not count them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from enum import Enum
from typing import Final, Protocol

from starlette.websockets import WebSocketDisconnect, WebSocketDisconnected

from .._values.closing import CloseCode, CloseInfo
from .._values.errors import ConnectionClosed
from .._values.events import Event
from .._values.outcomes import leaves_of
from .._values.states import CLOSE

# How many exceptions are looked at in the chain behind an error.
_DEPTH: Final = 8


class Phase(Enum):
    """How a connection has ended, or that it is open.

    Attributes:
        title: The name of the phase in a sentence.
        ours: Whether the closing frame that begins the closing handshake is ours.
        alarming: Whether the alarm sounds when an open connection gets there.
    """

    OPEN = ("open", False, False)
    CLOSED = ("closed", True, False)
    FORCED = ("forced", True, True)
    LEFT = ("left", False, True)
    LOST = ("lost", False, True)
    REJECTED = ("rejected", False, False)

    def __init__(self, title: str, ours: bool, alarming: bool) -> None:
        self.title = title
        self.ours = ours
        self.alarming = alarming


class Cause(Enum):
    """The kind of event that ends a connection."""

    USER = "user"
    RULE = "rule"
    DISCONNECT = "disconnect"
    FAILURE = "failure"
    REJECTION = "rejection"


OPEN, CLOSED, FORCED = Phase.OPEN, Phase.CLOSED, Phase.FORCED
LEFT, LOST, REJECTED = Phase.LEFT, Phase.LOST, Phase.REJECTED

# phase -> cause -> next phase; a cause that is not in the row is refused:
# - USER, RULE and REJECTION: only an open connection can be closed or rejected.
# - DISCONNECT in LEFT: a channel is asked for nothing after the disconnect. Hypercorn
#   and Daphne would block there for ever, and Granian would deliver a second one.
# - REJECTED: nothing is sent or received any more when this phase begins.
TRANSITIONS: Final[Mapping[Phase, Mapping[Cause, Phase]]] = {
    OPEN: {
        Cause.USER: CLOSED,
        Cause.RULE: FORCED,
        Cause.DISCONNECT: LEFT,
        Cause.FAILURE: LOST,
        Cause.REJECTION: REJECTED,
    },
    CLOSED: {Cause.DISCONNECT: CLOSED, Cause.FAILURE: CLOSED},
    FORCED: {Cause.DISCONNECT: FORCED, Cause.FAILURE: FORCED},
    LEFT: {Cause.FAILURE: LEFT},
    LOST: {Cause.DISCONNECT: LEFT, Cause.FAILURE: LOST},
    REJECTED: {},
}


def next_phase(phase: Phase, cause: Cause) -> Phase:
    """Look up the phase that a cause leads to.

    Raises:
        RuntimeError: The cause is refused in this phase.
    """
    following = TRANSITIONS[phase].get(cause)
    if following is None:
        raise RuntimeError(
            f"a connection that is {phase.title} is not ended by a {cause.value}"
        )
    return following


class Cancellable(Protocol):
    """A watcher: the alarm cancels it."""

    def cancel(self) -> None:
        """Cancel it."""


class Ending:
    """How one connection has ended, and why.

    Attributes:
        phase: How the connection has ended, or OPEN.
        info: How the connection ended; `None` in the phase OPEN, and only there.
        failure: The last exception that the channel has failed with, if it has failed.
        defect: The same, as long as the user must hear of it.
        fault: The exception that a wrapped `send` has raised while no task waited for
            it, as long as the user must hear of it.
        watchers: The scopes that the alarm cancels.
    """

    __slots__ = (
        "_ended_by",
        "_error_type",
        "_infos",
        "defect",
        "failure",
        "fault",
        "info",
        "phase",
        "watchers",
    )

    def __init__(self) -> None:
        self.phase: Phase = OPEN
        self.info: CloseInfo | None = None
        self.failure: BaseException | None = None
        self.defect: BaseException | None = None
        self.fault: BaseException | None = None
        self.watchers: list[Cancellable] = []
        self._ended_by: BaseException | None = None  # the failure that led to LOST
        self._infos: tuple[CloseInfo, ...] = ()  # every value that `info` has had
        self._error_type: type[ConnectionClosed] = ConnectionClosed

    # The causes

    def end(
        self,
        cause: Cause,
        info: CloseInfo,
        error: type[ConnectionClosed] | None = None,
    ) -> None:
        """Go to the next phase; sound the alarm if the connection was open.

        Args:
            cause: The kind of event.
            info: How the connection ended, if the cause leads to another phase.
            error: The class of the errors that tell of the end, if not the usual one.

        Raises:
            RuntimeError: The cause is refused in this phase. Nothing has changed.
        """
        following = next_phase(self.phase, cause)
        if following is not self.phase:
            self._enter(following, info, error)

    def _enter(
        self, phase: Phase, info: CloseInfo, error: type[ConnectionClosed] | None
    ) -> None:
        before, self.phase = self.phase, phase
        self.info = info
        self._infos += (info,)
        if error is not None:
            self._error_type = error
        if before is OPEN and phase.alarming:
            for watcher in self.watchers:
                watcher.cancel()

    def fail(self, failure: BaseException, info: CloseInfo, *, defect: bool) -> None:
        """Note that the channel has failed.

        Args:
            failure: The exception that the channel has raised.
            info: How the connection ended, if this is what ends it.
            defect: Whether the user must hear of the failure.

        Raises:
            RuntimeError: A failure is refused in this phase. Nothing has changed.
        """
        following = next_phase(self.phase, Cause.FAILURE)
        self.failure = failure
        if defect:
            self.defect = failure
        if following is not self.phase:
            self._ended_by = failure
            self._enter(following, info, None)

    def explain(
        self, info: CloseInfo, error: type[ConnectionClosed] | None = None
    ) -> None:
        """Note the disconnect, which explains a failure before it.

        Args:
            info: What the disconnect says.
            error: The class of the errors that tell of it, if not the usual one.

        Raises:
            RuntimeError: A disconnect is refused in this phase. Nothing has changed.
        """
        following = next_phase(self.phase, Cause.DISCONNECT)
        self.defect = None
        if following is not self.phase:
            self._enter(following, info, error)

    # Facts that are learned after the end

    def learn_whether_clean(self, clean: bool | None) -> None:
        """Take note whether the peer has answered our closing frame."""
        if self.info is not None:
            self.info = replace(self.info, clean=clean)
            self._infos += (self.info,)

    def take_defect(self) -> BaseException | None:
        """Return the defect once, for the user to hear of."""
        defect, self.defect = self.defect, None
        return defect

    def take_fault(self) -> BaseException | None:
        """Return the fault once, for the user to hear of."""
        fault, self.fault = self.fault, None
        return fault

    # Facts that follow from the phase

    @property
    def ours(self) -> bool:
        """Whether the closing frame that begins the closing handshake is ours."""
        return self.phase.ours

    @property
    def closing_frame(self) -> Event | None:
        """The event of our closing frame, if the connection ends by it."""
        if not self.phase.ours or self.info is None:
            return None
        return {"type": CLOSE, "code": self.info.code, "reason": self.info.reason}

    @property
    def alarmed(self) -> bool:
        """Whether the alarm has sounded."""
        return self.phase.alarming

    @property
    def explained(self) -> bool:
        """Whether the channel has failed, and the user need not hear of that."""
        return self.failure is not None and self.defect is None

    @property
    def broken(self) -> bool:
        """Whether the connection is known not to have ended in order."""
        return self.phase is FORCED or (
            self.info is not None and self.info.clean is False
        )

    def error(self) -> ConnectionClosed:
        """Make the error that says how the connection ended."""
        info = self.info or CloseInfo(CloseCode.ABNORMAL_CLOSURE)
        error = self._error_type(info)
        error.__cause__ = self._ended_by
        return error

    def explains(self, exc: BaseException) -> bool:
        """Whether an exception tells of nothing but the end of this connection.

        An exception group does so if every exception in it does.
        """
        return all(map(self._explains_leaf, leaves_of(exc)))

    def _explains_leaf(self, exc: BaseException) -> bool:
        if isinstance(exc, ConnectionClosed):
            return any(map(self._is_ours, _told_by(exc)))
        # Starlette's own class raises its own errors in place of ours.
        gone = isinstance(exc, WebSocketDisconnect | WebSocketDisconnected)
        return gone and self.alarmed

    def _is_ours(self, exc: BaseException) -> bool:
        """Whether an error is of this end; another may be like it, so by identity."""
        return isinstance(exc, ConnectionClosed) and any(
            exc.info is info for info in self._infos
        )


def _told_by(error: ConnectionClosed) -> Iterator[BaseException]:
    """Yield an error and what caused it, from the failure of its channel on.

    Where a session stands on another by mistake, the error of the upper one was caused
    by that of the lower one; Starlette's class may have raised its own between them.
    """
    yield error
    failure = error.__cause__
    for _ in range(_DEPTH):
        if failure is not None:
            yield failure
            failure = failure.__cause__ or failure.__context__


def diagram() -> str:
    """Draw the table as a Mermaid state diagram."""
    return "\n".join(("stateDiagram-v2", *_diagram_lines()))


def _diagram_lines() -> Iterator[str]:
    yield f"    [*] --> {OPEN.name}"
    for phase, row in TRANSITIONS.items():
        for cause, following in row.items():
            yield f"    {phase.name} --> {following.name}: {cause.value}"
    for phase in TRANSITIONS:
        if phase is not OPEN:
            yield f"    {phase.name} --> [*]"
