"""`allowed_origins`: what a page that may not connect gets, and what the log says."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Annotated, Any

import anyio
import pytest
from fastapi import Depends, FastAPI
from fastapi import WebSocket as FastAPIWebSocket

import anyws
from anyws.fastapi import APIRouter, guarded
from anyws.testing import connect

from ..support.ends import Pipe

HERE, EVIL = "https://example.com", "https://evil.test"
called: list[str] = []


@pytest.fixture(autouse=True)
def _nobody_called() -> None:
    """Forget the calls of other tests."""
    called.clear()


async def handler(ws: anyws.WebSocket) -> None:
    """Accept, and note that."""
    called.append("handler")
    await ws.accept()


def endpoint(allowed: Any) -> Any:
    """Return an endpoint with the rule."""
    return anyws.endpoint(allowed_origins=allowed)(handler)


def middleware(allowed: Any) -> Any:
    """Return an application with the rule outside."""
    return anyws.WebSocketMiddleware(anyws.endpoint(handler), allowed_origins=allowed)


def dependency(allowed: Any) -> Any:
    """Return a FastAPI application with the rule in a route."""
    app = FastAPI()
    dependency: Any = Depends(guarded(allowed_origins=allowed))

    @app.websocket("/ws")
    async def serve(ws: anyws.WebSocket = dependency) -> None:
        await handler(ws)

    return app


def router(allowed: Any) -> Any:
    """Return a FastAPI application with the rule for all routes of a router."""
    each = APIRouter(dependencies=[Depends(guarded(allowed_origins=allowed))])
    each.websocket("/ws")(handler)
    app = FastAPI()
    app.include_router(each)
    return app


def within(allowed: Any) -> Any:
    """Return the same under the middleware."""
    return anyws.WebSocketMiddleware(dependency(allowed))


guards = pytest.mark.parametrize(
    "guard", [endpoint, middleware, dependency, router, within]
)
Guard = Callable[[Any], Any]


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the lines that the log got, but for those of connections.

    A framework that another test has used may have opened the log for these.
    """
    records = [it for it in caplog.records if it.name != "anyws.connection"]
    return [record.getMessage() for record in records]


@guards
@pytest.mark.parametrize("scope", [None, {"extensions": dict[str, Any]()}])
async def test_another_page_is_refused(
    guard: Guard, scope: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """With 403 on every server, and one line that names it."""
    app = guard([HERE, "same-origin"])
    for origin in EVIL, "null", "a\tb":
        with pytest.raises(anyws.HandshakeRejected) as caught:
            async with connect(app, headers={"origin": origin}, scope=scope):
                pass
        assert caught.value.status == 403
    assert called == []
    said = "refused a WebSocket from the origin"
    assert [line.partition(",")[0] for line in lines(caplog)] == [
        f"{said} '{EVIL}'",
        f"{said} 'null'",
        rf"{said} 'a\tb'",
    ]
    # A proxy that drops the port refuses pages of its own: the line shows it.
    assert all("; the header Host is 'testserver'" in line for line in lines(caplog))
    assert {record.name for record in caplog.records} == {"anyws.server"}
    assert {record.levelno for record in caplog.records} == {logging.WARNING}


@guards
async def test_a_page_that_is_named_is_served(
    guard: Guard, caplog: pytest.LogCaptureFixture
) -> None:
    """As is one of the same host, and what is no page at all."""
    app = guard([HERE, "same-origin"])
    several: list[dict[str, str]] = [
        {"origin": HERE},
        {"origin": "http://testserver:80"},
        {},
    ]
    for headers in several:
        async with connect(app, headers=headers):
            pass
    assert called == ["handler"] * 3
    assert lines(caplog) == []


@guards
def test_what_is_no_rule_is_refused(guard: Guard) -> None:
    """When it is written, and not when a client comes."""
    with pytest.raises(ValueError, match="not an origin"):
        guard(["example.com"])
    with pytest.raises(TypeError, match="allowed_origins"):
        guard(7)


async def test_each_guard_has_a_rule_of_its_own() -> None:
    """A client has to meet those of all."""
    app = anyws.WebSocketMiddleware(endpoint(EVIL), allowed_origins=[HERE, EVIL])
    async with connect(app, headers={"origin": EVIL}):
        pass
    with pytest.raises(anyws.HandshakeRejected):
        async with connect(app, headers={"origin": HERE}):
            pass


@pytest.mark.parametrize("rule", ["endpoint", "dependency"])
async def test_a_rule_that_comes_too_late_is_an_error(rule: str) -> None:
    """Nobody is to believe that it holds."""

    async def accepting(scope: Any, receive: Any, send: Any) -> None:
        async with anyws.WebSocket(scope, receive, send) as ws:
            await ws.accept()
            await endpoint(HERE)(scope, receive, send)

    early = FastAPI()

    async def accept(websocket: FastAPIWebSocket) -> None:
        await websocket.accept()

    @early.websocket("/ws", dependencies=[Depends(accept)])
    async def serve(
        ws: Annotated[anyws.WebSocket, Depends(guarded(allowed_origins=HERE))],
    ) -> None:
        pytest.fail("called")

    app: Any = accepting if rule == "endpoint" else early
    with pytest.raises(RuntimeError, match="allowed_origins has no effect here"):
        async with connect(app) as peer:
            await peer.wait_closed()


def test_dependencies_are_equal_for_equal_rules() -> None:
    """FastAPI's cache and its overrides know them by that."""
    assert guarded(allowed_origins=HERE) == guarded(allowed_origins=[HERE])
    assert guarded(allowed_origins=HERE) != guarded()
    assert hash(guarded(allowed_origins=HERE)) == hash(guarded(allowed_origins=[HERE]))


async def test_a_server_has_the_rule() -> None:
    """`anyws.serve`, for its whole application."""
    async with anyws.serve(handler, "127.0.0.1", allowed_origins=HERE) as server:
        async with anyws.connect(server.url, origin=HERE):
            pass
        with pytest.raises(anyws.HandshakeRejected) as caught:
            async with anyws.connect(server.url, origin=EVIL):
                pass
        assert caught.value.status == 403
    with pytest.raises(ValueError, match="not an origin"):
        anyws.serve(handler, allowed_origins=["*"])


async def test_a_single_stream_has_the_rule(caplog: pytest.LogCaptureFixture) -> None:
    """`anyws.accept_stream`: the client gets 403, and the block is not entered."""
    statuses = list[int]()

    async def client(stream: Any, origin: str) -> None:
        try:
            async with anyws.connect("ws://a/", stream=stream, origin=origin):
                statuses.append(101)
        except anyws.HandshakeRejected as exc:
            statuses.append(exc.status)

    refused = pytest.raises(anyws.HandshakeError, match="origin is not allowed")
    outcomes: dict[str, AbstractContextManager[Any]]
    outcomes = {HERE: nullcontext(), EVIL: refused}
    for origin, outcome in outcomes.items():
        near, far = Pipe.pair()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client, near, origin)
            with outcome:
                async with anyws.accept_stream(far, allowed_origins=HERE) as ws:
                    await handler(ws)
        with pytest.raises(anyio.ClosedResourceError):
            await far.receive()
    assert statuses == [101, 403]
    assert called == ["handler"]
    assert [line.partition(",")[0] for line in lines(caplog)] == [
        f"refused a WebSocket from the origin '{EVIL}'"
    ]
    with pytest.raises(ValueError, match="not an origin"):
        async with anyws.accept_stream(Pipe.pair()[0], allowed_origins="*"):
            pytest.fail("entered")
