"""Coming back to a server: what the loop does, and what it leaves behind."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest
from anyio.lowlevel import checkpoint

import anyws

from ..support.peers import Visit, serving
from ..support.wired import CLOSE, TEXT, close_payload, frame

AT_ONCE = anyws.Retry(initial_delay=0)
SOON = anyws.Options(close_timeout=0.01)


def closing(code: int) -> Callable[[Visit], Awaitable[None]]:
    """Return a script that accepts, says hello and closes."""

    async def script(visit: Visit) -> None:
        await visit.accept()
        await visit.send(frame(TEXT, "hello", mask=None))
        await visit.send(frame(CLOSE, close_payload(code), mask=None))
        await visit.gone()

    return script


def answering(answer: str) -> Callable[[Visit], Awaitable[None]]:
    """Return a script that answers the request with something else."""

    async def script(visit: Visit) -> None:
        await visit.read_request()
        await visit.send(answer)

    return script


# Over sockets


@pytest.mark.parametrize("code", [1000, 1001, 1011, 1013, 4000])
async def test_another_connection_after_each_that_is_over(code: int) -> None:
    """The block ends quietly, however the server closed it."""
    seen = []
    async with serving(closing(code)) as peer:
        async for ws in anyws.connect(peer.url, retry=AT_ONCE):
            async with ws:
                assert await ws.receive_text() == "hello"
                seen.append(ws)
                if len(seen) == 3:
                    break
                await ws.receive_text()
                pytest.fail("there was more")
        assert len(peer.visits) == 3
    # Whose closing frame was first at the third is not decided.
    assert [ws.close_info and ws.close_info.code for ws in seen[:2]] == [code, code]


async def test_a_block_that_returns_is_followed_by_another() -> None:
    """Only leaving the loop ends it."""
    count = 0
    async with serving(Visit.echo) as peer:
        async for ws in anyws.connect(peer.url, retry=AT_ONCE):
            async with ws:
                await ws.send_text("hello")
                assert await ws.receive_text() == "hello"
            assert ws.close_info == anyws.CloseInfo(1000, "", "local", True)
            count += 1
            if count == 3:
                break


async def test_headers_are_made_afresh_for_each_try() -> None:
    """So that a token that has expired is none the next time."""
    tokens = iter(range(9))

    async def headers() -> dict[str, str]:
        await checkpoint()
        return {"X-Token": str(next(tokens))}

    async def script(visit: Visit) -> None:
        token = (await visit.read_request()).headers["X-Token"]
        if token == "0":
            await visit.send("HTTP/1.1 503 x\r\nContent-Length: 0\r\n\r\n")
            return
        await visit.send(visit.head())

    async with serving(script) as peer:
        async for ws in anyws.connect(peer.url, headers=headers, retry=AT_ONCE):
            async with ws:
                await ws.wait_closed()
            if len(peer.requests) == 3:
                break
        tokens_seen = [request.headers["X-Token"] for request in peer.requests]
    assert tokens_seen == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ("HTTP/1.1 401 x\r\nContent-Length: 0\r\n\r\n", anyws.HandshakeRejected),
        ("HTTP/1.1 403 x\r\nContent-Length: 0\r\n\r\n", anyws.HandshakeRejected),
        ("HTTP/1.1 404 x\r\nContent-Length: 0\r\n\r\n", anyws.HandshakeRejected),
        ("SSH-2.0\r\n", anyws.ProtocolError),
    ],
)
@pytest.mark.parametrize("loop", [False, True])
async def test_what_cannot_get_better_is_raised_at_once(
    answer: str, kind: type[anyws.HandshakeError], loop: bool
) -> None:
    """By a loop and by a block."""
    async with serving(answering(answer)) as peer:
        connecting = anyws.connect(peer.url, retry=AT_ONCE)
        with pytest.raises(kind):
            if loop:
                async for _ in connecting:
                    pytest.fail("it was opened")
            else:
                async with connecting:
                    pytest.fail("it was opened")
        assert len(peer.visits) == 1


async def test_a_block_tries_until_it_is_open_and_no_longer() -> None:
    """What ends that connection leaves the block as it does without a retry."""
    policy = f"Content-Security-Policy: {'a' * 9000}"
    answers = iter([f"HTTP/1.1 503 x\r\n{policy}\r\n\r\n", "", None])

    async def script(visit: Visit) -> None:
        answer = next(answers)
        await (closing(4000) if answer is None else answering(answer))(visit)

    async with serving(script) as peer:
        with pytest.raises(anyws.ConnectionClosed) as caught:
            async with anyws.connect(peer.url, retry=AT_ONCE) as ws:
                assert await ws.receive_text() == "hello"
                await ws.receive_text()
        assert len(peer.visits) == 3
    assert caught.value.code == 4000


async def test_a_loop_without_a_rule_has_the_default() -> None:
    """It is `Retry()`; the first try does not wait."""
    async with serving(closing(1000)) as peer:
        async for ws in anyws.connect(peer.url):
            async with ws:
                break


async def test_a_loop_may_be_started_again() -> None:
    """Each has its own count, and its own connection."""
    async with serving(Visit.echo) as peer:
        connecting = anyws.connect(peer.url, retry=AT_ONCE)
        for _ in range(2):
            async for ws in connecting:
                async with ws:
                    break
        async with connecting:
            pass
        assert len(peer.visits) == 3


# What leaves the loop


class Stop(Exception):
    """What a test raises."""


async def test_an_exception_leaves_the_loop_as_itself() -> None:
    """The server is told by 1011, and nothing is left."""
    codes = []

    async def script(visit: Visit) -> None:
        await visit.accept()
        data = await visit.stream.receive()
        codes.append(int.from_bytes((data[6] ^ data[2], data[7] ^ data[3])))

    async with serving(script) as peer:
        with pytest.raises(Stop):
            async for ws in anyws.connect(peer.url, retry=AT_ONCE):
                async with ws:
                    raise Stop
    assert codes == [1011]


async def test_a_return_leaves_the_loop() -> None:
    """Nothing is left."""

    async def first() -> Any:
        async for ws in anyws.connect(peer.url, retry=AT_ONCE):
            async with ws:
                return await ws.receive_text()

    async with serving(closing(1000)) as peer:
        assert await first() == "hello"


async def test_anothers_end_is_no_end_of_this_one() -> None:
    """A `ConnectionClosed` of another connection goes on."""
    async with serving(closing(4000)) as other, serving(Visit.echo) as peer:
        with pytest.raises(anyws.ConnectionClosed) as caught:
            async for ws in anyws.connect(peer.url, retry=AT_ONCE):
                async with ws, anyws.connect(other.url) as second:
                    await second.receive_text()
                    await second.receive_text()
    assert caught.value.code == 4000


async def test_a_websocket_that_was_never_entered() -> None:
    """It is closed by the next turn, before the next is opened."""
    seen = []

    async def script(visit: Visit) -> None:
        await visit.accept()
        await visit.gone()
        seen.append("gone")

    async with serving(script) as peer:
        async for ws in anyws.connect(peer.url, retry=AT_ONCE, options=SOON):
            if len(peer.visits) < 3:
                continue
            async with ws:
                break
        while len(seen) < 3:
            await checkpoint()


async def test_a_websocket_outside_its_block() -> None:
    """Every verb says what is missing; the end can be asked for all the same."""
    async with serving(Visit.echo) as peer:
        async for ws in anyws.connect(peer.url, retry=AT_ONCE):
            assert ws.close_info is None
            assert ws.latency is None
            verbs: list[Callable[[], Awaitable[Any]]] = [
                ws.receive_text,
                ws.receive_message,
                partial(ws.send_text, "a"),
                ws.close,
                ws.aclose,
                ws.ping,
                ws.wait_closed,
                ws.__anext__,
            ]
            for verb in verbs:
                with pytest.raises(RuntimeError, match="inside 'async with"):
                    await verb()
            for call in (ws.statistics, ws.cancel_on_disconnect):
                with pytest.raises(RuntimeError, match="inside 'async with"):
                    call()
            with pytest.raises(RuntimeError, match="inside 'async with"):
                ws.send_nowait("a")
            async with ws:
                await ws.send_text("a")
            with pytest.raises(anyws.ConnectionClosed):
                await ws.receive_text()
            with pytest.raises(RuntimeError, match="cannot be entered twice"):
                async with ws:
                    pass
            break
