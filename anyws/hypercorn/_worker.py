"""One worker: its settings, its connections, and the end of both.

What an operator can set are attributes of Hypercorn's own `Config`, which Hypercorn
hands to every worker it spawns, whatever wrote it: keywords of `serve()`, a TOML file
or a Python file.

* `websocket_options`: an `anyws.Options`, or a mapping of its fields; applications
  override those that they name;
* `websocket_permessage_deflate`: whether compression is agreed on (default true);
* `websocket_drain_timeout`: seconds that handlers have to end in, once the worker is
  asked to end (default: Hypercorn's `graceful_timeout`);
* `websocket_drain_code`: the close code that peers get then (default 1012).

Of Hypercorn's own, `websocket_max_message_size` bounds every message, and
`websocket_ping_interval`, where it is set, is the interval between pings.
"""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextvars import ContextVar
from copy import copy
from dataclasses import replace
from functools import partial
from typing import Any, Final, Protocol

from anyio import Event as Signal
from anyio import create_task_group, open_signal_receiver
from hypercorn.config import Config
from hypercorn.utils import ShutdownError

from .._server.drain import Drain
from .._values.closing import CloseCode
from .._values.options import Options

Trigger = Callable[[], Awaitable[object]]

_ATTRIBUTE: Final = "websocket_worker"

# What asks a process to end. SIGBREAK is Ctrl-Break, which Windows alone has.
_ASKING: Final = tuple(
    signal.Signals[name]
    for name in ("SIGINT", "SIGTERM", "SIGBREAK")
    if name in signal.Signals.__members__
)

# The worker that the running task belongs to.
current_worker: ContextVar[Worker] = ContextVar("current_worker")


class Connection(Protocol):
    """What a worker must be able to do to a connection."""

    def abort(self) -> None:
        """End it now, whatever is still to be sent."""


class Worker:
    """The settings and connections of one call of Hypercorn's `worker_serve`.

    Attributes:
        options: The settings of each WebSocket. Applications override what they name.
        permessage_deflate: Whether compression is agreed on with peers that offer it.
        max_message_bytes: Largest message, whatever the options of an application.
        graceful_timeout: Seconds that plain requests have to end in.
        drain: The WebSockets being served.
        connections: All connections, those of plain requests too.
        started: Called when the worker begins to serve.
    """

    def __init__(self, config: Config) -> None:
        options = _options_of(config)
        if config.websocket_ping_interval is not None:
            interval = config.websocket_ping_interval
            options = replace(options, ping_interval=interval)
        timeout = getattr(config, "websocket_drain_timeout", None)
        self.options: Options = options
        self.permessage_deflate: bool = getattr(
            config, "websocket_permessage_deflate", True
        )
        self.max_message_bytes: int = config.websocket_max_message_size
        self.drain = Drain(
            code=getattr(config, "websocket_drain_code", CloseCode.SERVICE_RESTART),
            # Hypercorn's may be 0, which is to say at once.
            timeout=max(config.graceful_timeout, 0.001) if timeout is None else timeout,
        )
        self.graceful_timeout = config.graceful_timeout
        self.connections: set[Connection] = set()
        self.started: Callable[[], None] | None = getattr(
            config, "websocket_started", None
        )

    def abort_connections(self) -> None:
        """End every connection that is left."""
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
    """Return the worker that a configuration was copied for."""
    worker: Worker = vars(config)[_ATTRIBUTE]
    return worker


class Backend:
    """What the engine puts in the place of Hypercorn's functions, for one event loop.

    Args:
        worker_serve: Hypercorn's own.
        abort_later: Has a worker's connections aborted after some seconds.
    """

    def __init__(
        self,
        worker_serve: Callable[..., Awaitable[None]],
        abort_later: Callable[[Worker, float], None],
    ) -> None:
        self._worker_serve = worker_serve
        self._abort_later = abort_later

    async def serve_worker(self, app: object, config: Config, **keywords: Any) -> None:
        """Serve as a worker, until asked to end or cancelled.

        Raises:
            TypeError, ValueError: A setting has no meaning; says which and why.
        """
        worker = Worker(config)
        config = copy(config)
        vars(config)[_ATTRIBUTE] = worker
        if config.quic_bind:
            await config.log.warning(
                "WebSockets are not offered over HTTP/3: Hypercorn 0.18 never tells "
                "the application that such a connection has ended"
            )
        token = current_worker.set(worker)
        try:
            await self._worker_serve(app, config, **keywords)
        finally:
            current_worker.reset(token)

    async def serve_process(self, app: object, config: Config, **keywords: Any) -> None:
        """Serve as a worker that has its process for itself, so that signals end it.

        One that Hypercorn has spawned is told nothing of a signal that its whole group
        gets, as from systemd: it would end at once. SIGINT it inherits as ignored, and
        leaves it so; but on Windows, where nothing is inherited, Ctrl-C is heeded too.
        """
        trigger: Trigger | None = keywords.get("shutdown_trigger")
        if trigger is None:
            keywords["shutdown_trigger"] = signalled
        else:
            ignored = signal.getsignal(signal.SIGINT) == signal.SIG_IGN
            heeded = (signal.SIGTERM,) if ignored else _ASKING
            own = partial(signalled, *heeded)
            keywords["shutdown_trigger"] = partial(wait_first, trigger, own)
        await self.serve_worker(app, config, **keywords)

    async def raise_shutdown(self, trigger: Trigger) -> None:
        """Wait for what ends the worker, and drain it."""
        worker = current_worker.get()
        if worker.started is not None:
            worker.started()
            worker.started = None
        await trigger()
        await worker.drain.aclose()
        self._abort_later(worker, worker.graceful_timeout)
        raise ShutdownError


async def wait_first(*triggers: Trigger) -> None:
    """Wait until one of the triggers returns."""
    async with create_task_group() as tasks:

        async def wait(trigger: Trigger) -> None:
            await trigger()
            tasks.cancel_scope.cancel()

        for trigger in triggers:
            tasks.start_soon(wait, trigger)


async def signalled(*numbers: signal.Signals) -> None:
    """Wait for a signal; by default, one that asks the process to end."""
    numbers = numbers or _ASKING
    try:
        with open_signal_receiver(*numbers) as signals:
            async for _ in signals:
                return
    except NotImplementedError:  # asyncio on Windows
        await _signalled_plainly(numbers)


async def _signalled_plainly(numbers: Iterable[signal.Signals]) -> None:
    """Wait for a signal where the event loop handles none, as Hypercorn does there.

    The event loop of Windows wakes by itself when a signal comes, and runs the handler.
    """
    came = Signal()

    def handle(*_: object) -> None:
        came.set()

    former = {number: signal.signal(number, handle) for number in numbers}
    try:
        await came.wait()
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
