"""One look at an application for handlers that would get the wrong class.

A server that is told of it at the startup does not start. An exception there would not
do: uvicorn and Hypercorn take it for an application without lifespan, and serve on.
Where no lifespan runs, the first WebSocket looks, and all of them fail.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, TypeAlias

from starlette.types import Receive, Scope, Send

from .._values.events import Event
from .._values.outcomes import leaves_of
from .misannotated import application_in, misannotated

# An ASGI application; Hypercorn calls its own with more arguments.
Hosted: TypeAlias = Callable[..., Awaitable[None]]

_STARTED: Final = "lifespan.startup.complete"
_FAILED: Final = "lifespan.startup.failed"


class Inspection:
    """The look of one guard, or of one server, at its application."""

    __slots__ = ("_fault", "_over")

    def __init__(self) -> None:
        self._over = False
        self._fault: str | None = None

    def _inspect(self, app: object) -> None:
        """Look at an application; raise RuntimeError if a handler is annotated wrong.

        The error is the same ever after.
        """
        if not self._over:
            self._over = True
            faults = misannotated(app)
            if faults:
                lines = "".join(f"\n  {fault}" for fault in faults)
                self._fault = f"handlers would get the wrong class:{lines}"
        if self._fault is not None:
            raise RuntimeError(self._fault)

    async def live(
        self, scope: Scope, send: Send, run: Callable[[Send], Awaitable[None]]
    ) -> None:
        """Run an application's lifespan; fail the startup for a wrong annotation.

        The look is behind the startup, which may add routes. The application hears of
        the failure by an exception, so that it cleans up before the server does.

        Args:
            scope: The scope, in which Starlette notes the application.
            send: The server's `send`.
            run: Runs the lifespan with another `send`.
        Source: ASGI "lifespan.startup.failed".
        """
        failure: RuntimeError | None = None

        async def checked(event: Event) -> None:
            nonlocal failure
            if failure is not None:
                return  # Starlette's own words for it
            if event["type"] == _STARTED:
                try:
                    self._inspect(scope.get("app"))
                except RuntimeError as exc:
                    failure = exc
                    raise
            await send(event)

        try:
            await run(checked)
        except Exception as exc:
            # A task group in the lifespan puts the failure into a group.
            if any(leaf is not failure for leaf in leaves_of(exc)):
                raise
        finally:
            if failure is not None:
                await send({"type": _FAILED, "message": str(failure)})

    def before(self, app: Hosted) -> Hosted:
        """Return an application that is looked at when a WebSocket calls it, once.

        After a look that has found nothing, that is the application itself. After
        another one it raises RuntimeError for each WebSocket. Where Starlette's
        application is not in sight from outside, the first WebSocket comes to its end
        before the look.
        """
        if "starlette.applications" not in sys.modules:
            return app
        return app if self._over and self._fault is None else partial(self._call, app)

    async def _call(
        self, app: Hosted, scope: Scope, receive: Receive, send: Send, *others: object
    ) -> None:
        found = scope.get("app") or application_in(app)
        if found is not None or self._over:
            self._inspect(found)
            await app(scope, receive, send, *others)
            return
        # Starlette's application may stand behind something that has no `app`. Then it
        # is in the scope once the first WebSocket has reached it. A `receive` of ours
        # in between could look earlier, but the session would take it for a middleware.
        await app(scope, receive, send, *others)
        self._inspect(scope.get("app"))
