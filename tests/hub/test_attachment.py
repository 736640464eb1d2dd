"""Members that are connections: over every kind of channel, on every road out."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack
from typing import Annotated, Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

import anyws
from anyws import Event, Hub
from anyws.testing import connect

from ..support.channels import SCOPE, Channel
from ..support.wired import EagerChannel, WiredChannel

CHANNELS = [Channel, WiredChannel, EagerChannel]
every_channel = pytest.mark.parametrize("kind", CHANNELS)


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    """Run a hub."""
    async with Hub() as running:
        yield running


async def turns() -> None:
    """Let the hub tell its members, and the connections write, as far as they can."""
    for _ in range(10):
        await checkpoint()


@every_channel
async def test_a_connection_gets_what_is_published(
    hub: Hub, kind: type[Channel]
) -> None:
    """Beside what its handler sends and receives, in order."""
    channel = kind()
    async with channel.websocket() as ws:
        await ws.accept()
        with hub.attach(ws, "a", "room.*") as member:
            assert hub.publish("a", "1") == 1
            hub.publish("room.1", b"2")
            await anyio.wait_all_tasks_blocked()
            await ws.send_text("mine")
            hub.publish("a", "3")
            await anyio.wait_all_tasks_blocked()
            channel.arrive("question")
            assert await ws.receive_text() == "question"
            assert member.topics == {"a", "room.*"}
            assert member.statistics().sent == 3
        hub.publish("a", "4")
        await anyio.wait_all_tasks_blocked()
        assert ws.statistics().messages_sent == 4
    assert channel.messages == ["1", b"2", "mine", "3"]


@every_channel
async def test_a_burst_comes_whole_and_in_order(hub: Hub, kind: type[Channel]) -> None:
    """However small the send buffer is."""
    channel = kind()
    async with channel.websocket(send_buffer=1) as ws:
        await ws.accept()
        with hub.attach(ws, "a"):
            for number in range(200):
                hub.publish("a", str(number))
                if number % 10 == 9:
                    await anyio.wait_all_tasks_blocked()
    assert channel.messages == list(map(str, range(200)))


@every_channel
async def test_the_order_holds_across_topics(hub: Hub, kind: type[Channel]) -> None:
    """Messages of several topics come as they were published."""
    channel = kind()
    async with channel.websocket() as ws:
        await ws.accept()
        with hub.attach(ws, "*"):
            for number in range(50):
                hub.publish(f"t{number * 7 % 5}", str(number))
            while len(channel.messages) < 50:
                await checkpoint()
    assert channel.messages == list(map(str, range(50)))


async def test_the_order_holds_for_what_is_published_meanwhile(hub: Hub) -> None:
    """While members are told, one of them publishes in two topics."""
    channels = EagerChannel(), EagerChannel()

    def encode(event: Event) -> str | None:
        if event.message == "0":
            hub.publish("b", "1")
            hub.publish("a", "2")
        return None

    async with channels[0].websocket() as first, channels[1].websocket() as second:
        await first.accept()
        await second.accept()
        await anyio.wait_all_tasks_blocked()
        with (
            hub.attach(first, "a", "c", encode=encode),
            hub.attach(second, "a", "b"),
        ):
            hub.publish("a", "0")
            hub.publish("c", "another topic")
            await anyio.wait_all_tasks_blocked()
    assert channels[1].messages == ["0", "1", "2"]


@every_channel
async def test_a_stalled_peer_costs_the_others_nothing(
    hub: Hub, kind: type[Channel]
) -> None:
    """They get everything; it is thinned by its rule, and can still be sent to."""
    stalled, quick = kind(), kind()
    async with stalled.websocket() as one, quick.websocket() as other:
        await one.accept()
        await other.accept()
        await anyio.wait_all_tasks_blocked()
        stalled.stall()
        with hub.attach(one, "a", buffer=5) as slow, hub.attach(other, "a", buffer=5):
            for number in range(100):
                hub.publish("a", str(number))
                await turns()
            assert quick.messages == list(map(str, range(100)))
            assert slow.statistics().lag == 5
            assert slow.statistics().dropped > 50
            assert one.statistics().send_queued <= 8
            one.send_nowait("has room")
            stalled.resume()
            await anyio.wait_all_tasks_blocked()
            got = [m for m in stalled.messages if m != "has room"]
            assert got[-5:] == ["95", "96", "97", "98", "99"]
            assert got == sorted(got, key=lambda m: int(m))
            assert slow.statistics().sent == len(got)


@every_channel
async def test_the_rule_close_closes_with_1013(hub: Hub, kind: type[Channel]) -> None:
    """The handler meets the end of its connection."""
    channel = kind()
    async with channel.websocket() as ws:
        await ws.accept()
        await anyio.wait_all_tasks_blocked()
        channel.stall()
        with hub.attach(ws, "a", buffer=2, overflow="close") as member:
            for number in range(30):
                hub.publish("a", str(number))
                await turns()
            assert ws.close_info is not None
            assert ws.close_info.code == 1013
            assert hub.subscribers("a") == 0
            with pytest.raises(anyws.ConnectionClosed):
                member.join("b")
            channel.resume()
        with pytest.raises(anyws.ConnectionClosed):
            await ws.send_text("")
    assert channel.closes == [(1013, "the peer reads too slowly")]


@every_channel
async def test_a_member_whose_connection_has_ended_leaves(
    hub: Hub, kind: type[Channel]
) -> None:
    """At the next message, although its handler is still busy."""
    channel = kind()
    async with channel.websocket() as ws:
        await ws.accept()
        with hub.attach(ws, "a"):
            channel.leave(1001)
            await anyio.wait_all_tasks_blocked()
            hub.publish("a", "1")
            await anyio.wait_all_tasks_blocked()
            assert hub.publish("a", "2") == 0
            assert hub.statistics().members == 0
            assert hub.topics() == frozenset()
    assert channel.messages == []


async def test_the_end_of_the_hub_lets_the_connection_live() -> None:
    """It gets what was published before, and goes on."""
    channel = EagerChannel()
    async with channel.websocket() as ws:
        await ws.accept()
        with ExitStack() as stack:
            async with Hub() as hub:
                member = stack.enter_context(hub.attach(ws, "a"))
                hub.publish("a", "1")
            assert not member.topics
            await ws.send_text("2")
    assert channel.messages == ["1", "2"]


async def test_several_members_of_one_connection(hub: Hub) -> None:
    """Each has its topics and rule; `exclude` takes one of them, or all."""
    channel = Channel()
    async with channel.websocket() as ws:
        await ws.accept()
        with hub.attach(ws, "a") as one, hub.attach(ws, "a", "b"):
            assert hub.publish("a", "1", exclude=one) == 1
            assert hub.publish("a", "2", exclude=ws) == 0
            assert hub.publish("b", "3") == 1
            await anyio.wait_all_tasks_blocked()
        assert hub.publish("a", "4", exclude=ws) == 0
    assert channel.messages == ["1", "3"]


async def test_what_cannot_be_attached_is_refused(hub: Hub) -> None:
    """With an error that says what to do."""
    channel = Channel()
    plain = anyws.WebSocket(dict(SCOPE), channel.receive, channel.send)
    with pytest.raises(RuntimeError, match="guarded mode"):
        hub.attach(plain, "a")
    with pytest.raises(TypeError, match="attach takes a WebSocket"):
        hub.attach(object(), "a")  # type: ignore[arg-type]  # what is wrong
    async with channel.websocket() as ws:
        with pytest.raises(RuntimeError), hub.attach(ws, "a"):
            pass
        await ws.accept()
        with pytest.raises(TypeError, match="encode"):
            hub.attach(ws, "a", encode=1)  # type: ignore[arg-type]  # what is wrong
        member = hub.attach(ws, "a")
        with pytest.raises(RuntimeError, match="block"):
            member.join("b")
        with member, pytest.raises(RuntimeError, match="twice"), member:
            pass
        await ws.close()
        with pytest.raises(anyws.ConnectionClosed), hub.attach(ws, "a"):
            pass
    assert hub.statistics().members == 0
    with pytest.raises(anyws.HubError), Hub().attach(ws, "a"):
        pass


async def test_encode_makes_each_message_once(hub: Hub) -> None:
    """Members with the same function share what it has made; `None` sends nothing."""
    calls: list[Event] = []

    def encode(event: Event) -> str | None:
        calls.append(event)
        return None if event.message == "secret" else f"{event.topic}:{event.message!s}"

    one, other = EagerChannel(), Channel()
    async with one.websocket() as first, other.websocket() as second:
        await first.accept()
        await second.accept()
        with (
            hub.attach(first, "a", encode=encode),
            hub.attach(second, "a", encode=encode),
        ):
            for text in ("1", "secret", "2"):
                hub.publish("a", text)
            await anyio.wait_all_tasks_blocked()
    assert one.messages == other.messages == ["a:1", "a:2"]
    assert [event.message for event in calls] == ["1", "secret", "2"]


async def test_json_tells_positions_and_gaps(hub: Hub) -> None:
    """So that a browser can resume, and reload what it has missed."""
    channel = Channel()
    async with channel.websocket() as ws:
        await ws.accept()
        await anyio.wait_all_tasks_blocked()
        channel.stall()
        with hub.attach(ws, "a", buffer=1, encode=Event.as_json):
            for number in range(30):
                hub.publish("a", str(number))
                await turns()
            hub.publish("a", b"\0")
            channel.resume()
            await anyio.wait_all_tasks_blocked()
    last, gap = channel.messages[-1], channel.messages[-2]
    assert '"gap":true' in str(gap)
    assert '"base64":"AA=="' in str(last)
    assert '"text":"0"' in str(channel.messages[0])
    assert '"topic":"a","position":"' in str(channel.messages[0])


@every_channel
@pytest.mark.parametrize("where", ["filter", "encode"])
async def test_what_a_function_of_the_member_raises_leaves_its_block(
    hub: Hub, kind: type[Channel], where: str
) -> None:
    """The connection is closed with 1011; the hub and the others go on."""

    def broken(event: Event) -> Any:
        raise ZeroDivisionError

    channel, fine = kind(), kind()
    async with fine.websocket() as other:
        await other.accept()
        with hub.attach(other, "a"):
            with pytest.raises(ZeroDivisionError):
                async with channel.websocket() as ws:
                    await ws.accept()
                    arguments: dict[str, Any] = {where: broken}
                    with hub.attach(ws, "a", **arguments):
                        hub.publish("a", "1")
                        async for _ in ws.iter_text():
                            pass
            hub.publish("a", "2")
            await anyio.wait_all_tasks_blocked()
    assert channel.closes == [(1011, "")]
    assert fine.messages == ["1", "2"]


async def test_an_encode_that_returns_no_message_is_an_error(hub: Hub) -> None:
    """It is told as what it is."""
    channel = Channel()
    with pytest.raises(TypeError, match="int"):
        async with channel.websocket() as ws:
            await ws.accept()
            with hub.attach(ws, "a", encode=lambda _: 1):  # type: ignore[arg-type,return-value]  # what is wrong
                hub.publish("a", "1")
                await ws.receive_text()


# With applications


async def test_a_chat_in_memory(hub: Hub) -> None:
    """`anyws.testing` works with a hub."""

    @anyws.endpoint
    async def chat(ws: anyws.WebSocket) -> None:
        await ws.accept()
        with hub.attach(ws, "lobby"):
            async for text in ws.iter_text():
                hub.publish("lobby", text)

    async with connect(chat) as ann, connect(chat) as bob:
        await ann.send_text("hello")
        assert await ann.receive_text() == "hello"
        assert await bob.receive_text() == "hello"
    assert hub.topics() == frozenset()


async def test_frameworks_own_class_under_the_middleware(hub: Hub) -> None:
    """FastAPI's and Starlette's class can be attached, and publish from a route."""
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.routing import WebSocketRoute
    from starlette.websockets import WebSocket

    async def handler(websocket: WebSocket) -> None:
        await websocket.accept()
        with hub.attach(websocket, "news"):
            await websocket.receive_text()

    app = Starlette(
        routes=[WebSocketRoute("/ws", handler)],
        middleware=[Middleware(anyws.WebSocketMiddleware)],
    )
    async with connect(app) as peer:
        while not hub.publish("news", "extra"):
            await anyio.wait_all_tasks_blocked()
        assert await peer.receive_text() == "extra"
        await peer.send_text("bye")


async def test_a_message_in_parts_is_not_cut_by_the_hub(hub: Hub) -> None:
    """What is published meanwhile comes behind it, although nothing else is sent."""
    received: list[str | bytes] = []

    @anyws.endpoint
    async def app(ws: anyws.WebSocket) -> None:
        await ws.accept()
        received.extend([await ws.receive_message() for _ in range(2)])

    async with connect(app) as client:
        with hub.attach(client, "a"):
            async with client.send_stream("text") as out:
                await out.send("one ")
                hub.publish("a", "hub")
                await turns()
                await out.send("message")
            while len(received) < 2:
                await checkpoint()
    assert received == ["one message", "hub"]


async def test_a_client_is_attached_too(hub: Hub) -> None:
    """What is published goes to a server."""

    @anyws.endpoint
    async def app(ws: anyws.WebSocket) -> None:
        await ws.accept()
        async for text in ws.iter_text():
            await ws.send_text(f"got {text}")

    async with connect(app) as client:
        with hub.attach(client, "a"):
            hub.publish("a", "1")
            assert await client.receive_text() == "got 1"


def test_fastapi_has_the_hub_as_lifespan_and_dependency() -> None:
    """Publishing from an HTTP route, to FastAPI's own class under the middleware."""
    fastapi = pytest.importorskip("fastapi")
    from starlette.testclient import TestClient

    hub = Hub()
    app = fastapi.FastAPI(lifespan=hub.lifespan)
    app.add_middleware(anyws.WebSocketMiddleware)

    def the_hub() -> Hub:
        return hub

    async def news(text: str, hub: Any) -> int:
        published: int = hub.publish("news", text)
        return published

    async def listen(websocket: Any, hub: Any) -> None:
        await websocket.accept()
        with hub.attach(websocket, "news"):
            async for _ in websocket.iter_text():
                pass

    given = fastapi.Depends(the_hub)
    news.__annotations__ = {"text": str, "hub": Annotated[Hub, given], "return": int}
    listen.__annotations__ = {
        "websocket": fastapi.WebSocket,
        "hub": Annotated[Hub, given],
    }
    app.post("/news")(news)
    app.websocket("/ws")(listen)

    for _ in range(2):
        with TestClient(app) as client:
            assert client.post("/news?text=nobody").json() == 0
            with client.websocket_connect("/ws") as peer:
                while client.post("/news?text=extra").json() == 0:
                    pass
                assert peer.receive_text() == "extra"


async def test_a_member_takes_less_than_a_kibibyte(hub: Hub) -> None:
    """Beside its connection, in one topic, with and without having had messages."""
    count = 50
    channels = [EagerChannel() for _ in range(count)]
    ours = (
        tracemalloc.Filter(True, "*/anyws/_hub/*"),
        tracemalloc.Filter(True, "*/anyws/_session/feed.py"),
    )

    def held() -> float:
        gc.collect()
        traces = tracemalloc.take_snapshot().filter_traces(ours).traces
        return sum(trace.size for trace in traces) / count

    with ExitStack() as members:
        async with AsyncExitStack() as blocks:
            sockets = []
            for channel in channels:
                ws = await blocks.enter_async_context(channel.websocket())
                await ws.accept()
                sockets.append(ws)
            members.callback(tracemalloc.stop)
            tracemalloc.start()
            for ws in sockets:
                members.enter_context(hub.attach(ws, "a"))
            joined = held()
            for _ in range(5):
                hub.publish("a", "x" * 100)
                await turns()
            assert all(len(channel.messages) == 5 for channel in channels)
            assert max(joined, held()) < 1024
