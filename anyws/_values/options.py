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
        receive_buffer: Messages received and not yet read that are kept (default 16).
            Together they hold at most `max_message_bytes`. At the limit:
            `receive_overflow`.
        receive_overflow: What a full receive buffer does. `"wait"` (default): no more
            is read, so the peer is slowed down; while it lasts the peer's leaving may
            go unnoticed, except inside `cancel_on_disconnect()`. `"drop_oldest"`: the
            oldest unread message is dropped and counted. `"close"`: the connection is
            closed with 1008.
        send_buffer: Messages sent and not yet taken by the server that are kept
            (default 16). At the limit: `send_overflow`.
        send_buffer_bytes: Bytes of payload that they hold together (default 1 MiB); a
            single larger message passes alone. At the limit: `send_overflow`.
        send_overflow: What a full send buffer does. `"wait"` (default): `send*` waits
            for room, `send_nowait` raises `anyio.WouldBlock`. `"drop_oldest"`,
            `"drop_newest"`: a message is dropped and counted. `"close"`: the
            connection is closed with 1013.
        max_message_bytes: Largest message accepted, in bytes of payload after
            decompression (default 16 MiB). A larger one is dropped and the connection
            closed with 1009; so is one of over 80,000 fragments, where the frames are
            ours. The server must hold it to hand it over: its own limit is what bounds
            its memory.
        send_timeout: Seconds that the server may take to accept one message (default
            `None`: no limit). Then the connection is dead: 1006, initiator
            `"network"`.
        idle_timeout: Seconds without a message from the peer (default `None`: no
            limit). Then the connection is closed with 1001. Time in which a full
            receive buffer holds the peer up does not count. On Granian, a message that
            arrives in the very moment of the time-out is lost.
        close_timeout: Seconds for the end of a connection (default 5.0): what is still
            queued, the closing frame and the peer's answer together. A peer that floods
            instead of answering is read and discarded until it pauses, for at most ten
            times as long: leaving it earlier would leak the connection on Hypercorn.
            After a send that has failed, what the peer still sends is received for as
            long at most.
        ping_interval: Seconds from a pong to the next ping (default 20.0); `None`: no
            pings. This and the next hold where the frames are ours, as under
            `anyws.hypercorn`; ASGI knows no ping, so other servers have settings of
            their own.
        ping_timeout: Seconds that the peer may take to answer a ping (default 20.0).
            Then the connection is closed with 1011. Time in which it is we who do not
            read does not count. `None`: no limit.
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
    """Refuse what is neither `Options` nor `None`."""
    if options is not None and not isinstance(options, Options):
        raise TypeError(f"options must be anyws.Options, not {type(options).__name__}")
