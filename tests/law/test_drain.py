"""`Drain`, as a server's shutdown and the handlers meet it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import anyio
import anyio.abc
import pytest
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket as StarletteWebSocket

import anyws
from anyws._server.guard import host
from anyws._session.scope import KEY
from anyws._session.session import Session
from anyws.testing import Rejected, connect

from ..support.channels import SCOPE, Channel

RESTART = anyws.CloseInfo(1012, "", "peer", True)  # to the peer
SOON = 0.25  # (seconds) enough for a closing frame on a busy machine
DENIABLE = {"extensions": {"websocket.http.response": dict[str, Any]()}}


@pytest.fixture
async def channel() -> Channel:
    """Return a fresh channel."""
    return Channel()


async def run(app: ASGIApp, channel: Channel, **scope: Any) -> None:
    """Run an application on a channel."""
    await app({**SCOPE, **scope}, channel.receive, channel.send)


@asynccontextmanager
async def serving(
    app: ASGIApp, channel: Channel, **scope: Any
) -> AsyncIterator[anyio.abc.TaskGroup]:
    """Run an application on a channel, in a task, until it waits."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(partial(run, app, channel, **scope))
        await anyio.wait_all_tasks_blocked()
        yield tasks


async def echo(ws: anyws.WebSocket) -> None:
    """Echo."""
    await ws.accept()
    async for message in ws:
        await ws.send_message(message)


async def raw_echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Echo with Starlette's class."""
    ws = StarletteWebSocket(scope, receive, send)
    await ws.accept()
    while True:
        await ws.send_text(await ws.receive_text())


def echoes(drain: anyws.Drain, guard: str) -> ASGIApp:
    """Return the echo with either guard."""
    if guard == "endpoint":
        return anyws.endpoint(drain=drain)(echo)
    return anyws.WebSocketMiddleware(raw_echo, drain=drain)


@pytest.mark.parametrize("guard", ["endpoint", "middleware"])
async def test_open_connections_are_closed(guard: str) -> None:
    """They are over when `aclose` returns: 1012, no error."""
    drain = anyws.Drain()
    app = echoes(drain, guard)
    async with connect(app) as one, connect(app) as other:
        assert (drain.connections, drain.draining) == (2, False)
        await drain.aclose()
        assert (drain.connections, drain.draining) == (0, True)
        assert [one.close_info, other.close_info] == [RESTART] * 2


async def test_a_drain_has_its_own_code_and_reason() -> None:
    """The close that a handler meets, and a peer, is the drain's."""
    drain = anyws.Drain(code=anyws.CloseCode.GOING_AWAY, reason="bye" + "é" * 100)
    met = []

    @anyws.endpoint(drain=drain)
    async def handler(ws: anyws.WebSocket) -> None:
        await ws.accept()
        with pytest.raises(anyws.ConnectionClosed) as caught:
            await ws.receive_text()
        met.append(caught.value.info)

    async with connect(handler) as peer:
        await drain.aclose()
    reason = "bye" + "é" * 60
    assert peer.close_info == anyws.CloseInfo(1001, reason, "peer", True)
    assert (met[0].code, met[0].reason, met[0].initiator) == (1001, reason, "local")


async def test_what_the_handler_watches_is_cancelled() -> None:
    """`cancel_on_disconnect()` ends with the drain, without waiting for its time."""
    drain = anyws.Drain(timeout=1e6)

    @anyws.endpoint(drain=drain)
    async def handler(ws: anyws.WebSocket) -> None:
        await ws.accept()
        with ws.cancel_on_disconnect():
            await anyio.sleep_forever()

    async with connect(handler) as peer:
        await drain.aclose()
    assert peer.close_info == RESTART


async def test_handlers_are_waited_for() -> None:
    """`aclose` returns when the last handler has ended, in its own time."""
    drain = anyws.Drain(timeout=1e6)
    order = []
    finish = anyio.Event()

    @anyws.endpoint(drain=drain)
    async def handler(ws: anyws.WebSocket) -> None:
        await ws.accept()
        await ws.wait_closed()
        await finish.wait()
        order.append("handler")

    async def close() -> None:
        await drain.aclose()
        order.append("drained")

    async with anyio.create_task_group() as tasks, connect(handler):
        async with connect(echoes(drain, "endpoint")):
            tasks.start_soon(close)
            await anyio.wait_all_tasks_blocked()
        assert (order, drain.connections) == ([], 1)
        finish.set()
    assert order == ["handler", "drained"]


