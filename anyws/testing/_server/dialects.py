"""The dialects: how each server interprets ASGI, as data.

The specification leaves much open, and servers do not keep all of the rest. Each field
here is one difference that an application can see. The same probes run against each
dialect and the real server, and must agree (`tests/testing/test_dialects.py`).

`"uvicorn"` is uvicorn with its implementation `websockets-sansio`, which its `--ws
auto` takes since 0.50; its two other implementations differ. No dialect has what the
settings of a server decide: the limits of sizes, and when pings are sent. So a
keepalive fails when the test says so. There are no bytes either: compression, fragments
and HTTP/2 need a real server.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import inf
from typing import Final, Literal, TypeAlias

from ..._values.closing import MAX_REASON_BYTES, fitted_reason, may_be_sent
from ..._values.events import Event, outgoing
from ..._values.states import (
    ACCEPT,
    CLOSE,
    RECEIVE,
    RESPONSE_BODY,
    RESPONSE_START,
    SEND,
)
from .._errors import ClientDisconnected, UnexpectedMessageError
from .network import NO_CODE, CloseFrame

Refusal: TypeAlias = type[Exception] | None

# The phases of a connection, as its server sees it:
#     waiting   the opening handshake has no answer yet
#     open      accepted
#     closed    the application has closed
#     rejected  the application has rejected the handshake
#     gone      the peer has sent a closing frame, or the transport has ended
#     lost      the transport has ended after any of these
Phase: TypeAlias = Literal["waiting", "open", "closed", "rejected", "gone", "lost"]

# phase -> event -> the error that is raised; `None`: the event is ignored
Refusals: TypeAlias = Mapping[Phase, Mapping[str, Refusal]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shutdown:
    """The treatment of an open connection by a server that has to stop.

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
        name: The name in `connect(server=...)`.
        checks: Whether events that must not be sent raise in the application.
        hosted: Whether a session of anyws hosts the application, as in the engine.
            When the server stops, a drain of anyws closes the connections.
        spec_version, extensions: The fields of the scope with these names.
        text_ports: Whether the ports in the scope are `str`.
        both_keys: Whether a message event has `text` and `bytes`, one of them `None`.
        queue, queue_bytes: The unread events, and the bytes of unread messages, up to
            which the server goes on reading. While it reads, it sees pings and the
            peer's close.
        reads_on_demand: Whether the server reads only while the application receives.
        reads_on_next_turn: Whether the server, once it has stopped reading, goes on
            only when the event loop turns. Until then no call knows of later items.
        cancel_loses: Whether a cancelled receive may lose a message.
        tells_code, tells_reason: Whether the disconnect has the code and the reason of
            the peer's closing frame. If not, the code is that of a lost connection.
        no_code: The code in the disconnect for a closing frame without a code.
        lost: The code in the disconnect when the transport has ended.
        lost_told_again: Whether a second disconnect follows an earlier one then.
        own_close: The code in the disconnect after the application's own close; `None`:
            the code of that close.
        own_close_waits: Whether that disconnect comes only when the peer has answered.
        own_close_ends_reading: Whether messages after an own close are discarded.
        bad_close: What an own close does if no frame may carry it: it raises, and the
            application gets a disconnect all the same; or it sends an invalid frame.
        mended_codes: Codes of an own close that are sent as 1000.
        huge_code: The error for a code over 65535; `None`: it is sent as 1000.
        cuts_reason: Whether the reason of an own close is cut to what a frame can hold.
        keepalive: What happens when the peer answers no ping: nothing; or the peer gets
            1011, and the application gets a disconnect with 1011 (`"told"`) or with the
            code of a lost connection (`"lost"`).
        rejected: The code in the disconnect after a rejection by close; `None`: there
        is
            no disconnect.
        denied: The same after a denial response.
        hung_up: The same once the peer has hung up after either.
        after_the_end: What a receive after the disconnect does: it never returns, it
            returns a disconnect with this code, or it raises.
        refusals: What events do in the phases of a connection (see `Phase`) in which
            they have no effect. An event that is missing there raises `unexpected`.
        unexpected: The error for an event that the state does not allow.
        none_payload: The error for a message event whose payload is `None`.
        no_payload: The error for a message event without a key for the payload.
        two_payloads: The error for a message event with `text` and `bytes`; `None`:
            `bytes` is sent.
        body_parts: The error for a body of a denial response with `more_body`.
        send_waits: What a send to a peer that does not read does: it waits before it
            writes, after that, or after that without being cancellable.
        send_sees_reset: What a send does that meets a reset before the server has read
            it: as on Hypercorn, it waits for room in the application's own queue; or
            it does nothing, and the next one fails once the event loop has turned.
        returns_early, raises_early: The HTTP status, if the application ends before it
            answers the handshake.
        error_body: The body of that response.
        returns_late, raises_late: The close code, if the application ends without a
            close; `None`: the transport ends without a closing frame.
        unoffered: What an accept with a subprotocol that was not offered does.
        white_space: What white space around the value of a header does, in an accept:
            it is stripped, as the peer strips it too; or, as with h11, the accept
            raises, and the peer's handshake breaks.
        accept_headers: Whether the headers of an accept reach the peer.
        early_data: What happens to messages before the accept: they are kept; held,
            they are read when the next message comes; lost; or the handshake is
            refused.
        shutdown: What happens when the server has to stop.
    """

    name: str
    checks: bool = False
    hosted: bool = False
    spec_version: str = "2.4"
    extensions: tuple[str, ...] = ("websocket.http.response",)
    text_ports: bool = False
    both_keys: bool = False
    queue: float = inf
    queue_bytes: float = inf
    reads_on_demand: bool = False
    reads_on_next_turn: bool = False
    cancel_loses: bool = False
    tells_code: bool = True
    tells_reason: bool = True
    no_code: int = NO_CODE
    lost: int = 1006
    lost_told_again: bool = False
    own_close: int | None = None
    own_close_waits: bool = True
    own_close_ends_reading: bool = False
    bad_close: Literal["raises", "passes"] = "passes"
    mended_codes: frozenset[int] = frozenset()
    huge_code: Refusal = None
    cuts_reason: bool = True
    keepalive: Literal["told", "lost"] | None = None
    rejected: int | None = 1006
    denied: int | None = 1006
    hung_up: int | None = None
    after_the_end: Literal["waits", "raises"] | int = "waits"
    refusals: Refusals
    unexpected: type[Exception] = RuntimeError
    none_payload: Refusal = None
    no_payload: Refusal = None
    two_payloads: Refusal = None
    body_parts: Refusal = None
    send_waits: Literal["before", "after", "shielded"] = "before"
    send_sees_reset: Literal["waits", "later"] | None = None
    returns_early: int = 500
    raises_early: int = 500
    error_body: bytes = b""
    returns_late: int | None = None
    raises_late: int | None = None
    unoffered: Literal["raises", "breaks", "passes"] = "passes"
    white_space: Literal["stripped", "breaks"] = "stripped"
    accept_headers: bool = True
    early_data: Literal["kept", "held", "lost", "refused"] = "kept"
    shutdown: Shutdown

    def check(self, event: Event, offered: list[str], *, accepted: bool) -> None:
        """Raise for an event that must not be sent, where the server does."""
        if not self.checks:
            return
        outgoing(event, offered, accepted=accepted)
        for name, _ in event.get("headers") or ():
            if event["type"] == ACCEPT and name != name.lower():
                raise ValueError(f"header name {name!r} must be in lower case")

    def spelled(self, payload: str | bytes) -> Event:
        """Return the event of a message of the peer."""
        name = "text" if isinstance(payload, str) else "bytes"
        both = {"text": None, "bytes": None} if self.both_keys else {}
        return {"type": RECEIVE, **both, name: payload}

    def closing_frame(self, event: Event) -> CloseFrame:
        """Return the frame that the server makes of an application's close."""
        code = 1000 if event.get("code") is None else int(event["code"])
        reason = event.get("reason")
        reason = fitted_reason(reason) if self.cuts_reason else reason or ""
        if code in self.mended_codes:
            code = 1000
        if code > 0xFFFF and self.bad_close == "passes":
            if self.huge_code is not None:
                raise self.huge_code(f"{code} does not fit into two bytes")
            code = 1000
        if not may_be_sent(code):
            return CloseFrame(code, reason, "invalid status code")
        long = len(reason.encode()) > MAX_REASON_BYTES
        return CloseFrame(code, reason, "control frame too long" if long else None)


