"""The class that uvicorn makes for each WebSocket."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextvars import Context
from functools import lru_cache
from typing import Any, Final, cast
from weakref import WeakKeyDictionary

from anyio import current_time
from uvicorn.config import Config
from uvicorn.protocols.utils import (
    get_client_addr,
    get_local_addr,
    get_path_with_query_string,
    get_remote_addr,
)
from uvicorn.server import ServerState

from .._server.connection import ServerConnection, Terms
from .._server.containment import contain
from .._server.handshake import HandshakeRefusal
from .._server.inspection import Inspection
from .._server.request import RequestReader
from .._server.response import plain_response
from .._session.upkeep import Run, Upkeep
from .._values.closing import CloseCode
from .._values.options import Options
from ._transport import UvicornTransport

_log: Final = logging.getLogger("uvicorn.error")

# The `Upkeep` that the connections of each server share.
_upkeeps: Final[WeakKeyDictionary[ServerState, Upkeep]] = WeakKeyDictionary()


class WebSocketProtocol(asyncio.Protocol):
    """uvicorn's protocol for a WebSocket, with the guarantees of anyws.

        uvicorn --ws anyws.uvicorn:WebSocketProtocol module:app

    Close codes and reasons pass both ways; pings are checked, and a peer that answers
    them is never closed because the application is busy; messages are bounded before
    they are held; a shutdown closes every connection with 1012.

    These settings of uvicorn apply: `ws_max_size`, `ws_max_queue`, `ws_ping_interval`,
    `ws_ping_timeout`, `ws_per_message_deflate`, `root_path`, `headers`,
    `server_header`, `date_header`, `limit_concurrency`, `timeout_graceful_shutdown`,
    and all that concern sockets, TLS, proxies, workers and logs. The options of an
    application override the settings that they name, but can only lower `ws_max_size`.

    uvicorn makes the object, and calls all its methods.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        if not config.loaded:
            config.load()
        self._config = config
        self._state = server_state
        self._app_state = app_state
        self._loop = _loop or asyncio.get_running_loop()
        self._stopping = False
        self._reader = RequestReader()
        self._early = bytearray()  # bytes behind the head, until the task runs
        self._transport: UvicornTransport
        self._addresses: dict[str, Any]
        self._connection: ServerConnection | None = None

    # asyncio's callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take over a connection from uvicorn's HTTP protocol."""
        connected = cast("asyncio.Transport", transport)
        self._connections.add(self)
        self._transport = UvicornTransport(connected)
        self._addresses = {
            "client": get_remote_addr(connected),
            "server": get_local_addr(connected),
        }

    @property
    def _connections(self) -> set[Any]:
        return self._state.connections

    def data_received(self, data: bytes) -> None:
        """Take the head of the request; keep what comes behind it for the task."""
        if self._connection is not None:
            self._early += data
            return
        try:
            request = self._reader.receive_data(data)
            if request is None:
                return
            if self._crowded:
                raise HandshakeRefusal(503)
            self._connection = ServerConnection(
                self._transport,
                request,
                terms_of(self._config, self._state, lambda: self._stopping),
                upkeep_of(self._state),
                secure=self._transport.secure,
                root_path=self._config.root_path,
                state=self._app_state,
                **self._addresses,
            )
        except HandshakeRefusal as exc:
            self._refuse(exc)
        else:
            self._early += self._reader.rest
            self._spawn(self._run)

    def eof_received(self) -> bool:
        """Keep the server's half of the connection open: it may have more to say."""
        self._transport.ended = True
        return self._connection is not None

    def connection_lost(self, exc: Exception | None) -> None:
        """Note the end of the connection."""
        self._connections.discard(self)
        self._transport.lose()

    def pause_writing(self) -> None:
        """Have writers wait."""
        self._transport.pause_writing()

    def resume_writing(self) -> None:
        """Have writers go on."""
        self._transport.resume_writing()

    # Called by uvicorn

    def shutdown(self) -> None:
        """Close with 1012; reject a connection that is not accepted yet with 503.

        The application may take as long as uvicorn's `timeout_graceful_shutdown` says.
        """
        self._stopping = True
        session = None if self._connection is None else self._connection.opened_session
        if session is not None:
            session.tell_of_drain(CloseCode.SERVICE_RESTART, "")
            by = current_time() + session.options.close_timeout
            session.close_by_rule(CloseCode.SERVICE_RESTART, "", by=by)
        elif self._connection is None:
            self._transport.close()

    # The connection

    @property
    def _crowded(self) -> bool:
        """Whether uvicorn's `limit_concurrency` is reached."""
        limit = self._config.limit_concurrency
        state = self._state
        most = max(len(state.connections), len(state.tasks))
        return limit is not None and most >= limit

    def _refuse(self, refusal: HandshakeRefusal) -> None:
        """Answer a request that is not a valid opening handshake."""
        headers = [*self._state.default_headers, *refusal.headers]
        answer = plain_response(refusal.status, headers)
        self._transport.send_nowait(answer)
        self._transport.close()

    def _spawn(self, run: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Start a task that uvicorn waits for at its shutdown."""
        fresh = getattr(self._config, "reset_contextvars", False)
        context = Context() if fresh else None
        task = self._loop.create_task(run(), context=context)
        self._state.tasks.add(task)
        task.add_done_callback(self._state.tasks.discard)

    async def _run(self) -> None:
        """Run the application; an error in it ends no other connection."""
        connection = self._connection
        assert connection is not None
        connection.early = bytes(self._early)
        self._early.clear()
        if self._stopping:
            self._refuse(HandshakeRefusal(503))
            return
        try:
            app = cast("Any", self._config.loaded_app)
            await contain(connection.run(app), _log_error)
        except Exception:
            await _log_error()
        finally:
            self._transport.close()


async def _log_error() -> None:
    _log.exception("Exception in ASGI application\n")


def upkeep_of(state: ServerState) -> Upkeep:
    """Return what the connections of a server share."""
    upkeep = _upkeeps.get(state)
    if upkeep is None:
        tasks = set[asyncio.Task[None]]()  # the event loop itself forgets them

        def spawn(run: Run) -> None:
            task = asyncio.get_running_loop().create_task(run())
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        upkeep = _upkeeps[state] = Upkeep(spawn)
    return upkeep


def terms_of(config: Config, state: ServerState, draining: Callable[[], bool]) -> Terms:
    """Return what uvicorn's settings mean here."""
    return Terms(
        options=_options(
            config.ws_max_queue,
            config.ws_max_size,
            config.ws_ping_interval,
            config.ws_ping_timeout,
        ),
        cap=config.ws_max_size,
        compression=config.ws_per_message_deflate,
        headers=lambda: list(state.default_headers),
        draining=draining,
        answered=_log_answer,
        inspection=_inspection_of(config),
    )


# The look at the application of each server, which has one configuration.
_inspections: Final[WeakKeyDictionary[Config, Inspection]] = WeakKeyDictionary()


def _inspection_of(config: Config) -> Inspection:
    return _inspections.setdefault(config, Inspection())


@lru_cache(8)
def _options(
    queue: int, size: int, interval: float | None, timeout: float | None
) -> Options:
    """Return the options that these settings make; uvicorn takes a 0 for None."""
    return Options(
        receive_buffer=max(1, queue),
        max_message_bytes=size,
        ping_interval=interval if interval and interval > 0 else None,
        ping_timeout=timeout if timeout and timeout > 0 else None,
    )


def _log_answer(scope: dict[str, Any], status: int) -> None:
    """Log an answer as uvicorn's own protocols do."""
    if _log.isEnabledFor(logging.INFO):
        known = cast("Any", scope)
        target = get_path_with_query_string(known)
        what = "[accepted]" if status == 101 else str(status)
        _log.info('%s - "WebSocket %s" %s', get_client_addr(known), target, what)