@pytest.mark.parametrize("guard", ["endpoint", "middleware"])
async def test_a_handler_that_takes_too_long_is_cancelled(guard: str) -> None:
    """That is its end, and no error of anybody's."""
    drain = anyws.Drain(timeout=SOON)
    ends = []

    async def handler(ws: anyws.WebSocket) -> None:
        await ws.accept()
        try:
            await anyio.sleep_forever()
        finally:
            ends.append(anyio.current_effective_deadline() == float("-inf"))

    async def raw(scope: Scope, receive: Receive, send: Send) -> None:
        async with anyws.WebSocket(scope, receive, send) as ws:
            await handler(ws)

    app: ASGIApp = anyws.WebSocketMiddleware(raw, drain=drain)
    if guard == "endpoint":
        app = anyws.endpoint(drain=drain)(handler)
    async with connect(app) as peer:
        await drain.aclose()
        assert ends == [True]
        assert drain.connections == 0
    assert peer.close_info == RESTART


async def test_an_error_of_a_handlers_goes_on() -> None:
    """What a handler raises because it is cancelled is the server's to log."""
    drain = anyws.Drain(timeout=SOON)
    error = ValueError("mine")

    @anyws.endpoint(drain=drain)
    async def handler(ws: anyws.WebSocket) -> None:
        await ws.accept()
        try:
            await anyio.sleep_forever()
        finally:
            raise error

    with pytest.raises(ValueError, match="mine") as caught:
        async with connect(handler):
            await drain.aclose()
    assert caught.value is error
    assert drain.connections == 0


async def test_an_end_beside_the_cancellation_is_no_error() -> None:
    """A group of tasks of which one met the end and others are cancelled has ended."""
    drain = anyws.Drain(timeout=SOON)

    @anyws.endpoint(drain=drain)
    async def handler(ws: anyws.WebSocket) -> None:
        await ws.accept()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(late, ws)
            await anyio.sleep_forever()

    async def late(ws: anyws.WebSocket) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ws.send_nowait("late")

    async with connect(handler) as peer:
        await drain.aclose()
    assert peer.close_info == RESTART


@pytest.mark.parametrize("draining", [False, True])
async def test_another_cancellation_passes(channel: Channel, draining: bool) -> None:
    """A drain ends what it has cancelled itself, and nothing else."""
    drain = anyws.Drain(timeout=1e6)

    @anyws.endpoint(drain=drain)
    async def handler(ws: anyws.WebSocket) -> None:
        await ws.accept()
        await anyio.sleep_forever()

    passed = []

    async def serve(scope: anyio.CancelScope) -> None:
        with scope:
            await run(handler, channel)
            passed.append("the server's next step")

    outer = anyio.CancelScope()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(serve, outer)
        await anyio.wait_all_tasks_blocked()
        if draining:
            tasks.start_soon(drain.aclose)
            await anyio.wait_all_tasks_blocked()
        outer.cancel()
    assert outer.cancelled_caught
    assert passed == []
    assert drain.connections == 0
    assert channel.closes == [(1012, "")]


async def test_native_cancellation_passes(
    channel: Channel, anyio_backend_name: str
) -> None:
    """`task.cancel()` of the server's is its own, also while the drain goes on."""
    if anyio_backend_name != "asyncio":
        pytest.skip("native asyncio cancellation")
    drain = anyws.Drain(timeout=1e6)

    @anyws.endpoint(drain=drain)
    async def handler(ws: anyws.WebSocket) -> None:
        await ws.accept()
        await anyio.sleep_forever()

    task = asyncio.ensure_future(run(handler, channel))
    await anyio.wait_all_tasks_blocked()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(drain.aclose)
        await anyio.wait_all_tasks_blocked()
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert drain.connections == 0


# Those that come too late


@pytest.mark.parametrize("guard", ["endpoint", "middleware", "under another's"])
async def test_a_new_client_is_refused(guard: str) -> None:
    """It gets 503 and when to come again; the application hears nothing of it."""
    drain = anyws.Drain(timeout=2.5)
    await drain.aclose()

    async def never(*args: Any) -> None:
        pytest.fail("called")

    app: ASGIApp = anyws.WebSocketMiddleware(never, drain=drain)
    if guard == "endpoint":
        app = anyws.endpoint(drain=drain)(never)
    elif guard == "under another's":
        app = anyws.WebSocketMiddleware(app)
    with pytest.raises(Rejected) as caught:
        async with connect(app):
            pytest.fail("not reached")

    assert (caught.value.status, caught.value.body) == (503, b"")
    assert caught.value.headers["retry-after"] == "3"
    assert caught.value.headers["content-length"] == "0"
    assert drain.connections == 0


