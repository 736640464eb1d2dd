"""Messages in parts: sent and received by a client, as fragments."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import wait_all_tasks_blocked
from anyio.abc import TaskGroup

import anyws
from anyws._session.queue import AHEAD_BYTES, AHEAD_MESSAGES

from ..support.ends import RawServer, raw
from ..support.wired import BINARY, CONT, PING, PONG, TEXT, closing, frame


@asynccontextmanager
async def connected(
    **options: Any,
) -> AsyncIterator[tuple[anyws.ClientWebSocket, RawServer, TaskGroup]]:
    """Give both ends of a connection, and tasks beside the client's block."""
    async with (
        anyio.create_task_group() as tasks,
        raw("tcp", Path(), **options) as (ws, server),
    ):
        yield ws, server, tasks


def part(opcode: int, payload: str | bytes, *, fin: bool = False) -> bytes:
    """Return a server's fragment."""
    return frame(opcode, payload, fin=fin, mask=None)


class TestSending:
    """`send_stream`."""

    @pytest.mark.parametrize(
        ("kind", "opcode", "parts"),
        [("text", TEXT, ["grüß", "dich"]), ("binary", BINARY, [b"a", b"\x00b"])],
    )
    async def test_parts_are_fragments(
        self, kind: Any, opcode: int, parts: list[Any]
    ) -> None:
        """Each part is a fragment; leaving the block ends the message."""
        async with connected() as (ws, server, tasks):
            async with ws.send_stream(kind) as out:
                for item in parts:
                    await out.send(item)
            await ws.send_text("next")
            payloads = [
                item.encode() if isinstance(item, str) else item for item in parts
            ]
            assert await server.receive_fragment() == (opcode, False, payloads[0])
            assert await server.receive_fragment() == (CONT, False, payloads[1])
            assert await server.receive_fragment() == (CONT, True, b"")
            assert await server.receive_fragment() == (TEXT, True, b"next")
            await wait_all_tasks_blocked()
            assert ws.statistics().messages_sent == 2
            assert ws.statistics().bytes_sent == sum(map(len, payloads)) + 4
            tasks.start_soon(server.answer_close)

    async def test_messages_that_wait_go_first(self) -> None:
        """What is queued when a message in parts begins is sent before it."""
        async with connected() as (ws, server, tasks):
            for payload in ("1", "2", "3"):
                ws.send_nowait(payload)
            async with ws.send_stream("text") as out:
                await out.send("4")
            ws.send_nowait("5")
            for payload in ("1", "2", "3"):
                whole = (TEXT, True, payload.encode())
                assert await server.receive_fragment() == whole
            assert await server.receive_fragment() == (TEXT, False, b"4")
            assert await server.receive_fragment() == (CONT, True, b"")
            assert await server.receive_fragment() == (TEXT, True, b"5")
            tasks.start_soon(server.answer_close)

    async def test_a_block_without_parts_is_an_empty_message(self) -> None:
        """What was announced is sent, even if it is nothing."""
        async with connected() as (ws, server, tasks):
            async with ws.send_stream("binary"):
                pass
            assert await server.receive_fragment() == (BINARY, True, b"")
            tasks.start_soon(server.answer_close)

    async def test_other_senders_wait(self) -> None:
        """Nothing comes between the fragments but answers to pings."""
        async with connected() as (ws, server, tasks):
            async with ws.send_stream("text") as out:
                await out.send("a")
                tasks.start_soon(ws.send_text, "later")
                await wait_all_tasks_blocked()
                with pytest.raises(anyio.WouldBlock):
                    ws.send_nowait("now")
                await server.send(frame(PING, b"!", mask=None))
                assert await server.receive_fragment() == (TEXT, False, b"a")
                assert await server.receive_fragment() == (PONG, True, b"!")
                await out.send("b")
            assert await server.receive_fragment() == (CONT, False, b"b")
            assert await server.receive_fragment() == (CONT, True, b"")
            assert await server.receive_fragment() == (TEXT, True, b"later")
            tasks.start_soon(server.answer_close)

    async def test_one_message_after_another(self) -> None:
        """A second block waits for the first."""
        async with connected() as (ws, server, tasks):

            async def second() -> None:
                async with ws.send_stream("text") as other:
                    await other.send("2")

            async with ws.send_stream("text") as out:
                tasks.start_soon(second)
                await wait_all_tasks_blocked()
                await out.send("1")
            frames = [await server.receive_fragment() for _ in range(4)]
            assert [payload for _, _, payload in filter(None, frames)] == [
                b"1",
                b"",
                b"2",
                b"",
            ]
            tasks.start_soon(server.answer_close)

    async def test_a_message_cut_short_closes(self) -> None:
        """A cancelled block has begun a message that is never whole: 1011."""
        async with connected() as (ws, server, _):
            with anyio.CancelScope() as scope:
                async with ws.send_stream("text") as out:
                    await out.send("begun")
                    scope.cancel()
                    await anyio.sleep_forever()
            assert scope.cancelled_caught
            with pytest.raises(anyws.ConnectionClosed):
                await ws.send_text("more")
            assert await server.receive_fragment() == (TEXT, False, b"begun")
            assert await server.answer_close() == (1011, "a message was cut short")
            assert (await ws.wait_closed()).code == 1011

    async def test_a_message_not_begun_is_none(self) -> None:
        """An exception before the first part leaves the connection as it was."""
        async with connected() as (ws, server, tasks):
            with pytest.raises(TypeError, match="text message has no parts"):
                async with ws.send_stream("text") as out:
                    await out.send(b"bytes")
            await ws.send_text("fine")
            assert await server.receive_fragment() == (TEXT, True, b"fine")
            tasks.start_soon(server.answer_close)

    async def test_waiters_learn_of_the_end(self) -> None:
        """Who waits for the block to end does not wait for more than the connection."""
        async with connected() as (ws, server, tasks):
            errors: list[anyws.ConnectionClosed] = []

            async def send() -> None:
                with pytest.raises(anyws.ConnectionClosed) as caught:
                    await ws.send_text("never")
                errors.append(caught.value)

            with pytest.raises(anyws.ConnectionClosed) as caught:
                async with ws.send_stream("text") as out:
                    tasks.start_soon(send)
                    await server.send(closing(4001, "bye", mask=None))
                    await ws.wait_closed()
                    await wait_all_tasks_blocked()
                    assert [error.code for error in errors] == [4001]
                    await out.send("never")
            assert caught.value.reason == "bye"

    async def test_a_stalled_peer_can_be_timed_out(self) -> None:
        """A part that the peer does not read waits, and can be cancelled."""
        async with connected(close_timeout=0.1) as (ws, _, _):
            with anyio.move_on_after(0.2) as scope:
                async with ws.send_stream("binary") as out:
                    while True:
                        await out.send(bytes(2**20))
            assert scope.cancelled_caught
            assert (await ws.wait_closed()).code == 1011

    async def test_a_kind_that_is_none(self) -> None:
        """There are text and binary messages."""
        async with connected() as (ws, server, tasks):
            with pytest.raises(ValueError, match="'text' or 'binary'"):
                ws.send_stream("json")  # type: ignore[arg-type]  # that is the test
            tasks.start_soon(server.answer_close)


