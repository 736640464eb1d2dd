"""The exception handlers of FastAPI round a block that hosts its session (law 8).

FastAPI leaves a dependency, and the block in it, before it calls the handler for an
exception. So the block leaves the connection open, and it is closed by a callback on a
stack of FastAPI's that stands outside the handlers of the route:

    ExceptionMiddleware           handlers, for what a handler raises
        AsyncExitStackMiddleware  scope["fastapi_middleware_astack"]: the callback
            a route               handlers, for what the endpoint raises
                dependencies      the block
                    the endpoint

The host itself must not stand on that stack: a task group that is entered in a
dependency and left behind it misnests with any scope that another dependency holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.types import Scope
from starlette.websockets import WebSocket as StarletteWebSocket

from .._session.session import Session
from .._values.states import CONNECTING

_STACK: Final = "fastapi_middleware_astack"
_HANDLERS: Final = "starlette.exception_handlers"

# Where the general kinds of `HTTPException` come from.
_MODULES: Final = ("starlette.exceptions", "fastapi.exceptions")


def handing_over(
    scope: Scope, session: Session, others: Iterable[StarletteWebSocket[Any]]
) -> Callable[[Exception], None] | None:
    """Return what hands a connection over to the handlers; `None`: there are none.

    Args:
        scope: The scope, in which the stack stands.
        session: The connection's session.
        others: The objects of FastAPI's that the handlers get. What passed the session
            did not pass them, so they are told the states that they have missed.
    """
    stack = scope.get(_STACK)
    if not isinstance(stack, AsyncExitStack):
        return None

    def hand_over(failure: Exception) -> None:
        async def end(
            kind: type[BaseException] | None,
            outcome: BaseException | None,
            traceback: TracebackType | None,
        ) -> bool:
            new = outcome is not failure
            if _is_unanswered(session) or (new and _is_handled(scope, outcome)):
                session.abandon()
                return False
            by_handler = new and isinstance(outcome, Exception)
            if by_handler and isinstance(failure, HTTPException):
                # The handler has sent a response, say, which comes too late: the peer
                # learns of the failure, and the server's log of the handler's error.
                await session.conclude(failure)
                return False
            return await session.conclude(outcome)

        stack.push_async_exit(end)
        for other in others:
            other.client_state = session.delivered_state
            other.application_state = session.application_state

    return hand_over


def has_handler(scope: Scope, exc: HTTPException) -> bool:
    """Whether the application has a handler for a kind of `HTTPException` of its own.

    One for `HTTPException` itself answers HTTP requests as well, by a response.
    """
    handlers, _ = scope.get(_HANDLERS, ({}, {}))
    return any(
        kind in handlers
        for kind in type(exc).__mro__
        if issubclass(kind, HTTPException) and kind.__module__ not in _MODULES
    )


def _is_unanswered(session: Session) -> bool:
    """Whether the handshake is the server's to answer, if no handler has done it."""
    return session.info is None and session.application_state is CONNECTING


def _is_handled(scope: Scope, outcome: BaseException | None) -> bool:
    """Whether a handler further out gets an exception that a handler has raised.

    It closes by the server's own `send`. The default one for `HTTPException` sends a
    response, which an accepted connection cannot have.
    """
    if outcome is None or isinstance(outcome, HTTPException):
        return False
    handlers, _ = scope.get(_HANDLERS, ({}, {}))
    return any(kind in handlers for kind in type(outcome).__mro__)
