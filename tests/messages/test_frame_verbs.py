"""The verbs of frames at the server's end: pings, parts, addresses, compression.

`tests/client` has them at the client's end, and `test_portability` asks each server.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import TypedAttributeLookupError, wait_all_tasks_blocked
from anyio.abc import SocketAttribute
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.types import Message, Receive, Scope, Send
from websockets.extensions.permessage_deflate import PerMessageDeflate

import anyws
from anyws.fastapi import Guarded

from ..support.channels import SCOPE, Channel
from ..support.ends import Pipe, listening, served
from ..support.wired import CONT, PING, PONG, TEXT, WiredChannel, frame

Verb = Callable[[anyws.WebSocket], Awaitable[Any]]

NEEDS = r"anyws\.hypercorn, uvicorn with anyws\.uvicorn.*anyws\.serve"


async def receive_parts(ws: anyws.WebSocket | anyws.ClientWebSocket) -> str:
    """Receive a message in parts; put it together."""
    async with ws.receive_stream() as message:
        return "".join([str(part) async for part in message])


async def send_parts(ws: anyws.WebSocket | anyws.ClientWebSocket, *parts: str) -> None:
    """Send a message in parts."""
    async with ws.send_stream("text") as out:
        for part in parts:
            await out.send(part)


@asynccontextmanager
async def dialled(app: Any) -> AsyncIterator[anyws.ClientWebSocket]:
    """Serve an application, and connect to it; what the client does ends it."""
    async with anyws.serve(app, "127.0.0.1") as server:
        async with anyws.connect(server.url) as client:
            yield client


# Where the frames are ours


async def use(ws: anyws.WebSocket) -> None:
    """Use all of them, on a connection that is accepted."""
    assert await ws.ping(b"!") >= 0
    assert ws.latency is not None
    assert await receive_parts(ws) == "ab"
    await send_parts(ws, "c", "d")
    await ws.send_json(ws.peer_address, compress=False)
    remote = ws.extra(SocketAttribute.remote_address)
    await ws.send_json(remote, "binary", compress=False)


@anyws.endpoint
async def endpoint(ws: anyws.WebSocket) -> None:
    """Be guarded, by the server's own session."""
    await ws.accept()
    await use(ws)


async def plain(scope: Scope, receive: Receive, send: Send) -> None:
    """Be plain: no block is entered."""
    ws = anyws.WebSocket(scope, receive, send)
    await ws.accept()
    await use(ws)
    await ws.close()


async def route(seed: Any) -> None:
    """Make our object of Starlette's, in a block that joins."""
    async with anyws.WebSocket(seed.scope, seed.receive, seed.send) as ws:
        await ws.accept()
        await use(ws)


async def plain_route(seed: Any) -> None:
    """Make a plain one of it."""
    ws = anyws.WebSocket(seed.scope, seed.receive, seed.send)
    await ws.accept()
    await use(ws)
    await ws.close()


async def from_ours(scope: Scope, receive: Receive, send: Send) -> None:
    """Make a plain one of a plain one of ours."""
    outer = anyws.WebSocket(scope, receive, send)
    ws = anyws.WebSocket(scope, outer.receive, outer.send)
    await ws.accept()
    await use(ws)
    await ws.close()


api = FastAPI()
api.add_middleware(anyws.WebSocketMiddleware)


@api.websocket("/")
async def injected(ws: Guarded) -> None:
    """Get ours by the dependency, under the middleware."""
    await ws.accept()
    await use(ws)


APPS = {
    "endpoint": endpoint,
    "handler": endpoint.handler,
    "plain": plain,
    "starlette": Starlette(routes=[WebSocketRoute("/", route)]),
    "plain_starlette": Starlette(routes=[WebSocketRoute("/", plain_route)]),
    "from_ours": from_ours,
    "fastapi": api,
}


@pytest.mark.parametrize("app", list(APPS))
async def test_they_work_in_every_kind_of_application(app: str) -> None:
    """Guarded, plain and joined: the peer sees fragments, and answers the ping."""
    async with dialled(APPS[app]) as client:
        await send_parts(client, "a", "b")
        assert await receive_parts(client) == "cd"
        mine = client.extra(SocketAttribute.local_address)
        for mode in ("text", "binary"):
            assert await client.receive_json(mode) == list(mine)
        assert client.peer_address == client.extra(SocketAttribute.remote_address)
        assert (await client.wait_closed()).code == 1000


async def test_a_test_has_them_without_a_socket() -> None:
    """By our own client, of an application in this process."""

    @anyws.endpoint
    async def app(ws: anyws.WebSocket) -> None:
        await ws.accept()
        assert await ws.ping() >= 0
        assert ws.peer_address is None
        await send_parts(ws, await receive_parts(ws), "!")

    async with anyws.connect("ws://app/", app=app) as client:
        await send_parts(client, "a", "b")
        assert await receive_parts(client) == "ab!"


