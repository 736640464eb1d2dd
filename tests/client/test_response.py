"""The head of a response: its limit, and where it ends."""

from __future__ import annotations

import pytest
from websockets.http11 import Response
from websockets.streams import StreamReader

from anyws._client.response import MAX_HEAD_BYTES, read_response

STATUS = b"HTTP/1.1 403 Forbidden\r\n"


def read(data: bytes, size: int = 0) -> tuple[Response, bytes]:
    """Return the response that is read from pieces of data, and the rest."""
    reader = StreamReader()
    parser = read_response(reader)
    size = size or len(data)
    for start in range(0, len(data), size):
        reader.feed_data(data[start : start + size])
        try:
            next(parser)
        except StopIteration as done:
            return done.value, bytes(reader.buffer) + data[start + size :]
    raise EOFError


def head_of(size: int) -> bytes:
    """Return a head of so many bytes."""
    around = STATUS + b"A: " + b"\r\n\r\n"
    return STATUS + b"A: " + b"b" * (size - len(around)) + b"\r\n\r\n"


@pytest.mark.parametrize("size", [0, 1, 1000])
def test_the_head_of_a_response(size: int) -> None:
    """However it is cut, it ends at the empty line."""
    data = STATUS + b"X-One: 1\r\nx-one:\t2 \r\nEmpty:\r\nX: \xe4\r\n\r\n\r\nbody"
    response, rest = read(data, size)
    assert (response.status_code, response.reason_phrase) == (403, "Forbidden")
    assert list(response.headers.raw_items()) == [
        ("X-One", "1"),
        ("x-one", "2"),
        ("Empty", ""),
        ("X", "\xe4"),
    ]
    assert rest == b"\r\nbody"


@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/1.0"])
@pytest.mark.parametrize("phrase", ["", " ", " \t", "  two words", " \xe4", " 200"])
@pytest.mark.parametrize("status", [200, 403, 599])
def test_the_reason_phrase_is_optional(version: str, phrase: str, status: int) -> None:
    """And so is the space before it: nobody needs either."""
    response, rest = read(f"{version} {status}{phrase}\r\n\r\n!".encode("latin-1"))
    assert (response.status_code, rest) == (status, b"!")
    assert response.reason_phrase == phrase[1:]


@pytest.mark.parametrize(
    "line",
    ["HTTP/1.1", "HTTP/1.1 ", "HTTP/1.1  200 OK", "HTTP/1.1 20", "HTTP/1.1 2000"],
)
def test_a_status_is_three_digits(line: str) -> None:
    """Behind one space."""
    with pytest.raises(ValueError, match="invalid status code: "):
        read(f"{line}\r\n\r\n".encode())


@pytest.mark.parametrize("size", [0, 1000])
def test_the_limit_of_a_head(size: int) -> None:
    """It is of the bytes of all its lines, their ends included."""
    head = head_of(MAX_HEAD_BYTES)
    assert len(head) == MAX_HEAD_BYTES
    response, rest = read(head + b"body", size)
    assert (response.status_code, rest) == (403, b"body")
    with pytest.raises(ValueError, match="over 262144 bytes"):
        read(head_of(MAX_HEAD_BYTES + 1), size)


def test_an_informational_response_has_a_limit_of_its_own() -> None:
    """And does not make that of the answer smaller."""
    early = b"HTTP/1.1 103 Early Hints\r\nLink: " + b"a" * 200_000 + b"\r\n\r\n"
    response, _ = read(early * 2 + head_of(MAX_HEAD_BYTES))
    assert response.status_code == 403
