"""The task of the application under test, and the one error that the test gets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from inspect import iscoroutine
from typing import Any, Final

from anyio import CancelScope, get_cancelled_exc_class, move_on_after, sleep
from anyio import Event as Signal
from anyio.abc import TaskGroup
from starlette.types import ASGIApp
from starlette.websockets import WebSocketDisconnect

from .._server.drain import Drain
from .._server.guard import host
from .._session.scope import put_session
from .._session.session import Session
from .._values.errors import HandshakeError
from .._values.options import Options
from .._values.outcomes import leaves_of
from ._errors import (
    ApplicationStillRunning,
    ClientDisconnected,
    DeadlineExceeded,
    Kept,
    preferred,
)
from ._peer.peer import Peer
from ._server.dialects import Dialect
from ._server.history import History
from ._server.server import Server

# The note of a `WebSocketDisconnect` that a plain handler does not catch.
_LET_OUT: Final = (
    "the peer had left, and the application did not catch that; "
    "a server would log a traceback"
)

# Seconds, in place of a time that has no end.
_NEVER: Final = 10.0**9


class Run:
    """The task of the application.

    Args:
        app: The application.
        scope: The scope of the connection.
        dialect: The dialect of the server.
        deadline: Seconds for the application to end; and for the block to end, once the
            application has failed.

    Attributes:
        history: The last events of the connection.
        server: The server that calls the application.
        kept: Keeps the exception that leaves the test's block.
    """

    def __init__(
        self, app: ASGIApp, scope: Any, dialect: Dialect, deadline: float
    ) -> None:
        self.history: History = History()
        self.kept: Kept = Kept()
        self.server: Server = Server(dialect, scope["subprotocols"], self.history)
        self._app, self._scope = app, scope
        self._dialect = dialect
        self._deadline = deadline
        self._over = Signal()
        self._error: BaseException | None = None  # that the application has raised
        self._late: ApplicationStillRunning | None = None  # if it did not end in time
        self._failed_first = False  # whether it has raised before the block was left
        self._cancel_scope = CancelScope()
        self._drain = Drain(timeout=dialect.shutdown.cancels_after or _NEVER)

    def begin(self, tasks: TaskGroup) -> None:
        """Start the application; if it raises, cancel the block at the deadline."""
        cancel_block = tasks.cancel_scope.cancel
        tasks.start_soon(self._work, cancel_block, name="the application under test")

    async def _work(self, cancel_block: Callable[[], None]) -> None:
        __tracebackhide__ = True
        cancelled = get_cancelled_exc_class()
        outcome, error = "was cancelled", None
        with self._cancel_scope:
            try:
                await self._call()
                outcome = "has returned"
            except cancelled:
                raise
            except BaseException as exc:
                outcome, error = f"has raised {exc!r}", exc
        self.history.outcome = outcome
        if not isinstance(error, ClientDisconnected):
            self._error = error
        was_cancelled = outcome == "was cancelled"
        failed = was_cancelled or error is not None
        self.server.ended(failed=failed, cancelled=was_cancelled)
        self._over.set()
        if self._error is not None:
            await sleep(self._deadline)
            cancel_block()

    async def _call(self) -> None:
        __tracebackhide__ = True
        server, scope = self.server, self._scope
        if not self._dialect.hosted:
            coroutine = self._app(scope, server.receive, server.send)
        else:
            session = Session(
                server.receive,
                server.send,
                Options(),
                subprotocols=scope["subprotocols"],
                pings=True,
            )
            put_session(scope, session)
            receive, send = session.receiver.receive, session.sender.send
            inside = partial(self._app, scope, receive, send)
            coroutine = host(session, inside, self._drain)
        if iscoroutine(coroutine):
            self.history.application = coroutine
        await coroutine

    async def finish(self) -> None:
        """Wait for the application to end; cancel it at the deadline."""
        with move_on_after(self._deadline):
            await self._over.wait()
            return
        # The error of the block shows the events already.
        told = isinstance(self.kept.error, DeadlineExceeded)
        report = self.history.report(past=True, events=not told)
        self._late = ApplicationStillRunning(
            f"the application did not end within {self._deadline} s (deadline=) after "
            f"its peer had left, and was cancelled; before that, {report}"
        )
        self._cancel_scope.cancel()

    @property
    def has_verdict(self) -> bool:
        """Whether the block or the application has raised an error."""
        return self.failed or self.kept.error is not None

    async def shut_down(self) -> None:
        """Act as the server does when it has to stop."""
        if self._dialect.hosted:
            await self._drain.aclose()
            return
        self.server.shut_down()
        cancels_after = self._dialect.shutdown.cancels_after
        if cancels_after is not None:
            await sleep(cancels_after)
            self._cancel_scope.cancel()

    # The error of the test

    @contextmanager
    def block(self) -> Iterator[None]:
        """Note, when the block is left, whether the application has failed before."""
        __tracebackhide__ = True
        try:
            yield
        finally:
            self._failed_first = self.failed

    @property
    def failed(self) -> bool:
        """Whether the application has raised an error that concerns the test."""
        return self._error is not None

    def judge(self, peer: Peer | None) -> None:
        """Raise the error of the block or of the application, whichever is the cause.

        The application's error is the cause if the block's error tells of the end of
        the connection, or of a deadline that passed after the application had failed.
        It is not reported beside an error of the block if it only says that the peer
        has left.

        Args:
            peer: The peer, if the block has run.
        """
        __tracebackhide__ = True
        outcome, problem = self.kept.error, preferred(self._late, self._error)
        if problem is not None and outcome is not None:
            if self._has_caused(outcome, peer):
                problem.__context__ = problem.__context__ or outcome
                outcome = problem
            elif self._tells_of_the_end(problem):
                problem = None
        elif problem is not None and self._tells_of_the_end(problem):
            problem.add_note(_LET_OUT)
        error = preferred(outcome, problem)
        self.kept.error = self._late = self._error = None
        try:
            if error is not None:
                raise error
        finally:
            del error, outcome, problem  # the error's traceback holds this frame

    def _has_caused(self, outcome: BaseException, peer: Peer | None) -> bool:
        if self._failed_first and isinstance(outcome, DeadlineExceeded):
            return True
        if peer is None:
            return isinstance(outcome, HandshakeError)
        return peer.explains(outcome)

    def _tells_of_the_end(self, error: BaseException) -> bool:
        """Whether an error of the application only says that the peer has left."""
        leaves = leaves_of(error)
        return self.server.left and all(
            isinstance(leaf, WebSocketDisconnect) for leaf in leaves
        )
