"""The tables of states, walked whole."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest
from starlette.websockets import WebSocketDisconnected, WebSocketState

from anyws._values import states as _states
from anyws._values.states import EVENTS, TRANSITIONS, Role, event_of, next_state

CONNECTING, OPEN, ENDED, RESPONSE = WebSocketState

ALLOWED = {
    (Role.CLIENT, CONNECTING, "websocket.connect"): OPEN,
    (Role.CLIENT, OPEN, "websocket.receive"): OPEN,
    (Role.CLIENT, OPEN, "websocket.disconnect"): ENDED,
    (Role.APPLICATION, CONNECTING, "websocket.accept"): OPEN,
    (Role.APPLICATION, CONNECTING, "websocket.close"): ENDED,
    (Role.APPLICATION, CONNECTING, "websocket.http.response.start"): RESPONSE,
    (Role.APPLICATION, OPEN, "websocket.send"): OPEN,
    (Role.APPLICATION, OPEN, "websocket.close"): ENDED,
    (Role.APPLICATION, RESPONSE, "websocket.http.response.body"): RESPONSE,
    (Role.APPLICATION, RESPONSE, "websocket.http.response.body (last)"): ENDED,
}
TRIPLES = list(product(Role, WebSocketState, EVENTS))


@pytest.mark.parametrize(
    ("role", "state", "event"),
    TRIPLES,
    ids=[f"{role.value}-{state.name}-{event}" for role, state, event in TRIPLES],
)
def test_every_triple(role: Role, state: WebSocketState, event: str) -> None:
    """Each triple leads where it should, or is refused as Starlette refuses it."""
    if (role, state, event) in ALLOWED:
        assert next_state(role, state, event) is ALLOWED[role, state, event]
        return
    ended = not TRANSITIONS[role][state]
    with pytest.raises(RuntimeError) as caught:
        next_state(role, state, event)
    assert isinstance(caught.value, WebSocketDisconnected) is ended
    if not ended:
        assert str(caught.value).endswith(f"but got {event.removesuffix(' (last)')!r}")


def test_every_state_is_a_row() -> None:
    """Each role has a row for each state, even an empty one."""
    for role in Role:
        assert set(TRANSITIONS[role]) == set(WebSocketState)


def test_every_event_is_used() -> None:
    """Each event leads somewhere for one role, and for one alone."""
    for event in EVENTS:
        roles = [
            r for r in Role if any(event in row for row in TRANSITIONS[r].values())
        ]
        assert len(roles) == 1


@pytest.mark.parametrize(
    ("message", "event"),
    [
        ({"type": "websocket.send", "more_body": False}, "websocket.send"),
        ({"type": "websocket.http.response.body"}, _states.LAST_RESPONSE_BODY),
        (
            {"type": "websocket.http.response.body", "more_body": True},
            "websocket.http.response.body",
        ),
    ],
    ids=["send", "last body", "body"],
)
def test_the_event_of_a_message(message: dict[str, object], event: str) -> None:
    """A last body is an event of its own; every other message is its type."""
    assert event_of(message) == event


def test_the_diagram_is_the_tables() -> None:
    """CONTRIBUTING.md shows the diagram that the tables draw."""
    text = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text()

    assert f"```mermaid\n{_states.diagram()}\n```" in text
