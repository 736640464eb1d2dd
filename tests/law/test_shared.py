"""Several objects on one connection: one session, whatever hosts it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any

import anyio
import pytest
from fastapi import Depends, FastAPI
from fastapi import WebSocket as FastAPIWebSocket
from starlette.applications import Starlette
from starlette.routing import Mount, Router
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket as StarletteWebSocket

import anyws
from anyws.testing import connect

from ..support.channels import SCOPE, Channel

SERVERS = ("strict", "uvicorn", "hypercorn-asyncio", "hypercorn-trio", "granian")
WebSocket = anyws.WebSocket[Any]


async def guarded(websocket: FastAPIWebSocket) -> AsyncIterator[anyws.WebSocket]:
    """Be a dependency with a block of its own."""
    async with WebSocket(websocket.scope, websocket.receive, websocket.send) as ws:
        yield ws


Guarded = Annotated[anyws.WebSocket, Depends(guarded)]
FreshlyGuarded = Annotated[anyws.WebSocket, Depends(guarded, use_cache=False)]


def fastapi_with(endpoint: Any) -> FastAPI:
    """Make an application of one handler."""
    app = FastAPI()
    app.websocket("/ws")(endpoint)
    return app


async def told(
    app: ASGIApp, *texts: str, server: str = "strict"
) -> tuple[list[str | bytes], int]:
    """Send messages; return what comes back, and the close code."""
    async with connect(app, server=server, subprotocols=["chat"]) as peer:
        for text in texts:
            await peer.send_text(text)
        messages = [message async for message in peer]
        return messages, (await peer.wait_closed()).code


@pytest.mark.parametrize("server", [*SERVERS, "hypercorn-engine"])
async def test_fastapis_object_passes_the_session_of_a_dependency(server: str) -> None:
    """What it receives and sends passes the block that guards the connection."""

    async def endpoint(ws: FastAPIWebSocket, ours: Guarded) -> None:
        await ws.accept("chat")
        assert ours.subprotocol == "chat"
        await ws.send_text(await ws.receive_text())
        await ours.send_text(await ours.receive_text())
        await ws.send_text(await ws.receive_text())
        assert ours.statistics().messages_received == 3
        await ws.close(4000)
        with pytest.raises(anyws.ConnectionClosed):
            await ours.send_text("late")

    app = fastapi_with(endpoint)
    assert await told(app, "a", "b", "c", server=server) == (["a", "b", "c"], 4000)


@pytest.mark.parametrize("server", SERVERS)
async def test_fastapis_object_was_not_accepted_if_ours_was(server: str) -> None:
    """It has states of its own, and says so instead of waiting for ever."""

    async def endpoint(ws: FastAPIWebSocket, ours: Guarded) -> None:
        await ours.accept()
        with pytest.raises(RuntimeError, match='Need to call "accept" first'):
            await ws.receive_text()
        await ours.send_text(await ours.receive_text())

    assert await told(fastapi_with(endpoint), "a", server=server) == (["a"], 1000)


async def test_a_block_begins_where_fastapis_object_is() -> None:
    """A connection that was accepted by it needs no second accept."""

    async def endpoint(ws: FastAPIWebSocket) -> None:
        await ws.accept()
        await ws.send_text(await ws.receive_text())
        async with WebSocket(ws.scope, ws.receive, ws.send) as ours:
            assert ours.client_state is anyws.WebSocketState.CONNECTED
            assert ours.application_state is anyws.WebSocketState.CONNECTED
            await ours.send_text(await ours.receive_text())
            await ws.send_text(await ws.receive_text())
        with pytest.raises(anyws.WebSocketDisconnect):
            await ws.send_text("late")

    app = fastapi_with(endpoint)
    assert await told(app, "a", "b", "c") == (["a", "b", "c"], 1000)


@pytest.mark.parametrize("accepts", ["first", "second"])
@pytest.mark.parametrize(
    ("host", "server"),
    [
        *((None, server) for server in SERVERS),
        (anyws.WebSocketMiddleware, "uvicorn"),
        (anyws.WebSocketMiddleware, "hypercorn-engine"),
    ],
)
async def test_two_objects_of_two_dependencies(
    host: Any, server: str, accepts: str
) -> None:
    """Whichever accepts, receives or ends, both know the same of it."""

    async def endpoint(first: FreshlyGuarded, second: FreshlyGuarded) -> None:
        assert first is not second
        one, other = (first, second) if accepts == "first" else (second, first)
        await one.accept("chat")
        for ws in (other, one):
            assert ws.client_state is anyws.WebSocketState.CONNECTED
            assert ws.application_state is anyws.WebSocketState.CONNECTED
            assert ws.subprotocol == "chat"
            await ws.send_text(await ws.receive_text())
        with pytest.raises(RuntimeError):
            await other.accept()
        await other.close(4000)
        assert one.close_info is other.close_info is not None
        for ws in (one, other):
            assert ws.application_state is anyws.WebSocketState.DISCONNECTED
            with pytest.raises(anyws.ConnectionClosed):
                await ws.send_text("late")
            with pytest.raises(anyws.ConnectionClosed):
                await ws.receive_text()

    app = fastapi_with(endpoint)
    whole = app if host is None else host(app)
    assert await told(whole, "a", "b", server=server) == (["a", "b"], 4000)


@pytest.mark.parametrize("host", [None, anyws.WebSocketMiddleware])
async def test_both_hear_of_the_peers_end(host: Any) -> None:
    """Though the disconnect is delivered to one of them."""
    seen = []

    async def endpoint(first: FreshlyGuarded, second: FreshlyGuarded) -> None:
        await first.accept()
        for ws in (first, second):
            with pytest.raises(anyws.ConnectionClosed) as caught:
                await ws.receive_text()
            seen.append(caught.value.code)
            with pytest.raises(anyws.ConnectionClosed):
                await ws.receive()

    app: Any = fastapi_with(endpoint)
    async with connect(host(app) if host else app) as peer:
        await peer.close(4001)
    assert seen == [4001, 4001]


async def nested(scope: Scope, receive: Receive, send: Send) -> None:
    """Guard a connection in a block that guards it."""
    async with WebSocket(scope, receive, send) as outer:
        await outer.accept()
        async with WebSocket(scope, receive, send) as inner:
            await inner.send_text(await inner.receive_text())
            await outer.send_text(await outer.receive_text())
        with pytest.raises(anyws.ConnectionClosed):
            await outer.send_text("late")


async def made_from_one_another(scope: Scope, receive: Receive, send: Send) -> None:
    """Make each object from another one; the last one guards the connection."""
    seed = StarletteWebSocket(scope, receive, send)
    plain = WebSocket(scope, seed.receive, seed.send)
    async with WebSocket(scope, plain.receive, plain.send) as ours:
        await ours.accept()
        assert plain.application_state is anyws.WebSocketState.CONNECTED
        await plain.send_text(await plain.receive_text())
        async with plain:
            await ours.send_text(await plain.receive_text())
        with pytest.raises(RuntimeError, match="entered twice"):
            async with plain:
                pass


async def of_two_objects_of_starlettes(
    scope: Scope, receive: Receive, send: Send
) -> None:
    """Make each object from another one of Starlette's."""
    seeds = [StarletteWebSocket(scope, receive, send) for _ in range(2)]
    one, other = (WebSocket(scope, seed.receive, seed.send) for seed in seeds)
    async with one, other:
        await one.accept()
        await other.send_text(await other.receive_text())
        await one.send_text(await one.receive_text())


