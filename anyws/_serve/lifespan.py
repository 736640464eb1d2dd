"""The lifespan protocol of an application: its startup, its state and its shutdown."""

from __future__ import annotations

import logging
from functools import partial
from typing import Any, Final

from anyio import CancelScope, get_cancelled_exc_class, move_on_after
from anyio import Event as Signal
from anyio.abc import TaskGroup
from anyio.lowlevel import checkpoint
from starlette.types import ASGIApp

from .._server.inspection import Inspection
from .._values.events import Event

_STARTUP: Final = "lifespan.startup"
_SHUTDOWN: Final = "lifespan.shutdown"

# Seconds for the shutdown, as Hypercorn has it; and for what an application does after
# it has said that its shutdown is complete.
_SHUTDOWN_SECONDS: Final = 60.0
_AFTER_SECONDS: Final = 1.0

_log: Final = logging.getLogger("anyws.server")


class Lifespan:
    """One run of an application's lifespan, in a task of the server's.

    An application may have none: it raises then, or returns, before it has answered.

    Args:
        app: The application.
        inspection: The server's check of it.

    Attributes:
        state: The state that the application keeps for its connections.
    """

    def __init__(self, app: ASGIApp, inspection: Inspection) -> None:
        self.state: dict[str, Any] = {}
        self._app = app
        self._inspection = inspection
        self._scope = CancelScope()
        self._asked = Signal()  # for the shutdown
        self._answered = {_STARTUP: Signal(), _SHUTDOWN: Signal()}
        self._over = Signal()  # set when the application has returned
        self._failure: str | None = None
        self._received = 0

    async def start(self, tasks: TaskGroup) -> None:
        """Run the startup, and wait for it.

        Raises:
            RuntimeError: The application says that its startup failed.
        """
        tasks.start_soon(self._run)
        await self._answered[_STARTUP].wait()
        if self._failure is not None:
            raise RuntimeError(f"the application did not start: {self._failure}")

    async def stop(self) -> None:
        """Run the shutdown, and wait for it, at most a minute; a failure is logged."""
        self._asked.set()
        with move_on_after(_SHUTDOWN_SECONDS) as scope:
            await self._answered[_SHUTDOWN].wait()
        if scope.cancelled_caught:
            self._failure = f"it took over {_SHUTDOWN_SECONDS} s"
        if self._failure is not None:
            _log.error("the application did not shut down properly: %s", self._failure)
        else:
            with move_on_after(_AFTER_SECONDS):
                await self._over.wait()
        self._scope.cancel()

    async def _run(self) -> None:
        scope = {
            "type": "lifespan",
            "asgi": {"version": "3.0", "spec_version": "2.0"},
            "state": self.state,
        }
        started = self._answered[_STARTUP]
        with self._scope:
            try:
                run = partial(self._app, scope, self._receive)
                await self._inspection.live(scope, self._send, run)
            except get_cancelled_exc_class():
                raise
            except BaseException as exc:
                if isinstance(exc, KeyboardInterrupt):
                    raise
                if not started.is_set():
                    _log.info("the application has no lifespan: %r", exc)
                elif self._failure is None:
                    _log.exception("Exception in the application's lifespan")
            finally:
                for signal in (*self._answered.values(), self._over):
                    signal.set()

    async def _receive(self) -> Event:
        await checkpoint()
        self._received += 1
        if self._received == 1:
            return {"type": _STARTUP}
        await self._asked.wait()
        return {"type": _SHUTDOWN}

    async def _send(self, event: Any) -> None:
        await checkpoint()
        kind, _, outcome = event["type"].rpartition(".")
        if kind not in self._answered or outcome not in ("complete", "failed"):
            raise RuntimeError(f"unexpected ASGI message {event['type']!r}")
        if outcome == "failed":
            self._failure = event.get("message") or "it gave no reason"
        self._answered[kind].set()
