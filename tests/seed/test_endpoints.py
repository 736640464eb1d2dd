"""Rows S-100 to S-104: Starlette's class of endpoints, with our class in its place."""

from __future__ import annotations

from typing import Any, cast

import anyio
import pytest
from anyio import wait_all_tasks_blocked
from starlette.endpoints import WebSocketEndpoint

import anyws

from ..support import seed
from ..support.seed import (
    ACCEPT,
    CLOSE,
    CONNECT,
    LEFT,
    Codec,
    Event,
    arriving,
    row,
    scope_of,
)

ours, substituted = seed.ours, seed.substituted


class Recorded(WebSocketEndpoint):
    """Keeps what its hooks are called with."""

    calls: list[Any]

    async def on_connect(self, websocket: Any) -> None:
        """Accept, as the base does."""
        assert isinstance(websocket, anyws.WebSocket)
        self.calls.append("connect")
        await super().on_connect(websocket)

    async def on_receive(self, websocket: Any, data: Any) -> None:
        """Keep the data; one of them is not liked."""
        self.calls.append(data)
        if data == "fail":
            raise ZeroDivisionError

    async def on_disconnect(self, websocket: Any, close_code: int) -> None:
        """Keep the code."""
        self.calls.append(close_code)


def recorded(wire: Codec, encoding: str | None = None) -> Recorded:
    """Return an endpoint on a wire."""
    endpoint = Recorded(scope_of(), wire.receive, wire.send)
    endpoint.encoding = cast(Any, encoding)
    endpoint.calls = []
    return endpoint


def test_an_endpoint_keeps_its_channel() -> None:
    """S-100: scope, receive and send are attributes; other scopes are refused."""
    wire = Codec()
    endpoint = recorded(wire)
    assert endpoint.scope == scope_of()
    assert (endpoint.receive, endpoint.send) == (wire.receive, wire.send)
    with pytest.raises(AssertionError):
        WebSocketEndpoint(scope_of(type="http"), wire.receive, wire.send)


@pytest.mark.parametrize(
    ("encoding", "event", "data"),
    [
        row("S-103-text", "text", arriving("a"), "a"),
        row("S-103-empty", "text", arriving(""), ""),
        row("S-103-bytes", "bytes", arriving(b"a"), b"a"),
        row("S-103-json", "json", arriving("[1]"), [1]),
        row("S-103-json-bytes", "json", arriving(b"[1]"), [1]),
        row("S-101-none-text", None, arriving(""), ""),
        row("S-101-none-bytes", None, {**arriving(b"a"), "text": None}, b"a"),
    ],
)
@pytest.mark.parametrize(
    ("left", "code"),
    [
        row("code", LEFT, 1001),
        row("no-code", {**LEFT, "code": None}, 1000),
    ],
)
@pytest.mark.usefixtures("ours")
async def test_an_endpoint_is_driven(
    encoding: str | None, event: Event, data: object, left: Event, code: int
) -> None:
    """S-102, S-104: the hooks get what was decoded, and how the peer left."""
    wire = Codec(CONNECT, event, left)
    endpoint = recorded(wire, encoding)
    await endpoint
    assert endpoint.calls == ["connect", data, code]
    assert wire.sent == [ACCEPT]


@pytest.mark.parametrize(
    ("encoding", "event", "says"),
    [
        row("S-103-text", "text", arriving(b"a"), "Expected text .* got bytes"),
        row("S-103-bytes", "bytes", arriving("a"), "Expected bytes .* got text"),
        row("S-103-json", "json", arriving("{"), "Malformed JSON data received"),
    ],
)
@pytest.mark.usefixtures("ours")
async def test_an_endpoint_refuses_data(encoding: str, event: Event, says: str) -> None:
    """S-102: it closes with 1003 and raises; the hook gets 1011."""
    wire = Codec(CONNECT, event)
    endpoint = recorded(wire, encoding)
    with pytest.raises(RuntimeError, match=says):
        await endpoint
    assert endpoint.calls == ["connect", 1011]
    assert wire.sent == [ACCEPT, {**CLOSE, "code": 1003}]


@pytest.mark.parametrize(
    ("encoding", "error"),
    [row("S-101", "xml", AssertionError), row("S-102", "text", ZeroDivisionError)],
)
@pytest.mark.usefixtures("ours")
async def test_an_endpoint_that_fails(encoding: str, error: type[Exception]) -> None:
    """The error is raised again, and nothing is sent for it."""
    wire = Codec(CONNECT, arriving("fail"))
    endpoint = recorded(wire, encoding)
    with pytest.raises(error):
        await endpoint
    assert endpoint.calls[-1] == 1011
    assert wire.sent == [ACCEPT]


@pytest.mark.usefixtures("ours")
async def test_an_endpoint_that_is_cancelled() -> None:
    """S-104: `on_disconnect` runs all the same, with 1000."""
    deliver, queue = anyio.create_memory_object_stream[Event](1)
    with deliver, queue:
        endpoint = recorded(Codec())
        endpoint.receive = queue.receive
        deliver.send_nowait(CONNECT)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(endpoint.dispatch)
            await wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
    assert endpoint.calls == ["connect", 1000]
