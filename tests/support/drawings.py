"""The state diagrams of the documentation, drawn from the tables of the code."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import Final, NamedTuple, get_args

from anyws._session import ending
from anyws._values import states
from anyws._values.options import Options, ReceiveOverflow, SendOverflow

# Pixels of a column and a row, and half of what a box takes of them.
COLUMN: Final = 310
ROW: Final = 90
HALF_WIDTH: Final = 70
HALF_HEIGHT: Final = 20
ARROW: Final = (
    '<defs><marker id="arrow" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" '
    'markerHeight="8" orient="auto"><path d="M0,0 L8,4 L0,8 z"/></marker></defs>'
)


class Place(NamedTuple):
    """Where a state stands, in columns and rows."""

    column: float
    row: float
    loop: int = -1  # where an arrow to itself stands: -1 above, 1 below

    @property
    def x(self) -> float:
        """The middle of its box, in pixels."""
        return self.column * COLUMN + HALF_WIDTH + 10

    @property
    def y(self) -> float:
        """The middle of its box, in pixels."""
        return self.row * ROW + HALF_HEIGHT + 50


CLIENT: Final = {
    "CONNECTING": Place(0, 0),
    "CONNECTED": Place(1, 0),
    "DISCONNECTED": Place(2, 0),
}
APPLICATION: Final = {
    "CONNECTING": Place(0, 1),
    "CONNECTED": Place(1, 0),
    "RESPONSE": Place(1, 2, loop=1),
    "DISCONNECTED": Place(2, 1),
}
ENDING: Final = {
    "OPEN": Place(0, 2),
    "CLOSED": Place(1, 0),
    "FORCED": Place(1, 1),
    "LEFT": Place(1, 2),
    "LOST": Place(1, 3),
    "REJECTED": Place(1, 4),
}


def drawings() -> dict[str, str]:
    """Return each diagram by the name of its file."""
    tables = {role.value: table for role, table in states.TRANSITIONS.items()}
    phases = {
        (phase.name, following.name, cause.value)
        for phase, row in ending.TRANSITIONS.items()
        for cause, following in row.items()
    }
    drawn = {
        f"states-{role}.txt": draw(
            f"The states of the {role}",
            places,
            {
                (state.name, following.name, event.removeprefix("websocket."))
                for state, row in tables[role].items()
                for event, following in row.items()
            },
        )
        for role, places in (("client", CLIENT), ("application", APPLICATION))
    }
    drawn["ending.txt"] = draw("How a connection ends", ENDING, phases)
    return drawn | {"buffers.txt": draw_buffers()}


def draw_buffers() -> str:
    """Draw the way of a message in each direction, with the bounds and their rules."""
    usual = Options()
    rows = {
        "receive": (usual.receive_buffer, usual.max_message_bytes, ReceiveOverflow),
        "send": (usual.send_buffer, usual.send_buffer_bytes, SendOverflow),
    }
    lines = [
        '<div class="drawn"><svg role="img" width="600" viewBox="0 0 600 240">',
        "<title>The two buffers of a connection</title>",
        ARROW,
        '<rect x="10" y="30" rx="8" width="100" height="170"/>',
        '<rect x="490" y="30" rx="8" width="100" height="170"/>',
        _text("state", 60, 120, "peer"),
        _text("state", 540, 120, "your code"),
    ]
    for number, (name, (count, size, rules)) in enumerate(rows.items()):
        top = 30 + 100 * number
        there, back = f"M110,{top + 35} H190", f"M410,{top + 35} H490"
        if name == "send":
            there, back = f"M190,{top + 35} H110", f"M490,{top + 35} H410"
        full = "when full: " + ", ".join(get_args(rules))
        lines += [
            f'<rect x="190" y="{top}" rx="8" width="220" height="70"/>',
            f'<path marker-end="url(#arrow)" d="{there}"/>',
            f'<path marker-end="url(#arrow)" d="{back}"/>',
            _text("state", 300, top + 30, f"{name} buffer"),
            _text("bound", 300, top + 52, f"{count} messages, {size >> 20} MiB"),
            _text("bound", 300, top + 88, full),
        ]
    return "\n".join((*lines, "</svg></div>\n"))


def draw(
    title: str, places: Mapping[str, Place], edges: set[tuple[str, str, str]]
) -> str:
    """Draw a diagram as SVG in the colour of the text that it stands in.

    Raises:
        KeyError: A state of the table has no place.
    """
    right = max(place.x for place in places.values()) + HALF_WIDTH + 110
    bottom = max(place.y for place in places.values()) + HALF_HEIGHT + 36
    size = f'width="{right:.0f}" viewBox="0 0 {right:.0f} {bottom:.0f}"'
    return "\n".join(
        (
            f'<div class="drawn"><svg role="img" {size}>',
            f"<title>{escape(title)}</title>",
            ARROW,
            *_lines(places, edges),
            "</svg></div>\n",
        )
    )


def _lines(
    places: Mapping[str, Place], edges: set[tuple[str, str, str]]
) -> Iterator[str]:
    """Draw the arrows, then the boxes, and the text above them all."""
    pairs: dict[tuple[str, str], list[str]] = {}
    for start, end, label in sorted(edges):
        pairs.setdefault((start, end), []).append(label)
    texts = []
    for (start, end), labels in pairs.items():
        text = ", ".join(labels)
        if start == end:
            path, x, y, kind = _loop(places[start])
        else:
            path, x, y, kind = _arrow(places[start], places[end])
        yield f'<path marker-end="url(#arrow)" d="{path}"/>'
        texts.append(_text(kind, x, y, text))
    for name, place in places.items():
        left, top = place.x - HALF_WIDTH, place.y - HALF_HEIGHT
        yield (
            f'<rect x="{left:.0f}" y="{top:.0f}" rx="8"'
            f' width="{2 * HALF_WIDTH}" height="{2 * HALF_HEIGHT}"/>'
        )
        texts.append(_text("state", place.x, place.y + 5, name))
    yield from texts


def _loop(place: Place) -> tuple[str, float, float, str]:
    """Return an arrow from a state to itself, and where its text stands."""
    x, y = place.x + 25, place.y + place.loop * HALF_HEIGHT
    far = y + place.loop * 28
    path = (
        f"M{x - 15:.0f},{y:.0f} C{x - 15:.0f},{far:.0f}"
        f" {x + 15:.0f},{far:.0f} {x + 15:.0f},{y:.0f}"
    )
    return path, x + 22, y + place.loop * 14 + 5, "beside"


def _arrow(start: Place, end: Place) -> tuple[str, float, float, str]:
    """Return an arrow between two states, and where its text stands, upon it."""
    if start.column == end.column:
        up = -1 if end.y < start.y else 1
        x, y1, y2 = start.x - 25, start.y + up * HALF_HEIGHT, end.y - up * HALF_HEIGHT
        return f"M{x:.0f},{y1:.0f} V{y2:.0f}", x, (y1 + y2) / 2 + 5, "upon"
    x1, x2 = start.x + HALF_WIDTH, end.x - HALF_WIDTH
    path = f"M{x1:.0f},{start.y:.0f} L{x2:.0f},{end.y:.0f}"
    x, y = x1 + 0.55 * (x2 - x1), start.y + 0.55 * (end.y - start.y)
    return path, x, y + 5, "upon"


def _text(kind: str, x: float, y: float, text: str) -> str:
    return f'<text class="{kind}" x="{x:.0f}" y="{y:.0f}">{escape(text)}</text>'
