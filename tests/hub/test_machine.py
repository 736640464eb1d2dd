"""Random steps of members that come, read, fall behind and leave, against a model."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import anyws
from anyws._hub.attachment import Attachment
from anyws._hub.reading import RULES
from anyws._hub.subscription import Subscription

from ..support.channels import Channel
from ..support.wired import EagerChannel, WiredChannel
from .model import Model, ModelMember

TOPICS = ("a", "b", "room.1", "room.2")
NAMES = (*TOPICS, "room.*", "*")
ROADS = ("return", "close", "abort", "cancel", "exception", "drain")
CHANNELS = (Channel, WiredChannel, EagerChannel)
PLENTY = 10_000
TURNS = 3000  # of the scheduler, in which all that can be written is written

members = st.integers(0, 9)
steps = st.one_of(
    st.tuples(
        st.just("publish"),
        st.sampled_from(TOPICS),
        st.sampled_from([None, "k", "l"]),
        st.none() | members,
    ),
    st.tuples(
        st.just("subscribe"),
        st.sets(st.sampled_from(NAMES), max_size=3),
        st.integers(1, 3),
        st.sampled_from(RULES),
    ),
    st.tuples(
        st.just("attach"),
        st.sets(st.sampled_from(NAMES), max_size=3),
        st.sampled_from(CHANNELS),
    ),
    st.tuples(st.just("take"), members, st.integers(1, 4)),
    st.tuples(st.just("join"), members, st.sampled_from(NAMES)),
    st.tuples(st.just("leave"), members, st.sampled_from(NAMES)),
    st.tuples(st.just("stall"), members),
    st.tuples(st.just("go on"), members),
    st.tuples(st.just("end"), members, st.sampled_from(ROADS)),
    st.tuples(st.just("turn"), st.integers(1, 5)),
)


class Exit(Exception):
    """An exception of a handler."""


@dataclass(eq=False)
class Reader:
    """A subscription, and its model."""

    model: ModelMember
    member: Subscription


@dataclass(eq=False)
class Connected:
    """A connection with its handler, and its model."""

    model: ModelMember
    channel: Channel
    member: Attachment = field(init=False)
    websocket: anyws.WebSocket = field(init=False)
    ready: anyio.Event = field(default_factory=anyio.Event)
    stop: anyio.Event = field(default_factory=anyio.Event)
    done: anyio.Event = field(default_factory=anyio.Event)
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    road: str = ""

    async def handle(self, hub: anyws.Hub) -> None:
        """Be a member until the test says how to leave."""
        with self.scope:
            try:
                async with self.channel.websocket(close_timeout=0.5) as ws:
                    await ws.accept()
                    self.websocket = ws
                    names = self.model.names
                    with hub.attach(ws, *names, buffer=PLENTY) as self.member:
                        self.ready.set()
                        await self.stop.wait()
                        if self.road == "close":
                            await ws.close()
                        elif self.road == "exception":
                            raise Exit
            except (Exit, anyws.ConnectionClosed):
                pass
        self.done.set()

    def end(self, road: str) -> None:
        """Leave by one of the roads."""
        self.road = road
        self.channel.resume()
        if road == "abort":
            self.channel.leave(1006)
        elif road == "drain":
            session = self.websocket._session
            assert session is not None
            session.close_by_rule(1012, "", by=anyio.current_time() + 1)
        elif road == "cancel":
            self.scope.cancel()
        self.stop.set()


class Machine:
    """A hub and its model, driven step by step."""

    def __init__(self, hub: anyws.Hub, tasks: anyio.abc.TaskGroup) -> None:
        self.hub = hub
        self.tasks = tasks
        self.model = Model()
        self.readers: list[Reader] = []
        self.connected: list[Connected] = []
        self.published = 0

    def pick(self, number: int) -> Reader | Connected | None:
        """Return one of the members, if there is one."""
        members: list[Reader | Connected] = [*self.readers, *self.connected]
        return members[number % len(members)] if members else None

    async def do(self, step: tuple[Any, ...]) -> None:
        """Take one step, on both sides."""
        verb = step[0].replace(" ", "_")
        await getattr(self, f"do_{verb}")(*step[1:])

    async def do_publish(self, topic: str, key: str | None, number: int | None) -> None:
        """Publish, in the order of a counter."""
        self.published += 1
        text = str(self.published)
        excluded = None if number is None else self.pick(number)
        member = None if excluded is None else excluded.member
        model = None if excluded is None else excluded.model
        count = self.hub.publish(topic, text, key=key, exclude=member)
        assert count == self.model.publish(topic, text, key, model)

    async def settle(self) -> None:
        """Let the hub tell all members."""
        while any(topic.dirty for topic in self.hub._life.topics.by_name.values()):
            await checkpoint()

    async def do_subscribe(self, names: set[str], buffer: int, rule: Any) -> None:
        """Add a member that reads when it is told to."""
        model = ModelMember(buffer, rule, set(names))
        subscription = self.hub.subscribe(*names, buffer=buffer, overflow=rule)
        subscription.__enter__()
        self.model.members.append(model)
        self.readers.append(Reader(model, subscription))

    async def do_attach(self, names: set[str], kind: type[Channel]) -> None:
        """Add a member that is a connection."""
        model = ModelMember(PLENTY, "drop_oldest", set(names))
        connected = Connected(model, kind())
        self.tasks.start_soon(connected.handle, self.hub)
        await connected.ready.wait()
        self.model.members.append(model)
        self.connected.append(connected)

    async def do_take(self, number: int, times: int) -> None:
        """Have a subscription take what comes next."""
        if not self.readers:
            return
        reader = self.readers[number % len(self.readers)]
        for _ in range(times):
            if not await self.take(reader):
                break

    async def take(self, reader: Reader) -> bool:
        """Take one event, if there is one; return whether there was."""
        model, subscription = reader.model, reader.member
        if model.closed:
            with pytest.raises(anyws.HubError):
                await anext(subscription)
            self.forget(reader)
            return False
        expected = model.next()
        if expected is None:
            with anyio.move_on_after(0):
                pytest.fail(f"there should be nothing: {await anext(subscription)}")
            return False
        event = await anext(subscription)
        seen = event.topic, event.message
        assert seen == expected, (vars(model), seen, expected)
        return True

    def forget(self, reader: Reader) -> None:
        """Let a subscription end."""
        reader.member.__exit__(None, None, None)
        self.readers.remove(reader)
        self.model.members.remove(reader.model)

    async def do_join(self, number: int, name: str) -> None:
        """Join one more topic."""
        member = self.pick(number)
        if member is not None and not member.model.closed:
            member.member.join(name)
            member.model.names.add(name)

    async def do_leave(self, number: int, name: str) -> None:
        """Leave a topic; what connections have unread is not known to the model."""
        await self.settle()  # so that what was dropped is counted
        if self.readers:
            reader = self.readers[number % len(self.readers)]
            if not reader.model.closed:
                reader.member.leave(name)
                reader.model.leave(name)

    async def do_stall(self, number: int) -> None:
        """Have a peer read nothing for a while."""
        if self.connected:
            channel = self.connected[number % len(self.connected)].channel
            channel.resume()  # a send that waits would not see a second stall end
            channel.stall()

    async def do_go_on(self, number: int) -> None:
        """Have a peer read again."""
        if self.connected:
            self.connected[number % len(self.connected)].channel.resume()

    async def do_end(self, number: int, road: str) -> None:
        """Have a member leave."""
        member = self.pick(number)
        if isinstance(member, Reader):
            self.forget(member)
        elif member is not None:
            await self.check_sent(member)
            member.end(road)
            await member.done.wait()
            assert not member.member.topics
            self.connected.remove(member)
            self.model.members.remove(member.model)

    async def do_turn(self, turns: int) -> None:
        """Let the tasks run."""
        for _ in range(turns):
            await checkpoint()

    async def check_sent(self, connected: Connected) -> None:
        """Compare what a peer has got with the model, once all of it is written."""
        expected: list[str | bytes] = []
        while (item := connected.model.next()) is not None:
            assert item[1] is not None
            expected.append(item[1])
        connected.channel.resume()
        for _ in range(TURNS):
            if connected.channel.messages == expected:
                break
            await checkpoint()
        seen = connected.channel.messages
        assert seen == expected, (connected.model.names, seen, expected)

    async def finish(self) -> None:
        """Compare all members with the model, and let them leave."""
        for name in TOPICS:
            wanting = sum(member.wants(name) for member in self.model.members)
            assert self.hub.subscribers(name) == wanting
        for reader in list(self.readers):
            while await self.take(reader):
                pass
        for reader in self.readers:
            statistics = reader.member.statistics()
            assert statistics.sent == reader.model.sent
            assert statistics.dropped == reader.model.dropped
            assert statistics.coalesced == reader.model.coalesced
        while self.readers or self.connected:
            await self.do_end(0, ROADS[len(self.connected) % len(ROADS)])
        for _ in range(TURNS):
            if not self.hub.topics():
                break
            await checkpoint()
        assert not self.hub.topics()
        assert self.hub.statistics().members == 0


@asynccontextmanager
async def machine() -> AsyncIterator[Machine]:
    """Run a hub and the handlers of its connections."""
    async with anyws.Hub() as hub, anyio.create_task_group() as tasks:
        yield Machine(hub, tasks)


async def run(script: list[tuple[Any, ...]]) -> None:
    """Take all steps."""
    async with machine() as driven:
        for step in script:
            await driven.do(step)
        await driven.finish()
        assert not driven.hub._life.topics.patterns


@given(st.lists(steps, max_size=40))
@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@pytest.mark.fail_after(5)
async def test_members_get_what_the_model_says(script: list[tuple[Any, ...]]) -> None:
    """Whatever members do, each gets what its rule says, and leaves no trace."""
    await run(script)


@given(st.lists(steps, min_size=100, max_size=100))
@settings(
    max_examples=100,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@pytest.mark.slow
@pytest.mark.fail_after(20)
async def test_ten_thousand_steps(script: list[tuple[Any, ...]]) -> None:
    """The same, in scripts of a hundred steps."""
    await run(script)
