"""Many members of a hub, in a process of their own: they check what they get.

python crowd.py HOST PORT MEMBERS MESSAGES [deflate]

All but two of the members read, and hold that they get `message(0)`, `message(1)` and
so on, each once. The two do not read; they connect to `/drop_oldest` and to `/close`.
With `deflate` all of them offer compression with context takeover.
"""

from __future__ import annotations

import selectors
import socket
import sys
import zlib
from hashlib import shake_128

STALLED = ("drop_oldest", "close")
_REQUEST = (
    "GET /{} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
    "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    "Sec-WebSocket-Version: 13\r\n{}\r\n"
)
_DEFLATE = "Sec-WebSocket-Extensions: permessage-deflate\r\n"


def message(number: int) -> str:
    """Return a message: short ones, and some that are worth compressing."""
    length = 4000 if number % 2 else 50
    return f"{number} " + shake_128(b"%d" % number).hexdigest(length)


class Member:
    """One connection, and how much it has read.

    Attributes:
        got: How many messages it has had, all of them right.
        raw: Whether it has had a message that was not compressed, and one that was.
    """

    def __init__(self, address: tuple[str, int], path: str, deflate: bool) -> None:
        self.socket = socket.socket()
        if path:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.connect(address)
        self.socket.sendall(_REQUEST.format(path, _DEFLATE if deflate else "").encode())
        self._buffer = b""
        self._inflater = zlib.decompressobj(-15)
        self._accepted = False
        self.got = 0
        self.compressed: set[bool] = set()

    def read(self, expected: list[bytes]) -> None:
        """Read what has come, and compare it."""
        data = self.socket.recv(65536)
        if not data:
            raise EOFError(f"closed after {self.got} messages")
        self._buffer += data
        if not self._accepted:
            head, end, rest = self._buffer.partition(b"\r\n\r\n")
            if not end:
                return
            assert head.startswith(b"HTTP/1.1 101"), head
            self._accepted, self._buffer = True, rest
        while (payload := self._frame()) is not None:
            assert payload == expected[self.got], (self.got, payload[:40])
            self.got += 1

    def _frame(self) -> bytes | None:
        buffer = self._buffer
        if len(buffer) < 4:
            return None
        assert buffer[0] in (0x81, 0xC1), buffer[0]
        start, length = 2, buffer[1]
        if length == 126:
            start, length = 4, int.from_bytes(buffer[2:4])
        assert length < 126 or start == 4
        if len(buffer) < start + length:
            return None
        payload, self._buffer = buffer[start : start + length], buffer[start + length :]
        compressed = buffer[0] == 0xC1
        self.compressed.add(compressed)
        if compressed:
            payload = self._inflater.decompress(payload + b"\0\0\xff\xff")
        return payload


def main() -> None:
    """Connect all, read until all have everything, and print what was seen."""
    host, port, members, messages, *deflate = sys.argv[1:]
    expected = [message(number).encode() for number in range(int(messages))]
    address = host, int(port)
    stalled = [Member(address, path, bool(deflate)) for path in STALLED]
    readers = [Member(address, "", bool(deflate)) for _ in range(int(members) - 2)]
    with selectors.DefaultSelector() as selector:
        for member in readers:
            selector.register(member.socket, selectors.EVENT_READ, member)
        left = len(readers)
        while left:
            for key, _ in selector.select():
                member = key.data
                member.read(expected)
                if member.got == len(expected):
                    selector.unregister(member.socket)
                    left -= 1
    seen = set().union(*(member.compressed for member in readers))
    sys.stdout.write(f"all right, compressed: {sorted(seen)}\n")
    sys.stdout.flush()
    sys.stdin.read()  # until the test has looked at those that do not read
    for member in (*stalled, *readers):
        member.socket.close()


if __name__ == "__main__":
    main()
