"""The end of a block: it closes as the return or the exception demands (law 8).

The host of the session decides, and last. A block that only joins closes on its return,
and leaves an exception to the code outside: an application's exception handler may
choose the close code. A joining block that was cancelled leaves a note of it: nobody
may hear of the cancellation outside the scope that it came from, and a host that sees
no more than a return closes as for the cancellation.
"""

from __future__ import annotations

from math import inf
from typing import Final, NoReturn

from anyio import ClosedResourceError, current_time, get_cancelled_exc_class
from starlette.exceptions import WebSocketException

from .._values.closing import CloseCode, CloseInfo
from .._values.outcomes import ending_of, is_cancellation
from .._values.states import CONNECTED, CONNECTING
from .connection import Connection
from .ending import Cause
from .stage import Stage

# Seconds that a cancelled host waits for the peer's answer to the closing frame: a
# server that is shutting down has already stopped reading.
_CANCELLED_LINGER: Final = 1.0


def end(connection: Connection, outcome: BaseException | None) -> None:
    """Close as the outcome of the user's code asks, unless the connection has ended.

    Before an accept, a return and a `WebSocketException` reject the client. After any
    other exception nothing is sent, and the server answers with its 500.
    """
    if connection.ending.info is not None:
        return
    if outcome is None and connection.farewell is not None and connection.accepted:
        connection.close(*connection.farewell)
        return
    rejects = outcome is None or isinstance(outcome, WebSocketException)
    if connection.application_state is CONNECTED or (
        connection.application_state is CONNECTING and rejects
    ):
        code, reason = ending_of(outcome, get_cancelled_exc_class())
        if outcome is None and connection.interrupted:
            code = CloseCode.SERVICE_RESTART
        connection.close(code, reason)


def leave(connection: Connection, outcome: BaseException | None) -> None:
    """Close by what left the host's block; then the driver sends what is queued."""
    if connection.ending.info is None:
        end(connection, outcome)
    if outcome is not None and is_cancellation(outcome, get_cancelled_exc_class()):
        connection.deadlines.linger = min(
            _CANCELLED_LINGER, connection.deadlines.linger
        )
    stage = connection.stage
    if not connection.inbound.closed:
        connection.inbound.close()
    if not connection.outbound.closed:
        if connection.passage is None:
            connection.outbound.close()
        else:
            connection.passage.close(by_user=False)
    if connection.deadlines.close_at == inf and stage is not Stage.ENDED:
        connection.close_by(current_time() + connection.options.close_timeout)
    if stage.writes and (
        connection.ending.failure is not None
        or not (stage.reads or connection.answering)
    ):
        connection.driver.stop_writing()  # there is no peer to write to
    connection.code_has_left()


def clear(connection: Connection) -> None:
    """Drop the queues and the channel, once nothing drives the connection any more.

    A server's channel may hold the scope, in which the session stands.
    """
    connection.receive_event = connection.send_event = _over
    connection.opening = connection.scope = None
    connection.inbound.discard()
    connection.outbound.discard()
    if connection.ending.info is None:  # rejected
        info = CloseInfo(CloseCode.ABNORMAL_CLOSURE, "", "local")
        connection.ending.end(Cause.REJECTION, info)
        connection.wake_all()


async def _over(*_: object) -> NoReturn:
    raise ClosedResourceError
