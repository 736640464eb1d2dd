"""What a type checker must make of the public API. It is checked and never run.

A `type: ignore` here is a test as well: mypy fails when there is nothing to ignore.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractContextManager
from typing import Annotated, Any, Literal, TypedDict, assert_type

import fastapi
import msgspec
from anyio.abc import ByteStream, ObjectStream, SocketAttribute, TaskGroup
from anyio.streams.tls import TLSAttribute
from pydantic import BaseModel, Field
from starlette.applications import Starlette
from starlette.datastructures import URL, Headers, State
from starlette.middleware import Middleware
from starlette.requests import HTTPConnection
from starlette.routing import Mount, WebSocketRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket as StarletteWebSocket
from starlette.websockets import WebSocketDisconnect, WebSocketDisconnected

import anyws
import anyws.fastapi
import anyws.testing


class MyState(State):
    """A state with an attribute of its own."""

    number: int


class Shared(TypedDict):
    """A state that is a mapping."""

    number: int


# The class.


def construction(scope: Scope, receive: Receive, send: Send) -> None:
    """S-10, S-11: generic in the type of the state, `State` if nothing is said."""
    assert_type(anyws.WebSocket(scope, receive, send), anyws.WebSocket[State])
    assert_type(
        anyws.WebSocket[MyState](scope, receive, send), anyws.WebSocket[MyState]
    )
    anyws.WebSocket(scope, receive, send, options=anyws.Options(receive_buffer=1))
    anyws.WebSocket(scope, receive, send, anyws.Options())  # type: ignore[call-arg]  # by name only


def states(
    untyped: anyws.WebSocket,
    typed: anyws.WebSocket[MyState],
    mapping: anyws.WebSocket[Shared],
) -> None:
    """S-11, S-32: `state` is what the class was subscripted with."""
    assert_type(untyped.state, State)
    assert_type(typed.state, MyState)
    assert_type(typed.state.number, int)
    assert_type(mapping.state["number"], int)
    typed.state = MyState()  # type: ignore[misc]  # read-only, as Starlette's


def bases(websocket: anyws.WebSocket[MyState]) -> None:
    """S-12: it goes wherever Starlette's or FastAPI's class is asked for."""
    theirs: StarletteWebSocket[MyState] = websocket
    fastapis: fastapi.WebSocket[MyState] = websocket
    connection: HTTPConnection[MyState] = websocket
    mapping: Mapping[str, Any] = websocket
    del theirs, fastapis, connection, mapping


def injection(ws: anyws.fastapi.Guarded) -> None:
    """What FastAPI injects is the class."""
    assert_type(ws, anyws.WebSocket[Any])


async def typed_injection(
    messages: anyws.fastapi.Typed[Shared, Annotated[int | str, Field(gt=0)]],
) -> None:
    """What FastAPI injects has the types that are named."""
    assert_type(messages, anyws.TypedMessages[Shared, int | str])
    assert_type(await messages.receive(), Shared)
    await messages.send(b"")  # type: ignore[arg-type]  # neither
    assert_type(anyws.fastapi.asyncapi(fastapi.FastAPI()), dict[str, Any])


def data(websocket: anyws.WebSocket) -> None:
    """S-13 to S-33: the data of the request has Starlette's types."""
    assert_type(websocket.client_state, anyws.WebSocketState)
    assert_type(websocket.application_state, anyws.WebSocketState)
    assert_type(websocket.url, URL)
    assert_type(websocket.headers, Headers)
    assert_type(websocket.path_params, dict[str, Any])
    assert_type(websocket.cookies, dict[str, str])
    assert_type(websocket.subprotocol, str | None)


# Messages.


async def receiving(websocket: anyws.WebSocket) -> None:
    """S-40, S-80 to S-88: each method returns the type of its kind."""
    assert_type(await websocket.receive(), Message)
    assert_type(await websocket.receive_text(), str)
    assert_type(await websocket.receive_bytes(), bytes)
    assert_type(await websocket.receive_message(), str | bytes)
    assert_type(await websocket.receive_json("binary"), Any)
    assert_type(websocket.iter_text(), AsyncIterator[str])
    assert_type(websocket.iter_bytes(), AsyncIterator[bytes])
    async for message in websocket:
        assert_type(message, str | bytes)
        if isinstance(message, str):
            assert_type(message, str)
        else:
            assert_type(message, bytes)


