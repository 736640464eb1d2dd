"""Applications inside a session: the end of their connection is no error."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from functools import partial

from starlette.exceptions import WebSocketException
from starlette.types import ASGIApp, Receive, Scope, Send

from .._session.scope import KEY, put_session, session_in
from .._session.session import Session
from .._values.options import Options, check_options
from .._values.outcomes import leaves_of
from .._values.states import CONNECTING
from .drain import Drain, check_drain


async def host(
    session: Session, app: Callable[[], Awaitable[None]], drain: Drain | None = None
) -> None:
    """Run an application inside a session.

    What it raises because of the connection's end ends here; anything else goes on.

    Args:
        session: The connection's.
        app: The application, called with no arguments.
        drain: What knows of the connection; one that has begun closes it at once.

    Cancellation:
        Closes the connection with 1012, and waits for that.
    Source: ASGI.
    """
    try:
        with nullcontext() if drain is None else drain.hosting(session):
            async with session.hosting(session):
                await app()
    except BaseException as exc:
        if not is_answered(session, exc):
            raise


def is_answered(session: Session, exc: BaseException) -> bool:
    """Whether an exception is no error: the closing frame has told the peer of it.

    That is so for the end of this connection itself and for `WebSocketException`.
    """
    return all(
        isinstance(leaf, WebSocketException) or session.explains(leaf)
        for leaf in leaves_of(exc)
    )


class Guard(ABC):
    """An ASGI application that runs another inside a session.

    Attributes:
        options: The settings of each connection.
        drain: What ends the connections when the server stops.
    """

    def __init__(self, options: Options | None, drain: Drain | None) -> None:
        check_options(options)
        check_drain(drain)
        self.options = options
        self.drain = drain

    # One coroutine for all of it: an idle connection keeps what is parked in it.
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection: as its host, unless it has one already.

        The session stands in the scope, where those inside find it.

        Cancellation:
            Closes the connection with 1012; the host waits for that.
        Source: ASGI.
        """
        if scope["type"] != "websocket":
            await self._serve_other(scope, receive, send)
            return
        session = session_in(scope)
        if session is not None:
            session.adopt(self.options)
            app, drain = self._chosen(session)
            with nullcontext() if drain is None else drain.hosting(session):
                await app(scope, receive, send)
            return
        session = Session(
            receive, send, self.options, subprotocols=scope.get("subprotocols")
        )
        app, drain = self._chosen(session)
        extensions = scope.get("extensions") or {}
        put_session(scope, session)
        try:
            inside = partial(app, scope, session.receiver.receive, session.sender.send)
            await host(session, inside, drain)
        finally:
            scope["extensions"] = extensions
            scope.pop(KEY, None)

    def _chosen(self, session: Session) -> tuple[ASGIApp, Drain | None]:
        """Refuse a client that comes too late, in the application's place.

        One that has its answer already, from what stands outside, is closed instead.
        """
        drain, waits = self.drain, session.application_state is CONNECTING
        if drain is not None and drain.draining and waits:
            return drain.refuse, None
        return self._serve, drain

    @abstractmethod
    def _serve(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Be the application of a WebSocket, inside its session."""

    @abstractmethod
    def _serve_other(
        self, scope: Scope, receive: Receive, send: Send
    ) -> Awaitable[None]:
        """Be the application of another scope."""
