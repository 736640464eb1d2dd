"""Law 7 where a middleware wraps `send`: one order, and no way round."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Annotated, Any

import anyio
import pytest
from anyio import WouldBlock
from anyio.lowlevel import checkpoint
from fastapi import Depends, FastAPI
from fastapi import WebSocket as FastAPIWebSocket
from starlette.applications import Starlette
from starlette.exceptions import WebSocketException
from starlette.routing import Mount, WebSocketRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket as StarletteWebSocket
from starlette.websockets import WebSocketDisconnect

import anyws
from anyws._server.guard import host
from anyws._server.wrapping import is_wrapped, sender_of
from anyws._session.scope import put_session
from anyws.testing import connect

from ..support.channels import SCOPE, Channel
from ..support.wired import SERVED, WiredChannel, session_of
from ..support.wrappings import (
    KINDS,
    Boom,
    Gate,
    Wrap,
    closure,
    hesitant,
    louder,
    raising,
    wrapping,
)

Handler = Callable[[anyws.WebSocket], Awaitable[None]]
SERVERS = pytest.mark.parametrize("server", ["uvicorn", "hypercorn-engine"])


def joining(handler: Handler) -> ASGIApp:
    """Return an application whose block joins the session that is there."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async with anyws.WebSocket(scope, receive, send) as ws:
            await handler(ws)

    return app


def app_of(handler: Handler, wrap: Wrap, **options: Any) -> ASGIApp:
    """Return an application with a middleware under that of anyws."""
    inside = wrapping(joining(handler), wrap)
    return anyws.WebSocketMiddleware(inside, anyws.Options(**options))


async def run(app: ASGIApp, channel: Channel) -> None:
    """Run an application on a channel; where the frames are ours, as an engine does."""
    scope: Scope = dict(SCOPE)
    if isinstance(channel, WiredChannel):
        session = session_of(channel)
        put_session(scope, session)
        sender, receiver = session.sender, session.receiver
        await host(session, partial(app, scope, receiver.receive, sender.send))
    else:
        guarded_app = anyws.WebSocketMiddleware(app)
        await guarded_app(scope, channel.receive, channel.send)


async def mixed(ws: anyws.WebSocket) -> None:
    """Send three messages, by all kinds of verbs."""
    await ws.accept()
    ws.send_nowait("a")
    await ws.send_text("b")
    ws.send_nowait("c")


# The kinds of wrapping


@SERVERS
@pytest.mark.parametrize("kind", KINDS)
async def test_what_a_middleware_makes_of_messages_arrives_in_order(
    kind: str, server: Any
) -> None:
    """`send_nowait` does not go round it, and nothing overtakes."""
    wrap, made = KINDS[kind]
    async with connect(app_of(mixed, wrap), server=server) as peer:
        assert [m async for m in peer] == [*made("a"), *made("b"), *made("c")]
        assert (await peer.wait_closed()).code == 1000


async def guarded(websocket: FastAPIWebSocket) -> AsyncIterator[anyws.WebSocket]:
    """Be a dependency with a block of its own."""
    outer = websocket
    async with anyws.WebSocket(outer.scope, outer.receive, outer.send) as ws:
        yield ws


@pytest.mark.parametrize("make", SERVED)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stalls", [False, True])
async def test_the_same_over_frames_of_our_own(
    kind: str, make: type[Channel], stalls: bool
) -> None:
    """Whether the peer reads at once, or only when the block has been left."""
    channel, (wrap, made) = make(), KINDS[kind]

    async def handler(ws: anyws.WebSocket) -> None:
        await ws.accept()
        if stalls:
            channel.stall()
        ws.send_nowait("a")
        await ws.send_text("b")
        ws.send_nowait("c")
        resume.set()

    async def peer() -> None:
        await resume.wait()
        await anyio.wait_all_tasks_blocked()
        channel.resume()

    resume = anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(peer)
        await run(wrapping(joining(handler), wrap), channel)
    assert channel.messages == [*made("a"), *made("b"), *made("c")]
    assert channel.closes == [(1000, "")]


