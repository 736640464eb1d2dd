"""The settings of one connection."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import wraps
from math import inf
from typing import Any, Final, Literal, TypeAlias

from .deflate import Compression, Deflate, check_compression
from .limits import ConnectionLimit, Heartbeat
from .message_codec import Codec, check_codec
from .observer import Observer, check_observer

ReceiveOverflow: TypeAlias = Literal["wait", "drop_oldest", "close"]
SendOverflow: TypeAlias = Literal["wait", "drop_oldest", "drop_newest", "close"]
RateOverflow: TypeAlias = Literal["wait", "drop", "close"]

_RECEIVE_RULES: Final = ("wait", "drop_oldest", "close")
_SEND_RULES: Final = ("wait", "drop_oldest", "drop_newest", "close")
_RATE_RULES: Final = ("wait", "drop", "close")


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """Buffers, limits and timeouts of one connection in guarded mode.

    Options can be given to a server, a middleware, an endpoint and a `WebSocket`. If
    several of these are nested, the inner options override the outer ones field by
    field, and only the fields that were named: `Options(max_message_bytes=10)` leaves
    all others as they are. `copy`, `pickle` and `dataclasses.replace` preserve which
    fields were named.

    The bounds in bytes hold for the payload. Where they are 64 KiB or more, they also
    hold for the memory that messages take: 320 bytes each beside the payload, and up to
    four bytes for each character of a text with characters outside the basic plane.

    At the worst, a connection whose frames anyws reads and writes itself holds

        unread messages          max(max_message_bytes, 64 KiB) + 1 MiB + M
        the last bytes parsed    1 MiB
        a message under way      M
        messages to send         max(send_buffer_bytes, 64 KiB), or one larger message
        the write under way      2 * max(64 KiB, N)
        bytes on their way       0.5 MiB (read and not parsed, pongs, transport)

    where M is the memory of a message of `max_message_bytes`, and N that of the largest
    message sent. By default that is 52 MiB if the messages sent are small: the sum of
    three messages of 16 MiB, and 4 MiB. With `max_message_bytes=65536` it is 4 MiB. On
    other servers, anyws holds `max_message_bytes + M` of unread messages and the
    messages to send; the rest is the server's.

    Attributes:
        receive_buffer: How many received messages are kept until the application reads
            them (default 16). Together they hold at most `max_message_bytes`. At the
            limit, `receive_overflow` decides.

            Where anyws reads the frames itself (`anyws.connect`, `anyws.serve`,
            `anyws.hypercorn`, `anyws.uvicorn`) and the rule is `"wait"`, there is a
            *read-ahead* behind a full buffer: up to 256 messages and 1 MiB more are
            read and kept, in order, so that pings and the peer's closing frame are seen
            although the application does not read. Then reading stops.
        receive_overflow: What happens to a message that finds the receive buffer full.
            `"wait"` (default): the message waits, reading stops, and so the peer is
            slowed down; until the application reads, it may not notice that the peer
            has left, except inside `cancel_on_disconnect()`. `"drop_oldest"`: the
            oldest unread message is dropped and counted. `"close"`: the connection is
            closed with 1008.
        send_buffer: How many sent messages are kept until the server or the transport
            takes them (default 16). Messages of `send_nowait` that are still to pass a
            middleware count, too. At the limit, `send_overflow` decides.
        send_buffer_bytes: How many bytes of payload the messages in the send buffer
            hold together (default 1 MiB); a single larger message passes alone. At the
            limit, `send_overflow` decides.
        send_overflow: What happens to a message that finds the send buffer full.
            `"wait"` (default): `send*` waits for room, and `send_nowait` raises
            `anyio.WouldBlock`. `"drop_oldest"`: the oldest message in the buffer is
            dropped and counted. `"drop_newest"`: this message is dropped and counted.
            `"close"`: the connection is closed with 1013.
        max_message_bytes: Largest message accepted, in bytes of payload after
            decompression (default 16 MiB). A larger message is dropped, and the
            connection is closed with 1009. Where anyws reads the frames itself, the
            same happens to a message of more than 80,000 fragments. Other servers hold
            a whole message before they hand it over, so only their own limit bounds
            their memory.
        send_timeout: Seconds that the server may take to accept one message (default
            `None`: no limit). After that the connection counts as broken: 1006,
            initiator `"network"`.
        idle_timeout: Seconds that may pass without a message from the peer (default
            `None`: no limit). After that the connection is closed with 1001. Where
            anyws reads the frames itself, each part of a message that arrives restarts
            the time, and so does each part of a sent message that had to wait until the
            peer read on. Pings and pongs do not restart it. Under other servers, only
            whole messages from the peer restart it, so the time has to be longer than
            the slowest message takes. Time in which a full receive buffer stops the
            reading does not count. On Granian, a message that arrives at the very
            moment of the timeout is lost.
        close_timeout: Seconds for the end of a connection (default 5.0): for the
            messages that are still queued, the closing frame and the peer's answer
            together. If the peer goes on sending messages instead of answering, they
            are read and discarded until it pauses, for at most ten times as long:
            Hypercorn would leak a connection that is left earlier. After a send has
            failed, messages from the peer are received for at most this time.
        ping_interval: Seconds from a pong to the next ping (default 20.0); `None`: no
            pings. This option and the next hold where anyws writes the frames itself.
            ASGI has no pings: other servers send them by settings of their own.
        ping_timeout: Seconds that the peer may take to answer a ping (default 20.0);
            `None`: no limit. After that the connection is closed with 1011. Any
            progress restarts the time: bytes arrive from the peer, or the peer takes
            bytes that had to wait, 64 KiB at a time. So a long message, in either
            direction, may be slow. Time in which a full receive buffer stops the
            reading does not count, unless a write waits for the peer meanwhile: a peer
            that sends and never reads is closed.
        rate_limit: How many messages the peer may send, and in how many seconds, as
            `(20, 1.0)` (default `None`: no limit). This many may come at once; after
            that, the allowance refills evenly. Pings, and messages that `cancel_on`
            takes, do not count.
        rate_overflow: What happens to a message beyond the rate. `"wait"` (default): a
            receive waits until the message may come; meanwhile the receive buffer
            fills, and `receive_overflow` decides. `"drop"`: the message is dropped and
            counted. `"close"`: the connection is closed with 1008. A message received
            in parts is never dropped.
        max_lifetime: Seconds from the accept after which the connection is closed with
            1001 (default `None`: no limit): at a random moment in the last tenth of
            this time, so that connections of the same age do not all end at once.
        heartbeat: A message whose answer shows that the peer is alive, for use where
            pings cannot be seen: in pages, and under servers that hide them (default
            `None`: none is sent). If nothing comes within the timeout, the connection
            is closed with 1011. The answers reach no receiver. They set
            `statistics().latency`. See `Heartbeat`.
        max_connections_per: How many connections a client may have at a time (default
            `None`: no limit). A client with more is refused with 429, or with 403 where
            the server has no denial responses; a connection that an outer application
            has accepted is neither refused nor counted. Holds where these options are
            given to a server (`anyws.serve`, `anyws.hypercorn`) or to a guard
            (`anyws.endpoint`, `anyws.WebSocketMiddleware`, `anyws.fastapi.guarded`).
            A `WebSocket`, `anyws.accept_stream` and a client know only one connection;
            they warn and ignore it. See `ConnectionLimit`.
        observer: An object that is called when the connection opens, for its messages
            and when it ends (default `None`). Only the value at the accept counts. See
            `Observer`.
        compression: Whether and how messages are compressed, where anyws reads and
            writes the frames itself: by a `Deflate`, by `Deflate()` (`"deflate"`, the
            default), or never (`None`). The value at the accept holds; naming another
            one later raises RuntimeError. If compression is switched off for the whole
            server, no option switches it on: `anyws.serve(compression=None)`,
            `ws_per_message_deflate` of uvicorn, `websocket_permessage_deflate` of
            Hypercorn.
        json: The `Codec` that `send_json`, `receive_json` and `iter_json` use (default
            `None`: Python's module `json`). It may encode to `str` or `bytes`; the
            `mode` of the call decides how the result is sent. It is used in plain mode,
            too, if the `WebSocket` was given these options.
    """

    # Not an option, and the first field: see `_named_by`.
    _named: frozenset[str] = field(default=frozenset(), repr=False, compare=False)
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
    rate_limit: tuple[int, float] | None = None
    rate_overflow: RateOverflow = "wait"
    max_lifetime: float | None = None
    heartbeat: Heartbeat | None = None
    max_connections_per: ConnectionLimit | None = None
    observer: Observer | None = None
    compression: Compression = "deflate"
    json: Codec[Any, Any] | None = None

    def __post_init__(self) -> None:
        """Refuse invalid values."""
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
            "max_lifetime",
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
            ("rate_overflow", _RATE_RULES),
        ):
            if getattr(self, name) not in rules:
                raise ValueError(
                    f"{name} must be one of {', '.join(map(repr, rules))}, "
                    f"not {getattr(self, name)!r}"
                )
        if self.rate_limit is not None:
            _check_rate(self.rate_limit)
        if self.heartbeat is not None:
            _check_heartbeat(self.heartbeat)
        limit = self.max_connections_per
        if limit is not None and not isinstance(limit, ConnectionLimit):
            raise TypeError(
                "max_connections_per must be an anyws.ConnectionLimit, "
                f"not {type(limit).__name__}"
            )
        if self.observer is not None:
            check_observer(self.observer)
        if isinstance(self.compression, Mapping):  # of a file of settings
            object.__setattr__(self, "compression", Deflate(**self.compression))
        check_compression(self.compression)
        if self.json is not None:
            check_codec(self.json, "json")


def _is_seconds(value: object) -> bool:
    return type(value) in (int, float) and 0 < value < inf  # type: ignore[operator]  # a number


def _check_rate(rate: object) -> None:
    """Raise unless this is a number of messages and a number of seconds."""
    if not isinstance(rate, tuple) or len(rate) != 2:
        raise TypeError(f"rate_limit must be (messages, seconds), not {rate!r}")
    messages, seconds = rate
    if type(messages) is not int or messages < 1 or not _is_seconds(seconds):
        raise ValueError(
            "rate_limit must be an int of at least 1 and a number above 0, "
            f"not {rate!r}"
        )


def _check_heartbeat(heartbeat: object) -> None:
    """Raise unless this is a valid heartbeat."""
    if not isinstance(heartbeat, Heartbeat):
        kind = type(heartbeat).__name__
        raise TypeError(f"heartbeat must be an anyws.Heartbeat, not {kind}")
    if not (_is_seconds(heartbeat.interval) and _is_seconds(heartbeat.timeout)):
        raise ValueError(f"the seconds of a heartbeat are above 0: {heartbeat!r}")
    words = (heartbeat.message, heartbeat.answer)
    if not all(isinstance(word, str) for word in words) or words[0] == words[1]:
        raise ValueError(f"message and answer are two different texts: {heartbeat!r}")


_INIT: Final = Options.__init__


@wraps(_INIT)
def _init_and_record(self: Options, **given: Any) -> None:
    _INIT(self, **given)
    object.__setattr__(self, "_named", _named_by(given))


# Only here is it known which fields were named: a dataclass fills in the others.
Options.__init__ = _init_and_record  # type: ignore[method-assign]


def _named_by(given: dict[str, Any]) -> frozenset[str]:
    """Return the fields that were named.

    `dataclasses.replace` passes the fields that its caller names first, and then, in
    their order, all others with their present values. So the fields before `_named` are
    the caller's. The fields after it were named earlier, or differ from their defaults.
    """
    names = list(given)
    if "_named" not in given:
        return frozenset(names)
    at = names.index("_named")
    defaults = {option.name: option.default for option in fields(Options)}
    others = {name for name in names[at + 1 :] if given[name] != defaults[name]}
    before: frozenset[str] = given["_named"]
    return before.union(names[:at], others)


def overridden(outer: Options, inner: Options) -> Options:
    """Return the outer options with the fields that the inner ones name."""
    return replace(outer, **{name: getattr(inner, name) for name in inner._named})


def names_pings(options: Options) -> bool:
    """Whether options ask for pings, by a field that was named."""
    return any(
        name in options._named and getattr(options, name) is not None
        for name in ("ping_interval", "ping_timeout")
    )


def with_compression(options: Options, compression: Compression) -> Options:
    """Return options with the compression that an argument beside them names.

    Raises:
        ValueError: It is not a compression setting, or the options name another one.
    """
    check_compression(compression)
    if compression == "deflate":  # the argument's default, which says nothing
        return options
    if "compression" in options._named and options.compression != compression:
        raise ValueError(
            f"compression={compression!r} contradicts the options, which name "
            f"{options.compression!r}"
        )
    return overridden(options, Options(compression=compression))


DEFAULTS: Final = Options()


def warn_of_limit(options: Options | None, who: str, stacklevel: int = 2) -> None:
    """Warn that `max_connections_per` does not hold, if these options name one."""
    if options is not None and options.max_connections_per is not None:
        warnings.warn(
            f"Options.max_connections_per has no effect for {who}, which has only "
            "one connection: give it to a server, anyws.endpoint, "
            "anyws.WebSocketMiddleware or anyws.fastapi.guarded",
            RuntimeWarning,
            stacklevel=stacklevel + 1,
        )


def check_options(options: object) -> None:
    """Raise TypeError for options that are neither `Options` nor `None`."""
    if options is not None and not isinstance(options, Options):
        raise TypeError(f"options must be anyws.Options, not {type(options).__name__}")
