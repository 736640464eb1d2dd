"""Hypercorn with the engine, as two functions."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from copy import copy
from functools import partial
from typing import Any, Literal, TypeAlias

import anyio
from anyio import (
    TASK_STATUS_IGNORED,
    CancelScope,
    create_task_group,
    get_cancelled_exc_class,
)
from anyio import Event as Signal
from anyio.abc import TaskStatus
from hypercorn.config import Config, Sockets
from hypercorn.typing import AppWrapper
from hypercorn.utils import repr_socket_addr, wrap_app

from .._values.options import Options, check_options
from .._values.outcomes import sole_cause_of
from ._engine import engine
from ._worker import Trigger, signalled, wait_first

# ASGI or WSGI; each framework has types of its own for it.
Application: TypeAlias = Callable[..., Any]


async def serve(
    app: Application,
    config: Config | None = None,
    *,
    bind: str | Sequence[str] | None = None,
    options: Options | None = None,
    drain_timeout: float | None = None,
    drain_code: int | None = None,
    shutdown_trigger: Trigger | None = None,
    task_status: TaskStatus[list[str]] = TASK_STATUS_IGNORED,
) -> None:
    """Serve an application by Hypercorn and the engine, on the running backend.

    To end, the server refuses new WebSockets with 503, closes open ones with the drain
    code, lets their handlers end within `drain_timeout`, and cancels what is left. Then
    Hypercorn gives plain requests its `graceful_timeout`, and runs the lifespan's
    shutdown.

    Args:
        app: An ASGI application, what `@anyws.endpoint` made among them, or WSGI.
        config: Hypercorn's configuration; it is not changed. The keywords that follow
            come before what it says.
        bind: Hypercorn's: `"host:port"`, `"unix:path"` or `"fd://number"`, or several.
        options: The settings of each WebSocket. Applications override what they name.
        drain_timeout: Seconds that handlers have (default: `config.graceful_timeout`).
        drain_code: The close code that peers get (default 1012; or 1001).
        shutdown_trigger: Returns when the server is to end; by default that is when the
            call is cancelled.
        task_status: Told the addresses, as URLs, when the server accepts connections.
    Raises:
        RuntimeError: This version of Hypercorn is not known.
        OSError: An address cannot be bound.
        TypeError, ValueError: A setting has no meaning; says which and why.
        hypercorn.utils.LifespanFailureError: The application did not start.
    Cancellation:
        Ends the server as the trigger does, and waits for that; during the start, at
        once.
    Source: Hypercorn's `serve()`; ASGI "lifespan".
    """
    config = _configured(config, bind, options, drain_timeout, drain_code)
    wrapped = wrap_app(app, config.wsgi_max_body_size, None)
    with engine(), _listening(config) as (sockets, urls):
        server = _Server(shutdown_trigger)
        async with create_task_group() as tasks:
            tasks.start_soon(server.work, wrapped, config, sockets)
            try:
                await server.begun.wait()
                if server.failure is None:
                    task_status.started(urls)
                await server.ended.wait()
            except get_cancelled_exc_class():
                server.asked.set()
                raise
    if server.failure is not None:
        raise server.failure


class _Server:
    """One call of Hypercorn's, in a task of its own: its end has an order."""

    def __init__(self, trigger: Trigger | None) -> None:
        self.begun = Signal()
        self.asked = Signal()
        self.ended = Signal()
        self.failure: BaseException | None = None
        triggers = (self.asked.wait, trigger)
        self._trigger = partial(wait_first, *filter(None, triggers))
        self._scope = CancelScope()

    async def work(self, app: AppWrapper, config: Config, sockets: Sockets) -> None:
        vars(config)["websocket_started"] = self._begin
        try:
            with self._scope:
                await _worker_of_the_backend()(
                    app, config, sockets=sockets, shutdown_trigger=self._trigger
                )
        except Exception as exc:
            self.failure = sole_cause_of(exc)
        finally:
            self.begun.set()
            self.ended.set()

    def _begin(self) -> None:
        self._scope.shield = True  # from now on, a cancellation is a trigger
        self.begun.set()


def run(
    app: Application,
    config: Config | None = None,
    *,
    backend: Literal["asyncio", "trio"] = "asyncio",
    backend_options: dict[str, Any] | None = None,
    shutdown_trigger: Trigger | None = None,
    bind: str | Sequence[str] | None = None,
    options: Options | None = None,
    drain_timeout: float | None = None,
    drain_code: int | None = None,
) -> None:
    """Run an event loop that serves an application until SIGINT or SIGTERM.

    On Windows Ctrl-C and Ctrl-Break are what ends it in that way. A process that is
    terminated there ends at once, and closes no connection.

    Args:
        app, config: As for `serve`.
        backend: The event loop, by AnyIO's name.
        backend_options: As for `anyio.run`; `{"use_uvloop": True}`, for example.
        shutdown_trigger: Returns when the server is to end, instead of the signals.
        bind, options, drain_timeout, drain_code: As for `serve`.
    Raises:
        As `serve`; and LookupError: There is no such backend.
    """

    async def main() -> None:
        await serve(
            app,
            config,
            bind=bind,
            options=options,
            drain_timeout=drain_timeout,
            drain_code=drain_code,
            shutdown_trigger=shutdown_trigger or signalled,
        )

    anyio.run(main, backend=backend, backend_options=backend_options)


def _configured(
    config: Config | None,
    bind: str | Sequence[str] | None,
    options: Options | None,
    drain_timeout: float | None,
    drain_code: int | None,
) -> Config:
    """Return a configuration of our own, with the keywords in it."""
    if config is not None and not isinstance(config, Config):
        raise TypeError(f"config must be hypercorn.Config, not {type(config).__name__}")
    check_options(options)
    config = Config() if config is None else copy(config)
    if config.workers != 1:
        warnings.warn(
            "serve() and run() are one worker: for more, python -m anyws.hypercorn",
            stacklevel=3,
        )
    if bind is not None:
        config.bind = bind if isinstance(bind, str) else list(bind)
    for name, value in (
        ("websocket_options", options),
        ("websocket_drain_timeout", drain_timeout),
        ("websocket_drain_code", drain_code),
    ):
        if value is not None:
            vars(config)[name] = value
    return config


@contextmanager
def _listening(config: Config) -> Iterator[tuple[Sockets, list[str]]]:
    """Give a configuration's sockets, listening, and their URLs; close them after."""
    sockets, urls = config.create_sockets(), []
    with ExitStack() as stack:
        for scheme, bound in (
            ("https", sockets.secure_sockets),
            ("http", sockets.insecure_sockets),
        ):
            for sock in bound:
                stack.enter_context(sock)
                sock.listen(config.backlog)
                address = repr_socket_addr(sock.family, sock.getsockname())
                urls.append(f"{scheme}://{address}")
        yield sockets, urls


def _worker_of_the_backend() -> Callable[..., Awaitable[None]]:
    """Return the worker's function for the event loop that is running."""
    trio = sys.modules.get("trio")
    if trio is not None and get_cancelled_exc_class() is trio.Cancelled:
        from ._trio import serve_worker
    else:
        from ._asyncio import serve_worker
    return serve_worker
