"""Several lines of one field in a request that asks for an upgrade."""

from __future__ import annotations

import h11
import pytest

from anyws.hypercorn._http1 import combined


def request(*lines: tuple[str, str]) -> h11.Request:
    """Return a request with some headers."""
    return h11.Request(
        method="GET", target="/ws", headers=[("Host", "a"), *lines], http_version="1.1"
    )


@pytest.mark.parametrize(
    "lines",
    [
        (("Connection", "Upgrade"), ("Upgrade", "WebSocket")),
        (("Connection", "keep-alive, Upgrade"), ("Upgrade", "h2c")),
        (("X-A", "1"), ("x-a", "2")),
    ],
)
def test_a_request_with_single_lines_stays_as_it_is(
    lines: tuple[tuple[str, str], ...],
) -> None:
    """The application sees what the client has written."""
    asked = request(*lines)

    assert combined(asked) is asked


@pytest.mark.parametrize(
    ("lines", "seen"),
    [
        (
            [("connection", "Upgrade"), ("X-A", "1"), ("Connection", "keep-alive")],
            [(b"X-A", b"1"), (b"connection", b"Upgrade, keep-alive")],
        ),
        ([("Upgrade", "h2c"), ("Upgrade", "WebSocket")], [(b"Upgrade", b"websocket")]),
        ([("Upgrade", "h2c, websocket/13")], [(b"Upgrade", b"h2c, websocket/13")]),
        ([("Upgrade", "foo , WEBSOCKET")], [(b"Upgrade", b"websocket")]),
        ([("Upgrade", "a"), ("Upgrade", "b")], [(b"Upgrade", b"a, b")]),
    ],
)
def test_lines_are_combined(
    lines: list[tuple[str, str]], seen: list[tuple[bytes, bytes]]
) -> None:
    """Hypercorn looks at one line; the rest of the request is as it was."""
    found = combined(request(*lines))

    assert found.headers.raw_items() == [(b"Host", b"a"), *seen]
    assert (found.method, found.target, found.http_version) == (b"GET", b"/ws", b"1.1")