@pytest.mark.parametrize("kind", ["memory", "unix"])
async def test_a_transport_without_an_address(kind: str, tmp_path: Path) -> None:
    """A pipe has none; of a unix socket the client knows the path."""
    async with (
        listening(kind, tmp_path) as listener,
        anyio.create_task_group() as tasks,
    ):

        async def serve() -> None:
            async with served(await listener.accept()) as ws:
                assert ws.peer_address is None
                with pytest.raises(TypedAttributeLookupError):
                    ws.extra(SocketAttribute.remote_port)
                assert ws.messages.extra(SocketAttribute.remote_port, 7) == 7
                await ws.ping()

        tasks.start_soon(serve)
        async with listener.connect() as client:
            path = str(tmp_path / "socket") if kind == "unix" else None
            assert client.peer_address == path
            assert (await client.wait_closed()).code == 1000


async def test_the_address_stays_known_behind_the_end() -> None:
    """A handler that logs who has left can name it, though the socket is gone."""
    seen = list[Any]()

    async def handler(ws: anyws.WebSocket) -> None:
        await ws.accept()
        await ws.wait_closed()
        seen.append(ws.peer_address)

    async with anyws.serve(handler, "127.0.0.1") as server:
        async with anyws.connect(server.url) as client:
            mine = client.extra(SocketAttribute.local_address)
        assert client.peer_address == ("127.0.0.1", server.port)
    assert seen == [mine]


async def test_the_scope_may_say_another_address() -> None:
    """`ws.client` is what a proxy's headers tell; the peer is the proxy."""
    seen = list[Any]()

    async def proxied(scope: Scope, receive: Receive, send: Send) -> None:
        await endpoint_of_peer({**scope, "client": ("203.0.113.9", 0)}, receive, send)

    @anyws.endpoint
    async def endpoint_of_peer(ws: anyws.WebSocket) -> None:
        await ws.accept()
        assert ws.client is not None
        seen.append((ws.client.host, ws.peer_address))

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await proxied(scope, receive, send)

    async with dialled(app) as client:
        mine = client.extra(SocketAttribute.local_address)
        await client.wait_closed()
    assert seen == [("203.0.113.9", mine)]


# In the wrong state, or where something stands between


async def test_before_the_accept() -> None:
    """There are no frames yet: each verb says so, and the accept is still possible."""
    near, far = Pipe.pair()
    async with anyio.create_task_group() as tasks:

        async def serve() -> None:
            async with anyws.accept_stream(far) as ws:
                for verb in (
                    anyws.WebSocket.ping,
                    send_parts,
                    receive_parts,
                    partial(anyws.WebSocket.send_text, data="x", compress=False),
                ):
                    with pytest.raises(RuntimeError, match="accept"):
                        await verb(ws)
                assert ws.latency is None
                await ws.accept()
                await ws.send_text("here", compress=False)

        tasks.start_soon(serve)
        async with anyws.connect("ws://memory/", stream=near) as client:
            assert await client.receive_text() == "here"


def between(wrap_send: bool) -> Any:
    """Return an application in a middleware that wraps `send`, or `receive`."""

    @anyws.endpoint
    async def inner(ws: anyws.WebSocket) -> None:
        await ws.accept()
        assert await ws.ping() >= 0
        parts = ws.send_stream if wrap_send else ws.receive_stream
        with pytest.raises(RuntimeError, match="go round a middleware that wraps"):
            parts("text") if wrap_send else parts()  # type: ignore[call-arg]
        if wrap_send:
            assert await receive_parts(ws) == "a"
        else:
            assert await ws.receive_text() == "a"
            await send_parts(ws, "b")
        await ws.send_text("c", compress=False)
        ws.send_nowait("d", compress=False)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async def wrapped_receive() -> Message:
            return await receive()

        async def wrapped_send(event: Message) -> None:
            await send(event)

        if wrap_send:
            await inner(scope, receive, wrapped_send)
        else:
            await inner(scope, wrapped_receive, send)

    return app


@pytest.mark.parametrize("wrap_send", [True, False])
async def test_nothing_goes_round_a_middleware(wrap_send: bool) -> None:
    """Parts are refused where they would; whole messages and pings pass."""
    async with dialled(between(wrap_send)) as client:
        await client.send_text("a")
        if not wrap_send:
            assert await receive_parts(client) == "b"
        assert [await client.receive_text() for _ in range(2)] == ["c", "d"]
        assert (await client.wait_closed()).code == 1000


