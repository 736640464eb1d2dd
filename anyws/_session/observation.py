"""The observation of one connection: its observer, and its line in the log.

A connection is observed from its accept to the end of its session, if its options name
an observer, or if the logger `anyws.connection` is on for INFO when it is accepted.
"""

from __future__ import annotations

import logging
from dataclasses import asdict
from typing import Final

from .._values.closing import CloseInfo
from .._values.observer import (
    ConnectionSummary,
    Direction,
    ObservedConnection,
    Observer,
)
from .._values.statistics import Statistics

LOGGER: Final = logging.getLogger("anyws.connection")


class Observation:
    """The facts about a connection, kept for its end, and given to its observer.

    Args:
        observer: The observer, if there is one.
        view: The connection, as the observer is shown it.
        now: The time of the accept.
    """

    __slots__ = ("_drops", "_observer", "_opened_at", "_peaks", "_view")

    def __init__(
        self, observer: Observer | None, view: ObservedConnection, now: float
    ) -> None:
        self._observer = observer
        self._view = view
        self._opened_at = now
        self._peaks: dict[Direction, int] = {"received": 0, "sent": 0}
        self._drops: dict[Direction, int] = {"received": 0, "sent": 0}
        self._tell("opened")

    def passed(self, direction: Direction, size: int, queued: int, drops: int) -> None:
        """Note a message.

        Args:
            direction: Whether it was received or sent.
            size: The bytes of its payload.
            queued: How many messages the queue of this direction holds, with it.
            drops: How many messages that queue has dropped so far.
        """
        if queued > self._peaks[direction]:
            self._peaks[direction] = queued
        if drops != self._drops[direction]:
            self._tell_drops(direction, drops)
        # In place of `_tell`, which is two calls more, for every message.
        try:
            if self._observer is not None:
                self._observer.message(self._view, direction, size)
        except Exception:
            self._give_up()

    def over(self, info: CloseInfo, statistics: Statistics, now: float) -> None:
        """Note that the connection is over: tell the observer, write the line."""
        self._tell_drops("received", statistics.receive_dropped)
        self._tell_drops("sent", statistics.send_dropped)
        peaks = self._peaks
        summary = ConnectionSummary(
            info, now - self._opened_at, statistics, peaks["received"], peaks["sent"]
        )
        self._tell("closed", summary)
        self._log(summary)

    def _tell_drops(self, direction: Direction, drops: int) -> None:
        fresh = drops - self._drops[direction]
        if fresh:
            self._drops[direction] = drops
            self._tell("dropped", direction, fresh)

    def _tell(self, what: str, *arguments: object) -> None:
        """Call the observer, unless it has failed before."""
        try:
            if self._observer is not None:
                getattr(self._observer, what)(self._view, *arguments)
        except Exception:
            self._give_up()

    def _give_up(self) -> None:
        self._observer = None
        LOGGER.exception("an observer has failed, and gets no more calls")

    def _log(self, summary: ConnectionSummary) -> None:
        if not LOGGER.isEnabledFor(logging.INFO):
            return
        view, counts = self._view, summary.statistics
        if view.scope is None:
            where = f"client url={view.url!r}"
        else:
            where = f"server path={view.path!r} client={view.client!r}"
        LOGGER.info(
            "%s code=%d reason=%r initiator=%s clean=%s "
            "duration=%.3f received=%d/%d sent=%d/%d dropped=%d/%d peaks=%d/%d",
            *(where, summary.info.code, summary.info.reason, summary.info.initiator),
            *(summary.info.clean, summary.duration),
            *(counts.messages_received, counts.bytes_received),
            *(counts.messages_sent, counts.bytes_sent),
            *(counts.receive_dropped, counts.send_dropped),
            *(summary.receive_peak, summary.send_peak),
            extra={
                "websocket": {
                    "role": view.role,
                    "path": view.path,
                    "client": view.client,
                    "url": view.url,
                    **asdict(summary),
                }
            },
        )