async def sending(websocket: anyws.WebSocket) -> None:
    """S-50, S-70, S-72, S-90 to S-92: what can be sent is what the names say."""
    await websocket.accept("chat", [(b"a", b"1")])
    await websocket.accept(headers=[("a", "1")])  # type: ignore[list-item]  # bytes only
    await websocket.send({"type": "websocket.send", "text": ""})
    await websocket.send_text("")
    await websocket.send_text(b"")  # type: ignore[arg-type]  # wrong kind
    await websocket.send_bytes(b"")
    await websocket.send_bytes("")  # type: ignore[arg-type]  # wrong kind
    await websocket.send_message("")
    await websocket.send_message(b"")
    await websocket.send_message(1)  # type: ignore[arg-type]  # neither kind
    await websocket.send_json({}, mode="binary")
    await websocket.close(anyws.CloseCode.GOING_AWAY, "bye")
    await websocket.aclose()


# Beyond the seed.


async def guarded(websocket: anyws.WebSocket[MyState]) -> None:
    """The block keeps the type; what is in it has types of its own."""
    async with websocket as entered:
        assert_type(entered, anyws.WebSocket[MyState])
    websocket.send_nowait("")
    websocket.send_nowait(1)  # type: ignore[arg-type]  # neither kind
    assert_type(websocket.close_info, anyws.CloseInfo | None)
    info = await websocket.wait_closed()
    assert_type(info, anyws.CloseInfo)
    assert_type((info.code, info.reason), tuple[int, str])
    assert_type(info.clean, bool | None)
    assert_type(
        websocket.cancel_on_disconnect(), AbstractContextManager[None, bool | None]
    )
    stream: ObjectStream[str | bytes] = websocket.messages
    assert_type(await stream.receive(), str | bytes)
    assert_type(await websocket.messages.receive(), str | bytes)
    async for item in websocket.messages:
        assert_type(item, str | bytes)


class Ask(msgspec.Struct, tag="ask"):
    """A message."""

    number: int


class Stop(msgspec.Struct, tag="stop"):
    """Another message."""


class Cat(BaseModel):
    """A model."""

    kind: Literal["cat"]


class Dog(BaseModel):
    """Another model."""

    kind: Literal["dog"]


Pet = Annotated[Cat | Dog, Field(discriminator="kind")]


class Upper:
    """A codec."""

    def encode(self, value: str) -> bytes:
        """Write."""
        return value.upper().encode()

    def decode(self, message: str | bytes) -> int:
        """Read."""
        return len(message)


class Counting:
    """An observer."""

    def opened(self, connection: anyws.ObservedConnection) -> None:
        """Know the connection."""
        assert_type(connection.path, str | None)

    def message(
        self, connection: anyws.ObservedConnection, direction: str, size: int
    ) -> None:
        """Count."""

    def dropped(
        self, connection: anyws.ObservedConnection, direction: str, count: int
    ) -> None:
        """Count."""

    def closed(
        self,
        connection: anyws.ObservedConnection,
        summary: anyws.ConnectionSummary,
    ) -> None:
        """Know the end."""
        assert_type(summary.info, anyws.CloseInfo)
        assert_type(summary.statistics, anyws.Statistics)


async def frames(server: anyws.WebSocket, client: anyws.ClientWebSocket) -> None:
    """Both ends have the verbs of frames, and AnyIO's attributes."""
    assert_type(await server.ping(), float)
    assert_type(server.latency, float | None)
    assert_type(client.latency, float | None)
    for address in (server.peer_address, client.peer_address):
        assert_type(address, tuple[str, int] | str | None)
    assert_type(server.extra(TLSAttribute.tls_version), str)
    assert_type(client.extra(SocketAttribute.local_port, None), int | None)
    assert_type(server.messages.extra(TLSAttribute.cipher), tuple[str, str, int])
    async with server.send_stream("text", compress=False) as out:
        assert_type(out, anyws.SendStream)
    async with server.receive_stream() as message:
        assert_type(message, anyws.ReceiveStream)
        async for part in message:
            assert_type(part, str | bytes)
    server.send_stream("json")  # type: ignore[arg-type]  # no kind of message
    await server.send_text("", compress=False)
    await client.send_json({}, "binary", compress=False)
    server.send_nowait(b"", compress=False)
    await server.typed(int).send(1, compress=False)
    await server.ping("")  # type: ignore[arg-type]  # no bytes


