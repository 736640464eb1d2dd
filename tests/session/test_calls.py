"""A connection over our own frames needs no task but the one that hosts it."""

from __future__ import annotations

import anyio
from anyio import CancelScope, get_running_tasks

from anyws._session.session import Session
from anyws._session.upkeep import Upkeep
from anyws._values.options import Options

from ..support.channels import Event
from ..support.wired import EagerChannel, WiredChannel, accept, closing, framed


def hosted(channel: WiredChannel, upkeep: Upkeep, **options: object) -> Session:
    """Return the session of a connection of that server."""
    wire = channel.wire
    settings = Options(**options)  # type: ignore[arg-type]  # a test's own
    return Session(wire.receive, wire.send, settings, direct=wire, upkeep=upkeep)


def text(payload: str) -> Event:
    """Return the event of a message to send."""
    return {"type": "websocket.send", "text": payload}


async def test_an_idle_connection_has_no_task() -> None:
    """A thousand have one, which keeps the time for all of them."""
    async with Upkeep(lasting=True).opened() as upkeep:
        channels = [EagerChannel() for _ in range(1000)]
        async with anyio.create_task_group() as tasks:

            async def host(channel: EagerChannel) -> None:
                async with hosted(channel, upkeep) as session:
                    await accept(session)
                    await session.receive()

            before = len(get_running_tasks())
            for channel in channels:
                tasks.start_soon(host, channel)
            await anyio.wait_all_tasks_blocked()
            assert len(get_running_tasks()) - before == 1000 + 1
            tasks.cancel_scope.cancel()
        assert {tuple(channel.closes) for channel in channels} == {((1012, ""),)}


async def test_a_broadcast_is_written_at_once_each_time() -> None:
    """Also to peers that say nothing: what a turn has queued is one write of each."""
    async with Upkeep(lasting=True).opened() as upkeep:
        channel = EagerChannel()
        async with hosted(channel, upkeep) as session:
            await accept(session)
            for number in range(4):
                session.send_nowait(text(f"{number}a"))
                assert len(channel.writes) == 2 * number + 1
                session.send_nowait(text(f"{number}b"))
                session.send_nowait(text(f"{number}c"))
                assert len(channel.writes) == 2 * number + 1
                await anyio.wait_all_tasks_blocked()
                assert len(channel.writes) == 2 * number + 2
        assert channel.messages == [f"{n}{part}" for n in range(4) for part in "abc"]


async def test_a_read_of_any_connection_ends_the_turn() -> None:
    """The scheduler has gone on then, and a message is alone again."""
    async with Upkeep(lasting=True).opened() as upkeep:
        one, other = EagerChannel(), EagerChannel()
        async with hosted(one, upkeep) as session, hosted(other, upkeep) as second:
            await accept(session)
            await accept(second)
            session.send_nowait(text("a"))
            other.read(framed("x"))
            session.send_nowait(text("b"))
            assert one.messages == ["a", "b"]


async def test_a_writer_task_runs_while_the_peer_does_not_read() -> None:
    """It starts when bytes are refused, and ends when all are written."""
    async with Upkeep(lasting=True).opened() as upkeep:
        channel = EagerChannel()
        async with hosted(channel, upkeep) as session:
            await accept(session)
            for word in ("first", "second"):  # the flusher is started
                await session.send(text(word))
            await anyio.wait_all_tasks_blocked()
            before = len(get_running_tasks())
            channel.stall()
            for word in ("a", "b", "c"):
                await session.send(text(word))
            await anyio.wait_all_tasks_blocked()
            assert len(get_running_tasks()) == before + 1
            channel.resume()
            await anyio.wait_all_tasks_blocked()
            assert len(get_running_tasks()) == before
            assert channel.messages == ["first", "second", "a", "b", "c"]
            assert session.statistics().send_queued == 0


async def test_a_full_queue_is_written_before_a_rule_applies() -> None:
    """Nothing is dropped, and nobody waits, as long as the kernel takes it."""
    async with Upkeep(lasting=True).opened() as upkeep:
        channel = EagerChannel()
        rules = {"send_buffer": 2, "send_overflow": "drop_newest"}
        async with hosted(channel, upkeep, **rules) as session:
            await accept(session)
            for number in range(20):
                session.send_nowait(text(str(number)))
            await anyio.wait_all_tasks_blocked()
            assert channel.messages == list(map(str, range(20)))
            assert session.statistics().send_dropped == 0


async def test_leaving_waits_for_nothing_that_has_come() -> None:
    """Where the peer closes first there is nothing left to wait for."""
    async with Upkeep(lasting=True).opened() as upkeep:
        channel = EagerChannel()
        async with hosted(channel, upkeep) as session:
            await accept(session)
            channel.read(closing(4000))
            leaving = session._driver
            before = len(get_running_tasks())
        assert len(get_running_tasks()) == before
        assert getattr(leaving, "_leaving", None) is None
        assert session.info is not None
        assert session.info.code == 4000


async def test_a_task_of_the_session_ends_before_the_block() -> None:
    """The code that leaves waits for it, as it does where the block has a group."""
    async with Upkeep(lasting=True).opened() as upkeep:
        channel, ended = EagerChannel(), False
        go_on = anyio.Event()

        async def work() -> None:
            nonlocal ended
            with CancelScope(shield=True):
                await go_on.wait()
            ended = True

        async def release() -> None:
            await anyio.wait_all_tasks_blocked()
            go_on.set()

        async with anyio.create_task_group() as tasks:
            async with hosted(channel, upkeep) as session:
                await accept(session)
                session._driver.spawn(work)
                tasks.start_soon(release)
            assert ended


async def test_what_a_server_shares_goes_when_no_connection_is_left() -> None:
    """Unless it is to last: then the tasks wait for the next one."""
    async with anyio.create_task_group() as tasks:
        upkeep = Upkeep(tasks.start_soon)
        before = len(get_running_tasks())
        for _ in range(2):
            channel = EagerChannel()
            async with hosted(channel, upkeep) as session:
                await accept(session)
                for word in ("a", "b"):
                    await session.send(text(word))
                await anyio.wait_all_tasks_blocked()
                assert len(get_running_tasks()) == before + 2
                assert channel.messages == ["a", "b"]
            await anyio.wait_all_tasks_blocked()
            assert len(get_running_tasks()) == before


async def test_no_alarm_is_kept_when_no_connection_is_left() -> None:
    """Those of connections that have ended go before their time has come."""
    async with Upkeep(lasting=True).opened() as upkeep:
        for _ in range(3):
            async with hosted(EagerChannel(), upkeep) as session:
                await accept(session)
                assert upkeep.keeper._heap
        assert not upkeep.keeper._heap
