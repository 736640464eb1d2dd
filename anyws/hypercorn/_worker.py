"""One worker: its settings, its connections, and the end of both.

An operator sets these attributes on Hypercorn's own `Config`, by keywords of `serve()`,
a TOML file or a Python file; Hypercorn hands the `Config` to each worker it spawns:

* `websocket_options`: an `anyws.Options`, or a mapping of its fields, applications
  override those that they name;
* `websocket_permessage_deflate`: whether compression is agreed on (default true), with
  the settings of `websocket_options`, which in a file are a table: `compression.level`;
* `websocket_allowed_origins`: the pages that may connect, one origin or a list, as
  `allowed_origins` of `serve` takes them (default: all pages);
* `websocket_drain_timeout`: seconds that handlers have to return, once the worker is
  asked to end (default: Hypercorn's `graceful_timeout`);
* `websocket_drain_code`: the close code that peers get then (default 1012).

Two settings of Hypercorn count as well: `websocket_max_message_size` bounds every
message, and `websocket_ping_interval`, where it is set, is the interval between pings.
"""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextvars import ContextVar
from copy import copy
from dataclasses import replace
from functools import partial
from typing import Any, Final, Protocol

from hypercorn.config import Config
from hypercorn.utils import ShutdownError

from .._serve.signals import ASKING, Trigger, signalled, wait_first
from .._server import containment
from .._server.drain import Drain
from .._server.inspection import Inspection
from .._session.upkeep import Upkeep
from .._values.allowed_origins import AllowedOrigins, origins_of
from .._values.closing import CloseCode
from .._values.options import Options
from ._logging import escape_access, quieten

Hosted = Callable[..., Awaitable[None]]  # an application as Hypercorn wraps it

_ATTRIBUTE: Final = "websocket_worker"

# The worker that the running task belongs to.
current_worker: ContextVar[Worker] = ContextVar("current_worker")


class Connection(Protocol):
    """A connection, as far as its worker knows it."""

    def abort(self) -> None:
        """End it now; bytes that wait to be sent are dropped."""

    def end_if_idle(self) -> None:
        """Close it, unless a request or a WebSocket is under way."""


class Terminated(Protocol):
    """Hypercorn's event that says that a worker ends."""

    async def wait(self) -> None:
        """Wait until it is set."""


class Worker:
    """The settings and connections of one call of Hypercorn's `worker_serve`.

    Attributes:
        options: The settings of each WebSocket. Applications override the settings that
            they name.
        origins: The pages that may connect; `None`: all.
        permessage_deflate: Whether compression may be agreed on, as the options say.
        max_message_bytes: Largest message; an application's options can only lower it.
        graceful_timeout: Seconds that plain requests have to end, at the end.
        drain: The WebSockets being served.
        connections: All connections, also those of plain requests.
        inspection: The worker's look at its application.
        upkeep: What the connections of WebSockets share.
        terminated: Whether idle connections are to be closed: the worker ends.
        started: Called when the worker begins to serve.
        call_off: Calls off that the connections are aborted, once the worker has ended.
    """

    def __init__(self, config: Config) -> None:
        options = _options_of(config)
        if config.websocket_ping_interval is not None:
            interval = config.websocket_ping_interval
            options = replace(options, ping_interval=interval)
        timeout = getattr(config, "websocket_drain_timeout", None)
        self.options: Options = options
        origins = getattr(config, "websocket_allowed_origins", None)
        if not isinstance(origins, AllowedOrigins):
            origins = origins_of(origins)
        self.origins: AllowedOrigins | None = origins
        self.permessage_deflate: bool = getattr(
            config, "websocket_permessage_deflate", True
        )
        self.max_message_bytes: int = config.websocket_max_message_size
        self.drain = Drain(
            code=getattr(config, "websocket_drain_code", CloseCode.SERVICE_RESTART),
            # Hypercorn's may be 0 and means "at once"; `Drain` refuses a 0.
            timeout=max(config.graceful_timeout, 0.001) if timeout is None else timeout,
        )
        self.graceful_timeout = config.graceful_timeout
        self.connections: set[Connection] = set()
        self.inspection = Inspection()
        self.upkeep = Upkeep(lasting=True)
        self.terminated = False
        self._heeded = False
        self._log_guarded = False
        self.call_off: Callable[[], None] = lambda: None
        self.started: Callable[[], None] | None = getattr(
            config, "websocket_started", None
        )

    def guard_log(self, log: object) -> None:
        """Have the access log escape control characters, once it is made."""
        if not self._log_guarded:
            self._log_guarded = True
            escape_access(log)

    def heed(self, terminated: Terminated) -> None:
        """Close idle connections once the event is set; the first call counts."""
        if not self._heeded:
            self._heeded = True
            self.upkeep.start(partial(self._close_idle, terminated))

    async def _close_idle(self, terminated: Terminated) -> None:
        await terminated.wait()
        self.terminated = True
        for connection in list(self.connections):
            connection.end_if_idle()

    def abort_connections(self) -> None:
        """End every open connection."""
        for connection in list(self.connections):
            connection.abort()


