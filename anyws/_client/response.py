"""The head of an HTTP response: a server's, or a proxy's. There is no I/O.

The core's own parser would do, but for its limits of 8 KiB a line and 128 lines: a
`Content-Security-Policy` may well be longer. Here the head has one limit for all of it,
as in browsers.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from typing import Final

from websockets.datastructures import Headers
from websockets.http11 import Response
from websockets.streams import StreamReader

from .._values.headers import is_token

# The most bytes of a response's head: Chromium's limit.
MAX_HEAD_BYTES: Final = 256 * 1024

# The most 1xx responses that may come before the answer (RFC 9110 section 15.2).
MAX_INFORMATIONAL: Final = 16

_HTTP: Final = b"HTTP/"
_STATUS: Final = re.compile(rb"[1-5][0-9][0-9]")
# A header's value, and a reason phrase: RFC 9110 section 5.5.
_VALUE: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


class _HeadTooLarge(ValueError):
    """The head has over `MAX_HEAD_BYTES`; the core's message names other numbers."""

    def __init__(self, _: str) -> None:
        super().__init__(f"the head of the response is over {MAX_HEAD_BYTES} bytes")


def read_response(reader: StreamReader) -> Generator[None, None, Response]:
    """Read the head of the first response that is not informational, or is 101.

    It yields whenever the reader has to be fed. The bytes behind the head are left in
    the reader.

    Raises:
        EOFError: The stream has ended before the head.
        ValueError: It is not HTTP/1.1 or HTTP/1.0, or over a limit.

    Source: RFC 9112 sections 2.1, 4 and 5; RFC 9110 section 15.2.
    """
    for _ in range(MAX_INFORMATIONAL + 1):
        response = yield from _read_head(reader)
        if response.status_code == 101 or response.status_code >= 200:
            return response
    raise ValueError(f"over {MAX_INFORMATIONAL} informational responses")


def read_line(
    reader: StreamReader, limit: int, too_long: type[Exception] = ValueError
) -> Generator[None, None, bytes]:
    """Read a line; return it without its CRLF."""
    line = yield from reader.read_line(limit, too_long)
    if not line.endswith(b"\r\n"):
        raise ValueError(f"a line without CRLF: {_shown(line)}")
    return bytes(line[:-2])


def _read_head(reader: StreamReader) -> Generator[None, None, Response]:
    # Another protocol's greeting is refused at once: it may have no line, and no end.
    beginning, size = reader.buffer, len(_HTTP)
    while len(beginning) < size and _HTTP.startswith(beginning) and not reader.eof:
        yield
    if not _HTTP.startswith(beginning[:size]):
        greeting = beginning.partition(b"\n")[0]
        raise ValueError(f"invalid HTTP status line: {_shown(greeting)}")
    room = MAX_HEAD_BYTES
    line = yield from read_line(reader, room, _HeadTooLarge)
    status, phrase = _status_of(line)
    headers = Headers()
    while line:
        room -= len(line) + 2
        line = yield from read_line(reader, room, _HeadTooLarge)
        if line:
            name, value = _header_of(line)
            headers[name] = value
    return Response(status, phrase, headers)


def _status_of(line: bytes) -> tuple[int, str]:
    """Return the status and the reason phrase of a status line.

    Some servers send no phrase, nor the space before it (RFC 9112 section 4 has only
    the phrase optional).
    """
    version, _, rest = line.partition(b" ")
    status, _, phrase = rest.partition(b" ")
    if version not in (b"HTTP/1.1", b"HTTP/1.0"):
        raise ValueError(f"unsupported protocol: {_shown(version)}")
    if not _STATUS.fullmatch(status):
        raise ValueError(f"invalid status code: {_shown(status)}")
    if not _VALUE.fullmatch(text := phrase.decode("latin-1")):
        raise ValueError(f"invalid reason phrase: {_shown(phrase)}")
    if status == b"101" and version == b"HTTP/1.0":
        raise ValueError("HTTP/1.0 has no upgrade")
    return int(status), text


def _header_of(line: bytes) -> tuple[str, str]:
    """Return the name and the value of a header line."""
    name, colon, value = line.decode("latin-1").partition(":")
    value = value.strip(" \t")
    if not colon:
        raise ValueError(f"invalid header line: {_shown(line)}")
    if not is_token(name):
        raise ValueError(f"invalid header name: {_shown(name.encode('latin-1'))}")
    if not _VALUE.fullmatch(value):
        raise ValueError(f"invalid value of the header {name}")
    return name, value


def _shown(data: bytes | bytearray) -> str:
    """Return the beginning of a line as text for a message."""
    return data[:80].decode("ascii", "backslashreplace")
