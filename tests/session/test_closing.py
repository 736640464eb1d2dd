"""How a connection over our frames ends, and how long that may take."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from trio.testing import MockClock

import anyws

from ..support.wired import (
    CLOSE,
    TEXT,
    WiredChannel,
    accept,
    close_payload,
    closing,
    frame,
    framed,
    session_of,
)

MESSAGES = [f"m{number}" for number in range(1000)]


@pytest.fixture
async def channel() -> WiredChannel:
    """Return a fresh channel."""
    return WiredChannel()


async def test_a_message_that_the_wire_refused(channel: WiredChannel) -> None:
    """Receives and sends say that it was too big, and so does the closing frame."""
    channel.limit = 10
    async with channel.websocket() as ws:
        await ws.accept()
        channel.arrive("good", "x" * 11)
        assert await ws.receive_text() == "good"
        with pytest.raises(anyws.MessageTooBig):
            await ws.receive_text()
        with pytest.raises(anyws.MessageTooBig):
            await ws.send_text("late")
        assert channel.wire.violated
        assert ws.close_info is not None
        assert ws.close_info.clean is False
        await anyio.wait_all_tasks_blocked()
    [(opcode, payload)] = channel.frames
    assert (opcode, payload[:2]) == (CLOSE, close_payload(1009))


async def test_a_peer_that_finds_our_message_too_big(channel: WiredChannel) -> None:
    """1009 from the peer is the peer's own limit, and not ours."""
    async with channel.websocket() as ws:
        await ws.accept()
        channel.leave(1009, "too big for me")
        with pytest.raises(anyws.ConnectionClosed, match="1009") as caught:
            await ws.receive_text()
        assert not isinstance(caught.value, anyws.MessageTooBig)
        assert caught.value.info.initiator == "peer"


@pytest.mark.parametrize(
    ("ending", "clean"),
    [(closing(1000), True), (closing(None), True), (frame(3), False), (b"", False)],
    ids=["an answer", "an empty answer", "a violation", "nothing"],
)
async def test_our_close_knows_whether_it_was_clean(
    channel: WiredChannel, ending: bytes, clean: bool
) -> None:
    """`clean` is known once the closing handshake is over, and nothing else changes."""
    channel.answers = False
    async with channel.websocket() as ws:
        await ws.accept()
        await ws.close(4000, "bye")
        assert ws.close_info == anyws.CloseInfo(4000, "bye", "local", None)
        channel.read(ending)

        info = await ws.wait_closed()
        assert info == anyws.CloseInfo(4000, "bye", "local", clean)


@pytest.mark.parametrize("ending", [frame(3), frame(TEXT, b"\xff")], ids=repr)
async def test_a_violation_ends_the_connection(
    channel: WiredChannel, ending: bytes
) -> None:
    """What came before is delivered; then it is the peer's fault and never clean."""
    async with channel.websocket() as ws:
        await ws.accept()
        channel.read(framed("before") + ending + framed("behind"))
        assert await ws.receive_text() == "before"
        with pytest.raises(anyws.ConnectionClosed) as caught:
            await ws.receive_text()

        assert caught.value.info.initiator == "local"
        assert caught.value.info.clean is False
        assert channel.wire.violated
        assert channel.ends == 1


@pytest.mark.parametrize(
    ("ending", "code"), [(closing(4001), 4001), (frame(3), 1002)], ids=repr
)
async def test_leaving_at_once_cuts_no_closing_frame(
    channel: WiredChannel, ending: bytes, code: int
) -> None:
    """The peer is answered, though the block is left in the turn of the end."""
    async with channel.websocket() as ws:
        await ws.accept()
        channel.read(ending)
        with pytest.raises(anyws.ConnectionClosed):
            await ws.receive_text()
    await channel.wire.flush()

    assert channel.torn == []
    [(opcode, payload)] = channel.frames
    assert (opcode, payload[:2]) == (CLOSE, close_payload(code))


async def test_a_peer_that_leaves_in_order_violates_nothing(
    channel: WiredChannel,
) -> None:
    """`violated` is for whoever broke the rules."""
    assert not channel.wire.violated
    async with channel.websocket() as ws:
        await ws.accept()
        assert not channel.wire.violated
        channel.leave(1001)
        assert not channel.wire.violated


