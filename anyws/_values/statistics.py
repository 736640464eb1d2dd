"""What a connection has done so far, in numbers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Statistics:
    """Counters of one connection, as they stand now.

    Attributes:
        messages_received, bytes_received: Messages that came from the peer, and their
            payload in bytes; dropped ones included.
        messages_sent, bytes_sent: Messages that the server has taken, and their payload
            in bytes.
        receive_queued, send_queued: Messages in the two buffers. Where the frames are
            ours, up to 256 messages and 1 MiB more than `Options.receive_buffer` are
            read ahead, so that pings and the peer's close are seen; they count.
        receive_queued_bytes, send_queued_bytes: Their payload in bytes.
        receive_dropped, send_dropped: Messages dropped by an overflow rule.
        latency: Round-trip time in seconds, of the last ping that was answered; `None`
            where that is not known, as ASGI does not tell.
    """

    messages_received: int
    bytes_received: int
    messages_sent: int
    bytes_sent: int
    receive_queued: int
    receive_queued_bytes: int
    send_queued: int
    send_queued_bytes: int
    receive_dropped: int
    send_dropped: int
    latency: float | None = None
