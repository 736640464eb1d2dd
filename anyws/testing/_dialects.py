"""What each server makes of ASGI, as data.

The specification leaves much open, and servers keep less. Each field here is one
difference that an application can see; the same contract suite holds each dialect
against the real server (`tests/test_testing_dialects.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import inf
from typing import Final, Literal, TypeAlias

from ._errors import ClientDisconnected, UnexpectedMessage

Refusal: TypeAlias = type[Exception] | None

NO_CODE: Final = 1005  # of a closing frame: it has none


@dataclass(frozen=True, slots=True, kw_only=True)
class Shutdown:
    """What a server that is told to stop does with an open connection.

    Attributes:
        tells: The code of the disconnect that the application gets; `None`: no event.
        frame: The code of the closing frame that the peer gets; `None`: no frame.
        hangs_up: Whether the transport is closed at once.
        cancels_after: Seconds after which the application is cancelled; `None`: never.
    """

    tells: int | None = None
    frame: int | None = None
    hangs_up: bool = False
    cancels_after: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """One server, as an application sees it.

    Attributes:
        name: What `connect(server=...)` calls it.
        checks: Whether events that must not be sent raise in the application.
        hosted: Whether a session of anyws hosts the application, as the engine's does.
        spec_version: What the scope says.
        text_ports: Whether the ports in the scope are `str`.
        both_keys: Whether a message event has `text` and `bytes`, one of them `None`.
        queue: Unread events up to which the server goes on reading; reading more it
            also sees pings, and the peer's leaving.
        reads_on_demand: Whether it reads only while the application receives.
        cancel_loses: Whether a cancelled receive may have taken a message with it.
        tells_code, tells_reason: Whether a disconnect says what the peer's closing
            frame said. If not, the code is that of a lost connection.
        no_code: The code told for a closing frame without one.
        lost: The code told when the transport has ended.
        own_close: The code told after the application's own close; `None`: its own.
        own_close_waits: Whether that is told only when the peer has answered.
        own_close_ends_reading: Whether later messages are discarded.
        rejected: The code told after a rejection by close; `None`: nothing is told.
        denied: The same after a denial response.
        after_the_end: What a receive after the disconnect does: it never returns, it
            returns a disconnect with this code, or it raises.
        gone: What sends raise once the server knows that the peer is gone; `None`: they
            are silent.
        closed: The same, by event, after the application's own close.
        turned_away: The same after a rejection.
        unexpected: What an event that the state does not allow raises.
        no_payload: What a message event without a payload raises.
        send_waits: What a send to a peer that does not read does: it waits before it
            has written, after, or after and not to be cancelled.
        send_sees_reset: Whether a send notices a reset that the reader has not come to;
            on Hypercorn it then waits for room in the application's own queue.
        returns_early, raises_early: Status, when the application ends before it answers
            the handshake.
        returns_late, raises_late: Close code, when it ends without a close; `None`: the
            transport ends without a closing frame.
        unoffered: What an accept with a subprotocol that was not offered does.
        accept_headers: Whether the headers of an accept reach the peer.
        early_data: What becomes of messages that come before the accept.
        shutdown: What happens when the server is told to stop.
    """

    name: str
    checks: bool = False
    hosted: bool = False
    spec_version: str = "2.4"
    text_ports: bool = False
    both_keys: bool = False
    queue: float = inf
    reads_on_demand: bool = False
    cancel_loses: bool = False
    tells_code: bool = True
    tells_reason: bool = True
    no_code: int = NO_CODE
    lost: int = 1006
    own_close: int | None = None
    own_close_waits: bool = True
    own_close_ends_reading: bool = False
    rejected: int | None = 1006
    denied: int | None = 1006
    after_the_end: Literal["waits", "raises"] | int = "waits"
    gone: Refusal = None
    closed: Mapping[str, Refusal]
    turned_away: Mapping[str, Refusal]
    unexpected: type[Exception] = RuntimeError
    no_payload: Refusal = None
    send_waits: Literal["before", "after", "shielded"] = "before"
    send_sees_reset: bool = False
    returns_early: int = 500
    raises_early: int = 500
    returns_late: int | None = None
    raises_late: int | None = None
    unoffered: Literal["raises", "breaks", "passes"] = "passes"
    accept_headers: bool = True
    early_data: Literal["kept", "lost", "refused"] = "kept"
    shutdown: Shutdown


_SEND, _CLOSE, _ACCEPT = "websocket.send", "websocket.close", "websocket.accept"


def _refusals(send: Refusal, close: Refusal, accept: Refusal) -> Mapping[str, Refusal]:
    return {_SEND: send, _CLOSE: close, _ACCEPT: accept}


_ALL_RAISE: Final = _refusals(RuntimeError, RuntimeError, RuntimeError)
_ALL_SILENT: Final = _refusals(None, None, None)

STRICT: Final = Dialect(
    name="strict",
    checks=True,
    after_the_end="raises",
    gone=ClientDisconnected,
    closed=_ALL_RAISE,
    turned_away=_ALL_RAISE,
    no_payload=ValueError,
    raises_late=1011,
    unoffered="raises",
    shutdown=Shutdown(tells=1012, frame=1012),
)

_HYPERCORN_ASYNCIO: Final = Dialect(
    name="hypercorn-asyncio",
    spec_version="2.3",
    both_keys=True,
    queue=10,
    tells_code=False,
    tells_reason=False,
    no_code=1006,
    own_close=1000,
    rejected=None,
    denied=None,
    closed=_refusals(UnexpectedMessage, None, UnexpectedMessage),
    turned_away=_ALL_SILENT,
    unexpected=UnexpectedMessage,
    no_payload=KeyError,
    send_waits="after",
    send_sees_reset=True,
    returns_late=1011,
    raises_late=1011,
    unoffered="breaks",
    early_data="refused",
    shutdown=Shutdown(),
)

_HYPERCORN_TRIO: Final = replace(
    _HYPERCORN_ASYNCIO,
    name="hypercorn-trio",
    send_waits="shielded",
    shutdown=Shutdown(cancels_after=3.0),
)

_HYPERCORN_ENGINE: Final = replace(
    STRICT,
    name="hypercorn-engine",
    checks=False,
    hosted=True,
    shutdown=Shutdown(cancels_after=3.0),
)

_UVICORN: Final = Dialect(
    name="uvicorn",
    queue=0,
    lost=1005,
    own_close_waits=False,
    own_close_ends_reading=True,
    gone=ClientDisconnected,
    closed=_ALL_RAISE,
    turned_away=_ALL_RAISE,
    shutdown=Shutdown(tells=1012, frame=1012, hangs_up=True),
)

_GRANIAN: Final = Dialect(
    name="granian",
    spec_version="2.3",
    text_ports=True,
    queue=0,
    reads_on_demand=True,
    cancel_loses=True,
    tells_reason=False,
    lost=1005,
    own_close=1005,
    own_close_waits=False,
    rejected=1005,
    denied=1005,
    after_the_end=1005,
    closed=_ALL_SILENT,
    turned_away=_ALL_SILENT,
    no_payload=RuntimeError,
    returns_early=403,
    raises_early=403,
    returns_late=NO_CODE,
    raises_late=NO_CODE,
    accept_headers=False,
    shutdown=Shutdown(tells=1005, hangs_up=True, cancels_after=0.0),
)

DIALECTS: Final[Mapping[str, Dialect]] = {
    dialect.name: dialect
    for dialect in (
        STRICT,
        _HYPERCORN_ASYNCIO,
        _HYPERCORN_TRIO,
        _HYPERCORN_ENGINE,
        _UVICORN,
        _GRANIAN,
    )
}


def dialect_named(name: str) -> Dialect:
    """Return a dialect by its name; say which there are."""
    try:
        return DIALECTS[name]
    except KeyError:
        known = ", ".join(map(repr, DIALECTS))
        raise ValueError(f"server must be one of {known}, not {name!r}") from None