def frameworks(handler: Handler) -> dict[str, Callable[[], ASGIApp]]:
    """Return applications that have the handler, of every kind."""

    async def starlette_route(websocket: StarletteWebSocket) -> None:
        outer = websocket
        async with anyws.WebSocket(outer.scope, outer.receive, outer.send) as ws:
            await handler(ws)

    def fastapi_app() -> ASGIApp:
        app = FastAPI()

        @app.websocket("/ws")
        async def route(ws: Annotated[Any, Depends(guarded)]) -> None:
            await handler(ws)

        return app

    endpoint = anyws.endpoint(handler)
    return {
        "endpoint": lambda: endpoint,
        "starlette": lambda: Starlette(routes=[WebSocketRoute("/ws", starlette_route)]),
        "endpoint in starlette": lambda: Starlette(
            routes=[WebSocketRoute("/ws", endpoint)]
        ),
        "mounted": lambda: Starlette(routes=[Mount("/", endpoint)]),
        "fastapi": fastapi_app,
    }


@SERVERS
@pytest.mark.parametrize("framework", frameworks(mixed))
@pytest.mark.parametrize("guard", ["outside", "inside", "both"])
async def test_frameworks_under_middlewares(
    framework: str, guard: str, server: Any
) -> None:
    """Wherever the guard stands, a middleware has every message, in order."""
    app = frameworks(mixed)[framework]()
    if guard != "outside":
        app = anyws.WebSocketMiddleware(app)
    app = wrapping(app, hesitant)
    if guard != "inside":
        app = anyws.WebSocketMiddleware(app)
    async with connect(app, "/ws", server=server) as peer:
        assert [message async for message in peer] == ["a!", "b!", "c!"]


@SERVERS
@pytest.mark.parametrize("framework", frameworks(mixed))
async def test_frameworks_alone_keep_the_straight_way(
    framework: str, server: Any
) -> None:
    """What Starlette wraps itself is looked through: no passage is made."""
    seen = []

    async def handler(ws: anyws.WebSocket) -> None:
        await mixed(ws)
        seen.append(ws._guarded("").connection.passage)

    app = anyws.WebSocketMiddleware(frameworks(handler)[framework]())
    async with connect(app, "/ws", server=server) as peer:
        assert [message async for message in peer] == ["a", "b", "c"]
    assert seen == [None]


async def test_a_subclass_of_starlettes_class_may_do_anything() -> None:
    """Its `send` is a wrapper as any other."""

    class Loud(StarletteWebSocket):
        async def send(self, message: Message) -> None:
            await super().send(louder(message))

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        outer = Loud(scope, receive, send)
        async with anyws.WebSocket(scope, outer.receive, outer.send) as ws:
            await mixed(ws)

    async with connect(anyws.WebSocketMiddleware(app)) as peer:
        assert [message async for message in peer] == ["a!", "b!", "c!"]


def test_an_unknown_shape_is_not_looked_through() -> None:
    """Nor is anything, where Starlette's wrapper is not what it was."""

    def other(names: bool) -> Any:
        def wrap_app_handling_exceptions(send: Any) -> Any:
            async def wrapped_app() -> Any:
                response_started = False

                async def sender(message: Message) -> None:
                    nonlocal response_started
                    response_started = True
                    await (send(dict(message)) if names else send({"type": "x"}))

                return sender

            return wrapped_app

        return wrap_app_handling_exceptions

    assert sender_of(None) is None
    assert sender_of(lambda: None) is None
    assert sender_of(other(True)) is None
    assert sender_of(other(False)) is None


async def test_wrappers_without_end_are_not_looked_through() -> None:
    """An object whose `send` leads to itself counts as wrapped."""
    channel = Channel()
    async with channel.websocket() as ws:
        outer = StarletteWebSocket(dict(SCOPE), channel.receive, channel.send)
        outer._send = outer.send
        assert is_wrapped(outer.send, ws._guarded(""))
        await ws.accept()


# The order


@SERVERS
async def test_the_order_of_many_senders(server: Any) -> None:
    """What each task sends stays in order, and `send_nowait` keeps its place."""
    called: list[str] = []

    async def handler(ws: anyws.WebSocket) -> None:
        await ws.accept()

        async def sender(number: int) -> None:
            for n in range(20):
                called.append(f"{number}:{n}")
                if (number + n) % 3:
                    await ws.send_text(called[-1])
                else:
                    ws.send_nowait(called[-1])
                for _ in range(n % 4):
                    await checkpoint()

        async with anyio.create_task_group() as tasks:
            for number in range(8):
                tasks.start_soon(sender, number)

    app = app_of(handler, closure, send_buffer=500)
    async with connect(app, server=server) as peer:
        got = [str(message)[:-1] async for message in peer]
    assert sorted(got) == sorted(called)
    for number in range(8):
        assert [m for m in got if m.startswith(f"{number}:")] == [
            f"{number}:{n}" for n in range(20)
        ]


