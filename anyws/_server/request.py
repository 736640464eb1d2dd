"""The head of an HTTP/1.1 request, parsed in one strict pass. There is no I/O.

Nothing is repaired here: a head that two parsers might read in two ways is refused. No
line folding, no bare LF or CR, no white space before a colon, one `Host`.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from .handshake import HandshakeRefusal, Headers

# The most bytes of a head, with the blank line: h11's bound, too.
MAX_HEAD_BYTES: Final = 64 * 1024

_END: Final = b"\r\n\r\n"
_TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_REQUEST_LINE: Final = re.compile(rb"(%s) ([\x21-\x7e]+) HTTP/(1\.[01])" % _TOKEN)
# The value ends before the white space behind it (RFC 9110 section 5.5).
_FIELD: Final = re.compile(
    rb"(%s):[ \t]*((?:[\x21-\x7e\x80-\xff]+(?:[ \t]+[\x21-\x7e\x80-\xff]+)*)?)[ \t]*"
    % _TOKEN
)


class Request(NamedTuple):
    """The head of a request.

    Attributes:
        method, target: As they were written.
        http_version: `"1.1"` or `"1.0"`.
        headers: The headers; their names are in lower case.
    """

    method: bytes
    target: bytes
    http_version: str
    headers: Headers

    @property
    def asks_for_websocket(self) -> bool:
        """Whether it asks for an upgrade to a WebSocket, whatever else is wrong.

        Source: RFC 9110 section 7.8; RFC 6455 section 4.2.1.
        """
        return (
            self.method == b"GET"
            and self.http_version == "1.1"
            and b"websocket" in self.tokens(b"upgrade")
            and b"upgrade" in self.tokens(b"connection")
        )

    def tokens(self, name: bytes) -> list[bytes]:
        """Return the members of a header that is a list, in lower case."""
        lines = [value for key, value in self.headers if key == name]
        return [item.strip().lower() for line in lines for item in line.split(b",")]


class RequestReader:
    """Collects the head of one request.

    Attributes:
        rest: The bytes behind the head, once that is complete.
    """

    def __init__(self) -> None:
        self.rest: bytes = b""
        self._head = bytearray()

    def receive_data(self, data: bytes) -> Request | None:
        """Take in bytes; return the request once its head is complete.

        Raises:
            HandshakeRefusal: The head is malformed (400) or too large (431).
        """
        head = self._head
        searched = max(0, len(head) - len(_END) + 1)
        head += data
        if not head[:1].isalpha():  # TLS, for one, would be waited for in vain
            raise HandshakeRefusal(400)
        end = head.find(_END, searched)
        if max(end + len(_END), len(head) if end < 0 else 0) > MAX_HEAD_BYTES:
            raise HandshakeRefusal(431)
        if end < 0:
            return None
        self.rest = bytes(head[end + len(_END) :])
        return parse_head(bytes(head[:end]))


def parse_head(head: bytes) -> Request:
    """Parse a head, without the blank line behind it.

    Raises:
        HandshakeRefusal: It is malformed (400).

    Source: RFC 9112 sections 2.2, 3 and 5; RFC 9110 section 5.5.
    """
    first, *lines = head.split(b"\r\n")
    request_line = _REQUEST_LINE.fullmatch(first)
    fields = [_FIELD.fullmatch(line) for line in lines]
    if request_line is None or None in fields:
        raise HandshakeRefusal(400)
    headers = [(field[1].lower(), field[2]) for field in fields if field is not None]
    method, target, version = request_line.groups()
    hosts = [name for name, _ in headers if name == b"host"]
    if len(hosts) > 1 or (version == b"1.1" and not hosts):
        raise HandshakeRefusal(400)
    return Request(method, target, version.decode(), headers)
