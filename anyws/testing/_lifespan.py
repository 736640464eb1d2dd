"""The lifespan protocol: startup before the connection, shutdown after it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final

from anyio import (
    CancelScope,
    create_task_group,
    current_time,
    get_cancelled_exc_class,
    move_on_after,
)
from anyio import Event as Signal
from anyio.lowlevel import checkpoint
from starlette.types import ASGIApp

from .._session.wakeup import SharedWakeup
from .._values.events import Event
from ._errors import DeadlineExceeded, Kept, LifespanFailed

_STARTUP: Final = "lifespan.startup"
_SHUTDOWN: Final = "lifespan.shutdown"


@asynccontextmanager
async def lifespan(
    app: ASGIApp, *, deadline: float = 5.0
) -> AsyncGenerator[dict[str, Any]]:
    """Run an application's lifespan around a block, for several connections.

        async with anyws.testing.lifespan(app) as state:
            one = anyws.testing.connect(app, scope={"state": state})
            two = anyws.testing.connect(app, scope={"state": state})
            async with one, two:
                ...

    Args:
        app: The application.
        deadline: Seconds, on AnyIO's clock, for the startup, and for the shutdown.

    Yields:
        The state that the application keeps for its connections.

    Raises:
        LifespanFailed: The startup or the shutdown failed.
        DeadlineExceeded: The startup or the shutdown did not come to its end.
        Exception: The exception that the application raises.

    Cancellation:
        Cancels the application too, and waits for its end.
    Source: ASGI "lifespan".
    """
    __tracebackhide__ = True
    run, kept = _Lifespan(app, deadline), Kept()
    try:
        async with create_task_group() as tasks:
            tasks.start_soon(run.run)
            with kept:
                await run.start()
                with kept:
                    yield run.state
                await run.stop()
            tasks.cancel_scope.cancel()
        if kept.error is not None:
            raise kept.error
    finally:
        del kept  # the error's traceback holds this frame


class _Lifespan:
    """One run of an application's lifespan.

    Attributes:
        state: The state that the application keeps for its connections.
    """

    def __init__(self, app: ASGIApp, deadline: float) -> None:
        self.state: dict[str, Any] = {}
        self._app = app
        self._deadline = deadline
        self._scope = CancelScope()
        self._shutting_down = Signal()
        self._received = 0
        self._answers: dict[str, str | None] = {}
        self._news = SharedWakeup()
        self._error: BaseException | None = None
        self._over = False

    async def run(self) -> None:
        """Run the application, in a task of its own."""
        scope = {
            "type": "lifespan",
            "asgi": {"version": "3.0", "spec_version": "2.0"},
            "state": self.state,
        }
        cancelled = get_cancelled_exc_class()
        with self._scope:
            try:
                await self._app(scope, self._receive, self._send)
            except cancelled:
                raise
            except BaseException as exc:
                self._error = exc
        self._over = True
        self._news.wake()

    async def _receive(self) -> Event:
        await checkpoint()
        self._received += 1
        if self._received == 1:
            return {"type": _STARTUP}
        await self._shutting_down.wait()
        return {"type": _SHUTDOWN}

    async def _send(self, event: Any) -> None:
        await checkpoint()
        kind, _, outcome = event["type"].rpartition(".")
        if kind not in (_STARTUP, _SHUTDOWN) or outcome not in ("complete", "failed"):
            raise RuntimeError(f"unexpected ASGI message {event['type']!r}")
        failed = outcome == "failed"
        self._answers[kind] = event.get("message", "") if failed else None
        self._news.wake()

    async def start(self) -> None:
        """Wait for the startup."""
        await self._wait_for(_STARTUP)

    async def stop(self) -> None:
        """Wait for the shutdown, and for the end of the application."""
        self._shutting_down.set()
        await self._wait_for(_SHUTDOWN)
        with move_on_after(self._deadline):
            while not self._over:
                await self._news.wait()
        self._scope.cancel()
        if self._error is not None:
            raise self._error

    async def _wait_for(self, kind: str) -> None:
        by = current_time() + self._deadline
        with CancelScope(deadline=by) as scope:
            while kind not in self._answers and not self._over:
                await self._news.wait()
        if scope.cancelled_caught:
            self._scope.cancel()
            raise DeadlineExceeded(
                f"the application did not complete {kind} within {self._deadline} s "
                "(deadline=)"
            )
        if self._error is not None:
            raise self._error
        message = self._answers.get(kind, "it returned without an answer")
        if message is not None:
            raise LifespanFailed(f"{kind} failed: {message}" if message else kind)
