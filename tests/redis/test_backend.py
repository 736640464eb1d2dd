"""Hubs of several processes on a Redis server that works."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
import trustme
from anyio.lowlevel import checkpoint

from anyws import Backend, DurableBackend, Event, Hub, HubError, Position
from anyws._hub.subscription import Subscription

from ..support.redis_servers import NEEDS_REDIS, RedisServer, redis_server

pytest.importorskip("coredis")
from anyws.redis import RedisBackend

GAP = None
Hubs = Callable[..., Hub]
BOTH = pytest.mark.parametrize("durable", [False, True])


async def taken(subscription: Subscription, count: int) -> list[str | bytes | None]:
    """Take so many events; return their messages."""
    return [(await anext(subscription)).message for _ in range(count)]


async def subscribed(hub: Hub) -> None:
    """Wait until Redis knows what the members of a hub want."""
    relay = hub._life._relay
    assert relay is not None
    while relay._told < relay._wishes or relay._failing:
        await checkpoint()


def test_it_is_a_backend() -> None:
    """By both protocols; it is durable if asked for."""
    assert isinstance(RedisBackend(), Backend)
    assert isinstance(RedisBackend(), DurableBackend)
    assert RedisBackend(durable=True).durable


@pytest.mark.parametrize(
    ("error", "match", "arguments"),
    [
        (TypeError, "url", {"url": 1}),
        (ValueError, r"not 'localhost'", {"url": "localhost"}),
        (ValueError, r"not 'http://host'", {"url": "http://user:secret@host"}),
        (ValueError, "keep must", {"keep": 0}),
        (ValueError, "keep_seconds", {"keep_seconds": 0}),
        (ValueError, "prefix", {"prefix": ""}),
        (ValueError, "wildcards", {"prefix": "a*"}),
        (ValueError, "rediss", {"ssl_context": ssl.create_default_context()}),
        (ValueError, "host/name", {"url": "redis+sentinel://user:secret@host"}),
        (ValueError, "name/number", {"url": "redis+sentinel://host/main/x"}),
        (ValueError, "no host", {"url": "redis+sentinel://host,:1/main"}),
        (
            ValueError,
            "rediss",
            {
                "url": "redis+sentinel://host/main",
                "ssl_context": ssl.create_default_context(),
            },
        ),
    ],
)
def test_bad_arguments_are_refused(
    error: type[Exception], match: str, arguments: dict[str, Any]
) -> None:
    """Before anything is connected; a password is not shown."""
    with pytest.raises(error, match=match) as caught:
        RedisBackend(**arguments)
    assert "secret" not in str(caught.value)


async def test_a_backend_serves_one_hub() -> None:
    """A second one is refused."""
    backend = RedisBackend("unix:///nowhere")
    async with Hub(backend=backend):
        with pytest.raises(RuntimeError, match="one hub"):
            async with Hub(backend=backend):
                pass
    async with Hub(backend=backend):
        pass


@NEEDS_REDIS
@BOTH
async def test_members_of_all_hubs_get_the_same_in_one_order(
    hub_on: Hubs, durable: bool
) -> None:
    """Text, bytes and keys; once, although a pattern names the topic, too."""
    one, other = hub_on(durable=durable), hub_on(durable=durable)
    async with one, other:
        with (
            one.subscribe("room.1", buffer=999) as here,
            other.subscribe("room.1", "room.*", "r*.*", buffer=999) as there,
        ):
            await subscribed(one)
            await subscribed(other)
            for number in range(150):
                one.publish("room.1", f"один {number}", key="kéy" * (number % 2))
                other.publish("room.1", f"two {number}\0".encode())
            other.publish("room.1.typing", "dots are not crossed")
            seen = await taken(here, 300)
            assert seen == await taken(there, 300)
            own = [message for message in seen if isinstance(message, str)]
            assert own == [f"один {number}" for number in range(150)]
            one.publish("room.2", "another")
            assert await taken(there, 1) == ["another"]
            assert here.statistics().lag == there.statistics().lag == 0


@NEEDS_REDIS
@BOTH
async def test_a_member_gets_what_is_published_after_it_has_come(
    hub_on: Hubs, durable: bool
) -> None:
    """By its own hub, at once; and nothing of topics that it has left."""
    async with hub_on(durable=durable) as hub:
        with hub.subscribe() as events:
            for number in range(20):
                events.join(str(number))
                hub.publish(str(number), "x")
                assert (await anext(events)).topic == str(number)
                events.leave(str(number))
                hub.publish(str(number), "y")


@NEEDS_REDIS
async def test_a_member_resumes_in_a_process_that_begins_later(hub_on: Hubs) -> None:
    """Exactly once and in order, or with a gap; ids are those of the stream."""
    places: list[Position] = []
    async with hub_on(durable=True) as hub:
        with hub.subscribe("a") as events:
            for number in range(30):
                hub.publish("a", str(number))
                places.append((await anext(events)).position)
    async with hub_on(durable=True, history=5) as hub:
        with hub.subscribe("a", since=places[9]) as events:
            hub.publish("a", "new")
            assert await taken(events, 21) == [*map(str, range(10, 30)), "new"]
        with hub.subscribe("a", since=Position.OLDEST) as events:
            assert await taken(events, 5) == ["26", "27", "28", "29", "new"]
        with hub.subscribe("a", since=places[29]) as events:
            assert await taken(events, 1) == ["new"]
        epoch = places[0].parts[0]
        for wrong in ("x.1-0.a", f"{epoch}.1.a", f"{epoch}.{9**30}-0.a", "x.1-2-3.a"):
            with hub.subscribe("a", since=wrong) as events:
                assert (await taken(events, 32))[:2] == [GAP, "0"]


@NEEDS_REDIS
async def test_what_the_stream_has_lost_is_a_gap(
    hub_on: Hubs, server: RedisServer
) -> None:
    """For a member that resumes, and for one that is there."""
    prefix = hub_on.prefix  # type: ignore[attr-defined]  # see conftest
    async with hub_on(durable=True) as hub:
        with hub.subscribe("a", "b") as events:
            for number in range(5):
                hub.publish("a", str(number))
            places = [(await anext(events)).position for _ in range(5)]
            server.command("XTRIM", f"{prefix}:{{a}}:log", "MAXLEN", 2)
            async with hub_on(durable=True) as late:
                with late.subscribe("a", since=places[0]) as again:
                    assert await taken(again, 3) == [GAP, "3", "4"]
                with late.subscribe("a", since=places[2]) as again:
                    assert await taken(again, 2) == ["3", "4"]
            server.command("DEL", f"{prefix}:{{a}}:log", f"{prefix}:{{a}}:state")
            assert await taken(events, 1) == [GAP]  # by the look at silent topics
            hub.publish("a", "new life")
            while await taken(events, 1) != ["new life"]:
                pass


@NEEDS_REDIS
async def test_what_was_not_announced_is_fetched(
    hub_on: Hubs, server: RedisServer
) -> None:
    """With the next message, or when the topic is silent; once and in order."""
    prefix = hub_on.prefix  # type: ignore[attr-defined]  # see conftest
    log, state = f"{prefix}:{{a}}:log", f"{prefix}:{{a}}:state"

    async with hub_on(durable=True) as hub:
        with hub.subscribe("a") as events:
            hub.publish("a", "1")
            place = (await anext(events)).position.parts[1]
            for high, text in ((1, "2"), (2, "3")):
                before = f"{place[0]}-{place[1]}"
                place = place[0] + high, 0
                number = f"{place[0]}-0"
                server.command("XADD", log, number, "p", before, "m", f"tx-1 {text}")
                server.command("HSET", state, "last", number)
            hub.publish("a", "4")
            assert await taken(events, 3) == ["2", "3", "4"]
            last = server.command("HGET", state, "last").split(b"\r\n")[1].decode()
            number = f"{int(last.partition('-')[0]) + 1}-0"
            server.command("XADD", log, number, "p", last, "m", "tx-1 5")
            server.command("HSET", state, "last", number)
            assert await taken(events, 1) == ["5"]


@NEEDS_REDIS
async def test_a_publication_that_is_repeated_is_dropped(hub_on: Hubs) -> None:
    """By its number, as after an answer that was lost."""
    async with hub_on(durable=True) as hub:
        backend: Any = hub._backend
        publish, again = backend.publish, 2

        async def lossy(publications: Any) -> None:
            nonlocal again
            await publish(publications)
            if any(p.topic == "a" for p in publications) and again:
                again -= 1
                raise HubError("the answer is lost")

        backend.publish = lossy
        with hub.subscribe("a") as events:
            for number in range(10):
                hub.publish("a", str(number))
            assert await taken(events, 10) == [*map(str, range(10))]
            hub.publish("a", "end")
            assert await taken(events, 1) == ["end"]


@NEEDS_REDIS
@BOTH
async def test_what_is_no_message_of_a_hub_is_passed_over(
    hub_on: Hubs,
    server: RedisServer,
    durable: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The log says so."""
    prefix = hub_on.prefix  # type: ignore[attr-defined]  # see conftest
    async with hub_on(durable=durable) as hub:
        with hub.subscribe("a", "b*") as events:
            await subscribed(hub)
            for channel in ("a", "b*"):
                server.command("PUBLISH", f"{prefix}:{channel}", "hello")
            hub.publish("a", "right")
            assert await taken(events, 1) == ["right"]
    assert caplog.text.count("not a message of a hub") == 2


