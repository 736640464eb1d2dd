"""A raw WebSocket client that costs next to nothing.

Frames are made once, masked with the key 0 (legal, and no cheaper for the server), and
echoes are counted in bytes, an echo being of a known length. Each load function stops
sending at the deadline, takes in what is still under way and returns the number of
echoes.
"""

from __future__ import annotations

import select
import socket
import struct
import time
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

PATIENCE = 15  # seconds without an answer after which a load is given up
DEPTH = 64  # messages in flight in the pipelined load
DEFLATE = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
REQUEST = (
    "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
)


@dataclass(frozen=True)
class Exchange:
    """One message of `size` bytes and its echo."""

    size: int

    @cached_property
    def frame(self) -> bytes:
        """The masked text frame to send."""
        return _header(self.size, mask=True) + bytes(4) + self._payload

    @cached_property
    def echo(self) -> bytes:
        """The frame that comes back."""
        return _header(self.size, mask=False) + self._payload

    @property
    def _payload(self) -> bytes:
        return b"m" * self.size


def _header(size: int, *, mask: bool) -> bytes:
    """Encode the header of an unfragmented text frame (RFC 6455 section 5.2)."""
    bit = 0x80 if mask else 0
    if size < 126:
        return struct.pack("!BB", 0x81, bit | size)
    if size < 2**16:
        return struct.pack("!BBH", 0x81, bit | 126, size)
    return struct.pack("!BBQ", 0x81, bit | 127, size)


def connect(address: tuple[str, int], *, deflate: bool = False) -> socket.socket:
    """Open a WebSocket; the socket blocks, for at most `PATIENCE` at a time."""
    connection = socket.create_connection(address, PATIENCE)
    try:
        # Not `settimeout`: Python would poll before each operation.
        connection.settimeout(None)
        limit = struct.pack("@ll", PATIENCE, 0)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        _open(connection, deflate=deflate)
    except BaseException:
        connection.close()
        raise
    return connection


def _open(connection: socket.socket, *, deflate: bool) -> None:
    request = REQUEST + (DEFLATE if deflate else "") + "\r\n"
    connection.sendall(request.encode())
    response = b""
    while not response.endswith(b"\r\n\r\n"):  # nothing follows: the echo waits for us
        response += _receive(connection)
    negotiated = b"permessage-deflate" in response
    if not response.startswith(b"HTTP/1.1 101 ") or negotiated is not deflate:
        raise ConnectionError(f"opening handshake failed: {response!r}")


def _receive(connection: socket.socket) -> bytes:
    data = connection.recv(2**16)
    if not data:
        raise ConnectionError("the server closed the connection")
    return data


def echo_once(connection: socket.socket, exchange: Exchange, *, deflate: bool) -> None:
    """Exchange one message and check the echo (by its header when it is deflated)."""
    connection.sendall(exchange.frame)
    data = _receive(connection)
    if deflate:
        while len(data) < 2 or len(data) < 2 + data[1]:
            data += _receive(connection)
        right = data[0] == 0xC1  # FIN, RSV1, text
    else:
        while len(data) < len(exchange.echo):
            data += _receive(connection)
        right = data == exchange.echo
    if not right:
        raise ConnectionError(f"not an echo: {data[:100]!r}")


def ping_pong(
    connections: Sequence[socket.socket], exchange: Exchange, deadline: float
) -> int:
    """One message at a time over one connection."""
    [connection] = connections
    sendall, recv_into, clock = connection.sendall, connection.recv_into, time.monotonic
    frame, echo_size, count = exchange.frame, len(exchange.echo), 0
    buffer = bytearray(echo_size)
    while clock() < deadline:
        sendall(frame)
        missing = echo_size
        while missing:
            got = recv_into(buffer)
            if not got:
                raise ConnectionError("the server closed the connection")
            missing -= got
        count += 1
    return count


def ping_pong_many(
    connections: Sequence[socket.socket], exchange: Exchange, deadline: float
) -> int:
    """One message at a time over each of many connections."""
    frame, echo_size, count = exchange.frame, len(exchange.echo), 0
    buffer = bytearray(echo_size)
    by_fd = {connection.fileno(): connection for connection in connections}
    missing = dict.fromkeys(by_fd, echo_size)
    under_way = len(connections)
    with select.epoll() as epoll:
        for fd, connection in by_fd.items():
            epoll.register(fd, select.EPOLLIN)
            connection.sendall(frame)
        while under_way:
            events = epoll.poll(PATIENCE)
            if not events:
                raise TimeoutError("no echo")
            running = time.monotonic() < deadline
            for fd, _ in events:
                got = by_fd[fd].recv_into(buffer)
                if not got:
                    raise ConnectionError("the server closed the connection")
                missing[fd] -= got
                if missing[fd]:
                    continue
                count += 1
                missing[fd] = echo_size
                if running:
                    by_fd[fd].sendall(frame)
                else:
                    under_way -= 1
    return count


def pipelined(
    connections: Sequence[socket.socket], exchange: Exchange, deadline: float
) -> int:
    """`DEPTH` messages in flight on one connection."""
    [connection] = connections
    frame_size, echo_size = len(exchange.frame), len(exchange.echo)
    frames = memoryview(exchange.frame * DEPTH)
    buffer = bytearray(echo_size * DEPTH)
    connection.sendall(frames)
    sent, received = DEPTH, 0
    while received < sent * echo_size:
        got = connection.recv_into(buffer)
        if not got:
            raise ConnectionError("the server closed the connection")
        received += got
        free = DEPTH + received // echo_size - sent
        if free and time.monotonic() < deadline:
            connection.sendall(frames[: free * frame_size])
            sent += free
    return sent