async def collected(ws: anyws.ClientWebSocket) -> list[str | bytes]:
    """Receive a message in its parts."""
    async with ws.receive_stream() as message:
        return [item async for item in message]


class TestReceiving:
    """`receive_stream`."""

    async def test_parts_come_as_they_are_sent(self) -> None:
        """A part can be read before the next one is sent."""
        async with connected() as (ws, server, tasks):
            await server.send(part(TEXT, "gr\u00fc".encode()[:3]))
            async with ws.receive_stream() as message:
                assert message.kind == "text"
                assert await anext(message) == "gr"
                await server.send(part(CONT, "\u00fc".encode()[1:] + b"\xc3"))
                assert await anext(message) == "\u00fc"
                await server.send(part(CONT, b""), part(CONT, b"\x9f", fin=True))
                assert await anext(message) == "\u00df"
                with pytest.raises(StopAsyncIteration):
                    await anext(message)
            await server.send(part(BINARY, b"whole", fin=True))
            assert await ws.receive_bytes() == b"whole"
            statistics = ws.statistics()
            assert (statistics.messages_received, statistics.bytes_received) == (2, 11)
            tasks.start_soon(server.answer_close)

    async def test_whole_messages_are_one_part(self) -> None:
        """What has come whole comes in its order, as one part."""
        async with connected() as (ws, server, tasks):
            await server.send(
                *(part(TEXT, "one", fin=True), part(BINARY, b"two", fin=True)),
                *(part(TEXT, "th"), part(CONT, "ree", fin=True)),
            )
            await wait_all_tasks_blocked()
            assert await collected(ws) == ["one"]
            assert await collected(ws) == [b"two"]
            assert await collected(ws) == ["three"]
            await server.send(part(TEXT, "", fin=True))
            assert await collected(ws) == []
            tasks.start_soon(server.answer_close)

    async def test_a_message_may_be_larger_than_the_limit(self) -> None:
        """Its parts are bounded, and how many of them are kept."""
        async with connected(max_message_bytes=2000) as (ws, server, tasks):
            flooded = anyio.Event()

            async def flood() -> None:
                await server.send(part(BINARY, b""))
                for _ in range(5000):
                    await server.send(part(CONT, bytes(1000)))
                await server.send(part(CONT, bytes(1000), fin=True))
                flooded.set()

            tasks.start_soon(flood)
            total = 0
            async with ws.receive_stream() as message:
                async for item in message:
                    total += len(item)
                    held = ws.statistics().receive_queued_bytes
                    assert held <= AHEAD_BYTES
            assert total == 5_001_000
            await flooded.wait()
            await server.send(part(BINARY, bytes(1500)), part(CONT, bytes(1500)))
            with pytest.raises(anyws.MessageTooBig):
                await ws.receive_bytes()
            code, _ = await server.answer_close()
            assert code == 1009

    async def test_a_part_over_the_limit_is_refused(self) -> None:
        """Each frame is bounded."""
        async with connected(max_message_bytes=1000) as (ws, server, _):
            await server.send(part(BINARY, b"1"))
            with pytest.raises(anyws.MessageTooBig):
                async with ws.receive_stream() as message:
                    await server.send(part(CONT, bytes(1001)))
                    async for _ in message:
                        pass
            code, _ = await server.answer_close()
            assert code == 1009

    @pytest.mark.parametrize("how", ["break", "raise", "cancel"])
    async def test_what_is_not_read_is_dropped(self, how: str) -> None:
        """Leaving early drops the rest, that which has come and that which will."""
        async with connected() as (ws, server, tasks):
            await server.send(part(TEXT, "1"))
            with anyio.CancelScope() as scope:
                try:
                    async with ws.receive_stream() as message:
                        await server.send(part(CONT, "2"), part(CONT, "3"))
                        assert await anext(message) == "1"
                        await wait_all_tasks_blocked()
                        if how == "raise":
                            raise KeyError
                        if how == "cancel":
                            scope.cancel()
                            await anyio.sleep_forever()
                except KeyError:
                    pass
            await server.send(part(CONT, "4"), part(CONT, "5", fin=True))
            await server.send(part(TEXT, "next", fin=True))
            assert await ws.receive_text() == "next"
            assert ws.statistics().messages_received <= 2
            tasks.start_soon(server.answer_close)

    async def test_a_cancelled_wait_loses_nothing(self) -> None:
        """Waiting for a message to begin, or for its next part, can be cut short."""
        async with connected() as (ws, server, tasks):
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as waiting:
                    waiting.start_soon(collected, ws)
                    await wait_all_tasks_blocked()
                    scope.cancel()
            await server.send(part(TEXT, "a"))
            async with ws.receive_stream() as message:
                assert await anext(message) == "a"
                for _ in range(10):
                    with anyio.CancelScope(deadline=-1):
                        await anext(message)
                await server.send(part(CONT, "b", fin=True))
                assert [item async for item in message] == ["b"]
            tasks.start_soon(server.answer_close)

    async def test_nobody_else_receives(self) -> None:
        """One receiver, for the whole block."""
        async with connected() as (ws, server, tasks):
            await server.send(part(TEXT, "a"))
            async with ws.receive_stream():
                with pytest.raises(anyio.BusyResourceError):
                    await ws.receive_text()
                with pytest.raises(anyio.BusyResourceError):
                    await collected(ws)
            tasks.start_soon(server.answer_close)

    @pytest.mark.parametrize("rule", ["drop_oldest", "close"])
    async def test_no_rule_tears_a_message(self, rule: Any) -> None:
        """A full buffer holds parts back, whatever is done with whole messages."""
        options = {"receive_buffer": 2, "receive_overflow": rule}
        async with connected(**options) as (ws, server, tasks):
            await server.send(part(BINARY, b"\x00"))
            async with ws.receive_stream() as message:
                await server.send(*(part(CONT, bytes([n])) for n in range(1, 100)))
                await wait_all_tasks_blocked()
                await server.send(part(CONT, b"\xff", fin=True))
                parts = [item async for item in message]
            assert parts == [*(bytes([n]) for n in range(100)), b"\xff"]
            tasks.start_soon(server.answer_close)

    async def test_no_block_that_ends_with_the_connection_tears_a_message(self) -> None:
        """There, too, parts that nothing reads stop the reading, and none is lost."""
        parts = [b"%d," % number for number in range(3 * AHEAD_MESSAGES)]
        async with connected(receive_buffer=2) as (ws, server, tasks):
            await server.send(part(BINARY, b""))
            with ws.cancel_on_disconnect():
                async with ws.receive_stream() as message:
                    for item in parts:
                        await server.send(part(CONT, item))
                        await wait_all_tasks_blocked()
                    await server.send(part(CONT, b"", fin=True))
                    assert [item async for item in message] == parts
            assert ws.statistics().receive_dropped == 0
            tasks.start_soon(server.answer_close)

    async def test_the_end_comes_after_the_parts(self) -> None:
        """What came before the end can be read; then the end is told."""
        async with connected() as (ws, server, _):
            await server.send(part(TEXT, "a"))
            with pytest.raises(anyws.ConnectionClosed):
                async with ws.receive_stream() as message:
                    await server.send(part(CONT, "b"))
                    await wait_all_tasks_blocked()
                    await server.stream.aclose()
                    await ws.wait_closed()
                    assert await anext(message) == "a"
                    assert await anext(message) == "b"
                    await anext(message)
            assert ws.close_info is not None
            assert ws.close_info.code == 1006

    async def test_a_peer_that_closes_inside_a_message(self) -> None:
        """The parts that came before can be read; then code and reason are told."""
        async with connected() as (ws, server, _):
            await server.send(part(TEXT, "a"))
            with pytest.raises(anyws.ConnectionClosed) as caught:
                async with ws.receive_stream() as message:
                    assert await anext(message) == "a"
                    await server.send(part(CONT, "b"), closing(4001, "no", mask=None))
                    await ws.wait_closed()
                    assert await anext(message) == "b"
                    await anext(message)
            assert (caught.value.code, caught.value.reason) == (4001, "no")
