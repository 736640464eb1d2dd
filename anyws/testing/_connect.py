"""Connecting a peer to an application, in the test's own task tree."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from inspect import iscoroutine
from typing import Any

from anyio import (
    AsyncContextManagerMixin,
    CancelScope,
    create_task_group,
    get_cancelled_exc_class,
    move_on_after,
    sleep,
)
from anyio import Event as Signal
from anyio.abc import TaskGroup
from starlette.types import ASGIApp

from .._drain import Drain
from .._errors import HandshakeError, ProtocolError
from .._hosting import host
from .._opening import HeadersLike
from .._options import Options
from .._session import EXTENSION, Session
from ._dialects import Dialect, dialect_named
from ._errors import (
    ApplicationStillRunning,
    ClientDisconnected,
    DeadlineExceeded,
    Rejected,
)
from ._history import History
from ._lifespan import Lifespan
from ._network import End, Message
from ._peer import Peer
from ._pipe import PeerChannel
from ._scope import make_scope
from ._server import Server


class _Run:
    """The application's task.

    Attributes:
        history: What has happened.
        server: What it is served by.
        over: Set when it has ended.
        error: What it raised, if that is for the test to hear.
        late: Made when it did not end in time.
    """

    def __init__(self, app: ASGIApp, scope: Any, dialect: Dialect) -> None:
        self.over = Signal()
        self.error: BaseException | None = None
        self.late: ApplicationStillRunning | None = None
        self.history = History()
        self.server = Server(dialect, scope["subprotocols"], self.history)
        self._app, self._scope = app, scope
        self._dialect = dialect
        self._cancel_scope = CancelScope()
        self._drain = Drain(timeout=dialect.shutdown.cancels_after or 1.0)

    async def work(self) -> None:
        """Run the application to its end."""
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
            self.error = error
        was_cancelled = outcome == "was cancelled"
        failed = was_cancelled or error is not None
        self.server.ended(failed=failed, cancelled=was_cancelled)
        self.over.set()

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
                adopts=True,
            )
            scope["extensions"][EXTENSION] = session
            inside = partial(self._app, scope, session.receive, session.send)
            coroutine = host(session, inside, self._drain)
        if iscoroutine(coroutine):
            self.history.application = coroutine
        await coroutine

    async def finish(self, deadline: float) -> None:
        """Wait for the end, so long; then cancel."""
        with move_on_after(deadline):
            await self.over.wait()
            return
        self.late = ApplicationStillRunning(
            f"the application did not end within {deadline} s after its peer had left, "
            f"and was cancelled; before that, {self.history.report()}"
        )
        self._cancel_scope.cancel()

    async def shut_down(self) -> None:
        """Do what the server does when it is told to stop."""
        if self._dialect.hosted:
            await self._drain.aclose()
            return
        self.server.shut_down()
        cancels_after = self._dialect.shutdown.cancels_after
        if cancels_after is not None:
            await sleep(cancels_after)
            self._cancel_scope.cancel()


class _Connecting(AsyncContextManagerMixin):
    """What `connect` returns."""

    def __init__(
        self,
        app: ASGIApp,
        scope: Any,
        dialect: Dialect,
        early_data: Sequence[str | bytes],
        deadline: float,
        *,
        lifespan: bool,
    ) -> None:
        self._app, self._scope = app, scope
        self._dialect = dialect
        self._early_data = early_data
        self._deadline = deadline
        self._lifespan = Lifespan(app, deadline) if lifespan else None

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Peer]:
        """Connect; the errors come out here, past the task group."""
        __tracebackhide__ = True
        cancelled = get_cancelled_exc_class()
        outcome: BaseException | None = None
        run: _Run | None = None
        try:
            async with create_task_group() as tasks:
                peer: Peer | None = None
                try:
                    if self._lifespan is not None:
                        tasks.start_soon(self._lifespan.run)
                        await self._lifespan.start()
                        self._scope["state"] |= self._lifespan.state
                    run = _Run(self._app, self._scope, self._dialect)
                    peer = await self._opened(run, tasks)
                    async with peer:
                        yield peer
                except cancelled:
                    raise
                except BaseException as exc:
                    outcome = exc
                if run is not None:
                    await run.finish(self._deadline)
                    outcome = _verdict(outcome, run, peer)
                    if self._lifespan is not None:
                        outcome = await _stopped(self._lifespan, outcome)
                tasks.cancel_scope.cancel()
            if outcome is not None:
                raise outcome
        finally:
            outcome = run = None  # their tracebacks hold this frame

    async def _opened(self, run: _Run, tasks: TaskGroup) -> Peer:
        """Start the application, and wait for its answer to the handshake."""
        __tracebackhide__ = True
        server, history, deadline = run.server, run.history, self._deadline
        channel = PeerChannel(server)
        server.serve(channel)
        for message in self._early_data:
            server.arrive(Message(message))
        tasks.start_soon(run.work, name="the application under test")
        with move_on_after(deadline) as scope:
            await server.answered.wait()
        if scope.cancelled_caught or server.answer is None:
            channel.end(End(reset=True))
            raise DeadlineExceeded(
                f"no answer to the opening handshake within {deadline} s: "
                f"{history.report()}"
            )
        answer = server.answer
        if answer.status == 0:
            raise HandshakeError("the server hung up during the opening handshake")
        if answer.status != 101:
            await channel.hang_up()
            raise Rejected(
                answer.status, answer.headers, answer.body, answer.code, answer.reason
            )
        if answer.subprotocol not in (None, *self._scope["subprotocols"]):
            await channel.hang_up()
            raise ProtocolError(
                f"the server chose the subprotocol {answer.subprotocol!r}, "
                "which was not offered"
            )
        shut_down = partial(tasks.start_soon, run.shut_down)
        return Peer(
            channel, server, answer, history, deadline, tasks.start_soon, shut_down
        )


async def _stopped(
    lifespan: Lifespan, outcome: BaseException | None
) -> BaseException | None:
    """Shut the application down; return what the test is to hear."""
    cancelled = get_cancelled_exc_class()
    try:
        await lifespan.stop()
    except cancelled:
        raise
    except BaseException as exc:
        return _chosen(outcome, exc)
    return outcome


def _verdict(
    outcome: BaseException | None, run: _Run, peer: Peer | None
) -> BaseException | None:
    """Choose between what left the block and what became of the application.

    The end of the connection, or a deadline, is what the application has caused.
    """
    problem = run.error or run.late
    if problem is None or outcome is None:
        return problem or outcome
    caused = isinstance(outcome, HandshakeError) or (
        peer is not None and peer.explains(outcome)
    )
    if caused or (run.error is not None and isinstance(outcome, DeadlineExceeded)):
        problem.__context__ = problem.__context__ or outcome
        return problem
    return _chosen(outcome, problem)


def _chosen(outcome: BaseException | None, other: BaseException) -> BaseException:
    """Prefer what left the block; the other one becomes a note."""
    if outcome is None:
        return other
    outcome.add_note(f"besides, {type(other).__name__}: {other}")
    return outcome


def connect(
    app: ASGIApp,
    url: str = "/ws",
    *,
    subprotocols: Sequence[str] = (),
    headers: HeadersLike | None = None,
    cookies: Mapping[str, str] | None = None,
    scope: Mapping[str, Any] | None = None,
    server: str = "strict",
    early_data: Sequence[str | bytes] = (),
    deadline: float = 5.0,
    lifespan: bool = False,
) -> AbstractAsyncContextManager[Peer]:
    """Connect to an ASGI application, without a socket or a server.

    The application runs in a task beside the block, on the same event loop:

        async with anyws.testing.connect(app) as ws:
            await ws.send_text("hello")
            assert await ws.receive_text() == "hello"

    What the application raises leaves the block as itself, in the place of what it has
    caused there. Leaving the block closes the connection as a client does and waits for
    the application to end. One that is rejected does not get into the block, so that a
    test of that is

        with pytest.raises(anyws.HandshakeRejected) as caught:
            async with anyws.testing.connect(app):
                pass
        assert caught.value.status == 403

    Args:
        app: The application.
        url: A path with or without a query, or a `ws://` or `wss://` URL.
        subprotocols: Offered to the application, in the order of preference.
        headers: More headers for the request: a mapping or pairs.
        cookies: Sent in a `Cookie` header.
        scope: What the ASGI scope has besides, or instead.
        server: The server whose manners the application meets. `"strict"` is none but
            the ASGI specification, version 2.4: it keeps all that is promised there,
            and raises, in the application, for what must not be sent; where nothing is
            said, it does what shows mistakes. `"hypercorn-asyncio"`,
            `"hypercorn-trio"`, `"hypercorn-engine"` (that of `anyws.hypercorn`),
            `"uvicorn"` and `"granian"` are what they are called.
        early_data: Messages that the peer sends before the handshake is answered.
        deadline: Seconds, by AnyIO's clock, that the answer to the handshake may take,
            and each receive, and the application's end (default 5.0). Under trio's
            `MockClock(autojump_threshold=0)` they pass at once.
        lifespan: Whether the application's lifespan is run too: its startup before the
            connection, its shutdown after it, its state in the scope.

    Raises:
        Rejected: On entry: the application rejected the handshake, or ended without an
            answer. It is an `anyws.HandshakeRejected`.
        HandshakeError: On entry: the server hung up, or broke the protocol.
        DeadlineExceeded: On entry: there was no answer.
        ApplicationStillRunning: On leaving: the application did not end.
        LifespanFailed: The startup or the shutdown failed.
        ValueError, TypeError: An argument has no meaning; says which and why.

    Cancellation:
        Cancels the application too, and waits for its end.
    Source: ASGI "websocket", "lifespan".
    """
    dialect = dialect_named(server)
    if not deadline > 0:
        raise ValueError(f"deadline must be a number of seconds above 0: {deadline!r}")
    made = make_scope(url, subprotocols, headers, cookies, scope, dialect)
    return _Connecting(app, made, dialect, early_data, deadline, lifespan=lifespan)
