"""Record each WebSocket as an OpenTelemetry span (package `opentelemetry-api`).

hypercorn -k trio tracing:app

Configure the destination of the spans as for any application, with the package
`opentelemetry-sdk`. A client that closes or goes away is not an error; a failure of
this end is one.
"""

from __future__ import annotations

from weakref import WeakKeyDictionary

from opentelemetry import metrics, trace

import anyws

# Closes by this end that mean a fault: 1011 (an exception, a ping not answered).
FAULTS = {anyws.CloseCode.INTERNAL_ERROR}


class Tracing:
    """An observer that makes a span of each connection, and counts messages."""

    def __init__(self, tracer: trace.Tracer, meter: metrics.Meter) -> None:
        """Set the destinations of spans and counts."""
        self._tracer = tracer
        self._spans: WeakKeyDictionary[anyws.ObservedConnection, trace.Span] = (
            WeakKeyDictionary()
        )
        self._messages = meter.create_counter("websocket.messages")
        self._dropped = meter.create_counter("websocket.dropped")

    def opened(self, connection: anyws.ObservedConnection) -> None:
        """Begin the span."""
        kinds = {"server": trace.SpanKind.SERVER, "client": trace.SpanKind.CLIENT}
        attributes = {"url.path": connection.path or ""}
        if connection.client:
            attributes["client.address"] = connection.client
        self._spans[connection] = self._tracer.start_span(
            "websocket", kind=kinds[connection.role], attributes=attributes
        )

    def message(
        self, connection: anyws.ObservedConnection, direction: str, size: int
    ) -> None:
        """Count."""
        self._messages.add(1, {"direction": direction})

    def dropped(
        self, connection: anyws.ObservedConnection, direction: str, count: int
    ) -> None:
        """Count, and note it in the span."""
        self._dropped.add(count, {"direction": direction})
        self._spans[connection].add_event("dropped", {direction: count})

    def closed(
        self,
        connection: anyws.ObservedConnection,
        summary: anyws.ConnectionSummary,
    ) -> None:
        """End the span."""
        info, span = summary.info, self._spans.pop(connection)
        span.set_attribute("websocket.close_code", info.code)
        span.set_attribute("websocket.initiator", info.initiator)
        span.set_attribute("websocket.received", summary.statistics.messages_received)
        span.set_attribute("websocket.sent", summary.statistics.messages_sent)
        if info.initiator == "local" and info.code in FAULTS:
            span.set_status(trace.StatusCode.ERROR, info.reason)
        span.end()


observer = Tracing(trace.get_tracer("websockets"), metrics.get_meter("websockets"))


@anyws.endpoint(options=anyws.Options(observer=observer))
async def app(ws: anyws.WebSocket) -> None:
    """Send every message back."""
    await ws.accept()
    async for message in ws:
        await ws.send_message(message)