@SERVERS
async def test_two_objects_have_one_order(server: Any) -> None:
    """Two objects with different wrappers of one connection share the passage."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        slow, fast = hesitant(send), closure(send)
        async with anyws.WebSocket(scope, receive, slow) as one:
            other = anyws.WebSocket[Any](scope, receive, fast)
            await one.accept()
            async with other:
                one.send_nowait("a")
                other.send_nowait("b")
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(one.send_text, "c")
                    await anyio.wait_all_tasks_blocked()
                await other.send_text("d")
                one.send_nowait("e")

    async with connect(anyws.WebSocketMiddleware(app), server=server) as peer:
        assert [m async for m in peer] == ["a!", "b!", "c!", "d!", "e!"]


async def test_a_middleware_may_send_through_an_object_of_its_own() -> None:
    """In its turn that goes straight in, wrapped or not, and does not wait for it."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        inner = anyws.WebSocket[Any](scope, receive, closure(send))

        async def wrapped(event: Message) -> None:
            if event["type"] == "websocket.send":
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(inner.send_text, "before")
            await inner.send(event)

        async with inner, anyws.WebSocket(scope, receive, wrapped) as ws:
            await ws.accept()
            ws.send_nowait("a")
            await ws.send_text("b")

    async with connect(anyws.WebSocketMiddleware(app)) as peer:
        assert [m async for m in peer] == ["before!", "a!", "before!", "b!"]


async def test_a_relay_between_two_connections_does_not_wait_for_itself() -> None:
    """A turn within the turn of another connection is still in the first one's."""
    channels = [Channel(), Channel()]
    objects: list[anyws.WebSocket] = []

    def relaying(number: int) -> Wrap:
        def wrap(send: Send) -> Send:
            async def wrapped(event: Message) -> None:
                await send(event)
                if event.get("text") in ("go", "on"):
                    await objects[1 - number].send_text(
                        "on" if event["text"] == "go" else "back"
                    )

            return wrapped

        return wrap

    async def handler(ws: anyws.WebSocket) -> None:
        await ws.accept()
        objects.append(ws)
        await ws.wait_closed()

    async with anyio.create_task_group() as tasks:
        for number, channel in enumerate(channels):
            tasks.start_soon(run, app_of(handler, relaying(number)), channel)
            await anyio.wait_all_tasks_blocked()
        await objects[0].send_text("go")
        await anyio.wait_all_tasks_blocked()
        for channel in channels:
            channel.leave()
    assert [channel.messages for channel in channels] == [["go", "back"], ["on"]]


# Cancelled while waiting


async def test_a_send_that_is_cancelled_before_its_turn_is_not_sent() -> None:
    """It waits behind what is there, and leaves no gap in the order."""
    channel, gate = Channel(), Gate()

    async def handler(ws: anyws.WebSocket) -> None:
        await ws.accept()
        ws.send_nowait("a")
        async with anyio.create_task_group() as tasks:
            await anyio.wait_all_tasks_blocked()
            scope = anyio.CancelScope()

            async def cancelled() -> None:
                with scope:
                    await ws.send_text("never")

            tasks.start_soon(cancelled)
            await anyio.wait_all_tasks_blocked()
            tasks.start_soon(ws.send_text, "b")
            await anyio.wait_all_tasks_blocked()
            scope.cancel()
            await anyio.wait_all_tasks_blocked()
            assert gate.begun == ["a"]
            gate.open()
        await ws.send_text("c")

    await run(app_of(handler, gate.wrap), channel)
    assert gate.begun == channel.messages == ["a", "b", "c"]


