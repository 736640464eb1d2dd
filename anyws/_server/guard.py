"""A guard: an ASGI application that runs another one inside a session.

The end of the connection is no error there: an application that lets `ConnectionClosed`
leave it has done nothing wrong, and the server's log does not hear of it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable
from contextlib import nullcontext
from functools import partial
from typing import Final

from starlette.exceptions import HTTPException, WebSocketException
from starlette.types import ASGIApp, Receive, Scope, Send

from .._session.scope import KEY, put_session, session_in
from .._session.session import Session
from .._values.allowed_origins import AllowedOrigins, origins_of
from .._values.options import Options, check_options
from .._values.outcomes import leaves_of
from .._values.states import CONNECTING
from .admission import admitting, check_unanswered
from .drain import Drain, check_drain

_NO_DRAIN: Final = nullcontext()  # one for all, as it is memory of each connection


async def host(
    session: Session, app: Callable[[], Awaitable[None]], drain: Drain | None = None
) -> None:
    """Host a session, and run an application inside it.

    An exception that only says that this connection has ended stops here; every other
    exception is raised.

    Args:
        session: The connection's session, which no task drives yet.
        app: The application, called with no arguments.
        drain: Counts the connection among its own meanwhile, and may close it.

    Cancellation:
        Closes the connection with 1012, waits for that, at most
        `Options.close_timeout`, and goes on.
    Source: ASGI.
    """
    try:
        with _NO_DRAIN if drain is None else drain.hosting(session):
            async with session.hosting(session):
                await app()
    except BaseException as exc:
        if not is_answered(session, exc):
            raise


def is_answered(session: Session, exc: BaseException) -> bool:
    """Whether the peer knows all that the exception says, so no log needs it.

    That is so for an exception that tells of this connection's own end, and for one
    whose code and reason the closing frame carries: a `WebSocketException`, and an
    `HTTPException` after the accept. Before it, that one is for what stands outside to
    answer. A group is answered if all exceptions in it are.
    """
    framed = (
        (WebSocketException, HTTPException)
        if session.connection.accepted
        else WebSocketException
    )
    return all(
        isinstance(leaf, framed) or session.explains(leaf) for leaf in leaves_of(exc)
    )


class Guard(ABC):
    """An ASGI application that runs another one inside a session.

    Attributes:
        options: The settings of each connection; `None`: the default ones.
        drain: Closes the connections when the server stops; `None`: nothing does.
        origins: Which pages may connect; `None`: all.
    """

    def __init__(
        self,
        options: Options | None,
        drain: Drain | None,
        allowed_origins: str | Iterable[str] | None,
    ) -> None:
        check_options(options)
        check_drain(drain)
        self.options = options
        self.drain = drain
        self.origins: AllowedOrigins | None = origins_of(allowed_origins)

    # One coroutine rather than several small ones: each frame that is suspended here
    # stays in memory for as long as the connection is idle.
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection: host its session, or join the one in the scope.

        The session stands in the scope meanwhile, for the application and for further
        guards. Other scopes than WebSockets are passed on.

        Cancellation:
            Closes the connection with 1012; the session's host waits for the end of
            that.
        Source: ASGI.
        """
        if scope["type"] != "websocket":
            await self._serve_other(scope, receive, send)
            return
        session = session_in(scope)
        if session is not None:
            session.adopt(self.options)
            app, drain = self._application_of(session)
            if session.starts_at(receive):  # given past the block that hosts
                receive = session.receive
            if session.starts_at(send):
                send = session.send
            with _NO_DRAIN if drain is None else drain.hosting(session):
                await app(scope, receive, send)
            return
        session = Session(
            receive, send, self.options, subprotocols=scope.get("subprotocols")
        )
        app, drain = self._application_of(session)
        # The scope is changed in place, not copied: outer middleware reads in it what
        # routers have written ("endpoint", "path_params").
        extensions = scope.get("extensions") or {}
        put_session(scope, session)
        try:
            inside = partial(app, scope, session.receiver.receive, session.sender.send)
            await host(session, inside, drain)
        finally:
            scope["extensions"] = extensions
            scope.pop(KEY, None)

    def _application_of(self, session: Session) -> tuple[ASGIApp, Drain | None]:
        """Choose what runs in the session, and the drain that is to know of it.

        Once the drain has begun, that is the drain's refusal, which needs no drain. An
        outer application may have answered the handshake already; then the drain closes
        the connection as any other.
        """
        drain, unanswered = self.drain, session.application_state is CONNECTING
        if drain is not None and drain.draining and unanswered:
            return drain.refuse, None
        if self.origins is not None:
            check_unanswered(session.application_state)
        if unanswered:
            return admitting(self._serve, self.options, self.origins), drain
        return self._serve, drain

    @abstractmethod
    def _serve(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve a WebSocket, inside its session."""

    @abstractmethod
    def _serve_other(
        self, scope: Scope, receive: Receive, send: Send
    ) -> Awaitable[None]:
        """Serve another scope, which has no session."""