async def test_a_server_without_denial_responses_refuses_too() -> None:
    """Where no 503 can be sent, there is a close before the accept, which is 403."""
    drain = anyws.Drain()
    await drain.aclose()
    with pytest.raises(Rejected) as caught:
        async with connect(echoes(drain, "endpoint"), scope={"extensions": {}}):
            pytest.fail("not reached")
    assert (caught.value.status, caught.value.code) == (403, 1012)


async def test_a_client_that_is_refused_may_have_gone() -> None:
    """A client that left while it waited is no error."""
    drain = anyws.Drain()
    await drain.aclose()
    channel = Channel()
    await channel.receive()
    channel.leave()
    await run(echoes(drain, "endpoint"), channel, **DENIABLE)
    assert channel.sent == []


async def test_other_requests_pass(channel: Channel) -> None:
    """A drain concerns WebSockets; HTTP and lifespan are the application's."""
    drain = anyws.Drain()
    await drain.aclose()
    seen = list[Any]()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["type"])

    await run(anyws.WebSocketMiddleware(app, drain=drain), channel, type="http")
    assert seen == ["http"]


@pytest.mark.parametrize("guarded", ["the host", "inside"])
async def test_one_that_slips_in_is_closed_at_once(
    channel: Channel, guarded: str
) -> None:
    """A connection that a host lets in after the beginning ends with the others."""
    drain = anyws.Drain(timeout=1e6)
    await drain.aclose()
    session = Session(channel.receive, channel.send)
    met = []

    async def app() -> None:
        ws = anyws.WebSocket(
            {**SCOPE, "extensions": {KEY: session}},
            session.receive,
            session.send,
        )
        async with ws:
            with pytest.raises(anyws.ConnectionClosed) as caught:
                await ws.accept()
            met.append(caught.value.code)

    async def accepted() -> None:
        await session.receive()
        await session.send({"type": "websocket.accept"})
        inner = anyws.WebSocketMiddleware(raw, drain=drain)
        scope = {**SCOPE, "extensions": {KEY: session}}
        await inner(scope, session.receive, session.send)

    async def raw(scope: Scope, receive: Receive, send: Send) -> None:
        with pytest.raises(anyws.ConnectionClosed) as caught:
            await send({"type": "websocket.send", "text": "late"})
        met.append(caught.value.code)

    if guarded == "the host":
        await host(session, app, drain)
    else:
        await host(session, accepted)
    assert met == [1012]
    assert channel.closes == [(1012, "")]


async def test_one_that_slips_in_is_waited_for(channel: Channel) -> None:
    """A call of `aclose` waits for those too, though the others ended long ago."""
    drain = anyws.Drain(timeout=1e6)
    finish = anyio.Event()
    returned = []

    async def close() -> None:
        await drain.aclose()
        returned.append(drain.connections)

    async with connect(echoes(drain, "endpoint")):
        await close()
    async with anyio.create_task_group() as tasks:
        session = Session(channel.receive, channel.send)
        tasks.start_soon(host, session, finish.wait, drain)
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(close)
        await anyio.wait_all_tasks_blocked()
        assert returned == [0]
        finish.set()
    assert returned == [0, 0]


async def test_one_that_is_not_accepted_yet_is_rejected(channel: Channel) -> None:
    """A handler that is about to accept finds the connection closed."""
    drain = anyws.Drain()
    go = anyio.Event()

    @anyws.endpoint(drain=drain)
    async def handler(ws: anyws.WebSocket) -> None:
        await go.wait()
        await ws.accept()

    async with serving(handler, channel) as tasks:
        tasks.start_soon(drain.aclose)
        await anyio.wait_all_tasks_blocked()
        assert channel.closes == [(1012, "")]
        go.set()
    assert len(channel.sent) == 1


@pytest.mark.parametrize("whole", [False, True])
async def test_a_denial_response_may_end(channel: Channel, whole: bool) -> None:
    """A drain puts no close behind a denial response that has begun, and waits."""
    drain = anyws.Drain(timeout=1e6)
    go = anyio.Event()

    @anyws.endpoint(drain=drain)
    async def handler(ws: anyws.WebSocket) -> None:
        if whole:
            await ws.send_denial_response(PlainTextResponse("no", 401))
            await go.wait()
            return
        start = {"type": "websocket.http.response.start", "status": 401, "headers": []}
        await ws.send(start)
        await go.wait()
        await ws.send({"type": "websocket.http.response.body", "body": b"no"})

    async with serving(handler, channel, **DENIABLE) as tasks:
        tasks.start_soon(drain.aclose)
        await anyio.wait_all_tasks_blocked()
        assert drain.connections == 1
        go.set()
    assert [event["type"].rpartition(".")[2] for event in channel.sent] == [
        "start",
        "body",
    ]