async def test_a_send_that_asyncio_cancels_as_the_connection_ends(
    anyio_backend_name: str,
) -> None:
    """It was woken to raise, and is cancelled before it runs."""
    if anyio_backend_name != "asyncio":
        pytest.skip("native asyncio cancellation")
    channel, gate = Channel(), Gate()

    async def handler(ws: anyws.WebSocket) -> None:
        await ws.accept()
        ws.send_nowait("a")
        await anyio.wait_all_tasks_blocked()
        task = asyncio.ensure_future(ws.send_text("never"))
        await anyio.wait_all_tasks_blocked()
        ws._guarded("").close_by_rule(4001, "", by=anyio.current_time() + 5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        gate.open()

    await run(app_of(handler, gate.wrap), channel)
    assert channel.messages == ["a"]
    assert channel.closes == [(4001, "")]


@pytest.mark.parametrize("how", ["before", "with its turn"])
async def test_a_send_that_asyncio_cancels_before_its_turn_is_not_sent(
    how: str, anyio_backend_name: str
) -> None:
    """Also when its turn has come in the moment in which it is cancelled."""
    if anyio_backend_name != "asyncio":
        pytest.skip("native asyncio cancellation")
    channel, gate = Channel(), Gate()

    async def handler(ws: anyws.WebSocket) -> None:
        await ws.accept()
        first = asyncio.ensure_future(ws.send_text("a"))
        await anyio.wait_all_tasks_blocked()
        second = asyncio.ensure_future(ws.send_text("never"))
        await anyio.wait_all_tasks_blocked()
        passage = ws._guarded("")._passage
        assert passage is not None
        if how == "before":
            second.cancel()
            await anyio.wait_all_tasks_blocked()
            gate.open()
        else:
            gate.open()
            for _ in range(10):
                if not passage._places:  # the turn has been given on
                    break
                await checkpoint()
            second.cancel()
        await first
        with pytest.raises(asyncio.CancelledError):
            await second
        ws.send_nowait("b")
        await ws.send_text("c")

    await run(app_of(handler, gate.wrap), channel)
    assert gate.begun == channel.messages == ["a", "b", "c"]


async def test_a_cancel_that_is_there_is_delivered() -> None:
    """A wrapper that drops a message is no checkpoint; the send is one all the same."""
    channel = Channel()

    async def handler(ws: anyws.WebSocket) -> None:
        await ws.accept()
        with anyio.CancelScope() as scope:
            scope.cancel()
            await ws.send_text("b")
            pytest.fail("not reached")

    await run(app_of(handler, KINDS["drops"].wrap), channel)


# The bounds


async def test_the_bounds_are_those_of_the_outbound_queue() -> None:
    """What is in the passage counts, in messages and bytes, for the statistics too."""
    channel, gate = Channel(), Gate()

    async def handler(ws: anyws.WebSocket) -> None:
        with pytest.raises(RuntimeError, match="accept"):
            ws.send_nowait("too early")
        await ws.accept()
        for text in "ab":
            ws.send_nowait(text)
        with pytest.raises(WouldBlock):
            ws.send_nowait("c")
        await anyio.wait_all_tasks_blocked()
        assert gate.begun == ["a"]
        ws.send_nowait("c")
        with pytest.raises(WouldBlock):
            ws.send_nowait("d")
        statistics = ws.statistics()
        assert (statistics.send_queued, statistics.send_queued_bytes) == (2, 2)
        assert statistics.messages_sent == 0
        channel.stall()
        gate.open()
        await anyio.wait_all_tasks_blocked()
        assert ws.statistics().send_queued == 2  # and one with the server
        with pytest.raises(WouldBlock):
            ws.send_nowait("d")
        channel.resume()
        await anyio.wait_all_tasks_blocked()
        assert ws.statistics().send_queued == 0
        with pytest.raises(UnicodeEncodeError):
            ws.send_nowait("\ud800")

    await run(app_of(handler, gate.wrap, send_buffer=2), channel)
    assert channel.messages == ["a", "b", "c"]


async def test_the_bound_in_bytes() -> None:
    """A message that is larger passes alone."""
    channel, gate = Channel(), Gate()

    async def handler(ws: anyws.WebSocket) -> None:
        await ws.accept()
        ws.send_nowait("x" * 20)
        with pytest.raises(WouldBlock):
            ws.send_nowait("")
        await anyio.wait_all_tasks_blocked()
        ws.send_nowait("x" * 6)
        ws.send_nowait(bytearray(b"1234"))
        with pytest.raises(WouldBlock):
            ws.send_nowait("x")
        gate.open()

    await run(app_of(handler, gate.wrap, send_buffer_bytes=10), channel)
    assert channel.messages == ["x" * 20, "x" * 6, b"1234"]


@pytest.mark.parametrize(
    ("rule", "kept"),
    [("drop_oldest", ["0", "8", "9"]), ("drop_newest", ["0", "1", "2"])],
)
@pytest.mark.parametrize("where", ["passage", "queue"])
async def test_the_drop_rules(rule: str, kept: list[str], where: str) -> None:
    """Messages in the queue are older than those in the passage."""
    channel, gate = Channel(), Gate()
    if where == "queue":
        gate.open()

    async def handler(ws: anyws.WebSocket) -> None:
        await ws.accept()
        channel.stall()
        for number in range(10):
            ws.send_nowait(str(number))
            if number == 0 or (where == "queue" and number < 3):
                await anyio.wait_all_tasks_blocked()
        assert ws.statistics().send_dropped == 7
        gate.open()
        channel.resume()

    await run(app_of(handler, gate.wrap, send_buffer=2, send_overflow=rule), channel)
    assert channel.messages == kept


async def test_a_dropped_message_gives_its_place_to_the_next() -> None:
    """A task that waited behind it has its turn."""
    channel, gate = Channel(), anyio.Event()

    def wrap(send: Send) -> Send:
        async def wrapped(event: Message) -> None:
            if event.get("text") == "x":
                await gate.wait()
            else:
                await send(event)

        return wrapped

    async def handler(ws: anyws.WebSocket) -> None:
        await ws.accept()

        async def first() -> None:
            await ws.send_text("x")
            ws.send_nowait("c")  # "a" is the first now, and its task not awake yet

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(first)
            await anyio.wait_all_tasks_blocked()
            ws.send_nowait("a" * 10)
            tasks.start_soon(ws.send_text, "b")
            await anyio.wait_all_tasks_blocked()
            gate.set()
            await anyio.wait_all_tasks_blocked()
        assert ws.statistics().send_dropped == 1

    app = app_of(handler, wrap, send_buffer_bytes=10, send_overflow="drop_oldest")
    await run(app, channel)
    assert channel.messages == ["b", "c"]


async def test_the_rule_to_close() -> None:
    """It closes with 1013, behind what is in the passage."""
    channel, gate = Channel(), Gate()

    async def handler(ws: anyws.WebSocket) -> None:
        await ws.accept()
        for text in "ab":
            ws.send_nowait(text)
        with pytest.raises(anyws.ConnectionClosed, match="1013"):
            ws.send_nowait("c")
        with pytest.raises(anyws.ConnectionClosed, match="1013"):
            ws.send_nowait("d")
        gate.open()

    await run(app_of(handler, gate.wrap, send_buffer=2, send_overflow="close"), channel)
    assert channel.messages == ["a", "b"]
    assert channel.closes == [(1013, "the peer reads too slowly")]


# The end


@SERVERS
@pytest.mark.parametrize("code", [None, 4000])
async def test_a_close_comes_behind_what_is_in_the_passage(
    server: Any, code: int | None
) -> None:
    """Leaving the block writes it out, and so does `close()`."""

    async def handler(ws: anyws.WebSocket) -> None:
        await ws.accept()
        for text in "abcdef":
            ws.send_nowait(text)
        if code is not None:
            await ws.close(code)
            with pytest.raises(anyws.ConnectionClosed, match="4000"):
                ws.send_nowait("late")
            with pytest.raises(anyws.ConnectionClosed, match="4000"):
                await ws.send_text("late")
            await ws.close()

    async with connect(app_of(handler, hesitant), server=server) as peer:
        assert [m async for m in peer] == [f"{text}!" for text in "abcdef"]
        assert (await peer.wait_closed()).code == (code or 1000)


async def test_the_middlewares_outlive_what_is_left() -> None:
    """A joined block sends it before the middleware round it ends."""
    channel, events = Channel(), list[str]()

    def app(handler: Handler) -> ASGIApp:
        async def middleware(scope: Scope, receive: Receive, send: Send) -> None:
            async def wrapped(event: Message) -> None:
                await checkpoint()
                events.append(str(event.get("text")))
                await send(event)

            await joining(handler)(scope, receive, wrapped)
            events.append("over")

        return anyws.WebSocketMiddleware(middleware)

    async def handler(ws: anyws.WebSocket) -> None:
        await ws.accept()
        ws.send_nowait("a")
        ws.send_nowait("b")

    await run(app(handler), channel)
    assert events == ["None", "a", "b", "over"]


@pytest.mark.parametrize("end", ["peer", "rule", "close", "failure"])
async def test_the_end_wakes_every_waiter(end: str) -> None:
    """A send that waits for its turn raises, though the turn itself goes on."""
    channel, gate, raised = Channel(), Gate(), list[int]()
    channel.answers = False

    async def handler(ws: anyws.WebSocket) -> None:
        await ws.accept()
        session = ws._guarded("")

        async def send() -> None:
            with pytest.raises(anyws.ConnectionClosed) as caught:
                await ws.send_text("x")
            raised.append(caught.value.code)

        async with anyio.create_task_group() as tasks:
            ws.send_nowait("a")
            for _ in range(3):
                tasks.start_soon(send)
            await anyio.wait_all_tasks_blocked()
            ws.send_nowait("b")
            if end == "peer":
                channel.leave(1001)
            elif end == "rule":
                session.close_by_rule(4001, "", by=anyio.current_time() + 5)
            elif end == "close":
                tasks.start_soon(session.sender.send, {"type": "websocket.close"})
            else:
                channel.fail()
            await anyio.wait_all_tasks_blocked()
            assert len(raised) == 3
            assert gate.begun == ["a"]
            with pytest.raises(anyws.ConnectionClosed):
                await ws.send_text("late")
            await ws.close()
            gate.open()
            await anyio.wait_all_tasks_blocked()
            channel.leave()

    try:
        await run(app_of(handler, gate.wrap), channel)
    except RuntimeError:
        assert end == "failure"
    assert raised == [{"peer": 1001, "rule": 4001, "close": 1000}.get(end, 1006)] * 3
    assert channel.messages == (["a", "b"] if end in ("rule", "close") else [])


async def test_a_close_that_is_cancelled_before_its_turn_closes() -> None:
    """Behind what is there, as without a middleware."""
    channel, gate = Channel(), Gate()

    async def handler(ws: anyws.WebSocket) -> None:
        await ws.accept()
        ws.send_nowait("a")
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(ValueError, match="1006"):
            await ws.close(1006)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ws.close, 4000)
            await anyio.wait_all_tasks_blocked()
            assert ws.close_info is None
            tasks.cancel_scope.cancel()
        assert ws.close_info == anyws.CloseInfo(4000, "", "local")
        gate.open()

    await run(app_of(handler, gate.wrap), channel)
    assert channel.messages == ["a"]
    assert channel.closes == [(4000, "")]


