"""Hubs that PostgreSQL connects: the protocol of a backend is no habit of Redis'."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio
import pytest

from anyws import Backend, DurableBackend, Hub, Subscription

from ..support.postgres_servers import NEEDS_POSTGRES, PostgresServer, postgres_server

if TYPE_CHECKING:
    from ..support.postgres_backend import PostgresBackend
else:
    # Without libpq, the import raises ImportError.
    pytest.importorskip("psycopg", exc_type=ImportError)
    from ..support.postgres_backend import PostgresBackend

pytestmark = [NEEDS_POSTGRES, pytest.mark.slow]


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """Run a server for all tests."""
    with postgres_server() as running:
        yield running


@asynccontextmanager
async def two_hubs(server: PostgresServer) -> AsyncIterator[tuple[Hub, Hub]]:
    """Run two hubs on a server."""
    one = Hub(backend=PostgresBackend(server.conninfo))
    other = Hub(backend=PostgresBackend(server.conninfo))
    async with one, other:
        yield one, other


async def heard(hub: Hub, events: Subscription, mark: str) -> list[str | bytes | None]:
    """Publish a mark until it has come; return the messages up to it."""
    got: list[str | bytes | None] = []
    while True:
        hub.publish("a", mark)
        with anyio.move_on_after(0.2):
            while mark not in got:
                got.append((await anext(events)).message)
            return got


async def until(events: Subscription, *last: str | None) -> list[str | bytes | None]:
    """Return the messages up to the last ones; `None` is a gap."""
    got: list[str | bytes | None] = []
    while not set(last) <= set(got):
        got.append((await anext(events)).message)
    return got


def test_it_is_a_backend_and_no_durable_one() -> None:
    """By the protocol, for the type checker as for the hub."""
    backend: Backend = PostgresBackend("")
    assert isinstance(backend, Backend)
    assert not isinstance(backend, DurableBackend)


async def test_all_hubs_get_the_same_in_one_order(server: PostgresServer) -> None:
    """Text and bytes, by name and by pattern, and not what was excluded."""
    async with two_hubs(server) as (one, other):
        with one.subscribe("a") as here, other.subscribe("*") as there:
            await heard(one, here, "begin")
            await heard(other, there, "began")
            await until(here, "began")
            for number in range(40):
                one.publish("a", f"{number} \0 ü")
                other.publish("a", b"\xff%d" % number, key="k")
            one.publish("a", "not here", exclude=here)
            one.publish("a", "end")
            other.publish("a", "end of other")
            seen = await until(here, "end", "end of other")
            all_seen = await until(there, "end", "end of other")
            assert "not here" in all_seen
            assert "not here" not in seen
            assert [m for m in all_seen if m != "not here"][-len(seen) :] == seen
            for own in (
                [f"{number} \0 ü" for number in range(40)],
                [b"\xff%d" % number for number in range(40)],
            ):
                assert [message for message in seen if message in own] == own


async def test_people_are_present_in_all_hubs(server: PostgresServer) -> None:
    """Presence needs no more than a backend."""
    async with two_hubs(server) as (one, other):
        with other.presence.watch("a") as watch:
            with one.presence.track("a", "ann"):
                while "ann" not in other.presence.list("a"):
                    await anext(watch)
            while other.presence.list("a"):
                await anext(watch)


async def test_a_server_that_ends_is_a_gap(server: PostgresServer) -> None:
    """Members hear of it, and of what comes when the server is there again."""
    async with two_hubs(server) as (one, other):
        with other.subscribe("a") as events:
            await heard(one, events, "begin")
            server.stop()
            await until(events, None)
            server.start()
            assert "again" in await heard(one, events, "again")
