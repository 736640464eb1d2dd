"""How many connections one client may have, and who one client is."""

from __future__ import annotations

import pickle
import warnings
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from fastapi import Depends, FastAPI
from starlette.authentication import AuthCredentials, SimpleUser

import anyws
import anyws.fastapi
from anyws._server.admission import admitting
from anyws.testing import connect

Limit = anyws.ConnectionLimit


async def echo(ws: anyws.WebSocket) -> None:
    """Echo."""
    await ws.accept()
    async for message in ws:
        await ws.send_message(message)


def guarded(guard: str, limit: Limit) -> Any:
    """Return the echo with a guard."""
    options = anyws.Options(max_connections_per=limit)
    if guard == "endpoint":
        return anyws.endpoint(options=options)(echo)
    if guard == "middleware":
        return anyws.WebSocketMiddleware(anyws.endpoint(echo), options)
    app = FastAPI()
    dependency: Any = Depends(anyws.fastapi.guarded(options=options))

    @app.websocket("/ws")
    async def handler(ws: anyws.WebSocket = dependency) -> None:
        await echo(ws)

    return app if guard == "dependency" else anyws.WebSocketMiddleware(app)


GUARDS = ["endpoint", "middleware", "dependency", "dependency within"]


@pytest.mark.parametrize("guard", GUARDS)
async def test_a_client_with_too_many_connections_is_refused(guard: str) -> None:
    """With 429, until one of them is over; other clients are served."""
    app = guarded(guard, Limit(2))
    one = {"client": ("10.0.0.1", 1)}
    async with connect(app, scope=one):
        async with connect(app, scope=one):
            with pytest.raises(anyws.HandshakeRejected) as caught:
                async with connect(app, scope=one):
                    pytest.fail("accepted")
            assert caught.value.status == 429
            async with connect(app, scope={"client": ("10.0.0.2", 1)}) as other:
                await other.send_text("hello")
                assert await other.receive_text() == "hello"
        async with connect(app, scope=one) as peer:
            await peer.send_text("again")
            assert await peer.receive_text() == "again"


@pytest.mark.parametrize("guard", GUARDS)
async def test_without_denial_responses_it_is_403(guard: str) -> None:
    """As any close before the accept."""
    app = guarded(guard, Limit(1))
    scope = {"client": ("10.0.0.1", 1), "extensions": {}}
    async with connect(app, scope=scope):
        with pytest.raises(anyws.HandshakeRejected) as caught:
            async with connect(app, scope=scope):
                pytest.fail("accepted")
        assert caught.value.status == 403


@pytest.mark.parametrize("guard", GUARDS)
async def test_a_connection_counts_once(guard: str) -> None:
    """Although it passes two guards that share the limit."""
    limit = Limit(1)
    options = anyws.Options(max_connections_per=limit)
    app = anyws.WebSocketMiddleware(guarded(guard, limit), options)
    for _ in range(2):
        async with connect(app) as peer:
            await peer.send_text("once")
            assert await peer.receive_text() == "once"
            with pytest.raises(anyws.HandshakeRejected):
                async with connect(app):
                    pytest.fail("accepted")
    assert limit._counts == {}


async def test_a_handler_that_fails_gives_its_place_back() -> None:
    """As does one that is cancelled."""

    async def fail(ws: anyws.WebSocket) -> None:
        raise LookupError

    limit = Limit(1)
    options = anyws.Options(max_connections_per=limit)
    scope = {"client": ("10.0.0.1", 1)}
    for _ in range(2):
        with pytest.raises(LookupError):
            async with connect(anyws.endpoint(options=options)(fail), scope=scope):
                pass
    with anyio.CancelScope() as cancelled:
        async with connect(anyws.endpoint(options=options)(echo), scope=scope):
            cancelled.cancel()
            await anyio.lowlevel.checkpoint()
    async with connect(anyws.endpoint(options=options)(echo), scope=scope):
        pass


def scope_of(address: str, *forwarded: str) -> dict[str, Any]:
    """Return the scope of a client, behind proxies or not."""
    headers = [(b"x-forwarded-for", value.encode()) for value in forwarded]
    return {"client": (address, 1), "headers": headers}


TRUSTED = ["10.0.0.0/8", "::1"]


@pytest.mark.parametrize(
    ("scope", "key"),
    [
        (scope_of("1.2.3.4"), "1.2.3.4"),
        (scope_of("1.2.3.4", "5.6.7.8"), "1.2.3.4"),
        (scope_of("10.0.0.1", "5.6.7.8"), "5.6.7.8"),
        (scope_of("10.0.0.1", "6.6.6.6, 5.6.7.8, 10.1.1.1"), "5.6.7.8"),
        (scope_of("10.0.0.1", "6.6.6.6", "5.6.7.8"), "5.6.7.8"),
        (scope_of("10.0.0.1", "10.0.0.2"), "10.0.0.2"),
        (scope_of("10.0.0.1"), "10.0.0.1"),
        (scope_of("::1", "2001:db8:0:1:2:3:4:5"), "2001:db8:0:1::/64"),
        (scope_of("::ffff:1.2.3.4"), "1.2.3.4"),
        (scope_of("::ffff:10.0.0.1", "5.6.7.8"), "5.6.7.8"),
        (scope_of("10.0.0.1", "5.6.7.8:4711"), "5.6.7.8"),
        (scope_of("10.0.0.1", "[2001:db8:0:1::2]:4711"), "2001:db8:0:1::/64"),
        (scope_of("10.0.0.1", "[2001:db8:0:1::2]"), "2001:db8:0:1::/64"),
        (scope_of("10.0.0.1", "unknown"), "unknown"),
        (scope_of("testclient"), "testclient"),
        ({"client": None}, None),
        ({}, None),
    ],
    ids=str,
)
def test_the_address_is_the_nearest_that_is_not_trusted(
    scope: dict[str, Any], key: str | None
) -> None:
    """Whatever a client writes into the header itself stands further out."""
    assert Limit(1, trusted_proxies=TRUSTED).key_of(scope) == key