async def test_arguments_are_checked() -> None:
    """Before anything else: also under a server that could not do it."""
    channel = Channel()
    async with channel.websocket() as ws:
        await ws.accept()
        with pytest.raises(TypeError, match="a ping carries bytes, not str"):
            await ws.ping("x")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="at most 125 bytes, not 126"):
            await ws.ping(bytes(126))
        with pytest.raises(ValueError, match="'text' or 'binary', not 'json'"):
            ws.send_stream("json")  # type: ignore[arg-type]


# Under other servers

ELSEWHERE: dict[str, Verb] = {
    "ping": lambda ws: ws.ping(),
    "send_stream": send_parts,
    "receive_stream": receive_parts,
    "send_text": lambda ws: ws.send_text("x", compress=False),
    "send_bytes": lambda ws: ws.send_bytes(b"x", compress=False),
    "send_json": lambda ws: ws.send_json(1, compress=False),
    "send_message": lambda ws: ws.send_message("x", compress=False),
    "typed": lambda ws: ws.typed(int).send(1, compress=False),
}


@pytest.mark.parametrize("guarded", [True, False])
async def test_other_servers_cannot_do_it(guarded: bool) -> None:
    """Each says which can; nothing is sent, and the connection stays as it was."""
    channel = Channel()
    plain = anyws.WebSocket(dict(SCOPE), channel.receive, channel.send)
    block: Any = channel.websocket() if guarded else nullcontext(plain)
    async with block as ws:
        await ws.accept()
        for verb in ELSEWHERE.values():
            with pytest.raises(RuntimeError, match=NEEDS):
                await verb(ws)
        for name in ("latency", "peer_address"):
            with pytest.raises(RuntimeError, match=NEEDS):
                getattr(ws, name)
        assert ws.extra(SocketAttribute.remote_port, None) is None
        assert ws.application_state is anyws.WebSocketState.CONNECTED
        if guarded:
            with pytest.raises(RuntimeError, match=NEEDS):
                ws.send_nowait("x", compress=False)
            with pytest.raises(RuntimeError, match=NEEDS):
                ws.typed(int).send_nowait(1, compress=False)
            assert ws.messages.extra(SocketAttribute.remote_port, None) is None
        assert channel.messages == []
        await ws.send_text("y")
        await ws.close()
    assert channel.messages == ["y"]


# Compression


def deflating() -> WiredChannel:
    """Return a channel on which compression was agreed."""
    channel = WiredChannel()
    channel.extensions = [PerMessageDeflate(False, False, 12, 12)]
    channel._client._extensions = [PerMessageDeflate(False, False, 12, 12)]
    channel._client._compressed = True
    return channel


def flags_of(channel: WiredChannel) -> list[bool]:
    """Return which of the frames say that they are compressed (RFC 7692 section 6)."""
    data, flags = b"".join(channel.writes), []
    while data:
        size, start = data[1], 2
        if size == 126:
            size, start = int.from_bytes(data[2:4], "big"), 4
        flags.append(bool(data[0] & 0x40))
        data = data[start + size :]
    return flags


WORDS = "text of some length, so that it is worth it; " * 50

FORMS: dict[str, Callable[[anyws.WebSocket, bool], Awaitable[Any]]] = {
    "text": lambda ws, how: ws.send_text(WORDS, compress=how),
    "bytes": lambda ws, how: ws.send_bytes(WORDS.encode(), compress=how),
    "bytearray": lambda ws, how: ws.send_bytes(bytearray(WORDS, "ascii"), compress=how),
    "message": lambda ws, how: ws.send_message(WORDS, compress=how),
    "json": lambda ws, how: ws.send_json(WORDS, compress=how),
    "binary json": lambda ws, how: ws.send_json(WORDS, "binary", compress=how),
    "typed": lambda ws, how: ws.typed(str).send(WORDS, compress=how),
}


async def test_one_message_goes_as_it_is() -> None:
    """Whatever the form; the ones round it are compressed, and all of them arrive."""
    channel = deflating()
    async with channel.websocket() as ws:
        await ws.accept()
        for send in FORMS.values():
            for how in (True, False, True):
                await send(ws, how)
        ws.send_nowait(WORDS, compress=False)
        ws.typed(str).send_nowait(WORDS, compress=False)
        for how in (False, True):
            async with ws.send_stream("text", compress=how) as out:
                await out.send(WORDS)
                await out.send(WORDS)
    expected = [True, False, True] * len(FORMS) + [False] * 5
    expected += [True, False, False]  # of a message the first frame says it
    assert flags_of(channel)[: len(expected)] == expected
    texts = [m if isinstance(m, str) else m.decode() for m in channel.messages]
    assert {text.strip('"') for text in texts[:-2]} == {WORDS}
    assert texts[-2:] == [WORDS * 2] * 2


# Parts


@asynccontextmanager
async def accepted() -> AsyncIterator[tuple[WiredChannel, anyws.WebSocket]]:
    """Give a server's connection, and its channel."""
    channel = WiredChannel()
    channel.limit = 10
    async with channel.websocket(max_message_bytes=10) as ws:
        await ws.accept()
        yield channel, ws


