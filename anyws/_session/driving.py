"""The work of each driver: events other than messages, and deadlines.

`Tasks` and `Calls` drive a connection in two ways. What an event means to it, and what
follows when a deadline has passed, is the same for both.
"""

from __future__ import annotations

from anyio import current_time

from .._values.closing import CloseCode
from .._values.events import Event
from .._values.states import DISCONNECT, DISCONNECTED, Role, next_state
from .connection import Connection
from .deadlines import Verdict
from .stage import Stage


def change_state(connection: Connection, event: Event) -> bool:
    """Take in an event that changes the client's state; true for the disconnect."""
    kind = event["type"]
    if kind == DISCONNECT:  # allowed before the connect, too
        connection.peer_left(event)
        connection.client_state = DISCONNECTED
        return True
    state = next_state(Role.CLIENT, connection.client_state, kind)
    connection.client_state = state
    connection.opening = event
    connection.inbound.filled.wake()
    return False


def begin_in_time(connection: Connection) -> None:
    """Let the deadlines begin that do not wait for an accept."""
    connection.await_message()
    if connection.accepted:
        connection.start_beating()


def first_deadline(connection: Connection) -> float:
    """Return when `act_in_time` is to be called."""
    first = min(connection.deadlines.next, connection.keepalive.beat_at)
    timers = connection.timers
    return first if timers is None else min(first, timers.next)


def act_in_time(connection: Connection) -> bool:
    """Act on the deadlines that have passed; true to read no more."""
    now = current_time()
    if connection.stage is Stage.LINGERING and not connection.answer_awaited:
        return True  # all is written, and the peer owes no answer
    connection.beat(now)
    if connection.timers is not None and now >= connection.timers.next:
        connection.tick(now)
    match connection.deadlines.judge(now):
        case Verdict.UNHEARD:
            return True
        case Verdict.UNANSWERED:
            connection.ending.learn_whether_clean(False)
            return True
        case Verdict.STUCK:
            cause = TimeoutError(
                "the server did not take a message within send_timeout"
            )
            connection.lose(cause, clean=False)
            connection.driver.stop_writing()
        case Verdict.SILENT if connection.ending.failure is not None:
            return True
        case Verdict.SILENT:
            connection.close_by_rule(CloseCode.GOING_AWAY, "idle timeout")
    return False


async def hand_over_event(connection: Connection) -> None:
    """Send the first event of the outbound queue by the channel's own `send`."""
    outbound = connection.outbound
    event, size, receipt = outbound.take_nowait()
    try:
        await connection.send_event(event)
    finally:
        if receipt is not None:
            receipt.set()
    if receipt is None:
        count_sent(connection, [size], outbound.messages + 1)


def count_sent(connection: Connection, sizes: list[int], queued: int) -> None:
    """Count messages that were sent, by their bytes of payload.

    Args:
        connection: The connection.
        sizes: The bytes of each.
        queued: How many messages the queue has held, with these.
    """
    connection.counters.messages_sent += len(sizes)
    connection.counters.bytes_sent += sum(sizes)
    if connection.observation is not None:
        for size in sizes:
            dropped = connection.outbound.dropped
            connection.observation.passed("sent", size, queued, dropped)