def test_a_user_is_known_by_the_name() -> None:
    """One who has not logged in has none."""
    limit = Limit(1, per="user")
    scope = {"user": SimpleUser("ann"), "auth": AuthCredentials()}
    assert limit.key_of(scope) == "ann"
    assert limit.key_of({"user": SimpleUser("")}) is None
    assert limit.key_of({}) is None
    assert Limit(1, per=lambda scope: scope["path"]).key_of({"path": "/a"}) == "/a"


async def test_who_has_no_key_is_not_limited() -> None:
    """As a client of a unix socket, which has no address."""
    app = guarded("endpoint", Limit(1))
    async with connect(app, scope={"client": None}):
        async with connect(app, scope={"client": None}):
            pass


def test_a_copy_in_another_process_counts_its_own() -> None:
    """A pickle holds the rule, and no counts."""
    limit = Limit(1, trusted_proxies=TRUSTED)
    with limit.counting(scope_of("1.2.3.4")) as admitted:
        assert admitted
        with limit.counting(scope_of("1.2.3.4")) as again:
            assert not again
        copied = pickle.loads(pickle.dumps(limit))
        with copied.counting(scope_of("10.0.0.1", "1.2.3.4")) as elsewhere:
            assert elsewhere


def test_what_is_no_limit_is_refused() -> None:
    """Before a client meets it."""
    wrong: Any
    for wrong in (0, True, "1"):
        with pytest.raises(ValueError, match="limit must be"):
            Limit(wrong)
    wrong = "session"
    with pytest.raises(TypeError, match="per is"):
        Limit(1, per=wrong)
    with pytest.raises(ValueError, match="localhost"):
        Limit(1, trusted_proxies=["localhost"])


async def test_a_connection_that_was_accepted_is_not_refused() -> None:
    """An outer application has done so; it is too late for an answer."""
    app = guarded("endpoint", Limit(1))

    async def outer(scope: Any, receive: Any, send: Any) -> None:
        async with anyws.WebSocket(scope, receive, send) as ws:
            await ws.accept()
            await anyws.endpoint(options=app.options)(still_there)(scope, receive, send)

    async def still_there(ws: anyws.WebSocket) -> None:
        await ws.send_text("still there")

    scope = {"client": ("10.0.0.1", 1)}
    async with connect(app, scope=scope):
        async with connect(anyws.WebSocketMiddleware(outer), scope=scope) as peer:
            assert await peer.receive_text() == "still there"


async def test_a_server_keeps_the_limit() -> None:
    """That was given these options."""
    options = anyws.Options(max_connections_per=Limit(1))
    async with anyws.serve(echo, "127.0.0.1", options=options) as server:
        async with anyws.connect(server.url):
            with pytest.raises(anyws.HandshakeRejected) as caught:
                async with anyws.connect(server.url):
                    pytest.fail("accepted")
            assert caught.value.status == 429


async def test_hypercorn_calls_with_more_arguments() -> None:
    """The engine's application gets them."""
    seen = []

    async def app(scope: Any, receive: Any, send: Any, *others: object) -> None:
        seen.append(others)

    options = anyws.Options(max_connections_per=Limit(1))
    nothing: Any = None
    scope = {"client": ("10.0.0.1", 1)}
    await admitting(app, options, None)(scope, nothing, nothing, "spawn", "soon")
    assert seen == [("spawn", "soon")]
    assert admitting(app, anyws.Options(), None) is app


async def test_where_it_cannot_hold_a_warning_says_so() -> None:
    """At the place that names it, and once, as Python's filters are."""
    options = anyws.Options(max_connections_per=Limit(1))
    scope: Any = {"type": "websocket", "path": "/", "headers": []}
    channel: Any = None
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("default")
        for _ in range(2):
            anyws.WebSocket(scope, channel, channel, options=options)
        anyws.connect("ws://example.test", options=options)
        with pytest.raises(anyws.HandshakeError):
            async with anyws.accept_stream(Ended(), options=options):
                pass
    assert [each.filename for each in seen] == [__file__] * 3
    assert all("max_connections_per" in str(each.message) for each in seen)


class Ended(anyio.abc.ByteStream):
    """A stream that has ended."""

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """Raise."""
        await anyio.lowlevel.checkpoint()
        raise anyio.EndOfStream

    async def send(self, item: bytes) -> None:
        """Take it."""

    async def send_eof(self) -> None:
        """Take it."""

    async def aclose(self) -> None:
        """Be closed."""
