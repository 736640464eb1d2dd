"""The counters of one connection."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Statistics:
    """The counters of one connection at one moment.

    Attributes:
        messages_received, bytes_received: Messages received from the peer, and their
            payload in bytes. Dropped messages are counted too.
        messages_sent, bytes_sent: Messages that were handed to the server or the
            transport, and their payload in bytes.
        receive_queued, send_queued: Messages in the two buffers. `receive_queued` also
            counts the *read-ahead*: where anyws reads the frames itself, it goes on
            reading behind a full receive buffer, for up to 256 messages and 1 MiB, so
            that pings and the peer's closing frame are seen.
        receive_queued_bytes, send_queued_bytes: The payload of those messages in bytes.
        receive_dropped, send_dropped: Messages dropped by an overflow rule.
        latency: Round-trip time (seconds) of the last ping that was answered; `None`
            before the first one, and where the server sends the pings: ASGI does not
            report them.
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
