"""The log line of each connection, and counters."""

from __future__ import annotations

import logging
from collections import Counter

import anyws

logging.getLogger("anyws.connection").setLevel(logging.INFO)


class Counts:
    """Counts events; a real observer feeds Prometheus or OpenTelemetry."""

    def __init__(self) -> None:
        """Begin at zero."""
        self.counts: Counter[str] = Counter()

    def opened(self, connection: anyws.ObservedConnection) -> None:
        """Count an open connection."""
        self.counts["open"] += 1

    def message(
        self, connection: anyws.ObservedConnection, direction: str, size: int
    ) -> None:
        """Count a message."""
        self.counts[f"messages {direction}"] += 1

    def dropped(
        self, connection: anyws.ObservedConnection, direction: str, count: int
    ) -> None:
        """Count messages that a rule has dropped."""
        self.counts[f"dropped {direction}"] += count

    def closed(
        self,
        connection: anyws.ObservedConnection,
        summary: anyws.ConnectionSummary,
    ) -> None:
        """Count the end by its code."""
        self.counts["open"] -= 1
        self.counts[f"closed {summary.info.code}"] += 1


counts = Counts()


@anyws.endpoint(options=anyws.Options(observer=counts))
async def app(ws: anyws.WebSocket) -> None:
    """Send every message back."""
    await ws.accept()
    async for message in ws:
        await ws.send_message(message)
