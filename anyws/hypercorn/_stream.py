"""One WebSocket in Hypercorn: its stream object, on our frames and our session.

Hypercorn makes a `WSStream` for each opening handshake, over HTTP/1.1 and HTTP/2 alike,
and tells it what comes in. This one hosts a session round every application, so that an
unchanged Starlette application has its guarantees; `anyws.WebSocket` joins that session
through the scope's extensions. Over HTTP/1.1 the connection belongs to the stream from
the handshake on, and whole reads go to the channel (`read_from`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from time import time
from typing import Any, cast

from anyio import Event as Signal
from anyio import move_on_after
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

from .._frames.codec import Codec, Side
from .._frames.frame_channel import FrameChannel
from .._frames.transport import Transport
from .._server.guard import host
from .._server.handshake import HandshakeRefusal, Headers, ServerHandshake
from .._session.scope import put_session
from .._session.session import Session
from .._values.closing import CloseCode
from .._values.states import ACCEPT, CLOSE, CONNECT, RESPONSE_START
from ._worker import worker_of

_HANDSHAKE = ASGIWebsocketState.HANDSHAKE
_CONNECTED = ASGIWebsocketState.CONNECTED
_OVER = ASGIWebsocketState.HTTPCLOSED


class EngineStream(WSStream):
    """A WebSocket, from its opening handshake to its end.

    As long as it has no connection for itself it is the outlet of its own frames, and
    writes them through Hypercorn's protocol object. With one, it is the recipient of
    what that reads.

    Attributes:
        channel: Where its frames are.
        session: What its application runs in, once the opening handshake was checked.
        on_resume: Called when `paused` ends.
    """

    sends_at_once = True  # framed at once, although it is the writer task that writes

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
        self.channel = FrameChannel(self, self._answer, self._ended)
        self.session: Session
        self.on_resume: Callable[[], None] | None = None
        self._transport: Transport | None = None  # a connection for itself
        self._opening: ServerHandshake
        self._finishing = False
        self._gone = Signal()  # the peer has ended its half

    @property
    def paused(self) -> bool:
        """Whether the stream takes no more in for now."""
        return self.channel.paused and not self.closed

    # What comes from the peer

    async def handle(self, event: StreamEvent) -> None:
        """Take in what Hypercorn's protocol object has found."""
        if self.closed:
            return
        if isinstance(event, Body | Data):
            self.channel.receive_data(event.data)
        elif isinstance(event, Request):
            await self._open(event)
        elif isinstance(event, EndBody):
            self.channel.receive_eof()
            self._gone.set()
        elif isinstance(event, StreamClosed):
            self.closed = True
            self.channel.receive_eof(aborted=True)
            self._gone.set()
            self.channel.outlet.resume()

    def read_from(self, transport: Transport) -> None:
        """Have a connection for itself: its frames go there, and come from there."""
        self._transport = self.channel.outlet = transport

    def take_in(self, data: bytes) -> bool:
        """Take in what the connection has read; false: no more, for now."""
        self.channel.receive_data(data)
        return not self.paused

    def take_end(self, exc: BaseException | None) -> None:
        """Take in the end of the connection; a defect ends the connection's task."""
        if exc is None:
            self.channel.receive_eof()
            self._gone.set()

    # The outlet without a connection of its own

    async def send_all(self, data: bytes) -> None:
        """Write through Hypercorn; raise OSError if that finds the connection gone."""
        if not self.closed:
            await self.send(Data(self.stream_id, data))

    def send_nowait(self, data: bytes) -> int:
        """Write nothing: Hypercorn has no such call."""
        return 0

    def resume(self) -> None:
        """Have Hypercorn's protocol object hand in what waits there."""
        if self.on_resume is not None:
            self.on_resume()

    # The opening handshake

    async def _open(self, event: Request) -> None:
        self.start_time = time()
        path, _, query_string = event.raw_path.partition(b"?")
        self.scope = {
            "type": "websocket",
            "asgi": {"spec_version": "2.4", "version": "3.0"},
            "scheme": self.scheme,
            "http_version": event.http_version,
            "path": path.decode("latin-1"),
            "raw_path": path,
            "query_string": query_string,
            "root_path": self.config.root_path,
            "headers": event.headers,
            "client": self.client,
            "server": self.server,
            "state": event.state.copy(),  # type: ignore[typeddict-item]  # as Hypercorn
            "subprotocols": [],
            "extensions": {"websocket.http.response": {}},
        }
        try:
            self._opening = self._checked_opening(event, path)
        except HandshakeRefusal as exc:
            # In a task of its own, since the one that reads must not wait.
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
        )
        self.channel.post({"type": CONNECT})
        await self.task_group.spawn_app(
            self._host, self.config, self.scope, self.app_send
        )

    def _checked_opening(self, event: Request, path: bytes) -> ServerHandshake:
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
        """Run the application over the session; Hypercorn's own queue is not used."""
        session, hosted = self.session, cast("Any", self.app)
        put_session(scope, session)

        async def app() -> None:
            await hosted(
                scope,
                session.receiver.receive,
                session.sender.send,
                sync_spawn,
                call_soon,
            )

        await host(session, app, self.worker.drain)

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
        agreed, extensions = (
            self._opening.agree() if self.worker.permessage_deflate else ([], [])
        )
        status, headers = self._opening.answer(message["subprotocol"])
        headers += agreed + message["headers"]
        await self.send(Response(self.stream_id, headers, status))
        self.state = _CONNECTED
        options = self.session.options
        codec = Codec(
            Side.SERVER,
            max_message_bytes=options.max_message_bytes,
            extensions=extensions,
        )
        self.channel.open(codec, compressed=bool(extensions))
        await self._log_access(status, headers)

    async def _refuse(self, status: int, headers: Headers | None = None) -> None:
        """Answer with an HTTP response without a body, and be done."""
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
        """Take note that the application has ended: Hypercorn says so by `None`."""
        if message is not None or self.closed:
            return
        if self.state is _HANDSHAKE:
            await self._refuse(500)
        elif self.state is _CONNECTED:
            self.channel.close(CloseCode.INTERNAL_ERROR)
        await self._finish()

    def _ended(self) -> None:
        """The peer has closed, gone or broken the rules."""
        if self.state is _CONNECTED and not self.closed:
            self.task_group.spawn(self._finish)

    async def _finish(self) -> None:
        """Write what is left and end the stream, in bounded time."""
        if self._finishing or self.closed:
            return
        self._finishing = True
        try:
            with move_on_after(self.worker.options.close_timeout):
                await self.channel.flush()
                if not self._is_http1:
                    await self.send(EndData(self.stream_id))
                    await self._gone.wait()
                elif self.channel.violated and await self._half_close():
                    # Whoever closes with data unread resets the connection, and the
                    # peer may never see why.
                    await self._gone.wait()
        except OSError:
            pass
        await self.send(StreamClosed(self.stream_id))

    async def _half_close(self) -> bool:
        return self._transport is not None and await self._transport.send_eof()
