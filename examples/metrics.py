"""Count WebSockets for Prometheus, which reads http://127.0.0.1:8000/metrics.

hypercorn -k trio metrics:app

The text format of Prometheus is simple enough to be written here. With the package
`prometheus_client`, the methods would call `Counter.labels(...).inc()` instead.
"""

from __future__ import annotations

from collections import Counter

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute

import anyws


class Metrics:
    """An observer that counts by direction, and by the code of the close."""

    def __init__(self) -> None:
        """Begin to count."""
        self.open = 0
        self.seconds = 0.0
        self.counts: Counter[tuple[str, str, str]] = Counter()

    def opened(self, connection: anyws.ObservedConnection) -> None:
        """Count an open connection."""
        self.open += 1

    def message(
        self, connection: anyws.ObservedConnection, direction: str, size: int
    ) -> None:
        """Count a message and its bytes."""
        self.counts["messages", "direction", direction] += 1
        self.counts["bytes", "direction", direction] += size

    def dropped(
        self, connection: anyws.ObservedConnection, direction: str, count: int
    ) -> None:
        """Count messages that were dropped."""
        self.counts["dropped", "direction", direction] += count

    def closed(
        self,
        connection: anyws.ObservedConnection,
        summary: anyws.ConnectionSummary,
    ) -> None:
        """Count an end by its code, not its path: the number of paths is unbounded."""
        self.open -= 1
        self.seconds += summary.duration
        self.counts["closed", "code", str(summary.info.code)] += 1

    def text(self) -> str:
        """Return all in the text format of Prometheus."""
        lines = [
            f"websocket_open {self.open}",
            f"websocket_seconds_total {self.seconds:.3f}",
        ]
        for (name, label, value), count in sorted(self.counts.items()):
            lines.append(f'websocket_{name}_total{{{label}="{value}"}} {count}')
        return "\n".join(lines) + "\n"


metrics = Metrics()


@anyws.endpoint(options=anyws.Options(observer=metrics))
async def echo(ws: anyws.WebSocket) -> None:
    """Send every message back."""
    await ws.accept()
    async for message in ws:
        await ws.send_message(message)


async def read(request: Request) -> PlainTextResponse:
    """Answer Prometheus."""
    return PlainTextResponse(metrics.text())


app = Starlette(routes=[WebSocketRoute("/", echo), Route("/metrics", read)])