# Guards inside of others


async def test_one_connection_is_counted_once() -> None:
    """Two guards with one drain have one connection between them."""
    drain = anyws.Drain()
    app = anyws.WebSocketMiddleware(echoes(drain, "endpoint"), drain=drain)
    async with connect(app) as peer:
        assert drain.connections == 1
        await drain.aclose()
        assert drain.connections == 0
    assert peer.close_info == RESTART


@pytest.mark.parametrize("late", [False, True])
async def test_a_drain_inside_of_another_host(late: bool) -> None:
    """It ends the connection and its own part; the host waits for the peer."""
    drain = anyws.Drain(timeout=SOON if late else 1e6)
    order = []

    async def handler(ws: anyws.WebSocket) -> None:
        await ws.accept()
        await (anyio.sleep_forever() if late else ws.receive_text())

    inner = anyws.endpoint(drain=drain)(handler)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await inner(scope, receive, send)
        order.append("what stands between")

    async with connect(anyws.WebSocketMiddleware(app)) as peer:
        assert drain.connections == 1
        await drain.aclose()
        assert peer.close_info == RESTART
    assert order == ["what stands between"]


async def test_two_drains_of_one_connection() -> None:
    """The connection belongs to both, and the first that begins ends it."""
    outer, inner = anyws.Drain(code=1001), anyws.Drain()
    app = anyws.WebSocketMiddleware(echoes(inner, "endpoint"), drain=outer)
    async with connect(app) as peer:
        assert (outer.connections, inner.connections) == (1, 1)
        await outer.aclose()
        await inner.aclose()
    assert peer.close_info == anyws.CloseInfo(1001, "", "peer", True)


# `aclose` itself


async def test_many_may_wait_for_one_drain() -> None:
    """Each call returns when the drain is over, a later one at once."""
    drain = anyws.Drain(timeout=1e6)
    finish = anyio.Event()
    returned = []

    @anyws.endpoint(drain=drain)
    async def handler(ws: anyws.WebSocket) -> None:
        await ws.accept()
        await finish.wait()

    async def close() -> None:
        await drain.aclose()
        returned.append(drain.connections)

    async with anyio.create_task_group() as tasks, connect(handler) as peer:
        tasks.start_soon(close)
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(close)
        await anyio.wait_all_tasks_blocked()
        assert returned == []
        finish.set()
    await close()
    assert returned == [0, 0, 0]
    assert peer.close_info == RESTART


async def test_a_cancelled_aclose_leaves_the_drain_to_itself() -> None:
    """Handlers are cancelled in their time, though nobody waits for them any more."""
    drain = anyws.Drain(timeout=SOON)

    @anyws.endpoint(drain=drain)
    async def handler(ws: anyws.WebSocket) -> None:
        await ws.accept()
        await anyio.sleep_forever()

    async with connect(handler) as peer:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await drain.aclose()
        assert scope.cancelled_caught
        assert (drain.draining, drain.connections) == (True, 1)
        assert await peer.wait_closed() == RESTART
    assert drain.connections == 0


async def test_aclose_is_a_checkpoint_with_nothing_to_do() -> None:
    """Other tasks have their turn, also where there is no connection."""
    drain = anyws.Drain()
    turns = []

    async def other() -> None:
        turns.append(1)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(other)
        for _ in range(10):
            await drain.aclose()
        assert turns == [1]


@pytest.mark.parametrize("timeout", [0, -1, True, "3", None, float("inf")], ids=repr)
def test_a_timeout_is_a_finite_number_of_seconds(timeout: Any) -> None:
    """A drain ends: its time is bounded, and there is some."""
    with pytest.raises(ValueError, match="seconds above 0"):
        anyws.Drain(timeout=timeout)


def test_a_code_that_must_not_be_sent_is_refused() -> None:
    """A drain closes with codes that a closing frame may carry."""
    with pytest.raises(ValueError, match="1006"):
        anyws.Drain(code=1006)
    with pytest.raises(TypeError, match="int"):
        anyws.Drain(code="1012")  # type: ignore[arg-type]  # wrong type


@pytest.mark.parametrize("guard", [anyws.endpoint, anyws.WebSocketMiddleware])
def test_a_guard_takes_a_drain_only(guard: Callable[..., Any]) -> None:
    """Another object is refused when the application is made."""
    with pytest.raises(TypeError, match=r"anyws\.Drain, not int"):
        guard(echo, drain=3)


# A soft drain; its seconds are in test_drain_time.py.