async def an_endpoint_inside(scope: Scope, receive: Receive, send: Send) -> None:
    """Call an endpoint in a block that guards its connection."""

    @anyws.endpoint
    async def endpoint(ws: anyws.WebSocket) -> None:
        await ws.send_text(await ws.receive_text())
        await ws.send_text(await ws.receive_text())

    async with WebSocket(scope, receive, send) as ws:
        await ws.accept()
        await endpoint(scope, receive, send)


SHARING = {
    "nested": nested,
    "from one another": made_from_one_another,
    "of two": of_two_objects_of_starlettes,
    "endpoint": an_endpoint_inside,
}


@pytest.mark.parametrize("name", SHARING)
@pytest.mark.parametrize("server", SERVERS)
async def test_the_outermost_block_hosts(name: str, server: str) -> None:
    """Those inside join it, whatever they were made from."""
    app = SHARING[name]
    assert await told(app, "a", "b", server=server) == (["a", "b"], 1000)


async def test_a_mounted_block_joins_the_one_outside() -> None:
    """Starlette hands one scope on, which is changed on its way."""

    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        async with WebSocket(scope, receive, send) as ours:
            await ours.send_text(await ours.receive_text())

    mounted = Starlette(routes=[Mount("/", Router([Mount("/", inner)]))])

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async with WebSocket(scope, receive, send) as ws:
            await ws.accept()
            await mounted(scope, ws.receive, ws.send)

    assert await told(app, "a") == (["a"], 1000)


