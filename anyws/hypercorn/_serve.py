"""Hypercorn with the engine, as functions of a program: `serve` and `run`."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from copy import copy
from functools import partial
from socket import socket
from traceback import walk_tb
from typing import Any, Final, Literal, TypeAlias

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

from .._serve.signals import Trigger, signalled, wait_first
from .._values.allowed_origins import origins_of
from .._values.options import Options, check_options
from .._values.outcomes import sole_cause_of
from ._engine import application_of, check_installed, engine

# ASGI or WSGI: each framework declares types of its own for these.
Application: TypeAlias = Callable[..., Any]


async def serve(
    app: Application,
    config: Config | None = None,
    *,
    bind: str | Sequence[str] | None = None,
    options: Options | None = None,
    drain_timeout: float | None = None,
    drain_code: int | None = None,
    allowed_origins: str | Iterable[str] | None = None,
    shutdown_trigger: Trigger | None = None,
    task_status: TaskStatus[list[str]] = TASK_STATUS_IGNORED,
) -> None:
    """Serve an application with Hypercorn and the engine, on the running backend.

    When the server is asked to end, it refuses new WebSockets with 503 and closes the
    open ones with the drain code. It cancels handlers that have not returned after
    `drain_timeout`. Then Hypercorn gives plain requests its `graceful_timeout`, and
    runs the lifespan's shutdown.

    Args:
        app: A handler `async def handler(ws)`, as `@anyws.endpoint` takes it; an ASGI
            application; or a WSGI application.
        config: Hypercorn's configuration, which is not changed. A keyword argument
            overrides the setting of the same meaning.
        bind: One address or several, as Hypercorn writes them: `"host:port"`,
            `"unix:path"` or `"fd://number"`.
        options: The settings of each WebSocket. Applications override those that
                they name.
        drain_timeout: Seconds that handlers have to end (default:
            `config.graceful_timeout`).
        drain_code: The close code that peers get (default 1012; or 1001).
        allowed_origins: The origins of pages that may connect: `"https://example.com"`,
            `"https://*.example.com"` for all subdomains, or `"same-origin"`; see
            `anyws.serve`. Pages of other origins are refused with 403. Default: pages
            of all origins may connect.
        shutdown_trigger: An async function; the server ends when it returns. Without
            one, the server ends when the call is cancelled.
        task_status: Gets the addresses, as URLs, once the server accepts connections.
    Raises:
        RuntimeError: This version of Hypercorn is not known.
        OSError: An address cannot be bound; the message names the addresses.
        ValueError: An address is invalid, such as port 70000; the message names the
            addresses.
        TypeError: `app` is not an application; the message says what it is, and what to
            write instead.
        TypeError, ValueError: A setting is invalid; the message says which and why.
        hypercorn.utils.LifespanFailureError: The application did not start.
    Cancellation:
        Ends the server as the trigger does, and waits until it has ended. A
        cancellation while the server starts ends it at once.
    Source: Hypercorn's `serve()`; ASGI "lifespan".
    """
    config = _configured(
        config, bind, options, drain_timeout, drain_code, allowed_origins
    )
    wrapped = wrap_app(application_of(app), config.wsgi_max_body_size, None)
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
    """One call of Hypercorn's worker, in a task of its own.

    The caller's cancellation does not reach that task once it serves: it asks the
    worker to end, and the worker ends in order.
    """

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
        self._scope.shield = True  # from now on a cancellation sets `asked`
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
    allowed_origins: str | Iterable[str] | None = None,
) -> None:
    """Run an event loop that serves an application until SIGINT or SIGTERM.

    On Windows, Ctrl-C and Ctrl-Break do the same. Terminating a process there ends it
    at once, and no connection is closed.

    Args:
        app, config: As for `serve`.
        backend: The event loop, by AnyIO's name.
        backend_options: As for `anyio.run`; `{"use_uvloop": True}`, for example.
        shutdown_trigger: An async function; the server ends when it returns, and
            signals do not end it.
        bind, options, drain_timeout, drain_code, allowed_origins: As for `serve`.
    Raises:
        RuntimeError: This version of Hypercorn is not known.
        OSError: An address cannot be bound; the message names the addresses.
        ValueError: An address is invalid, such as port 70000; the message names the
            addresses.
        TypeError: `app` is not an application; the message says what it is, and what to
            write instead.
        TypeError, ValueError: A setting is invalid; the message says which and why.
        ModuleNotFoundError: The backend is an extra that is not installed.
        LookupError: There is no such backend.
        hypercorn.utils.LifespanFailureError: The application did not start.
    """

    application_of(app)
    check_installed(backend, option="backend")
    if (backend_options or {}).get("use_uvloop"):
        check_installed("uvloop", option="use_uvloop with")

    async def main() -> None:
        await serve(
            app,
            config,
            bind=bind,
            options=options,
            drain_timeout=drain_timeout,
            drain_code=drain_code,
            allowed_origins=allowed_origins,
            shutdown_trigger=shutdown_trigger or signalled,
        )

    anyio.run(main, backend=backend, backend_options=backend_options)


def _configured(
    config: Config | None,
    bind: str | Sequence[str] | None,
    options: Options | None,
    drain_timeout: float | None,
    drain_code: int | None,
    allowed_origins: str | Iterable[str] | None,
) -> Config:
    """Return a copy of the configuration, with the keyword arguments in it."""
    if config is not None and not isinstance(config, Config):
        raise TypeError(f"config must be hypercorn.Config, not {type(config).__name__}")
    check_options(options)
    origins = origins_of(allowed_origins)
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
        ("websocket_allowed_origins", origins),
    ):
        if value is not None:
            vars(config)[name] = value
    return config


# The errors of binding; the second one for a port over 65535, the third for `fd://x`.
UNBOUND: Final = (OSError, OverflowError, ValueError)


def named(exc: Exception, config: Config, *, option: str) -> OSError | ValueError:
    """Return an error of binding that names the addresses, and their option."""
    # Hypercorn leaves the sockets open that it was about to return.
    for frame, _ in walk_tb(exc.__traceback__):
        for sock in [frame.f_locals.get("sock"), *frame.f_locals.get("sockets", ())]:
            if isinstance(sock, socket):
                sock.close()
    addresses = " or ".join([*config.bind, *config.insecure_bind, *config.quic_bind])
    words = getattr(exc, "strerror", None) or str(exc)
    message = (
        f"cannot listen on {addresses}: {words} (the addresses are those of {option})"
    )
    if isinstance(exc, OSError) and exc.errno is not None:
        return OSError(exc.errno, message)
    return OSError(message) if isinstance(exc, OSError) else ValueError(message)


@contextmanager
def _listening(config: Config) -> Iterator[tuple[Sockets, list[str]]]:
    """Open the sockets of a configuration; give them and their URLs; close them."""
    try:
        sockets, urls = config.create_sockets(), []
    except UNBOUND as exc:
        raise named(exc, config, option="bind") from None
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
    """Return the worker function for the event loop that is running."""
    trio = sys.modules.get("trio")
    if trio is not None and get_cancelled_exc_class() is trio.Cancelled:
        from ._trio import serve_worker
    else:
        from ._asyncio import serve_worker
    return serve_worker
