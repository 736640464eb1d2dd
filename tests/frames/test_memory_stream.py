"""A byte stream between two tasks of one process."""

from __future__ import annotations

import anyio
import pytest

from anyws._frames.memory_stream import CAPACITY_BYTES, MemoryStream


async def test_bytes_pass_in_order_both_ways() -> None:
    """As many at a time as are asked for."""
    one, two = MemoryStream.pair()
    await one.send(b"ab")
    await one.send(b"c")
    await two.send(b"x")
    assert await two.receive(2) == b"ab"
    assert await two.receive() == b"c"
    assert await one.receive() == b"x"


async def test_a_sender_waits_for_room() -> None:
    """What is on its way is bounded."""
    one, two = MemoryStream.pair()
    data = bytes(range(256)) * (CAPACITY_BYTES // 256) * 2 + b"end"
    sent = False

    async def send() -> None:
        nonlocal sent
        await one.send(data)
        sent = True

    got = b""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(send)
        await anyio.wait_all_tasks_blocked()
        assert not sent
        while len(got) < len(data):
            part = await two.receive()
            assert len(part) <= CAPACITY_BYTES
            got += part
    assert got == data


async def test_a_cancelled_receive_loses_nothing() -> None:
    """The bytes are there for the next one."""
    one, two = MemoryStream.pair()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(two.receive)
        await anyio.wait_all_tasks_blocked()
        await one.send(b"x")
        tasks.cancel_scope.cancel()
    with anyio.move_on_after(0):
        await two.receive()
    await one.send(b"y")
    assert (await two.receive())[-1:] == b"y"


async def test_the_end_comes_behind_the_bytes() -> None:
    """After `send_eof`, and after `aclose`; the other direction goes on."""
    one, two = MemoryStream.pair()
    await one.send(b"x")
    await one.send_eof()
    assert await two.receive() == b"x"
    with pytest.raises(anyio.EndOfStream):
        await two.receive()
    with pytest.raises(anyio.ClosedResourceError):
        await one.send(b"y")
    await two.send(b"back")
    assert await one.receive() == b"back"


async def test_a_closed_end() -> None:
    """It does nothing more, and its peer sends in vain."""
    one, two = MemoryStream.pair()
    await one.send(b"x")
    await one.aclose()
    assert await two.receive() == b"x"
    with pytest.raises(anyio.EndOfStream):
        await two.receive()
    with pytest.raises(anyio.BrokenResourceError):
        await two.send(b"y")
    with pytest.raises(anyio.ClosedResourceError):
        await one.receive()


@pytest.mark.parametrize("which", ["ours", "the peer's"])
async def test_closing_wakes_the_tasks_that_wait(which: str) -> None:
    """One that receives, and one that sends."""
    one, two = MemoryStream.pair()
    errors = []

    async def receive() -> None:
        try:
            await one.receive()
        except (anyio.EndOfStream, anyio.ClosedResourceError) as exc:
            errors.append(type(exc).__name__)

    async def send() -> None:
        try:
            await one.send(bytes(CAPACITY_BYTES + 1))
        except (anyio.BrokenResourceError, anyio.ClosedResourceError) as exc:
            errors.append(type(exc).__name__)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(receive)
        tasks.start_soon(send)
        await anyio.wait_all_tasks_blocked()
        await (one if which == "ours" else two).aclose()
    expected = {
        "ours": ["ClosedResourceError", "ClosedResourceError"],
        "the peer's": ["BrokenResourceError", "EndOfStream"],
    }
    assert sorted(errors) == expected[which]