async def test_nothing_is_read_behind_the_end(channel: WiredChannel) -> None:
    """What comes behind the peer's close is neither kept nor told."""
    async with channel.websocket() as ws:
        await ws.accept()
        channel.read(closing(1000), framed(*MESSAGES), closing(4000), b"")

        assert channel.unread == 0
        assert channel.ends == 1
        with pytest.raises(anyws.ConnectionClosed, match="1000"):
            await ws.receive_text()


async def test_the_end_ends_the_pause(channel: WiredChannel) -> None:
    """A reader that waits for room is not needed any more once the peer has closed."""
    async with channel.websocket(receive_buffer=1) as ws:
        await ws.accept()
        channel.read(framed(*MESSAGES) + closing(1000))

        assert not channel.wire.paused
        assert (await ws.wait_closed()).code == 1000
        assert [await ws.receive_text() for _ in MESSAGES] == MESSAGES


@pytest.mark.parametrize("state", ["accepted", "accepting", "denied", "closed"])
async def test_closing_by_a_rule(channel: WiredChannel, state: str) -> None:
    """Whoever makes the channel may close it, where a closing frame may be sent."""
    async with session_of(channel) as session:
        if state in ("accepted", "closed"):
            await accept(session)
        if state == "denied":
            await session.send(
                {"type": "websocket.http.response.start", "status": 401, "headers": []}
            )
        if state == "closed":
            await session.send({"type": "websocket.close", "code": 4000})
        by = anyio.current_time() + 100
        session.close_by_rule(1012, "restart", by=by)
        session.close_by_rule(1013, "again", by=by)
        expected = {"denied": None, "closed": 4000}.get(state, 1012)
        assert (session.info and session.info.code) == expected
        if state == "accepted":
            with pytest.raises(anyws.ConnectionClosed, match="1012 'restart'"):
                await session.send({"type": "websocket.send", "text": "late"})
            assert session.broken
            assert not session.closed_by_user
    assert [code for code, _ in channel.closes] == ([expected] if expected else [])


class TestTime:
    """Deadlines, on trio, where time passes at once."""

    @pytest.fixture(scope="class")
    @classmethod
    def anyio_backend(cls) -> Any:
        """Run in virtual time."""
        return "trio", {"clock": MockClock(autojump_threshold=0)}

    async def test_a_loss_is_told_though_messages_are_unread(
        self, channel: WiredChannel
    ) -> None:
        """After a failed write, unread messages delay `wait_closed` but little."""
        async with channel.websocket(receive_buffer=1) as ws:
            await ws.accept()
            channel.error = OSError()
            await ws.send_text("lost")
            await anyio.wait_all_tasks_blocked()
            channel.arrive(*"abc")
            with anyio.fail_after(5):
                assert (await ws.wait_closed()).code == 1006
            assert [await ws.receive_text() for _ in range(3)] == [*"abc"]

    @pytest.mark.parametrize(("given", "waited"), [(3, 3), (100, 5)])
    async def test_closing_by_a_rule_has_a_time_of_its_own(
        self, channel: WiredChannel, given: float, waited: float
    ) -> None:
        """The answer is waited for until then, and never beyond `close_timeout`."""
        channel.answers = False
        async with session_of(channel, close_timeout=5) as session:
            await accept(session)
            start = anyio.current_time()
            session.close_by_rule(1012, "restart", by=start + given)
            assert (await session.receive())["code"] == 1012
            info = await session.wait_closed()
            assert info == anyws.CloseInfo(1012, "restart", "local", False)
            assert round(anyio.current_time() - start, 1) == waited

    async def test_leaving_waits_for_the_answer_within_close_timeout(
        self, channel: WiredChannel
    ) -> None:
        """A peer that floods instead of answering is not waited for any longer."""
        channel.answers = False

        async def flood() -> None:
            while True:
                await anyio.sleep(0.01)
                channel.arrive("more")

        async with anyio.create_task_group() as tasks:
            async with channel.websocket(close_timeout=5) as ws:
                await ws.accept()
                tasks.start_soon(flood)
                start = anyio.current_time()
            assert round(anyio.current_time() - start, 1) == 5
            tasks.cancel_scope.cancel()
        assert ws.close_info == anyws.CloseInfo(1000, "", "local", False)