@NEEDS_REDIS
async def test_a_pattern_begins_now(hub_on: Hubs) -> None:
    """What its topics had before is not delivered; what comes is."""
    async with hub_on(durable=True) as hub, hub_on(durable=True) as other:
        for number in range(3):
            hub.publish("room.1", str(number))
        with hub.subscribe("room.1", since=Position.OLDEST) as events:
            assert await taken(events, 3) == ["0", "1", "2"]
        await anyio.sleep(0.002)  # the clock of Redis goes on
        with other.subscribe("room.*") as events:
            await subscribed(other)
            hub.publish("room.1", "3")
            hub.publish("room.2", "4")
            assert await taken(events, 2) == ["3", "4"]


@NEEDS_REDIS
@BOTH
async def test_presence_goes_round(hub_on: Hubs, durable: bool) -> None:
    """Between hubs on one server."""
    async with hub_on(durable=durable) as one, hub_on(durable=durable) as other:
        with other.presence.watch("a") as watch:
            with one.presence.track("a", "ann", {"on": "desk"}):
                change = await anext(watch)
                assert (change.kind, change.metas) == ("join", ({"on": "desk"},))
            assert (await anext(watch)).kind == "leave"


def test_an_event_is_what_it_was() -> None:
    """The position of a stream is a position like others."""
    event = Event("a", "x", Position.of("a", "epoch", (1700, 3)))
    assert Position(event.position).place == ("epoch", "1700-3")


