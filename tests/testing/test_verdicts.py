"""What a test is told when more than one thing has gone wrong."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket as PlainWebSocket
from starlette.websockets import WebSocketDisconnect
from trio.testing import MockClock

import anyws
from anyws.testing import (
    ApplicationStillRunning,
    DeadlineExceeded,
    Rejected,
    connect,
)

from .test_connect import ACCEPT, Boom, Raw, deaf, silent


async def plain(ws: PlainWebSocket) -> None:
    """Receive, as in the tutorials: without a thought of the end."""
    await ws.accept()
    while True:
        await ws.receive_text()


async def reject(ws: PlainWebSocket) -> None:
    """Say no."""
    await ws.close(4003, "not you")


PLAIN = Starlette(
    routes=[WebSocketRoute("/ws", plain), WebSocketRoute("/reject", reject)]
)


@Raw
async def failing(receive: Any, send: Any, saw: list[Any]) -> None:
    """Accept; fail when a message comes."""
    await send(ACCEPT)
    await receive()
    raise Boom


@Raw
async def failing_cleanup(receive: Any, send: Any, saw: list[Any]) -> None:
    """Accept; fail when cancelled."""
    await send(ACCEPT)
    try:
        await anyio.sleep_forever()
    finally:
        raise Boom("in the cleanup")


# What an application raises because its peer has left


async def test_a_failed_assertion_is_told_alone() -> None:
    """That the handler did not catch the disconnect is no news then."""
    with pytest.raises(ZeroDivisionError) as caught:
        async with connect(PLAIN):
            raise ZeroDivisionError
    assert not hasattr(caught.value, "__notes__")


async def test_a_disconnect_that_is_let_out_says_what_it_is() -> None:
    """It is the application's error, as under a server; a note explains it."""
    with pytest.raises(WebSocketDisconnect) as caught:
        async with connect(PLAIN):
            pass
    assert "log a traceback" in caught.value.__notes__[0]


async def test_a_failing_peer_does_not_blame_another_application() -> None:
    """What a second peer meets is its own."""
    with pytest.raises(Rejected) as caught:
        async with connect(PLAIN), connect(PLAIN, "/reject"):
            pytest.fail("not reached")
    assert (caught.value.code, caught.value.reason) == (4003, "not you")


async def test_a_failing_client_does_not_blame_an_application() -> None:
    """A handshake inside the block that fails is not that of the block's peer."""
    with pytest.raises(anyws.HandshakeError, match="refused"):
        async with connect(PLAIN), anyws.connect("ws://127.0.0.1:9/"):
            pytest.fail("not reached")


class TestInVirtualTime:
    """By trio's clock that jumps."""

    @pytest.fixture
    def anyio_backend(self) -> tuple[str, dict[str, object]]:
        """Run on trio alone."""
        return "trio", {"clock": MockClock(autojump_threshold=0)}

    async def test_a_deadline_is_not_hidden_by_what_it_causes(self) -> None:
        """A plain handler raises once its peer has given up."""
        with pytest.raises(DeadlineExceeded, match="no message within") as caught:
            async with connect(PLAIN) as ws:
                await ws.receive_text()
        assert not hasattr(caught.value, "__notes__")

    async def test_a_deadline_of_another_peer_is_told(self) -> None:
        """And not what the handler of the outer one makes of the end."""
        with pytest.raises(DeadlineExceeded, match="no message within 7 s"):
            async with connect(PLAIN), connect(silent, deadline=7) as ws:
                await ws.receive_text()

    async def test_a_deadline_is_caused_by_an_application_that_had_failed(self) -> None:
        """For that the test may have waited in vain."""
        with pytest.raises(Boom) as caught:
            async with connect(failing) as ws, connect(silent, deadline=3) as other:
                await ws.send_text("fail")
                await other.receive_text()
        assert isinstance(caught.value.__context__, DeadlineExceeded)

    async def test_an_application_that_fails_ends_a_block_that_waits(self) -> None:
        """For whatever it waits, the error comes out after the deadline."""
        began = anyio.current_time()
        with pytest.raises(Boom):
            async with connect(failing, deadline=7) as ws:
                await ws.send_text("fail")
                await anyio.sleep_forever()
        assert anyio.current_time() - began == 7

    async def test_what_is_raised_in_the_cleanup_is_a_note(self) -> None:
        """That the application had to be cancelled goes first."""
        with pytest.raises(ApplicationStillRunning) as caught:
            async with connect(failing_cleanup):
                pass
        assert caught.value.__notes__ == ["besides, Boom: in the cleanup"]


# A test that is cancelled


async def test_a_failure_is_not_lost_in_a_cancellation() -> None:
    """As in any task group, an error goes before the cancellation."""
    with pytest.raises(Boom):
        with anyio.CancelScope() as scope:
            async with connect(failing) as ws:
                await ws.send_text("fail")
                assert (await ws.wait_closed()).code == 1011
                scope.cancel()
                await anyio.sleep_forever()


async def test_a_failing_cleanup_is_not_lost_in_a_cancellation() -> None:
    """What the application raises when it is cancelled comes out."""
    with pytest.raises(Boom):
        with anyio.CancelScope() as scope:
            async with connect(failing_cleanup):
                scope.cancel()
                await anyio.sleep_forever()


async def test_a_failed_assertion_is_not_lost_in_a_cancellation() -> None:
    """It is raised although the application is still waited for."""
    with pytest.raises(ZeroDivisionError):
        with anyio.CancelScope() as scope:
            async with connect(deaf):
                scope.deadline = anyio.current_time() + 0.01
                raise ZeroDivisionError


# A rejection


async def test_a_rejection_says_what_the_application_said() -> None:
    """The code and the reason, which no client sees, are in the words."""
    with pytest.raises(Rejected, match=r"403 Forbidden \(closed .* 4003 'not you'\)"):
        async with connect(PLAIN, "/reject"):
            pytest.fail("not reached")


async def test_a_rejection_for_want_of_an_answer_says_so() -> None:
    """A 500 alone would be looked for in the application."""

    @Raw
    async def app(receive: Any, send: Any, saw: list[Any]) -> None:
        return

    with pytest.raises(Rejected) as caught:
        async with connect(app):
            pytest.fail("not reached")
    notes = caught.value.__notes__
    assert notes == ["the application has returned without an answer"]
