"""The examples that observe connections, without a server."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import anyio
import pytest

import anyws
from anyws.testing import connect

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def load(name: str) -> Any:
    """Import an example."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


async def test_metrics_are_counted_for_prometheus() -> None:
    """By direction and by close code; what is open goes up and down."""
    example = load("metrics")
    async with connect(example.app, "/") as peer:
        for text in ("a", "bcd"):
            await peer.send_text(text)
            assert await peer.receive_text() == text
        assert "websocket_open 1\n" in example.metrics.text()
        await peer.close(4001)
    await anyio.wait_all_tasks_blocked()
    lines = example.metrics.text().splitlines()
    assert lines[0] == "websocket_open 0"
    assert lines[2:] == [
        'websocket_bytes_total{direction="received"} 4',
        'websocket_bytes_total{direction="sent"} 4',
        'websocket_closed_total{code="4001"} 1',
        'websocket_messages_total{direction="received"} 2',
        'websocket_messages_total{direction="sent"} 2',
    ]


class Span:
    """A span that keeps what it was told; as OpenTelemetry's."""

    def __init__(self) -> None:
        self.attributes: dict[str, Any] = {}
        self.status: Any = None
        self.ended = False

    def set_attribute(self, name: str, value: Any) -> None:
        """Keep it."""
        self.attributes[name] = value

    def set_status(self, status: Any, _: str = "") -> None:
        """Keep it."""
        self.status = status

    def add_event(self, name: str, attributes: Any) -> None:
        """Keep it."""
        self.attributes[name] = attributes

    def end(self) -> None:
        """End it."""
        self.ended = True


class Telemetry:
    """A tracer and a meter that keep what they made."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.added: list[Any] = []

    def start_span(self, _: str, *, kind: Any, attributes: dict[str, Any]) -> Span:
        """Begin one."""
        span = Span()
        span.attributes |= attributes
        self.spans.append(span)
        return span

    def create_counter(self, _: str) -> Telemetry:
        """Be the counter."""
        return self

    def add(self, count: int, attributes: Any) -> None:
        """Keep it."""
        self.added.append((count, attributes))


async def test_a_connection_is_a_span() -> None:
    """A client that closes is no error, and a fault of the handler is one."""
    pytest.importorskip("opentelemetry.trace")
    example, telemetry = load("tracing"), Telemetry()
    observer = example.Tracing(telemetry, telemetry)
    options = anyws.Options(
        observer=observer, receive_buffer=1, receive_overflow="drop_oldest"
    )

    @anyws.endpoint(options=options)
    async def handler(ws: anyws.WebSocket) -> None:
        await ws.accept()
        await anyio.wait_all_tasks_blocked()
        if await ws.receive_text() == "fail":
            raise LookupError

    async with connect(handler, "/one", scope={"client": ("10.0.0.1", 1)}) as peer:
        await peer.send_text("ok")
        await peer.close(4001)
    with pytest.raises(LookupError):
        async with connect(handler) as peer:
            await peer.send_text("fail")
            await peer.wait_closed()
    one, other = telemetry.spans
    assert one.ended
    assert other.ended
    assert one.attributes["url.path"] == "/one"
    assert one.attributes["client.address"] == "10.0.0.1"
    assert one.status is None
    assert other.attributes["websocket.close_code"] == 1011
    assert other.status is not None
    assert (1, {"direction": "received"}) in telemetry.added
    async with connect(example.app) as peer:
        await peer.send_text("a")
        assert await peer.receive_text() == "a"
