"""The states of a connection, as tables.

Two rules hold here, as in h11's state module:

1. What decides the state of a connection stands in this file, and nothing else does.
2. The file does not know which of the two roles this end of the connection plays.

A connection has two roles, the client and the application. Each has a state of its own,
which changes by the events that this role emits: the client connects, its messages
arrive, it disconnects; the application accepts, sends, closes, or answers the handshake
with an HTTP response. On a server, the client's events come out of ASGI's `receive` and
the application's go into `send`; a client connection is the same seen from the other
end. Starlette shows the two states as `client_state` and `application_state`.

Every state is a row, even an empty one: an empty row is an end. `next_state` is the one
lookup. What is not in the table is refused with the words that Starlette uses.

Not tabular: a last body (`more_body` false) ends a denial response, another one does
not; `event_of` makes them two events. That an ended connection takes a second close
silently is decided by the code that sends, not by the table. Code also decides two
ends that no row has: a session takes a disconnect before the connect, too; and in plain
mode a message that meets a broken connection makes the application's state
DISCONNECTED.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any, Final

from starlette.websockets import WebSocketDisconnected, WebSocketState

CONNECT: Final = "websocket.connect"
RECEIVE: Final = "websocket.receive"
DISCONNECT: Final = "websocket.disconnect"
ACCEPT: Final = "websocket.accept"
SEND: Final = "websocket.send"
CLOSE: Final = "websocket.close"
RESPONSE_START: Final = "websocket.http.response.start"
RESPONSE_BODY: Final = "websocket.http.response.body"
LAST_RESPONSE_BODY: Final = f"{RESPONSE_BODY} (last)"

EVENTS: Final = (
    CONNECT,
    RECEIVE,
    DISCONNECT,
    ACCEPT,
    SEND,
    CLOSE,
    RESPONSE_START,
    RESPONSE_BODY,
    LAST_RESPONSE_BODY,
)


class Role(Enum):
    """One of the two ends, by the events that it emits."""

    CLIENT = "client"
    APPLICATION = "application"


CONNECTING: Final = WebSocketState.CONNECTING
CONNECTED: Final = WebSocketState.CONNECTED
DISCONNECTED: Final = WebSocketState.DISCONNECTED
RESPONSE: Final = WebSocketState.RESPONSE

# role -> state -> event -> next state
TRANSITIONS: Final[
    Mapping[Role, Mapping[WebSocketState, Mapping[str, WebSocketState]]]
] = {
    Role.CLIENT: {
        CONNECTING: {CONNECT: CONNECTED},
        CONNECTED: {RECEIVE: CONNECTED, DISCONNECT: DISCONNECTED},
        DISCONNECTED: {},
        RESPONSE: {},  # the client never answers with a response
    },
    Role.APPLICATION: {
        CONNECTING: {
            ACCEPT: CONNECTED,
            CLOSE: DISCONNECTED,
            RESPONSE_START: RESPONSE,
        },
        CONNECTED: {SEND: CONNECTED, CLOSE: DISCONNECTED},
        DISCONNECTED: {},
        RESPONSE: {RESPONSE_BODY: RESPONSE, LAST_RESPONSE_BODY: DISCONNECTED},
    },
}

_AFTER_THE_END: Final = {
    Role.CLIENT: 'Cannot call "receive" once a disconnect message has been received.',
    Role.APPLICATION: 'Cannot call "send" once a close message has been sent.',
}


def event_of(message: Mapping[str, Any]) -> str:
    """Return the event that an ASGI message stands for."""
    kind: str = message["type"]
    if kind == RESPONSE_BODY and not message.get("more_body", False):
        return LAST_RESPONSE_BODY
    return kind


def next_state(role: Role, state: WebSocketState, event: str) -> WebSocketState:
    """Look up the state that an event leads to.

    Raises:
        WebSocketDisconnected: The role has ended; it emits nothing more.
        RuntimeError: The event is not allowed in this state.
    """
    row = TRANSITIONS[role][state]
    try:
        return row[event]
    except (KeyError, TypeError):  # the latter: a list, say, is no key at all
        pass
    if not row:
        raise WebSocketDisconnected(_AFTER_THE_END[role])
    kind = RESPONSE_BODY if event == LAST_RESPONSE_BODY else event
    error = RuntimeError(f"Expected ASGI message {_named(row)}, but got {kind!r}")
    if kind == SEND and state is CONNECTING:
        # A note, as the text is Starlette's, which tests compare.
        error.add_note("Call `await websocket.accept()` before you send.")
    raise error


def _named(row: Mapping[str, WebSocketState]) -> str:
    """Name the events of a row: `"a"`, or `"a" or "b"`, or `"a", "b" or "c"`."""
    names = [f'"{event}"' for event in row if event != LAST_RESPONSE_BODY]
    return " or ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def diagram() -> str:
    """Draw the tables as a Mermaid state diagram."""
    return "\n".join(("stateDiagram-v2", *_diagram_lines()))


def _diagram_lines() -> Iterator[str]:
    for role, table in TRANSITIONS.items():
        yield f"    state {role.value} {{"
        yield f"        [*] --> {role.value}_{CONNECTING.name}"
        for state, row in table.items():
            for event, following in row.items():
                ends = f"{role.value}_{state.name} --> {role.value}_{following.name}"
                yield f"        {ends}: {event.removeprefix('websocket.')}"
        yield f"        {role.value}_{DISCONNECTED.name} --> [*]"
        yield "    }"
