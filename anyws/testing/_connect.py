"""Connecting a peer to an application, in the test's own task tree."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from functools import partial
from typing import Any

from anyio import (
    AsyncContextManagerMixin,
    create_task_group,
    get_cancelled_exc_class,
    move_on_after,
)
from anyio.abc import TaskGroup
from starlette.types import ASGIApp

from .._values.errors import HandshakeError, ProtocolError
from .._values.headers import HeadersLike
from ._errors import DeadlineExceeded, Rejected
from ._lifespan import lifespan as lifespan_of
from ._peer.peer import Peer
from ._peer.pipe import PeerChannel
from ._run import Run
from ._server.dialects import Dialect, dialect_named
from ._server.network import End, Message, checked
from ._server.scope import make_scope


class _Connecting(AsyncContextManagerMixin):
    """The context manager that `connect` returns."""

    def __init__(
        self,
        app: ASGIApp,
        scope: Any,
        dialect: Dialect,
        early_data: Sequence[Message],
        deadline: float,
        *,
        lifespan: bool,
    ) -> None:
        self._app, self._scope = app, scope
        self._dialect = dialect
        self._early_data = early_data
        self._deadline = deadline
        self._lifespan: AbstractAsyncContextManager[dict[str, Any]] = (
            lifespan_of(app, deadline=deadline) if lifespan else nullcontext({})
        )

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Peer]:
        """Connect; raise errors outside the task group, which would group them."""
        __tracebackhide__ = True
        cancelled = get_cancelled_exc_class()
        async with self._lifespan as state:
            self._scope["state"] = {**self._scope["state"], **state}
            run, peer = Run(self._app, self._scope, self._dialect, self._deadline), None
            try:
                async with create_task_group() as tasks:
                    with run.kept:
                        peer = await self._opened(run, tasks)
                        async with peer:
                            with run.block():
                                yield peer
                    await run.finish()
                    tasks.cancel_scope.cancel()
            except cancelled:
                if not run.has_verdict:
                    raise
            try:
                run.judge(peer)
            finally:
                del run, peer  # the error's traceback holds this frame

    async def _opened(self, run: Run, tasks: TaskGroup) -> Peer:
        """Start the application, and wait for its answer to the handshake."""
        __tracebackhide__ = True
        server, history, deadline = run.server, run.history, self._deadline
        channel = PeerChannel(server)
        server.serve(channel)
        for message in self._early_data:
            server.arrive(message)
        run.begin(tasks)
        with move_on_after(deadline) as scope:
            await server.answered.wait()
        if scope.cancelled_caught or server.answer is None:
            channel.end(End(reset=True))
            raise DeadlineExceeded(
                f"no answer to the opening handshake within {deadline} s (deadline=): "
                f"{history.report()}"
            )
        answer = server.answer
        if answer.broken:
            raise ProtocolError("the server did not answer with HTTP/1.1")
        if answer.status == 0:
            raise HandshakeError("the server hung up during the opening handshake")
        if answer.status != 101:
            await channel.hang_up()
            rejected = Rejected(
                answer.status, answer.headers, answer.body, answer.code, answer.reason
            )
            if server.unanswered:
                note = f"the application {history.outcome} without an answer"
                rejected.add_note(note)
            raise rejected
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

    If the application raises an exception, the block raises it, instead of the errors
    that it has caused in the block. This includes a `WebSocketDisconnect` that the
    application does not catch. If the block goes on waiting after that, it is cancelled
    at the deadline. Leaving the block closes the connection as a client does, and waits
    for the application to end. A rejected handshake raises before the block runs, so a
    test of a rejection is

        with pytest.raises(anyws.HandshakeRejected) as caught:
            async with anyws.testing.connect(app):
                pass
        assert caught.value.status == 403

    Args:
        app: The application.
        url: A path with or without a query, or a `ws://` or `wss://` URL.
        subprotocols: The subprotocols to offer, in the order of preference.
        headers: More headers for the request: a mapping or pairs.
        cookies: Cookies, sent in a `Cookie` header.
        scope: Keys to add to the ASGI scope, or to replace in it.
        server: The server whose behaviour is imitated. `"strict"` is not a server, but
            the ASGI specification, version 2.4: it keeps all promises of the
            specification, and raises, in the application, for events that must not be
            sent. Where the specification leaves a choice, it makes the one that reveals
            mistakes. The others are `"hypercorn-asyncio"`, `"hypercorn-trio"`,
            `"hypercorn-engine"` (the engine of `anyws.hypercorn`), `"anyws-serve"`
            (`anyws.serve`), `"anyws-uvicorn"` (uvicorn with `anyws.uvicorn`),
            `"uvicorn"` and `"granian"`.
        early_data: Messages that the peer sends before the handshake is answered.
        deadline: Seconds, on AnyIO's clock, for the answer to the handshake, for each
            receive, and for the end of the application (default 5.0). Under trio's
            `MockClock(autojump_threshold=0)` they pass at once.
        lifespan: Whether to run the application's lifespan, too: its startup before the
            connection, and its shutdown after it, with its state in the scope. For more
            than one connection, use `anyws.testing.lifespan`.

    Raises:
        Rejected: On entry: the application rejected the handshake, or ended without an
            answer. It is an `anyws.HandshakeRejected`.
        HandshakeError: On entry: the server hung up, or broke the protocol.
        DeadlineExceeded: On entry: there was no answer.
        ApplicationStillRunning: On leaving: the application did not end.
        LifespanFailed: The startup or the shutdown failed.
        ValueError, TypeError: An argument is not valid; the message says which and why.

    Cancellation:
        Cancels the application, too, and waits for its end. If the application cannot
        be cancelled, because it waits for a thread or in a shielded scope, this waits
        without a limit, even after the deadline.
    Source: ASGI "websocket", "lifespan".
    """
    dialect = dialect_named(server)
    if not (isinstance(deadline, int | float) and deadline > 0):
        raise ValueError(f"deadline must be a number of seconds above 0: {deadline!r}")
    made = make_scope(url, subprotocols, headers, cookies, scope, dialect)
    if isinstance(early_data, str | bytes):
        raise TypeError("early_data must be a sequence of messages, not one")
    early = [checked(message) for message in early_data]
    return _Connecting(app, made, dialect, early, deadline, lifespan=lifespan)