async def test_nothing_comes_between_the_parts() -> None:
    """Other senders wait; pings are sent and answered all the same."""
    async with accepted() as (channel, ws):
        async with anyio.create_task_group() as tasks:
            async with ws.send_stream("binary") as out:
                await out.send(b"a")
                tasks.start_soon(ws.send_text, "later")
                await wait_all_tasks_blocked()
                with pytest.raises(anyio.WouldBlock):
                    ws.send_nowait("now")
                await ws.ping()
                await out.send(bytearray(b"b"))
        await wait_all_tasks_blocked()
        assert channel.messages == [b"ab", "later"]
        assert ws.statistics().messages_sent == 2


async def test_a_message_that_is_cut_short_closes() -> None:
    """With 1011, as its parts cannot be taken back; one not begun closes nothing."""
    async with accepted() as (channel, ws):
        with pytest.raises(TypeError, match="a text message has no parts of the type"):
            async with ws.send_stream("text") as out:
                await out.send(b"a")
        assert ws.close_info is None
        with anyio.CancelScope() as scope:
            async with ws.send_stream("text") as out:
                await out.send("a")
                scope.cancel()
                await anyio.sleep_forever()
        await ws.wait_closed()
        assert channel.closes == [(1011, "a message was cut short")]


async def test_a_message_over_the_limit_comes_in_parts() -> None:
    """The limit is that of a part; what the block does not read is dropped."""
    async with accepted() as (channel, ws):
        async with anyio.create_task_group() as tasks:
            parts = list[str | bytes]()

            async def receive() -> None:
                async with ws.receive_stream() as message:
                    assert message.kind == "text"
                    async for part in message:
                        parts.append(part)
                        if len(parts) == 3:
                            break

            tasks.start_soon(receive)
            await wait_all_tasks_blocked()
            with pytest.raises(anyio.BusyResourceError):
                await receive_parts(ws)
            for number in range(6):
                kind = TEXT if number == 0 else CONT
                channel.read(frame(kind, "x" * 10, fin=number == 5))
                await wait_all_tasks_blocked()
        channel.arrive("next")
        assert parts == ["x" * 10] * 3
        assert await ws.receive_text() == "next"
        assert ws.close_info is None


@pytest.mark.parametrize("arrives_first", [True, False])
async def test_a_cancelled_entry_loses_nothing(arrives_first: bool) -> None:
    """The message has come to the block, or comes to the next receive."""
    got = list[str]()

    async with accepted() as (channel, ws):

        async def receive() -> None:
            got.append(await receive_parts(ws))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(receive)
            await wait_all_tasks_blocked()
            if arrives_first:
                channel.arrive("kept")
            tasks.cancel_scope.cancel()
            if not arrives_first:
                channel.arrive("kept")
        if not got:
            got.append(await ws.receive_text())
    assert got == ["kept"]


# Pings that pile up


async def test_cancelled_pings_do_not_pile_up() -> None:
    """Of those that a stalled peer kept from being written, none is written later."""
    channel = WiredChannel()
    channel.answers_pings = False
    async with channel.websocket(ping_interval=None) as ws:
        await ws.accept()
        channel.stall()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ws.ping, b"first")  # its write is under way
            await wait_all_tasks_blocked()
            for number in range(300):
                with anyio.CancelScope() as scope:
                    scope.cancel()
                    await ws.ping(b"never %d" % number)
                async with anyio.create_task_group() as inner:
                    inner.start_soon(ws.ping, b"given up %d" % number)
                    if number % 100 == 0:
                        await wait_all_tasks_blocked()
                    inner.cancel_scope.cancel()
            tasks.start_soon(ws.ping, b"last")
            await wait_all_tasks_blocked()
            channel.resume()
            await wait_all_tasks_blocked()
            pings = [payload for kind, payload in channel.frames if kind == PING]
            assert pings == [b"first", b"last"]
            channel.read(frame(PONG, b"last"))


async def test_a_users_ping_that_is_given_up_leaves_the_keepalives() -> None:
    """They may have the same payload: the keepalive's is written all the same."""
    channel = WiredChannel()
    async with channel.websocket(ping_interval=None) as ws:
        await ws.accept()
        frames = ws._guarded("").connection.frames
        assert frames is not None
        channel.stall()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ws.ping, b"first")
            await wait_all_tasks_blocked()
            frames.ping(b"anyws")
            async with anyio.create_task_group() as inner:
                inner.start_soon(ws.ping, b"anyws")
                await wait_all_tasks_blocked()
                inner.cancel_scope.cancel()
            channel.resume()
    pings = [payload for kind, payload in channel.frames if kind == PING]
    assert pings == [b"first", b"anyws"]
