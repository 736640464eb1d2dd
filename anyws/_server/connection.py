"""One WebSocket of a server whose frames are ours, over HTTP/1.1.

The server reads the head of a request, and hands over the transport. From then on a
`ServerConnection` has the transport for itself: it checks the opening handshake, hosts
the session in which the application runs, answers as the application asks, and ends.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from typing import Any, Protocol, TypeAlias

from anyio import CancelScope, current_time
from anyio import Event as Signal
from starlette.types import ASGIApp

from .._frames.transport import Transport
from .._session.scope import put_session
from .._session.session import Session
from .._session.upkeep import Upkeep
from .._values.allowed_origins import AllowedOrigins
from .._values.closing import CloseCode
from .._values.deflate import deflate_of
from .._values.events import Event
from .._values.options import DEFAULTS, Options
from .._values.states import ACCEPT, CLOSE, CONNECT, RESPONSE_START
from .admission import admitting
from .drain import Drain
from .guard import host
from .handshake import HandshakeRefusal, Headers, ServerHandshake, origin_form
from .inspection import Inspection
from .request import Request
from .response import DenialResponse, head_of, plain_response
from .server_channel import StreamChannel
from .tls_extension import tls_extension

Address: TypeAlias = tuple[str, int | None] | None


class ServerTransport(Transport, Protocol):
    """A connection of a server, which can close it."""

    def close_nowait(self) -> bool:
        """Close it, if that needs no waiting; return false otherwise."""

    async def aclose(self) -> None:
        """Close it, soon, whether or not the peer reads; raise only a cancellation."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Terms:
    """The settings that all connections of a server have in common.

    Attributes:
        options: The settings of each WebSocket. Applications override the settings that
            they name.
        cap: The operator's limit of `max_message_bytes`; `None`: there is none.
        compression: Whether compression may be agreed on, as the options say.
        headers: Returns the headers that the server adds to each answer.
        draining: Returns whether the server is about to stop.
        answered: Called with the scope and the status of each answer.
        origins: Which pages may connect; `None`: all.
        inspection: The server's check of its application.
    """

    options: Options = DEFAULTS
    cap: int | None = None
    compression: bool = True
    headers: Callable[[], Headers] = list
    draining: Callable[[], bool] = bool
    answered: Callable[[dict[str, Any], int], None] = lambda scope, status: None
    origins: AllowedOrigins | None = None
    inspection: Inspection = field(default_factory=Inspection)


