"""The options of a session, and those of a block that joins it (law 14)."""

from __future__ import annotations

import warnings
from typing import Final

from .._values.options import DEFAULTS, Options, names_pings, overridden
from .connection import Connection

# The options whose counts or times begin anew when they change.
_LIMITS: Final = ("rate_limit", "max_lifetime", "heartbeat")

_NO_PINGS: Final = (
    "Options.ping_interval and ping_timeout have no effect under this server, which "
    "sends its own pings: set them there"
)
_NO_COMPRESSION: Final = (
    "Options.compression has no effect under this server, which decides by "
    "itself: set it there"
)


class Settings:
    """The rules by which the options of a connection may change.

    Args:
        cap: The operator's limit of `max_message_bytes`, which no options raise; `None`
            if there is none.
        pings: Whether pings are sent, and messages compressed, as options ask.
    """

    __slots__ = ("_cap", "_pings")

    def __init__(self, cap: int | None, *, pings: bool) -> None:
        self._cap = cap
        self._pings = pings

    def of_host(self, options: Options | None) -> Options:
        """Return the options that a connection begins with."""
        return self._checked(DEFAULTS if options is None else options)

    def adopt(self, connection: Connection, options: Options) -> None:
        """Have the fields that these options name override those of the connection.

        Messages in the queues stay; the next message is judged by the new bounds.

        Raises:
            RuntimeError: They name another compression, and the connection is accepted.
        """
        before = connection.options
        if (
            connection.accepted
            and "compression" in options._named
            and options.compression != before.compression
        ):
            raise RuntimeError(
                "compression was settled when the connection was accepted, and cannot "
                f"be {options.compression!r} any more"
            )
        self._warn(options)
        connection.options = after = self._capped(overridden(before, options))
        if after == before or connection.ending.info is not None:
            return
        connection.inbound.resize(after.receive_buffer, after.max_message_bytes)
        connection.outbound.resize(after.send_buffer, after.send_buffer_bytes)
        connection.deadlines.linger = after.close_timeout
        if connection.frames is not None:
            connection.frames.limit(after.max_message_bytes)
            connection.frames.read_on()  # the larger queue may have room again
        if any(getattr(after, name) != getattr(before, name) for name in _LIMITS):
            connection.limit(after, before)
            connection.start_timers()
        if after.idle_timeout != before.idle_timeout:
            connection.limit_silence(after.idle_timeout)
        if after.ping_interval != before.ping_interval and connection.accepted:
            connection.start_beating()

    def _checked(self, options: Options) -> Options:
        self._warn(options)
        return self._capped(options)

    def _capped(self, options: Options) -> Options:
        if self._cap is None or options.max_message_bytes <= self._cap:
            return options
        return overridden(options, Options(max_message_bytes=self._cap))

    def _warn(self, options: Options) -> None:
        """Warn of options that are known not to hold: once, as Python's filters do."""
        if not self._pings and names_pings(options):
            warnings.warn(_NO_PINGS, RuntimeWarning, stacklevel=1)
        if not self._pings and options.compression != "deflate":
            warnings.warn(_NO_COMPRESSION, RuntimeWarning, stacklevel=1)
