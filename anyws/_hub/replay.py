"""The messages that a durable backend has kept for a member that resumes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeAlias

from anyio import current_time

from .backend import Delivery
from .cursor import Cursor
from .log import Bounds, Entry
from .position import Id, Position
from .reading import Reading

Place: TypeAlias = tuple[str, Id, Id | None]  # epoch, id, and the id before it


def place_of(delivery: Delivery) -> Place | None:
    """Return the place of a message, if the backend has given it one.

    Raises:
        ValueError: An id is invalid.
    """
    if delivery.id is None or delivery.epoch is None:
        return None
    before = None if delivery.before is None else Position.id_of(delivery.before)
    return delivery.epoch, Position.id_of(delivery.id), before


def replay(
    reading: Reading,
    cursor: Cursor,
    missed: Sequence[Delivery],
    since: tuple[str, str] | None,
    bounds: Bounds,
) -> None:
    """Give a member what the backend has for it, before what has come meanwhile.

    Args:
        reading: What the member has still to read.
        cursor: Where it stands in the topic.
        missed: What the backend has: messages, and a gap before them.
        since: The epoch and the id of the member's position.
        bounds: How many bytes of payload a member may have to read.
    """
    if reading.cursors.get(cursor.topic.name) is not cursor:
        return  # the member has left
    entries = list(_bounded(_entries(cursor, missed), bounds.buffer_bytes))
    known = since is not None and not any(d.message is None for d in missed)
    had = Position.id_of(since[1]) if known and since is not None else None
    reading.fill(cursor, entries, had)
    reading.wake()


def _entries(cursor: Cursor, missed: Sequence[Delivery]) -> list[Entry]:
    """Return messages and gaps as a member reads them."""
    topic, now = cursor.topic, current_time()
    entries: list[Entry] = []
    gap = False
    for delivery in missed:
        place, message = place_of(delivery), delivery.message
        if message is None or place is None:
            gap = True
            continue
        epoch, message_id, before = place
        before = message_id if before is None else before
        if gap:
            # With the id before the next message: a member that resumes from the gap
            # gets that message.
            entries.append(Entry(topic.name, None, epoch, before, 0, before))
            gap = False
        entries.append(
            Entry(
                topic.name,
                message,
                epoch,
                message_id,
                0,
                before,
                key=delivery.key,
                at=now,
                size=len(message.encode() if isinstance(message, str) else message),
            )
        )
    if gap:
        last = topic.log.last
        entries.append(Entry(topic.name, None, topic.epoch, last, 0, last))
    return entries


def _bounded(entries: list[Entry], most: int) -> Iterable[Entry]:
    """Return the newest entries that fit, behind a gap if some do not."""
    size, first = 0, len(entries)
    # `or not size`: a single message that is larger than the bound is replayed, too.
    while first and (size + entries[first - 1].size <= most or not size):
        first -= 1
        size += entries[first].size
    if first and entries[first - 1].message is not None:
        dropped = entries[first - 1]
        last = dropped.id
        yield Entry(dropped.topic, None, dropped.epoch, last, 0, last)
    yield from entries[first:]
