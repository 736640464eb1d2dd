"""What each server makes of ASGI, as data.

The specification leaves much open, and servers keep less. Each field here is one
difference that an application can see; the same contract suite holds each dialect
against the real server (`tests/testing/test_dialects.py`).

`"uvicorn"` is that with its implementation of WebSockets that it calls
`websockets-sansio`, which its `--ws auto` takes since 0.50; the two others differ. No
dialect has what the servers' settings decide: limits of sizes, and when pings are sent,
so that a keepalive gives up when a test says so. Nor is there a wire: compression,
fragments and HTTP/2 need real servers.
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

# Of a connection, as its server sees it: the handshake waits for an answer; open;
# closed by the application; rejected by it; gone: the peer has said goodbye, or the
# transport has ended; lost: that has ended after any of these.
Phase: TypeAlias = Literal["waiting", "open", "closed", "rejected", "gone", "lost"]

# phase -> event -> what is raised; `None`: nothing happens
Refusals: TypeAlias = Mapping[Phase, Mapping[str, Refusal]]


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
        spec_version, extensions: What the scope says.
        text_ports: Whether the ports in the scope are `str`.
        both_keys: Whether a message event has `text` and `bytes`, one of them `None`.
        queue, queue_bytes: Unread events, and bytes of unread messages, up to which the
            server goes on reading; while it does it sees pings, and the peer's leaving.
        reads_on_demand: Whether it reads only while the application receives.
        reads_on_next_turn: Whether it goes on reading, once it has stopped, only when
            the event loop turns: until then no call learns of what is behind.
        cancel_loses: Whether a cancelled receive may have taken a message with it.
        tells_code, tells_reason: Whether a disconnect says what the peer's closing
            frame said. If not, the code is that of a lost connection.
        no_code: The code told for a closing frame without one.
        lost: The code told when the transport has ended.
        lost_told_again: Whether that follows a disconnect that has been told, too.
        own_close: The code told after the application's own close; `None`: its own.
        own_close_waits: Whether that is told only when the peer has answered.
        own_close_ends_reading: Whether later messages are discarded.
        bad_close: What an own close makes that no frame may carry: it raises, and the
            application is told of an end all the same; or a frame, valid or not.
        mended_codes: Codes of an own close that are sent as 1000.
        huge_code: What one over 65535 raises; `None`: it is sent as 1000.
        cuts_reason: Whether the reason of an own close is cut to what a frame can hold.
        keepalive: What happens when the peer answers no ping: nothing; or it gets 1011
            and the application is told so, or that the transport has ended.
        rejected: The code told after a rejection by close; `None`: nothing is told.
        denied: The same after a denial response.
        hung_up: The same once the peer has hung up after either.
        after_the_end: What a receive after the disconnect does: it never returns, it
            returns a disconnect with this code, or it raises.
        refusals: What sends do in the phases of a connection (see `Phase`) in which
            they have no effect; what is not there raises `unexpected`.
        unexpected: What an event that the state does not allow raises.
        none_payload: What a message event with only `None` raises.
        no_payload: What one without a key for the payload raises.
        two_payloads: What one with `text` and `bytes` raises; else `bytes` is sent.
        body_parts: What a body of a denial response raises that is not the last.
        send_waits: What a send to a peer that does not read does: it waits before it
            has written, after, or after and not to be cancelled.
        send_sees_reset: Whether a send notices a reset that the reader has not come to:
            as on Hypercorn, it waits for room in the application's own queue; or it is
            silent, and fails once the event loop has turned.
        returns_early, raises_early: Status, when the application ends before it answers
            the handshake.
        error_body: What that response says.
        returns_late, raises_late: Close code, when it ends without a close; `None`: the
            transport ends without a closing frame.
        unoffered: What an accept with a subprotocol that was not offered does.
        accept_headers: Whether the headers of an accept reach the peer.
        early_data: What becomes of messages that come before the accept. Held, they
            are looked at when the next one comes.
        shutdown: What happens when the server is told to stop.
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
    accept_headers: bool = True
    early_data: Literal["kept", "held", "refused"] = "kept"
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
        """Return the event of a message that has come."""
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


# No server: the events of the specification's section "WebSocket", version 2.4, where
# every "must" and "should" is kept, and an application that breaks one is told by an
# exception. What is left open is chosen so that tests find mistakes: 500 for an
# application that does not answer the handshake; a lost connection for one that
# returns without a close, 1011 for one that raises; RuntimeError for a receive after
# the disconnect and for a send after its own close. Besides, 256 messages or 1 MiB are
# read ahead, and a server that stops tells both ends 1012.
# `tests/testing/test_strict.py` has a test for each rule.
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


def refuse(refusal: Refusal, what: str) -> bool:
    """Raise what there is to raise, or tell that nothing happens."""
    if refusal is not None:
        raise refusal(what)
    return True
