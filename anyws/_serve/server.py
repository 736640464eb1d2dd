"""A WebSocket server in the task tree of its user."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from math import inf
from types import UnionType
from typing import Any, Final, TypeAlias

from anyio import (
    TASK_STATUS_IGNORED,
    AsyncContextManagerMixin,
    CancelScope,
    create_task_group,
    get_cancelled_exc_class,
)
from anyio import Event as Signal
from anyio.abc import Listener, TaskGroup, TaskStatus

from .._frames.transports import new_watcher
from .._frames.watched_socket import Watcher
from .._server.connection import Terms
from .._server.drain import Drain
from .._session.upkeep import Upkeep
from .._values.allowed_origins import origins_of
from .._values.closing import CloseCode
from .._values.deflate import Compression
from .._values.options import DEFAULTS, Options, with_compression
from .._values.outcomes import sole_cause_of
from .application import application_of
from .greeting import Entrance, dated
from .lifespan import Lifespan
from .listeners import Listeners
from .reception import Reception
from .served import ServedConnection

# A handler or an ASGI application: each framework declares types of its own for these.
Application: TypeAlias = Callable[..., Any]

# The type of each argument, and its name in error messages.
_TYPES: Final[dict[str, tuple[UnionType | type, str]]] = {
    "host": (str | None, "a str or None"),
    "port": (int, "an int"),
    "unix_path": (str | None, "a str or None"),
    "ssl_context": (ssl.SSLContext | None, "an ssl.SSLContext or None"),
    "options": (Options, "anyws.Options"),
    "max_connections": (int | None, "an int or None"),
    "open_timeout": (int | float | None, "a number of seconds or None"),
}


class Server(AsyncContextManagerMixin):
    """A WebSocket server; `serve` makes one.

    `async with` runs it. Leaving the block drains it, even if the block is cancelled:
    no more connections are accepted, the open ones are closed with `drain_code`, and
    handlers have `drain_timeout` seconds to end before they are cancelled. A server can
    run only once.
    """

    def __init__(
        self,
        app: Application,
        *,
        host: str | None,
        port: int,
        unix_path: str | None,
        listeners: Sequence[Listener[Any]] | None,
        ssl_context: ssl.SSLContext | None,
        options: Options,
        compression: Compression,
        max_connections: int | None,
        open_timeout: float | None,
        drain_timeout: float,
        drain_code: int,
        allowed_origins: str | Iterable[str] | None,
    ) -> None:
        self._app = application_of(app)
        _check_types(
            host=host,
            port=port,
            unix_path=unix_path,
            ssl_context=ssl_context,
            options=options,
            max_connections=max_connections,
            open_timeout=open_timeout,
        )
        if (unix_path is not None) + (listeners is not None) + (host is not None) > 1:
            raise ValueError("host, unix_path and listeners exclude each other")
        options = with_compression(options, compression)
        if open_timeout is not None and not open_timeout > 0:
            raise ValueError(
                f"open_timeout must be above 0 seconds, not {open_timeout}"
            )
        if max_connections is not None and max_connections < 1:
            raise ValueError(
                f"max_connections must be at least 1, not {max_connections}"
            )
        self._open = partial(
            Listeners.open, host, port, unix_path, listeners, ssl_context
        )
        self._ssl_context = ssl_context
        self._max_connections = inf if max_connections is None else max_connections
        self._drain = Drain(code=drain_code, timeout=drain_timeout)
        self._terms = Terms(
            options=options,
            compression=compression is not None,
            headers=dated,
            draining=lambda: self._drain.draining,
            origins=origins_of(allowed_origins),
        )
        self._upkeep = Upkeep(lasting=True)
        self._entrance = Entrance(open_timeout, self._upkeep.keeper)
        self._lifespan: Lifespan
        self._listeners: Listeners | None = None
        self._reception: Reception | None = None
        self._entered = False
        self._stopping = Signal()
        self._stopped = Signal()

    # The facts about the server

    @property
    def urls(self) -> list[str]:
        """The URLs of all addresses, for a client on this machine.

        A unix socket has `ws+unix://` and its path.
        """
        return list(self._known.urls)

    @property
    def url(self) -> str:
        """The first of `urls`."""
        urls = self._known.urls
        if not urls:
            raise RuntimeError("the given listeners have no known address")
        return urls[0]

    @property
    def port(self) -> int:
        """The first TCP port that the server listens on."""
        if self._known.port is None:
            raise RuntimeError("the server does not listen on a TCP port")
        return self._known.port

    @property
    def connections(self) -> list[ServedConnection]:
        """The WebSockets that are being served, the oldest first."""
        return [] if self._reception is None else self._reception.connections

    @property
    def _known(self) -> Listeners:
        if self._listeners is None:
            raise RuntimeError("the server is not running: enter it with 'async with'")
        return self._listeners

    # Running

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Server]:
        """Run the server; drain it when the block is left."""
        if self._entered:
            raise RuntimeError("a server runs once: call serve() for another one")
        self._entered = True
        cancelled = get_cancelled_exc_class()
        outcome: BaseException | None = None
        try:
            async with create_task_group() as tasks:
                # The task group would raise an exception of its block in a group.
                try:
                    await tasks.start(self._run)
                    try:
                        yield self
                    except cancelled:
                        raise
                    except BaseException as exc:
                        outcome = exc
                except cancelled:
                    raise
                except BaseException as exc:
                    outcome = sole_cause_of(exc)  # the start has failed
                finally:
                    self._stopping.set()
        except BaseExceptionGroup as group:
            raise sole_cause_of(group) from None  # the server has failed
        try:
            if outcome is not None:
                raise outcome
        finally:
            outcome = None  # its traceback holds this frame

    async def run(
        self, *, task_status: TaskStatus[Server] = TASK_STATUS_IGNORED
    ) -> None:
        """Serve until the server is drained or the call is cancelled.

        Args:
            task_status: Gets the server once it accepts connections; for
                `TaskGroup.start` and trio's `Nursery.start`.

        Raises:
            OSError: An address cannot be bound; the message names it.
            RuntimeError: The application's startup failed, or the server has run.

        Cancellation:
            Drains the server, and waits for that: see `drain`.
        """
        async with self:
            task_status.started(self)
            await self.wait_closed()

    async def drain(self) -> None:
        """Stop accepting, close every connection, and wait until the server is over.

        The peers see `drain_code`. Handlers have `drain_timeout` seconds to end; then
        they are cancelled. Do not await this in a handler, because it would wait for
        itself.

        Cancellation:
            Safe: only the wait ends. The drain goes on.
        Source: RFC 6455 section 7.1.5, IANA close code 1012.
        """
        self._stopping.set()
        await self.wait_closed()

    async def wait_closed(self) -> None:
        """Wait until the server has been drained.

        Cancellation:
            Safe: waiting changes nothing.
        """
        await self._stopped.wait()

    async def _run(self, *, task_status: TaskStatus[None]) -> None:
        """Serve until asked to stop. From the startup on, no cancellation ends this."""
        try:
            listeners = await self._open()
            try:
                self._lifespan = Lifespan(self._app, self._terms.inspection)
                with CancelScope() as scope:
                    async with create_task_group() as tasks:
                        await self._lifespan.start(tasks)
                        scope.shield = True
                        self._listeners = listeners
                        task_status.started()
                        async with self._upkeep.opened():
                            await self._serve(listeners)
                        await self._lifespan.stop()
            finally:
                await listeners.aclose()
        finally:
            self._stopped.set()

    async def _serve(self, listeners: Listeners) -> None:
        watcher = new_watcher() if self._ssl_context is None else None
        if watcher is not None:
            self._upkeep.start(watcher.run)
        async with create_task_group() as tasks:
            self._reception = self._receiving(watcher, tasks)
            await self._accept(listeners, self._reception, watcher, tasks)
            await listeners.aclose()
            self._entrance.close()
            await self._drain.aclose()
            tasks.cancel_scope.cancel()

    def _receiving(self, watcher: Watcher | None, tasks: TaskGroup) -> Reception:
        return Reception(
            self._app,
            self._terms,
            self._drain,
            self._entrance,
            self._upkeep,
            most=self._max_connections,
            ssl_context=self._ssl_context,
            state=self._lifespan.state,
            watcher=watcher,
            tasks=tasks,
        )

    async def _accept(
        self,
        listeners: Listeners,
        reception: Reception,
        watcher: Watcher | None,
        tasks: TaskGroup,
    ) -> None:
        """Accept connections until asked to stop."""
        arrive, handle = reception.receive_socket, reception.receive_stream
        async with create_task_group() as accepting:
            accepting.start_soon(listeners.accept, arrive, watcher, handle, tasks)
            await self._stopping.wait()
            accepting.cancel_scope.cancel()


def _check_types(**arguments: object) -> None:
    """Raise TypeError for an argument whose type is not the one in `_TYPES`."""
    for name, value in arguments.items():
        kind, spoken = _TYPES[name]
        if not isinstance(value, kind) or isinstance(value, bool):
            raise TypeError(f"{name} must be {spoken}, not {type(value).__name__}")


def serve(
    app: Application,
    host: str | None = None,
    port: int = 0,
    *,
    unix_path: str | None = None,
    listeners: Sequence[Listener[Any]] | None = None,
    ssl_context: ssl.SSLContext | None = None,
    options: Options = DEFAULTS,
    compression: Compression = "deflate",
    max_connections: int | None = None,
    open_timeout: float | None = 10.0,
    drain_timeout: float = 3.0,
    drain_code: int = CloseCode.SERVICE_RESTART,
    allowed_origins: str | Iterable[str] | None = None,
) -> Server:
    """Make a WebSocket server that runs in your own task tree, on either backend.

        async with anyws.serve(handler, "127.0.0.1", 8000) as server:
            print(server.url)
            await server.wait_closed()  # or do other work; leaving the block drains

    Or, to serve until cancelled: `await anyws.serve(handler, port=8000).run()`, and
    `await tasks.start(anyws.serve(handler).run)` in a task group.

    Plain HTTP requests are answered with 426. A request has to arrive within
    `open_timeout`, and may have at most 64 KiB. At most 1000 connections may have an
    incomplete request; one more ends the oldest of them.

    Args:
        app: A handler `async def handler(ws)`; an `@anyws.endpoint`; or any ASGI
            application, whose WebSocket routes and lifespan are used.
        host: The address to listen on, or a name, with all its addresses; `None`:
            listen on every interface.
        port: The TCP port; 0: any free port.
        unix_path: The path of a unix socket to listen on instead.
        listeners: AnyIO's listeners of byte streams to listen on instead. The server
            closes them.
        ssl_context: Serve `wss` with the certificates of this context.
        options: The settings of each WebSocket. Applications override the settings that
            they name.
        compression: `"deflate"` (default) or an `anyws.Deflate`: agree on
            permessage-deflate with clients that offer it, unless `options` or the
            application set `Options.compression`. `None`: never.
        max_connections: The largest number of open WebSockets; more are refused with
            503. `None`: only the system limits them.
        open_timeout: Seconds for TLS and for the request, together; `None`: no limit.
        drain_timeout: Seconds that handlers have to end, when the server ends.
        drain_code: The close code of connections that the server ends (1012).
        allowed_origins: The origins of pages that may connect. Browsers send the origin
            in the header `Origin`. Each is an origin such as `"https://example.com"`,
            with the port if it is not the default one; or `"https://*.example.com"`,
            for all subdomains; or `"same-origin"`, for pages of the host that the
            request names in `Host`, which a proxy has to pass on. Pages of other
            origins are refused with 403, before the application sees them, and the log
            gets a line. A client that sends no `Origin` is not a browser, and may
            connect. `None` (default): pages of all origins may connect.

    Raises:
        TypeError: `app` is not an application; the message says what it is, and what to
            write instead. Or an argument is of another type.
        ValueError: An argument is invalid; the message says which and why.
        OSError: On entry: an address cannot be bound; the message names it.
        RuntimeError: On entry: the application's startup failed.

    Cancellation:
        A block that is cancelled drains the server, and waits for that.
    Source: RFC 6455 section 4.2; ASGI "websocket", "lifespan".
    """
    return Server(
        app,
        host=host,
        port=port,
        unix_path=unix_path,
        listeners=listeners,
        ssl_context=ssl_context,
        options=options,
        compression=compression,
        max_connections=max_connections,
        open_timeout=open_timeout,
        drain_timeout=drain_timeout,
        drain_code=drain_code,
        allowed_origins=allowed_origins,
    )