@pytest.mark.parametrize("made_from", ["seed", "raw"])
async def test_a_second_block_finds_that_the_first_has_ended(made_from: str) -> None:
    """Consecutive blocks: the first one has closed the connection."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seed = StarletteWebSocket(scope, receive, send)
        given = (seed.receive, seed.send) if made_from == "seed" else (receive, send)
        async with WebSocket(scope, *given) as first:
            await first.accept()
            await first.send_text("a")
        async with WebSocket(scope, *given) as second:
            assert second.close_info is first.close_info
            with pytest.raises(anyws.ConnectionClosed):
                await second.send_text("late")
            with pytest.raises(anyws.ConnectionClosed):
                await second.receive_text()

    assert await told(app) == (["a"], 1000)


async def test_a_block_joins_though_the_scope_has_lost_the_session() -> None:
    """It finds the session by what it was made from."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        copied = dict(scope)
        seed = StarletteWebSocket(copied, receive, send)
        async with WebSocket(scope, seed.receive, seed.send) as first:
            await first.accept()
            async with WebSocket(copied, seed.receive, seed.send) as second:
                await second.send_text(await first.receive_text())

    assert await told(app, "a") == (["a"], 1000)


async def test_a_class_with_a_receive_of_its_own_is_not_passed_by() -> None:
    """It may change what passes."""

    class Shouting(StarletteWebSocket):
        async def receive(self) -> Message:
            event = await super().receive()
            if "text" in event:
                event["text"] = event["text"].upper()
            return event

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        shouting = Shouting(scope, receive, send)
        async with WebSocket(scope, shouting.receive, shouting.send) as ws:
            await ws.accept()
            await ws.send_text(await ws.receive_text())

    assert await told(app, "a") == (["A"], 1000)


async def test_an_object_is_made_from_one_that_has_ended() -> None:
    """There is nothing left to guard."""
    channel = Channel()
    plain = WebSocket(dict(SCOPE), channel.receive, channel.send)
    await plain.close()
    with pytest.raises(anyws.ConnectionClosed):
        async with WebSocket(plain.scope, plain.receive, plain.send):
            pass


async def test_one_task_may_receive_by_either_object() -> None:
    """The rule of one receiver is of the connection."""

    async def endpoint(ws: FastAPIWebSocket, ours: Guarded) -> None:
        await ws.accept()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ws.receive_text)
            await anyio.wait_all_tasks_blocked()
            with pytest.raises(anyio.BusyResourceError):
                await ours.receive_text()
            await ours.send_text("now")

    async with connect(fastapi_with(endpoint)) as peer:
        assert await peer.receive_text() == "now"
        await peer.send_text("a")
