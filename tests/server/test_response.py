"""The bytes of the responses that a server of ours writes."""

from __future__ import annotations

from typing import Any

import h11
import pytest

from anyws._server.response import DenialResponse, head_of, plain_response


def read(data: bytes, method: str = "GET") -> tuple[h11.Response, bytes, bool]:
    """Return a response as h11 reads it, its body, and whether it is complete."""
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method=method, target="/", headers=[("host", "a")]))
    client.send(h11.EndOfMessage())
    client.receive_data(data)
    response = client.next_event()
    assert isinstance(response, h11.Response)
    body, event = b"", client.next_event()
    while isinstance(event, h11.Data):
        body += event.data
        event = client.next_event()
    return response, body, isinstance(event, h11.EndOfMessage)


def denied(status: int, parts: list[bytes], *headers: tuple[bytes, bytes]) -> bytes:
    """Return the bytes of a denial response in parts."""
    start: Any = {"status": status, "headers": list(headers)}
    response = DenialResponse(start, [(b"date", b"now")])
    data = b"".join(
        response.body({"body": part, "more_body": n < len(parts)})
        for n, part in enumerate(parts, 1)
    )
    assert response.over
    return data


def test_a_head_has_its_phrase() -> None:
    """RFC 9112 section 4 lets it be empty; some clients do not."""
    assert head_of(101, [(b"a", b"b")]) == (
        b"HTTP/1.1 101 Switching Protocols\r\na: b\r\n\r\n"
    )
    assert head_of(599, []) == b"HTTP/1.1 599 \r\n\r\n"


@pytest.mark.parametrize(("text", "body"), [(None, b"Forbidden"), ("no", b"no")])
def test_a_plain_response_closes(text: str | None, body: bytes) -> None:
    """Its body says what its status means, or something better."""
    response, got, whole = read(plain_response(403, [(b"date", b"now")], text))

    assert (response.status_code, got, whole) == (403, body, True)
    assert (b"connection", b"close") in response.headers
    assert (b"date", b"now") in response.headers


@pytest.mark.parametrize("parts", [[b""], [b"one"], [b"o", b"", b"ne"], [b"", b""]])
@pytest.mark.parametrize("declared", [False, True])
def test_a_denial_is_whole(parts: list[bytes], declared: bool) -> None:
    """In one part or several, with a declared length or without."""
    body = b"".join(parts)
    length = [(b"content-length", b"%d" % len(body))] if declared else []
    own = [*length, (b"x-a", b"1"), (b"x-a", b"2"), (b"connection", b"keep-alive")]
    response, got, whole = read(denied(401, parts, *own))

    assert (response.status_code, got, whole) == (401, body, True)
    assert [v for n, v in response.headers if n == b"x-a"] == [b"1", b"2"]
    assert [v for n, v in response.headers if n == b"connection"] == [b"close"]


@pytest.mark.parametrize("status", [204, 205, 304])
def test_some_statuses_have_no_body(status: int) -> None:
    """A body is dropped, and no chunk stands in its place."""
    data = denied(status, [b"one", b"two"])

    assert data.partition(b"\r\n\r\n")[2] == b""
    assert b"transfer-encoding" not in data