async def test_a_middleware_that_closes_ends_what_is_behind() -> None:
    """It makes a close of a message, and does not wait for what comes after it."""
    channel = Channel()

    def wrap(send: Send) -> Send:
        async def wrapped(event: Message) -> None:
            if event.get("text") == "b":
                event = {"type": "websocket.close", "code": 1008}
            await send(event)

        return wrapped

    async def handler(ws: anyws.WebSocket) -> None:
        await ws.accept()
        for text in "abc":
            ws.send_nowait(text)
        await ws.wait_closed()

    await run(app_of(handler, wrap), channel)
    assert channel.messages == ["a"]
    assert channel.closes == [(1008, "")]


async def test_full_queues_at_the_end_lose_nothing() -> None:
    """What was accepted waits for room, whatever the rule, until it is written."""
    channel, gate = Channel(), Gate()

    async def handler(ws: anyws.WebSocket) -> None:
        await ws.accept()
        straight = ws._guarded("").sender
        channel.stall()
        for text in "abc":
            ws.send_nowait(text)
        await anyio.wait_all_tasks_blocked()
        for text in "xyz":
            await straight.send({"type": "websocket.send", "text": text})
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(straight.send, {"type": "websocket.close"})
            await anyio.wait_all_tasks_blocked()
            gate.open()
            await anyio.wait_all_tasks_blocked()
            channel.resume()

    await run(app_of(handler, gate.wrap, send_buffer=3, send_overflow="close"), channel)
    assert channel.messages == ["x", "y", "z", "a", "b", "c"]