def websocket_scope(
    target: bytes,
    headers: Headers,
    *,
    http_version: str,
    secure: bool,
    client: Address,
    server: Address,
    root_path: str = "",
    state: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Make the scope of a connection, before its opening handshake is checked.

    Source: ASGI "WebSocket connection scope".
    """
    path, _, query_string = target.partition(b"?")
    return {
        "type": "websocket",
        "asgi": {"spec_version": "2.4", "version": "3.0"},
        "scheme": "wss" if secure else "ws",
        "http_version": http_version,
        "path": path.decode("latin-1"),
        "raw_path": path,
        "query_string": query_string,
        "root_path": root_path,
        "headers": headers,
        "client": client,
        "server": server,
        "state": dict(state or {}),
        "subprotocols": [],
        "extensions": {"websocket.http.response": {}},
    }


class _Answer(Enum):
    """The kind of answer that the opening handshake got."""

    NOTHING = "nothing"
    ACCEPT = "accept"
    RESPONSE = "response"


class ServerConnection:
    """A WebSocket, from its opening handshake to its end.

    Args:
        transport: The connection, which is for this WebSocket alone.
        request: The head of the request.
        terms: What the server's connections have in common.
        upkeep: What the server's connections share.
        early: The bytes behind the head.
        scope: Further facts about the connection: the keywords of `websocket_scope`.

    Attributes:
        scope: The scope of the application.
        session: The session of the application, once `opened` is entered.
        early: The bytes behind the head that were read before that.

    Raises:
        HandshakeRefusal: The request is not a valid opening handshake. Nothing was
            written, and nothing is closed.
    """

    def __init__(
        self,
        transport: ServerTransport,
        request: Request,
        terms: Terms,
        upkeep: Upkeep,
        *,
        early: bytes = b"",
        **scope: Any,
    ) -> None:
        target, headers = origin_form(request.target, request.headers)
        version = request.http_version
        if not target.startswith(b"/"):
            raise HandshakeRefusal(400)
        self.scope: dict[str, Any] = websocket_scope(
            target, headers, http_version=version, **scope
        )
        if self.scope["scheme"] == "wss":
            tls = tls_extension(transport.extra_attributes)
            self.scope["extensions"]["tls"] = tls
        self._opening = ServerHandshake(self.scope["raw_path"], headers, version)
        self.scope["path"] = self.scope["root_path"] + self._opening.path
        self.scope["subprotocols"] = self._opening.subprotocols
        self.session: Session
        self._transport = transport
        self._terms = terms
        self._upkeep = upkeep
        self.early: bytes = early
        self._channel = StreamChannel(transport, self._answer, self._ended)
        self._channel.peer_address = self.scope["client"]
        self._answered = _Answer.NOTHING
        self._response: DenialResponse | None = None
        self._finishing = False
        self._over = False  # the transport is closed
        self._finished: Signal | None = None  # a task waits until it is

    @property
    def opened_session(self) -> Session | None:
        """The session, if there is one yet."""
        return getattr(self, "session", None)

    # The application

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Make the session, which the block hosts; end the connection after it."""
        self._open()
        try:
            yield
        finally:
            await self._finish(self._conclude)

    def _open(self) -> None:
        """Make the session."""
        channel, terms = self._channel, self._terms
        self.session = session = Session(
            channel.receive,
            channel.send,
            terms.options,
            subprotocols=self._opening.subprotocols,
            direct=channel,
            cap=terms.cap,
            upkeep=self._upkeep,
        )
        put_session(self.scope, session)
        channel.early, self.early = self.early, b""
        channel.post({"type": CONNECT})

    async def run(self, app: ASGIApp, drain: Drain | None = None) -> None:
        """Run an application to its end, and then the connection's.

        Args:
            app: The application.
            drain: Counts the connection among its own meanwhile, and may close it.

        Raises:
            BaseException: An exception of the application, unless it only says that the
                connection has ended.

        Cancellation:
            Closes the connection with 1012, waits for that, at most
            `Options.close_timeout`, and goes on.
        Source: ASGI.
        """
        # As in `opened`, whose generator would be memory of each idle connection.
        self._open()
        try:
            session, terms = self.session, self._terms
            receive, send = session.receiver.receive, session.sender.send
            app = terms.inspection.before(app)
            app = admitting(app, terms.options, terms.origins)
            await host(session, partial(app, self.scope, receive, send), drain)
        finally:
            await self._finish(self._conclude)

    # The opening handshake

    async def _answer(self, event: Event) -> None:
        """Answer the opening handshake as the application asks."""
        kind = event["type"]
        if kind == ACCEPT:
            self._accept(event)
        elif kind == CLOSE:
            await self._refuse(503 if self._terms.draining() else 403)
        elif kind == RESPONSE_START:
            self._response = DenialResponse(event, self._terms.headers())
        else:
            await self._deny(event)

    def _accept(self, event: Event) -> None:
        """Begin with the frames; the session has the answer written before them."""
        terms = self._terms
        settings = self.session.options.compression if terms.compression else None
        opening = self._opening
        del self._opening  # it would be memory of each idle connection
        agreed, extensions = opening.agree(deflate_of(settings))
        status, headers = opening.answer(event["subprotocol"])
        headers += [*agreed, *terms.headers(), *event["headers"]]
        self._answered = _Answer.ACCEPT
        self._channel.begin(self.session, extensions, head_of(status, headers))
        terms.answered(self.scope, status)

    async def _deny(self, event: Event) -> None:
        """Write a part of the application's own response."""
        response = self._response
        assert response is not None, "the session lets no body before the start"
        if not response.started:
            self._answered = _Answer.RESPONSE
            self._terms.answered(self.scope, response.status)
        await self._transport.send_all(response.body(event))

    async def _refuse(self, status: int) -> None:
        """Answer with a response of the server's own."""
        self._answered = _Answer.RESPONSE
        self._terms.answered(self.scope, status)
        # A rejection has no body, as on other servers.
        text = None if status == 500 else ""
        answer = plain_response(status, self._terms.headers(), text)
        await self._transport.send_all(answer)

    # The end

    def _ended(self) -> None:
        """Close TCP although the application is still running: the peer waits for it.

        The peer has closed, is gone, or broke the protocol. Our last bytes are a
        closing frame at most, which the kernel takes at once unless the peer has
        stopped reading.
        """
        channel = self._channel
        if self._answered is not _Answer.ACCEPT or self._finishing:
            return
        if not channel.violated and channel.write([]):
            self._over = self._finishing = self._transport.close_nowait()
        if not self._finishing:
            self._upkeep.spawn(partial(self._finish, channel.flush))

    async def _conclude(self) -> None:
        """Write what the application has left unsaid, if the peer is still there."""
        if self._answered is _Answer.NOTHING:
            if not self._channel.ended:
                await self._refuse(500)
        elif self._answered is _Answer.ACCEPT:
            self._channel.close(CloseCode.INTERNAL_ERROR)
            await self._channel.flush()

    async def _finish(self, last_words: Callable[[], Awaitable[None]]) -> None:
        """Write the last bytes and close the transport, within `close_timeout`."""
        if self._finishing:
            # The application has ended after the peer: the transport is still needed.
            await self._wait_finished()
            return
        self._finishing = True
        transport = self._transport
        by = current_time() + self.session.options.close_timeout
        with CancelScope(deadline=by, shield=True):
            try:
                await last_words()
                # A kernel resets a connection that is closed with data unread, and the
                # reset may overtake our closing frame.
                if self._channel.violated and await transport.send_eof():
                    await self.session.wait_closed()  # nothing else reads then
                    while await transport.receive():
                        pass
            except OSError:
                pass
        try:
            with CancelScope(shield=True):
                await transport.aclose()
        finally:
            self._over = True
            if self._finished is not None:
                self._finished.set()

    async def _wait_finished(self) -> None:
        """Wait until another task has closed the transport."""
        if not self._over:
            self._finished = self._finished or Signal()
            with CancelScope(shield=True):
                await self._finished.wait()
