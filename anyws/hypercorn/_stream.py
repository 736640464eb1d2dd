"""One WebSocket in Hypercorn: its stream object, on our frames and our session.

Hypercorn makes a `WSStream` for each opening handshake, over HTTP/1.1 and HTTP/2 alike,
and passes it the events of its protocol object. This one hosts a session round every
application, so that an unchanged Starlette application has its guarantees;
`anyws.WebSocket` joins that session through the scope's extensions. Over HTTP/1.1 the
stream owns the connection from the handshake on, and the channel gets the bytes of each
read directly (`read_from`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import replace
from functools import partial
from time import time
from typing import Any, cast

from anyio import Event as Signal
from anyio import move_on_after
from anyio.lowlevel import checkpoint
from hypercorn.config import Config
from hypercorn.protocol.events import (
    Body,
    Data,
    EndBody,
    EndData,
    Request,
    Response,
    StreamClosed,
)
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.ws_stream import ASGIWebsocketState, WSStream
from hypercorn.typing import AppWrapper, TaskGroup, WorkerContext
from hypercorn.utils import valid_server_name

from .._frames.attributes import Attributes
from .._frames.transport import Transport
from .._server.admission import admitting
from .._server.connection import websocket_scope
from .._server.guard import host
from .._server.handshake import (
    HandshakeRefusal,
    Headers,
    ServerHandshake,
    origin_form,
)
from .._server.response import head_of
from .._server.server_channel import ServerChannel
from .._server.tls_extension import tls_extension
from .._session.scope import put_session
from .._session.session import Session
from .._values.closing import CloseCode
from .._values.deflate import deflate_of
from .._values.states import ACCEPT, CLOSE, CONNECT, RESPONSE_START
from ._worker import contain, worker_of

_HANDSHAKE = ASGIWebsocketState.HANDSHAKE
_CONNECTED = ASGIWebsocketState.CONNECTED
_OVER = ASGIWebsocketState.HTTPCLOSED

# The connection whose task is running: Hypercorn hands none to its stream objects. The
# reference is weak, as tasks that an application leaves behind keep their context.
current_connection: ContextVar[Callable[[], Transport | None]] = ContextVar(
    "anyws_connection", default=lambda: None
)


class EngineStream(WSStream):
    """A WebSocket, from its opening handshake to its end.

    A stream of HTTP/2 shares its connection with others: it is the transport of its own
    frames, and writes them through Hypercorn's protocol object. A stream of HTTP/1.1
    has the connection for itself, and is the recipient of all bytes read there.

    Attributes:
        channel: The frames, as a channel of ASGI events.
        session: The session of the application; set once the opening handshake passed
            its checks.
        on_resume: Called when `paused` ends.
    """

    sends_at_once = True  # frames are made at once, and the writer task writes them

    def __init__(
        self,
        app: AppWrapper,
        config: Config,
        context: WorkerContext,
        task_group: TaskGroup,
        ssl: bool,
        client: tuple[str, int] | None,
        server: tuple[str, int] | None,
        send: Callable[[StreamEvent], Awaitable[None]],
        stream_id: int,
    ) -> None:
        super().__init__(
            app, config, context, task_group, ssl, client, server, send, stream_id
        )
        self.worker = worker_of(config)
        self.channel = ServerChannel(self, self._answer, self._ended)
        self.channel.peer_address = client
        self.session: Session
        self.on_resume: Callable[[], None] | None = None
        self._carrier = current_connection.get()()
        self._transport: Transport | None = None  # a connection for itself
        self._opening: ServerHandshake
        self._finishing = False
        self._peer_ended = Signal()  # the peer has ended its half of the stream

    @property
    def paused(self) -> bool:
        """Whether the inbound queue of the stream is full."""
        return self.channel.paused and not self.closed

    @property
    def close_timeout(self) -> float:
        """Seconds that a close may take, by the options of the application."""
        session: Session | None = getattr(self, "session", None)
        options = self.worker.options if session is None else session.options
        return options.close_timeout

    # Bytes and ends from the peer

    async def handle(self, event: StreamEvent) -> None:
        """Take in an event of Hypercorn's protocol object."""
        if self.closed:
            return
        if isinstance(event, Body | Data):
            self.channel.receive_data(event.data)
            while self.channel.unfinished:
                await checkpoint()
                self.channel.receive_data(b"")
        elif isinstance(event, Request):
            await self._open(event)
        elif isinstance(event, EndBody):
            self.channel.receive_eof()
            self._peer_ended.set()
        elif isinstance(event, StreamClosed):
            self.closed = True
            self.channel.receive_eof(aborted=True)
            self._peer_ended.set()
            self.channel.outlet.resume()

    def read_from(self, transport: Transport) -> None:
        """Read and write frames on this connection, which no other stream uses."""
        self._transport = self.channel.outlet = transport

    def take_in(self, data: bytes) -> bool:
        """Take in bytes that the connection has read; return whether there is room."""
        self.channel.receive_data(data)
        return self.closed or not self.channel.paused

    @property
    def unfinished(self) -> bool:
        """Whether bytes are left for the next call of `take_in`."""
        return self.channel.unfinished

    def take_end(self, exc: BaseException | None) -> None:
        """Take in the end of the connection.

        An exception here is a defect, which `receive` of the connection raises.
        """
        if exc is None:
            self.channel.receive_eof()
            self._peer_ended.set()

    # The transport of a stream that shares its connection

    @property
    def extra_attributes(self) -> Attributes:
        """AnyIO's typed attributes of the connection that carries the stream."""
        return {} if self._carrier is None else self._carrier.extra_attributes

    async def send_all(self, data: bytes) -> bool:
        """Write through Hypercorn; raise OSError if the connection is broken.

        Returns false, because bytes also wait here for the turn of their stream, which
        says nothing about the peer. The protocol object calls `take_room`.
        """
        if not self.closed:
            await self.send(Data(self.stream_id, data))
        return False

    def take_room(self) -> None:
        """Note that the peer has made room for bytes of this stream."""
        if not self.closed:
            self.channel.take_room()

    def send_nowait(self, data: bytes) -> int:
        """Write nothing: Hypercorn can only write by awaiting."""
        return 0

    def resume(self) -> None:
        """Have Hypercorn's protocol object open the peer's window again.

        The bytes in the window are parsed before: no task waits to do so.
        """
        while self.channel.unfinished:
            self.channel.receive_data(b"")
        if not self.paused and self.on_resume is not None:
            self.on_resume()

    # The opening handshake

    async def _open(self, event: Request) -> None:
        self.start_time = time()
        if event.http_version != "2":
            target, headers = origin_form(event.raw_path, event.headers)
            event = replace(event, raw_path=target, headers=headers)
        scope: Any = websocket_scope(
            event.raw_path,
            event.headers,
            http_version=event.http_version,
            secure=self.scheme == "wss",
            client=self.client,
            server=self.server,
            root_path=self.config.root_path,
            state=event.state,
        )
        self.scope = scope
        if self.scheme == "wss":
            scope["extensions"]["tls"] = tls_extension(self.extra_attributes)
        try:
            self._opening = self._checked_opening(event)
        except HandshakeRefusal as exc:
            # In a task of its own: the reader task must not wait for a write.
            self.task_group.spawn(self._refuse, exc.status, exc.headers)
            return
        self.scope["path"] = self._opening.path
        self.scope["subprotocols"] = self._opening.subprotocols
        self.session = Session(
            self.channel.receive,
            self.channel.send,
            self.worker.options,
            subprotocols=self._opening.subprotocols,
            direct=self.channel,
            cap=self.worker.max_message_bytes,
            upkeep=self.worker.upkeep,
        )
        self.channel.post({"type": CONNECT})
        await self.task_group.spawn_app(
            self._host, self.config, self.scope, self.app_send
        )

    def _checked_opening(self, event: Request) -> ServerHandshake:
        path = self.scope["raw_path"]
        opening = ServerHandshake(path, event.headers, event.http_version)
        try:
            if not valid_server_name(self.config, event):
                raise HandshakeRefusal(404)
        except UnicodeDecodeError as exc:
            raise HandshakeRefusal(400) from exc
        if self.worker.drain.draining:
            raise HandshakeRefusal(503)
        return opening

    async def _host(
        self,
        scope: Any,
        receive: object,
        send: object,
        sync_spawn: Callable[..., Any],
        call_soon: Callable[..., Any],
    ) -> None:
        """Run the application over the session, and not over Hypercorn's own queue."""
        session, worker = self.session, self.worker
        app = worker.inspection.before(cast("Any", self.app))
        app = admitting(app, worker.options, worker.origins)
        put_session(scope, session)
        receive, send = session.receiver.receive, session.sender.send
        inside = partial(app, scope, receive, send, sync_spawn, call_soon)
        # Outside the session: SystemExit has a close code of its own there.
        await contain(host(session, inside, worker.drain), self.config)

    async def _answer(self, event: Any) -> None:
        """Answer the opening handshake as the application asks."""
        if event["type"] == ACCEPT:
            await self._accept(event)
        elif event["type"] == CLOSE:
            await self._refuse(503 if self.worker.drain.draining else 403)
        elif event["type"] == RESPONSE_START:
            self.response = event
        else:
            await self._send_rejection(event)

    async def _accept(self, message: Any) -> None:
        allowed = self.worker.permessage_deflate
        settings = self.session.options.compression if allowed else None
        opening = self._opening
        del self._opening  # it would be memory of each idle connection
        agreed, extensions = opening.agree(deflate_of(settings))
        status, headers = opening.answer(message["subprotocol"])
        headers += agreed + message["headers"]
        answer = b""
        if self._transport is None:  # HTTP/2: its own task writes, in another turn
            await self.send(Response(self.stream_id, headers, status))
        else:
            # Not by Hypercorn, which writes no reason phrase: some clients want one.
            answer = head_of(status, headers + self.config.response_headers("h11"))
        self.state = _CONNECTED
        # The session has the answer written, and any frames after it. Only Hypercorn's
        # log can wait here.
        self.channel.begin(self.session, extensions, answer)
        await self._log_access(status, headers)

    async def _refuse(self, status: int, headers: Headers | None = None) -> None:
        """Answer with an HTTP response without a body, and end the stream."""
        self.state = _OVER
        headers = [(b"content-length", b"0"), *(headers or [])]
        if self._is_http1:
            headers.append((b"connection", b"close"))
        await self.send(Response(self.stream_id, headers, status))
        await self.send(EndBody(self.stream_id))
        await self._log_access(status, [])
        await self._finish()

    async def _log_access(self, status: int, headers: Headers) -> None:
        response: Any = {"status": status, "headers": headers}
        await self.config.log.access(self.scope, response, time() - self.start_time)

    @property
    def _is_http1(self) -> bool:
        return self.scope["http_version"] != "2"

    # The end

    async def app_send(self, message: Any) -> None:
        """Note that the application has ended: Hypercorn then sends `None`."""
        if message is not None or self.closed:
            return
        if self.state is _HANDSHAKE:
            await self._refuse(500)
        elif self.state is _CONNECTED:
            self.channel.close(CloseCode.INTERNAL_ERROR)
        await self._finish()

    def _ended(self) -> None:
        """End the stream: the peer has closed, is gone, or broke the protocol."""
        if self.state is _CONNECTED and not self.closed:
            self.task_group.spawn(self._finish)

    async def _finish(self) -> None:
        """Write the queued frames and end the stream, within `close_timeout`."""
        if self._finishing or self.closed:
            return
        self._finishing = True
        try:
            with move_on_after(self.close_timeout):
                await self.channel.flush()
                if not self._is_http1:
                    await self.send(EndData(self.stream_id))
                    await self._peer_ended.wait()
                elif self.channel.violated and await self._half_close():
                    # A kernel resets a connection that is closed with data unread, and
                    # the reset may overtake our closing frame.
                    await self._peer_ended.wait()
        except OSError:
            pass
        await self.send(StreamClosed(self.stream_id))

    async def _half_close(self) -> bool:
        return self._transport is not None and await self._transport.send_eof()