async def test_a_soft_drain_tells_and_lets_a_turn_end() -> None:
    """By a flag and an awaitable; a return closes with the code of the drain."""
    drain = anyws.Drain(soft=True, turn=1e6, spread=0, reason="bye")
    told = []

    @anyws.endpoint(drain=drain)
    async def handler(ws: anyws.WebSocket) -> None:
        await ws.accept()
        assert not ws.draining
        async with anyio.create_task_group() as tasks:

            async def wait() -> None:
                await ws.draining
                await ws.draining
                told.append(bool(ws.draining))

            tasks.start_soon(wait)
            assert await ws.receive_text() == "the turn's last message"
        assert ws.close_info is None

    async with connect(handler) as peer, anyio.create_task_group() as tasks:
        tasks.start_soon(drain.aclose)
        await anyio.wait_all_tasks_blocked()
        assert (drain.draining, drain.connections, told) == (True, 1, [True])
        await peer.send_text("the turn's last message")
        await peer.wait_closed()
    assert peer.close_info == anyws.CloseInfo(1012, "bye", "peer", True)


async def test_a_soft_drain_closes_at_once_who_has_no_turn() -> None:
    """The flag is there for a handler that asks for it only then."""
    drain = anyws.Drain(soft=True, turn=0, spread=0)
    told = []

    @anyws.endpoint(drain=drain)
    async def handler(ws: anyws.WebSocket) -> None:
        await ws.accept()
        with pytest.raises(anyws.ConnectionClosed):
            await ws.receive_text()
        told.append(bool(ws.draining))

    async with connect(handler) as one, connect(handler) as other:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(drain.aclose)
            tasks.start_soon(drain.aclose)
        assert [one.close_info, other.close_info] == [RESTART] * 2
    assert (drain.connections, told) == (0, [True, True])


async def test_a_soft_drain_that_is_cancelled_hurries() -> None:
    """What is open is closed at once."""
    drain = anyws.Drain(soft=True, turn=1e6, spread=1e6)
    app = echoes(drain, "endpoint")
    async with connect(app) as one, connect(app) as other:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(drain.aclose)
            await anyio.wait_all_tasks_blocked()
            await one.send_text("still served")
            assert await one.receive_text() == "still served"
            tasks.cancel_scope.cancel()
        await drain.aclose()
        assert [one.close_info, other.close_info] == [RESTART] * 2


async def test_a_soft_drain_refuses_new_clients(channel: Channel) -> None:
    """At once, and they may come again when it is over at the latest."""
    drain = anyws.Drain(soft=True, turn=20, spread=30, timeout=2.5)
    app = echoes(drain, "endpoint")
    async with connect(app):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(drain.aclose)
            await anyio.wait_all_tasks_blocked()
            await run(app, channel, **DENIABLE)
            tasks.cancel_scope.cancel()
    assert channel.sent[0]["status"] == 503
    assert (b"retry-after", b"53") in channel.sent[0]["headers"]


async def test_a_block_that_joins_during_a_soft_drain_is_told() -> None:
    """Its session is hosted further out, and was accepted before."""
    drain = anyws.Drain(soft=True, turn=1e6, spread=0)
    joins, told = anyio.Event(), []

    @anyws.endpoint(drain=drain)
    async def inner(ws: anyws.WebSocket) -> None:
        told.append(bool(ws.draining))

    async def outer(scope: Scope, receive: Receive, send: Send) -> None:
        async with anyws.WebSocket(scope, receive, send) as ws:
            await ws.accept()
            await joins.wait()
            await inner(scope, receive, send)

    async with connect(echoes(drain, "endpoint")):
        async with connect(anyws.WebSocketMiddleware(outer)) as peer:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(drain.aclose)
                await anyio.wait_all_tasks_blocked()
                joins.set()
                await peer.wait_closed()
                tasks.cancel_scope.cancel()
    assert told == [True]
    assert peer.close_info == RESTART


def test_seconds_of_a_soft_drain_are_checked() -> None:
    """Zero is allowed, infinity is not."""
    anyws.Drain(soft=True, turn=0, spread=0)
    for wrong in (-1, float("inf"), "1", True):
        seconds: Any = wrong
        with pytest.raises(ValueError, match="turn must be"):
            anyws.Drain(turn=seconds)
        with pytest.raises(ValueError, match="spread must be"):
            anyws.Drain(spread=seconds)


async def test_a_plain_websocket_knows_of_no_drain(channel: Channel) -> None:
    """It has no session to be told by."""
    ws = anyws.WebSocket(dict(SCOPE), channel.receive, channel.send)
    with pytest.raises(RuntimeError, match="draining needs the guarded mode"):
        assert ws.draining