def _options_of(config: Config) -> Options:
    options = getattr(config, "websocket_options", None)
    if options is None:
        return Options()
    if isinstance(options, Mapping):
        return Options(**options)
    if isinstance(options, Options):
        return options
    raise TypeError(
        "websocket_options must be anyws.Options or a mapping of its fields, "
        f"not {type(options).__name__}"
    )


def worker_of(config: Any) -> Worker:
    """Return the worker whose copy of the configuration this is."""
    worker: Worker = vars(config)[_ATTRIBUTE]
    return worker


def contained(app: Hosted, config: Config) -> Hosted:
    """Return the application, no plain request of which can end the server."""

    async def hosted(scope: Any, *arguments: Any) -> None:
        if scope["type"] == "http":
            await contain(app(scope, *arguments), config)
        elif scope["type"] == "lifespan":
            receive, send, *others = arguments
            inspection = worker_of(config).inspection
            await inspection.live(
                scope, send, lambda send: _live(app, scope, receive, send, *others)
            )
        else:
            await app(scope, *arguments)

    return hosted


async def _live(
    app: Hosted, scope: Any, receive: Any, send: Any, *arguments: Any
) -> None:
    """Run an application's lifespan; wait for its end if the application does not.

    An application that knows no lifespan may return at once. Hypercorn's trio worker
    then sends to a closed channel, and does not start.
    """
    is_over = False

    async def receive_event() -> Any:
        nonlocal is_over
        event = await receive()
        is_over = event["type"] == "lifespan.shutdown"
        return event

    await app(scope, receive_event, send, *arguments)
    if not is_over:
        await send({"type": "lifespan.startup.complete"})
        while not is_over:
            await receive_event()


def contain(served: Awaitable[None], config: Config) -> Coroutine[Any, Any, None]:
    """Wait, when awaited, for an application; log what would otherwise end the server.

    Hypercorn itself logs an `Exception` and goes on.
    """
    log = partial(config.log.exception, "Error in ASGI Framework")
    return containment.contain(served, log)


class Backend:
    """The functions that replace Hypercorn's own, for one kind of event loop.

    Args:
        worker_serve: Hypercorn's function of that name.
        abort_later: Arranges that a worker's connections are aborted after some
            seconds; returns a function that calls that off.
    """

    def __init__(
        self,
        worker_serve: Callable[..., Awaitable[None]],
        abort_later: Callable[[Worker, float], Callable[[], None]],
    ) -> None:
        self._worker_serve = worker_serve
        self._abort_later = abort_later

    async def serve_worker(self, app: Any, config: Config, **keywords: Any) -> None:
        """Serve as a worker, until asked to end or cancelled.

        Raises:
            TypeError, ValueError: A setting is invalid; the message says which and why.
        """
        worker = Worker(config)
        config = copy(config)
        vars(config)[_ATTRIBUTE] = worker
        if config.quic_bind:
            await config.log.warning(
                "WebSockets are not offered over HTTP/3: Hypercorn 0.18 never tells "
                "the application that such a connection has ended"
            )
        quieten()
        token = current_worker.set(worker)
        try:
            async with worker.upkeep.opened():
                await self._worker_serve(contained(app, config), config, **keywords)
        finally:
            current_worker.reset(token)
            worker.call_off()

    async def serve_process(self, app: Any, config: Config, **keywords: Any) -> None:
        """Serve as a worker that is alone in its process, so that signals end it.

        A worker that Hypercorn has spawned handles SIGTERM too: systemd signals the
        whole process group, and without a handler the process would end at once. It
        inherits from the master that SIGINT is ignored, and leaves that so; on Windows
        nothing is inherited, and the worker handles Ctrl-C as well.
        """
        trigger: Trigger | None = keywords.get("shutdown_trigger")
        if trigger is None:
            keywords["shutdown_trigger"] = signalled
        else:
            ignored = signal.getsignal(signal.SIGINT) == signal.SIG_IGN
            heeded = (signal.SIGTERM,) if ignored else ASKING
            own = partial(signalled, *heeded)
            keywords["shutdown_trigger"] = partial(wait_first, trigger, own)
        await self.serve_worker(app, config, **keywords)

    async def raise_shutdown(self, trigger: Trigger) -> None:
        """Wait until the worker is to end, and drain it; then raise `ShutdownError`."""
        worker = current_worker.get()
        if worker.started is not None:
            worker.started()
            worker.started = None
        await trigger()
        await worker.drain.aclose()
        worker.call_off = self._abort_later(worker, worker.graceful_timeout)
        raise ShutdownError