async def echoed(hub: Hub) -> None:
    """Publish, and get it back."""
    async with hub:
        with hub.subscribe("a") as events:
            hub.publish("a", "1")
            assert await taken(events, 1) == ["1"]


@NEEDS_REDIS
async def test_passwords_and_databases() -> None:
    """In the URL, or beside it; a wrong one is said, and shown to nobody."""
    with redis_server(options="--requirepass pa:ss/word") as server:
        path = server.path
        for url in (f"unix://:pa%3Ass%2Fword@{path}?db=3", f"unix://{path}?db=3"):
            await echoed(Hub(backend=RedisBackend(url, password="pa:ss/word")))
        await echoed(Hub(backend=RedisBackend(f"unix://:pa%3Ass%2Fword@{path}")))


@NEEDS_REDIS
@pytest.mark.slow
async def test_tls(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Certificates and names are checked, unless a context says otherwise."""
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    certificate.private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    files = (
        f"--tls-cert-file {tmp_path}/server.pem --tls-key-file {tmp_path}/server.pem"
    )
    more = f"--tls-ca-cert-file {tmp_path}/ca.pem --tls-auth-clients no"
    context = ssl.create_default_context()
    authority.configure_trust(context)
    with redis_server(options=f"--tls-port {port} {files} {more}"):
        url = f"rediss://localhost:{port}"
        await echoed(Hub(backend=RedisBackend(url, ssl_context=context)))
        caplog.clear()
        async with Hub(backend=RedisBackend(url)):
            while "cannot be reached" not in caplog.text:
                await checkpoint()
            assert "works again" not in caplog.text