async def typed(server: anyws.WebSocket, client: anyws.ClientWebSocket) -> None:
    """Types, unions of them and codecs say what is received and what is sent."""
    assert_type(server.typed(Ask), anyws.TypedMessages[Ask, Ask])
    assert_type(server.draining, anyws.Draining)
    await server.draining
    messages = client.typed(Ask | Stop, Shared)
    assert_type(messages, anyws.TypedMessages[Ask | Stop, Shared])
    assert_type(await messages.receive(), Ask | Stop)
    async for message in messages:
        assert_type(message, Ask | Stop)
    await messages.send({"number": 1})
    await messages.send(Ask(1))  # type: ignore[arg-type]  # what is received
    messages.send_nowait({"number": ""})  # type: ignore[typeddict-item]  # no str
    assert_type(server.typed(Pet, list[int]), anyws.TypedMessages[Cat | Dog, list[int]])
    assert_type(server.typed(codec=Upper()), anyws.TypedMessages[int, str])
    codec: anyws.Codec[int, str] = Upper()
    assert_type(client.typed(codec=codec).codec, anyws.Codec[int, str])
    anyws.Options(json=Upper())
    anyws.Options(json=Upper)  # type: ignore[arg-type]  # a class
    with messages.cancel_on(lambda message: isinstance(message, Stop)) as scope:
        assert_type(scope, anyws.InterruptScope[Ask | Stop])
        assert_type(scope.message, Ask | Stop | None)
    with server.cancel_on(lambda message: message == "stop") as raw:
        assert_type(raw.message, str | bytes | None)
        assert_type(raw.interrupted, bool)
    anyws.Options(observer=Counting())
    anyws.Options(observer=Upper())  # type: ignore[arg-type]  # no observer
    server.typed(Ask, on_invalid=1007)
    server.typed(Ask, on_invalid=anyws.CloseCode.POLICY_VIOLATION)
    server.typed(Ask, Stop, on_invalid=lambda error: Stop())
    server.typed(Ask, on_invalid="ignore")  # type: ignore[call-overload]  # no policy


def errors(closed: anyws.ConnectionClosed) -> None:
    """The errors are what old `except` clauses name."""
    disconnect: WebSocketDisconnect = closed
    disconnected: WebSocketDisconnected = closed
    system: OSError = closed
    assert_type((closed.code, closed.reason), tuple[int, str])
    assert_type(closed.info, anyws.CloseInfo)
    del disconnect, disconnected, system
    kinds: list[type[ValueError]] = [anyws.MessageDecodeError, json.JSONDecodeError]
    wrong: type[TypeError] = anyws.MessageTypeError
    ours: list[type[anyws.WebSocketError]] = [
        anyws.ConnectionClosed,
        anyws.MessageDecodeError,
        anyws.MessageTooBig,
        anyws.MessageTypeError,
    ]
    del kinds, wrong, ours


# Applications.


@anyws.endpoint
async def bare(websocket: anyws.WebSocket) -> None:
    """Be decorated bare."""


@anyws.endpoint
async def stateful(websocket: anyws.WebSocket[MyState]) -> None:
    """Have a typed state, as an endpoint of Starlette's may."""


@anyws.endpoint(options=anyws.Options(idle_timeout=60))
async def configured(websocket: anyws.WebSocket) -> None:
    """Be decorated with options."""


async def handler(websocket: anyws.WebSocket) -> None:
    """Be passed."""


def not_async(websocket: anyws.WebSocket) -> None:
    """Be no handler."""


def endpoints() -> None:
    """Both forms, and the call, make the same thing: an ASGI application."""
    applications: list[ASGIApp] = [bare, configured, anyws.endpoint(handler)]
    decorator = anyws.endpoint(options=anyws.Options())
    applications.append(decorator(handler))
    applications.append(anyws.endpoint()(handler))
    anyws.endpoint(not_async)  # type: ignore[arg-type]  # must be async
    anyws.endpoint(handler, anyws.Options())  # type: ignore[call-overload]  # by name
    calls: Callable[[Scope, Receive, Send], Awaitable[None]] = bare
    del calls
    Starlette(
        routes=[WebSocketRoute("/", bare), Mount("/", configured)],
        middleware=[Middleware(anyws.WebSocketMiddleware, options=anyws.Options())],
    )
    assert_type(anyws.WebSocketMiddleware(bare).app, ASGIApp)


def rejections(error: anyws.HandshakeRejected, tested: anyws.testing.Rejected) -> None:
    """A test's rejection has the attributes of a real one, and no others."""
    assert_type(error.status, int)
    assert_type(error.headers, Headers)
    assert_type(error.body, bytes)
    for each in (error, tested):
        assert_type(each.code, int | None)
        assert_type(each.reason, str | None)


# The servers.


async def servers(
    handler: Callable[[anyws.WebSocket], Awaitable[None]],
    app: Starlette,
    stream: ByteStream,
    tasks: TaskGroup,
) -> None:
    """What serves, what it serves, and what is known of that."""
    async with anyws.serve(handler, "127.0.0.1") as server:
        assert_type(server, anyws.Server)
        assert_type(server.url, str)
        assert_type(server.port, int)
        assert_type(server.connections, list[anyws.ServedConnection])
        assert_type(server.connections[0].address, tuple[str, int] | None)
        assert_type(server.connections[0].statistics(), anyws.Statistics)
    await tasks.start(anyws.serve(app).run)
    anyws.serve(None)  # type: ignore[arg-type]  # no application
    anyws.serve("module:app")  # type: ignore[arg-type]  # for the command line
    async with anyws.accept_stream(stream) as ws:
        assert_type(ws, anyws.WebSocket[State])