def _all(refusal: Refusal) -> Mapping[str, Refusal]:
    return dict.fromkeys((ACCEPT, SEND, CLOSE, RESPONSE_START, RESPONSE_BODY), refusal)


# No server, but the specification's section "WebSocket", version 2.4. Every "must" and
# "should" is kept, and an application that breaks one gets an exception. Where the
# specification leaves a choice, the choice shows mistakes: 500 for an application that
# does not answer the handshake; a lost connection for one that returns without a close,
# 1011 for one that raises; RuntimeError for a receive after the disconnect, and for a
# send after an own close. 256 messages or 1 MiB are read ahead, and a server that stops
# sends 1012 to both ends. `tests/testing/test_strict.py` has a test for each rule.
STRICT: Final = Dialect(
    name="strict",
    checks=True,
    queue=256,
    queue_bytes=2**20,
    after_the_end="raises",
    refusals={"gone": _all(ClientDisconnected)},
    none_payload=TypeError,
    no_payload=ValueError,
    two_payloads=ValueError,
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
    mended_codes=frozenset({1005, 1006, 1015}),
    huge_code=struct.error,
    rejected=None,
    denied=None,
    hung_up=1000,
    refusals={
        "closed": {CLOSE: None},
        "rejected": {CLOSE: AttributeError},
        "gone": _all(None),
        "lost": _all(None),
    },
    unexpected=UnexpectedMessageError,
    none_payload=TypeError,
    no_payload=KeyError,
    send_waits="after",
    send_sees_reset="waits",
    returns_late=1011,
    raises_late=1011,
    unoffered="breaks",
    white_space="breaks",
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
    keepalive="told",
    both_keys=True,
    shutdown=Shutdown(cancels_after=3.0),
)

