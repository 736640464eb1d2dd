"""Where the law meets a busy loop, a failing server and the backends' own tools."""

from __future__ import annotations

import gc
import time
import weakref
from typing import Any

import anyio
import fastapi
import pytest
from anyio.lowlevel import checkpoint
from fastapi import Depends, FastAPI, WebSocketException

import anyws
from anyws.testing import Rejected, connect

from ..support.channels import Channel
from ..support.wired import CHANNELS, asgi_only


@pytest.fixture(params=CHANNELS)
async def channel(request: pytest.FixtureRequest) -> Channel:
    """Return a fresh channel."""
    make: type[Channel] = request.param
    return make()


async def test_a_held_up_loop_is_not_an_idle_peer(channel: Channel) -> None:
    """What came in while the loop stood still is received, not timed out."""
    async with channel.websocket(idle_timeout=0.05) as ws:
        await ws.accept()
        await checkpoint()
        time.sleep(0.1)  # noqa: ASYNC251 - a handler that blocks
        channel.arrive("in time")

        assert await ws.receive_text() == "in time"


@asgi_only("it is Granian's receive")
async def test_a_receive_is_not_cut_short_while_messages_come(channel: Channel) -> None:
    """`idle_timeout` leaves the receive alone: Granian's would lose messages."""
    async with channel.websocket(idle_timeout=60) as ws:
        await ws.accept()
        for _ in range(20):
            await anyio.wait_all_tasks_blocked()
            channel.arrive("x")
            await ws.receive_text()

        assert channel.receives_cut == 1  # the one that is pending


@pytest.mark.parametrize("waiter", ["receive_text", "wait_closed"])
async def test_waiters_wake_soon_after_a_failed_send(
    channel: Channel, waiter: str
) -> None:
    """A channel that failed has little time to tell why."""
    async with channel.websocket(close_timeout=1000) as ws:
        await ws.accept()
        channel.error = OSError("gone")
        await ws.send_text("x")
        with anyio.fail_after(5):
            if waiter == "wait_closed":
                assert (await ws.wait_closed()).code == 1006
            else:
                with pytest.raises(anyws.ConnectionClosed):
                    await ws.receive_text()


@asgi_only("the peer's close would be seen at once")
async def test_what_came_before_a_failed_send_stays_readable(channel: Channel) -> None:
    """A full buffer holds back what came; it is not lost for a failed send."""
    async with channel.websocket(receive_buffer=2, close_timeout=0.1) as ws:
        await ws.accept()
        channel.arrive(*"abcdef")
        channel.leave(4001)
        await anyio.wait_all_tasks_blocked()
        channel.error = OSError("gone")
        await ws.send_text("x")
        await anyio.sleep(0.3)
        with anyio.fail_after(5):
            assert (await ws.wait_closed()).code == 1006  # as far as can be known

        assert [await ws.receive_text() for _ in range(6)] == [*"abcdef"]
        with pytest.raises(anyws.ConnectionClosed, match="4001"):
            await ws.receive_text()


async def test_iteration_raises_what_a_rule_has_ended(channel: Channel) -> None:
    """`async for` does not hide that a message was too big."""
    received = []
    async with channel.websocket(max_message_bytes=3) as ws:
        await ws.accept()
        channel.arrive("ok", "too big")
        with pytest.raises(anyws.MessageTooBig):
            async for message in ws:
                received.append(message)  # noqa: PERF401 - it raises
        with pytest.raises(anyio.BrokenResourceError):
            await ws.messages.receive()
    assert received == ["ok"]


async def test_a_cancelled_native_group_is_a_cancellation(
    channel: Channel, anyio_backend_name: str
) -> None:
    """Trio's nurseries raise cancellations in a group: 1012 all the same."""
    if anyio_backend_name != "trio":
        pytest.skip("trio's own nurseries")
    import trio

    with trio.CancelScope() as scope:
        async with channel.websocket() as ws:
            await ws.accept()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ws.receive_text)
                nursery.start_soon(trio.sleep_forever)
                await anyio.wait_all_tasks_blocked()
                scope.cancel()
    assert scope.cancelled_caught
    assert channel.closes == [(1012, "")]


@pytest.mark.parametrize(
    ("payload", "mode"),
    [("1" * 5000, "text"), ("[" * 200_000, "text"), (b"\xff" * 1000, "binary")],
    ids=["too long a number", "too deep", "not UTF-8"],
)
async def test_whatever_is_wrong_with_json_is_one_error(
    channel: Channel, payload: str | bytes, mode: str
) -> None:
    """Every way in which a peer can spoil JSON is a MessageDecodeError."""
    async with channel.websocket() as ws:
        await ws.accept()
        channel.arrive(payload, "1")
        with pytest.raises(anyws.MessageDecodeError) as caught:
            await ws.receive_json(mode)

        assert len(str(caught.value)) < 200
        assert await ws.receive_json() == 1


async def test_nothing_is_left_to_the_garbage_collector(channel: Channel) -> None:
    """A connection that ended in `cancel_on_disconnect` is freed at once."""

    async def handle() -> weakref.ref[anyws.WebSocket]:
        async with channel.websocket() as ws:
            await ws.accept()
            channel.leave()
            try:
                with ws.cancel_on_disconnect():
                    await anyio.sleep_forever()
            except anyws.ConnectionClosed:
                pass
            return weakref.ref(ws)

    gc.collect()
    gc.disable()
    try:
        websocket = await handle()
        await checkpoint()
        assert websocket() is None
    finally:
        gc.enable()


@pytest.mark.parametrize(
    "make",
    [
        lambda: anyws.endpoint(anyws.Options()),  # type: ignore[call-overload]  # wrong
        lambda: anyws.endpoint(options={"idle_timeout": 1})(print),  # type: ignore[call-overload]  # wrong
        lambda: anyws.WebSocketMiddleware(FastAPI(), {"x": 1}),  # type: ignore[arg-type]  # wrong
        lambda: Channel().websocket(idle_timeout=True),
    ],
    ids=["a handler", "an endpoint", "a middleware", "a number"],
)
async def test_bad_arguments(make: Any) -> None:
    """What is no handler, no Options or no number is refused where it is given."""
    with pytest.raises(
        (TypeError, ValueError), match=r"Options|async function|seconds"
    ):
        make()


def fastapi_application() -> FastAPI:
    """Return the README's FastAPI application."""
    app = FastAPI()
    app.add_middleware(anyws.WebSocketMiddleware)

    async def guarded(websocket: fastapi.WebSocket) -> Any:
        receive, send = websocket.receive, websocket.send
        async with anyws.WebSocket(websocket.scope, receive, send) as ws:
            yield ws

    @app.websocket("/{when}")
    async def handler(
        when: str,
        ws: anyws.WebSocket = Depends(guarded),  # noqa: B008 - FastAPI's way, for locals
    ) -> None:
        if when == "early":
            raise WebSocketException(3000, "early")
        await ws.accept()
        async for message in ws:
            if message == "raise":
                raise WebSocketException(3000, "late")
            await ws.send_message(message)

    return app


async def test_the_fastapi_dependency_of_the_readme() -> None:
    """It echoes, and a WebSocketException is a close and no error of the server's."""
    app = fastapi_application()
    async with connect(app, "/late") as peer:
        await peer.send_text("hello")
        assert await peer.receive_text() == "hello"
        await peer.send_text("raise")
        info = await peer.wait_closed()
    assert info == anyws.CloseInfo(3000, "late", "peer", True)
    with pytest.raises(Rejected) as caught:
        async with connect(app, "/early"):
            pytest.fail("not reached")
    assert (caught.value.code, caught.value.reason) == (3000, "early")