# Errors of a middleware


@SERVERS
@pytest.mark.parametrize(
    ("error", "code"), [(Boom("b"), 1011), (SystemExit(3), 1001)], ids=repr
)
async def test_an_error_that_nobody_waits_for_leaves_the_block(
    error: BaseException, code: int, server: Any
) -> None:
    """It ends the connection by its code, and what was sent before it arrives."""
    told = []

    async def handler(ws: anyws.WebSocket) -> None:
        await ws.accept()
        for text in "abc":
            ws.send_nowait(text)
        try:
            with ws.cancel_on_disconnect():
                await anyio.sleep_forever()
        except anyws.ConnectionClosed as exc:
            told.append(exc.code)
            raise

    with pytest.raises(type(error)) as caught:
        async with connect(app_of(handler, raising(error)), server=server) as peer:
            assert [m async for m in peer] == ["a"]
            assert (await peer.wait_closed()).code == code
    assert caught.value is error
    assert told == [code]


@pytest.mark.parametrize("inside", ["block", "endpoint"])
async def test_it_leaves_the_block_that_joins(inside: str) -> None:
    """What stands between that and the host may handle it, as that of a `send_text`."""
    channel, caught = Channel(), []

    async def handler(ws: anyws.WebSocket) -> None:
        await ws.accept()
        ws.send_nowait("b")
        await ws.wait_closed()

    inner = joining(handler) if inside == "block" else anyws.endpoint(handler)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await inner(scope, receive, raising(Boom())(send))
        except Boom as exc:
            caught.append(exc)

    await run(anyws.WebSocketMiddleware(app), channel)
    assert len(caught) == 1
    assert channel.closes == [(1011, "")]


