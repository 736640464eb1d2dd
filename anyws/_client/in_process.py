"""An application in this process, as the server of a client's connection.

The application runs in a task of the client's block, on the other end of a stream in
memory. Frames, the opening handshake and both sessions are the same as over a network.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

from anyio import (
    CancelScope,
    create_task_group,
    get_cancelled_exc_class,
    move_on_after,
)
from anyio import Event as Signal
from anyio.abc import ByteStream, TaskGroup
from websockets.uri import WebSocketURI

from .._frames.memory_stream import MemoryStream
from .._frames.transport import StreamTransport
from .._serve.greeting import dated, read_request, refuse
from .._server.connection import ServerConnection, Terms
from .._server.handshake import HandshakeRefusal
from .._session.upkeep import Upkeep
from .._values.errors import ConnectionClosed, HandshakeError
from .._values.outcomes import leaves_of

_TERMS: Final = Terms(headers=dated)

# The client's errors that say no more than that the server has ended the connection.
_TELLS_OF_THE_END: Final = (ConnectionClosed, HandshakeError)

_log: Final = logging.getLogger("anyws.server")


class InProcessServer:
    """The server's ends of the connections of one block.

    Args:
        app: The application.
        tasks: Where each connection has its task.
    """

    def __init__(self, app: Callable[..., Any], tasks: TaskGroup) -> None:
        self._app = app
        self._tasks = tasks
        self._upkeep = Upkeep(tasks.start_soon)
        self._running = 0
        self._over: Signal | None = None  # the block waits until none is running
        self._error: BaseException | None = None

    def dial(self, url: WebSocketURI) -> ByteStream:
        """Return the client's end of a new connection."""
        near, far = MemoryStream.pair()
        self._running += 1
        self._tasks.start_soon(self._run, far, url)
        return near

    async def _run(self, stream: ByteStream, url: WebSocketURI) -> None:
        transport = StreamTransport(stream)
        try:
            await self._serve(transport, url)
        except get_cancelled_exc_class():
            raise
        except BaseException as exc:
            self._keep(exc)
        finally:
            with CancelScope(shield=True):
                await transport.aclose()
            self._running -= 1
            if not self._running and self._over is not None:
                self._over.set()

    async def _serve(self, transport: StreamTransport, url: WebSocketURI) -> None:
        """Serve one connection, from its request to its end."""
        try:
            request, early = await read_request(transport)
            connection = ServerConnection(
                transport,
                request,
                _TERMS,
                self._upkeep,
                early=early,
                secure=url.secure,
                client=None,
                server=(url.host, url.port),
            )
        except HandshakeRefusal as exc:
            await refuse(transport, exc, _TERMS.headers())
        except EOFError:
            pass  # the client was cancelled before it sent its request
        else:
            await connection.run(self._app)

    def _keep(self, exc: BaseException) -> None:
        if self._error is None:
            self._error = exc
        else:
            _log.error("Exception in the application", exc_info=exc)

    async def finish(self, seconds: float) -> None:
        """Wait until the application has ended; cancel it when the time is over."""
        with move_on_after(seconds):
            while self._running:
                self._over = self._over or Signal()
                await self._over.wait()
            return
        _log.warning(
            "the application did not end within %s s after its client had left, and "
            "was cancelled",
            seconds,
        )
        self._tasks.cancel_scope.cancel()

    def judge(self, outcome: BaseException | None) -> BaseException | None:
        """Return the exception to raise: the block's own, or the application's.

        If the block's error only reports the end of the connection, the application's
        error is its cause. Beside any other error of the block, the application's error
        is logged.
        """
        error, self._error = self._error, None
        if error is None:
            return outcome
        if outcome is None or all(
            isinstance(leaf, _TELLS_OF_THE_END) for leaf in leaves_of(outcome)
        ):
            return error
        _log.error("Exception in the application", exc_info=error)
        return outcome


@asynccontextmanager
async def hosted(
    app: Callable[..., Any], seconds: float
) -> AsyncGenerator[InProcessServer]:
    """Run an application for the connections that are dialled inside the block.

    Args:
        app: The application.
        seconds: How long it may take to end after the block.

    Raises:
        BaseException: The exception of the application, unless the block raises an
            error of its own.
    """
    outcome: BaseException | None = None
    async with create_task_group() as tasks:
        server = InProcessServer(app, tasks)
        try:
            yield server
        except get_cancelled_exc_class():
            raise
        except BaseException as exc:
            outcome = exc  # the task group would raise it in a group
        await server.finish(seconds)
    try:
        outcome = server.judge(outcome)
        if outcome is not None:
            raise outcome
    finally:
        outcome = None  # its traceback holds this frame
