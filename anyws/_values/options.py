"""The settings of one connection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

ReceiveOverflow: TypeAlias = Literal["wait", "drop_oldest", "close"]
SendOverflow: TypeAlias = Literal["wait", "drop_oldest", "drop_newest", "close"]

_RECEIVE_RULES: Final = ("wait", "drop_oldest", "close")
_SEND_RULES: Final = ("wait", "drop_oldest", "drop_newest", "close")


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """Buffers, limits and time-outs of one connection in guarded mode.

    Attributes:
        receive_buffer: How many received messages are kept until the application reads
            them (default 16). Together they hold at most `max_message_bytes`. At the
            limit, `receive_overflow` decides.

            Where anyws reads the frames itself (`anyws.connect`, `anyws.hypercorn`) and
            the rule is `"wait"`, there is a *read-ahead* behind a full buffer: up to
            256 messages and 1 MiB more are read and kept, in order, so that pings and
            the peer's closing frame are seen although the application does not read.
            Then reading stops.
        receive_overflow: What happens to a message that finds the receive buffer full.
            `"wait"` (default): the message waits, reading stops, and so the peer is
            slowed down; until the application reads, the peer's leaving may go
            unnoticed, except inside `cancel_on_disconnect()`. `"drop_oldest"`: the
            oldest unread message is dropped and counted. `"close"`: the connection is
            closed with 1008.
        send_buffer: How many sent messages are kept until the server or the transport
            takes them (default 16). At the limit, `send_overflow` decides.
        send_buffer_bytes: How many bytes of payload the messages in the send buffer
            hold together (default 1 MiB); a single larger message passes alone. At the
            limit, `send_overflow` decides.
        send_overflow: What happens to a message that finds the send buffer full.
            `"wait"` (default): `send*` waits for room, and `send_nowait` raises
            `anyio.WouldBlock`. `"drop_oldest"`: the oldest message in the buffer is
            dropped and counted. `"drop_newest"`: this message is. `"close"`: the
            connection is closed with 1013.
        max_message_bytes: Largest message accepted, in bytes of payload after
            decompression (default 16 MiB). A larger message is dropped, and the
            connection closed with 1009. Where anyws reads the frames itself, so is a
            message of more than 80,000 fragments. Other servers hold a message whole
            before they hand it over, so their own limit is what bounds their memory.
        send_timeout: Seconds that the server may take to accept one message (default
            `None`: no limit). After that the connection counts as broken: 1006,
            initiator `"network"`.
        idle_timeout: Seconds that may pass without a message from the peer (default
            `None`: no limit). After that the connection is closed with 1001. Time in
            which a full receive buffer stops the reading does not count. On Granian, a
            message that arrives at the very moment of the time-out is lost.
        close_timeout: Seconds for the end of a connection (default 5.0): for what is
            still queued, the closing frame and the peer's answer together. If the peer
            goes on sending messages instead of answering, they are read and discarded
            until it pauses, for at most ten times as long: Hypercorn would leak a
            connection that is left earlier. After a send has failed, messages of the
            peer are received for at most this time.
        ping_interval: Seconds from a pong to the next ping (default 20.0); `None`: no
            pings. This option and the next hold where anyws writes the frames itself.
            ASGI has no pings: other servers send them by settings of their own.
        ping_timeout: Seconds that the peer may take to answer a ping (default 20.0);
            `None`: no limit. After that the connection is closed with 1011. Time in
            which a full receive buffer stops the reading does not count.
    """

    receive_buffer: int = 16
    receive_overflow: ReceiveOverflow = "wait"
    send_buffer: int = 16
    send_buffer_bytes: int = 1024 * 1024
    send_overflow: SendOverflow = "wait"
    max_message_bytes: int = 16 * 1024 * 1024
    send_timeout: float | None = None
    idle_timeout: float | None = None
    close_timeout: float = 5.0
    ping_interval: float | None = 20.0
    ping_timeout: float | None = 20.0

    def __post_init__(self) -> None:
        """Refuse values that have no meaning."""
        for name in (
            "receive_buffer",
            "send_buffer",
            "send_buffer_bytes",
            "max_message_bytes",
        ):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ValueError(f"{name} must be an int of at least 1, not {value!r}")
        for name in (
            "send_timeout",
            "idle_timeout",
            "close_timeout",
            "ping_interval",
            "ping_timeout",
        ):
            value = getattr(self, name)
            if value is None and name != "close_timeout":
                continue
            if type(value) not in (int, float) or not value > 0:
                raise ValueError(
                    f"{name} must be a number of seconds above 0, not {value!r}"
                )
        for name, rules in (
            ("receive_overflow", _RECEIVE_RULES),
            ("send_overflow", _SEND_RULES),
        ):
            if getattr(self, name) not in rules:
                raise ValueError(
                    f"{name} must be one of {', '.join(map(repr, rules))}, "
                    f"not {getattr(self, name)!r}"
                )


DEFAULTS: Final = Options()


def check_options(options: object) -> None:
    """Raise TypeError for options that are neither `Options` nor `None`."""
    if options is not None and not isinstance(options, Options):
        raise TypeError(f"options must be anyws.Options, not {type(options).__name__}")