async def test_it_leaves_the_host_if_another_exception_has_left_the_block() -> None:
    """If that is handled in between, this one is still to be told of."""
    channel, error = Channel(), Boom()

    async def handler(ws: anyws.WebSocket) -> None:
        await ws.accept()
        ws.send_nowait("b")
        await ws.wait_closed()
        raise ValueError("handled")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        with pytest.raises(ValueError, match="handled"):
            await joining(handler)(scope, receive, raising(error)(send))

    with pytest.raises(Boom) as caught:
        await run(app, channel)
    assert caught.value is error


async def test_a_websocket_exception_has_its_own_code() -> None:
    """As if it had left the block; and no log hears of it."""
    channel = Channel()

    async def handler(ws: anyws.WebSocket) -> None:
        await ws.accept()
        ws.send_nowait("b")
        await ws.wait_closed()

    error = WebSocketException(4003, "not that")
    await run(app_of(handler, raising(error)), channel)
    assert channel.closes == [(4003, "not that")]


async def test_another_exception_of_the_block_comes_first() -> None:
    """One cause leaves the block, and that is the block's own."""
    channel, error = Channel(), ValueError("mine")

    async def handler(ws: anyws.WebSocket) -> None:
        await ws.accept()
        ws.send_nowait("b")
        await ws.wait_closed()
        raise error

    with pytest.raises(ValueError, match="mine") as caught:
        await run(app_of(handler, raising(Boom())), channel)
    assert caught.value is error
    assert channel.closes == [(1011, "")]


async def test_an_error_that_a_task_waits_for_is_its_own() -> None:
    """It is raised by the send, and the connection goes on."""
    channel = Channel()

    async def handler(ws: anyws.WebSocket) -> None:
        await ws.accept()
        with pytest.raises(Boom):
            await ws.send_text("b")
        ws.send_nowait("a")

    await run(app_of(handler, raising(Boom())), channel)
    assert channel.messages == ["a"]
    assert channel.closes == [(1000, "")]


async def test_the_end_of_the_connection_is_no_error_of_a_middleware() -> None:
    """Neither as ours nor as Starlette's class tells it."""
    channel, gate = Channel(), Gate()

    def wrap(send: Send) -> Send:
        held = gate.wrap(send)

        async def wrapped(event: Message) -> None:
            try:
                await held(event)
            except OSError:
                raise WebSocketDisconnect(1006) from None

        return wrapped

    async def handler(ws: anyws.WebSocket) -> None:
        await ws.accept()
        ws.send_nowait("a")
        await anyio.wait_all_tasks_blocked()
        channel.leave()
        gate.open()
        await ws.wait_closed()

    for kind in (wrap, gate.wrap):
        channel, gate = Channel(), Gate()
        await run(app_of(handler, kind), channel)
        assert channel.messages == []


async def test_native_cancellation_ends_the_task_of_the_passage(
    anyio_backend_name: str,
) -> None:
    """As it ends the other tasks of a session, where a loop cancels all of them."""
    if anyio_backend_name != "asyncio":
        pytest.skip("native asyncio cancellation")
    channel, gate = Channel(), Gate()

    async def handler(ws: anyws.WebSocket) -> None:
        await ws.accept()
        ws.send_nowait("a")
        await anyio.wait_all_tasks_blocked()
        [task] = [task for task in asyncio.all_tasks() if "_drive" in task.get_name()]
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()

    await run(app_of(handler, gate.wrap), channel)
    assert channel.closes == [(1012, "")]