_ANYWS_SERVE: Final = replace(
    _HYPERCORN_ENGINE,
    name="anyws-serve",
    error_body=b"Internal Server Error",
)

# uvicorn's HTTP protocol drops what comes in one packet with the request, which no
# client may send (RFC 6455 section 4.1), and cancels no application by default.
_ANYWS_UVICORN: Final = replace(
    _ANYWS_SERVE,
    name="anyws-uvicorn",
    early_data="lost",
    shutdown=Shutdown(),
)

_UVICORN: Final = Dialect(
    name="uvicorn",
    queue=0,
    reads_on_next_turn=True,
    lost=1005,
    lost_told_again=True,
    own_close_waits=False,
    own_close_ends_reading=True,
    bad_close="raises",
    cuts_reason=False,
    keepalive="lost",
    refusals={
        "gone": {SEND: ClientDisconnected, CLOSE: None},
        "lost": _all(ClientDisconnected),
    },
    send_sees_reset="later",
    error_body=b"Internal Server Error",
    early_data="held",
    shutdown=Shutdown(tells=1012, frame=1012, hangs_up=True),
)

_GRANIAN: Final = Dialect(
    name="granian",
    spec_version="2.3",
    extensions=("http.response.pathsend", "websocket.http.response"),
    text_ports=True,
    queue=0,
    reads_on_demand=True,
    cancel_loses=True,
    tells_reason=False,
    lost=1005,
    own_close=1005,
    own_close_waits=False,
    cuts_reason=False,
    rejected=1005,
    denied=None,
    after_the_end=1005,
    refusals={
        "waiting": {SEND: None},
        "closed": {SEND: None, CLOSE: None},
        "rejected": {SEND: None, CLOSE: None},
        "gone": {SEND: None, CLOSE: None},
    },
    none_payload=RuntimeError,
    no_payload=RuntimeError,
    two_payloads=RuntimeError,
    body_parts=RuntimeError,
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
        _ANYWS_SERVE,
        _ANYWS_UVICORN,
        _UVICORN,
        _GRANIAN,
    )
}


def dialect_named(name: str) -> Dialect:
    """Return a dialect by its name; raise ValueError, with all names, for others."""
    try:
        return DIALECTS[name]
    except KeyError:
        known = ", ".join(map(repr, DIALECTS))
        raise ValueError(f"server must be one of {known}, not {name!r}") from None


def refuse(refusal: Refusal, what: str) -> bool:
    """Raise the error of a refusal; return true if it has none: ignore the event."""
    if refusal is not None:
        raise refusal(what)
    return True
