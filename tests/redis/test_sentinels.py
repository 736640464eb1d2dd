"""Redis servers that sentinels watch over, and nodes of a cluster."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from anyio.lowlevel import checkpoint

from anyws import Hub
from anyws._hub.subscription import Subscription

from ..support.redis_servers import NEEDS_REDIS, RedisServer, watched_pair

pytest.importorskip("coredis")
from anyws.redis import RedisBackend

pytestmark = [NEEDS_REDIS, pytest.mark.slow, pytest.mark.fail_after(60)]


@pytest.fixture(scope="module", params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """Run the tests on two backends: each takes seconds."""
    return request.param


async def taken(subscription: Subscription, count: int) -> list[str | bytes | None]:
    """Take so many events; return their messages."""
    return [(await anext(subscription)).message for _ in range(count)]


async def logged(caplog: pytest.LogCaptureFixture, words: str) -> None:
    """Wait until the log says something."""
    while words not in caplog.text:
        await checkpoint()


async def test_a_durable_hub_goes_on_at_the_new_primary(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A replica has all; what is published meanwhile comes too, once and in order."""
    with watched_pair() as (primary, replica, sentinel):
        deaf = RedisServer(Path("nowhere"))
        hosts = f"127.0.0.1:{deaf.port},127.0.0.1:{sentinel.port}"
        url = f"redis+sentinel://{hosts}/main"
        async with Hub(backend=RedisBackend(url, durable=True)) as hub:
            with hub.subscribe("a") as events:
                for number in range(20):
                    hub.publish("a", str(number))
                assert await taken(events, 20) == [*map(str, range(20))]
                while replica.command("XLEN", "anyws:{a}:log") != b":20\r\n":
                    await checkpoint()
                primary.kill()
                for number in range(20, 40):
                    hub.publish("a", str(number))
                assert await taken(events, 20) == [*map(str, range(20, 40))]
        assert b"role:master" in replica.command("INFO", "replication")
        caplog.clear()
        url = f"redis+sentinel://127.0.0.1:{sentinel.port}/other"
        async with Hub(backend=RedisBackend(url)):
            await logged(caplog, "knows no 'other'")
        async with Hub(backend=RedisBackend(f"redis://127.0.0.1:{sentinel.port}")):
            await logged(caplog, "the URL begins with redis+sentinel://")


@pytest.fixture
def node(tmp_path: Path) -> Iterator[RedisServer]:
    """Run a cluster of one node."""
    server = RedisServer(tmp_path, options="--cluster-enabled yes")
    server.start()
    try:
        server.command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        yield server
    finally:
        server.close()


async def test_a_node_of_a_cluster_carries_messages_and_keeps_none(
    node: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """A durable backend refuses it before it publishes anything."""
    async with Hub(backend=RedisBackend(node.url)) as hub:
        with hub.subscribe("a", "b*") as events:
            hub.publish("a", "1")
            hub.publish("b1", "2")
            assert await taken(events, 2) == ["1", "2"]
    async with Hub(backend=RedisBackend(node.url, durable=True)) as hub:
        hub.publish("a", "3")
        await logged(caplog, "this is a node of a cluster")
        for _ in range(10):
            await checkpoint()
        assert node.command("DBSIZE") == b":0\r\n"
