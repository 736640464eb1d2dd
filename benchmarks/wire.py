"""What the client says: WebSocket frames made beforehand, or bare bytes.

Frames are masked with the key 0, which is legal and no cheaper for the server. Two
peers have the same methods: a WebSocket server, and an echo of bytes over TCP, which
answers the same sizes without a protocol and so shows what the machine allows.
"""

from __future__ import annotations

import socket
import struct
import zlib
from dataclasses import dataclass
from typing import Protocol

PATIENCE = 20  # seconds without an answer after which a load is given up
DEFLATE = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
REQUEST = (
    "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
    "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    "Sec-WebSocket-Version: 13\r\n{extensions}\r\n"
)
BINARY_PATH = "/binary"  # where the applications echo bytes; elsewhere they echo text
TEXT, BINARY, CLOSE, PING, PONG = 0x81, 0x82, 0x88, 0x89, 0x8A  # unfragmented
DEFLATED = 0x40  # RSV1 (RFC 7692 section 6)


@dataclass(frozen=True)
class Exchange:
    """What is sent for one message, and what comes back for it."""

    frame: bytes
    echo: bytes


class Peer(Protocol):
    """How to talk to a server."""

    def request(self, *, binary: bool = False, deflate: bool = False) -> bytes:
        """What opens a connection."""

    def answered(self, data: bytes, *, deflate: bool = False) -> bool:
        """Whether `data` is all of the answer to the request; raise if it is wrong."""

    def leave(self, connection: socket.socket) -> None:
        """Begin the end of a connection, which the server then closes."""

    def exchange(self, size: int, *, binary: bool = False) -> Exchange:
        """Make a message of `size` bytes."""

    def echo_once(self, connection: socket.socket, exchange: Exchange) -> None:
        """Exchange one message and check the echo."""


class WebSocketPeer:
    """A WebSocket server that echoes messages."""

    def request(self, *, binary: bool = False, deflate: bool = False) -> bytes:
        path, extensions = BINARY_PATH if binary else "/", DEFLATE if deflate else ""
        return REQUEST.format(path=path, extensions=extensions).encode()

    def answered(self, data: bytes, *, deflate: bool = False) -> bool:
        if not data.endswith(b"\r\n\r\n"):  # nothing follows: the echo waits for us
            return False
        negotiated = b"permessage-deflate" in data
        if not data.startswith(b"HTTP/1.1 101 ") or negotiated is not deflate:
            raise ConnectionError(f"opening handshake failed: {data!r}")
        return True

    def leave(self, connection: socket.socket) -> None:
        connection.sendall(frame(CLOSE, struct.pack("!H", 1000), masked=True))

    def exchange(self, size: int, *, binary: bool = False) -> Exchange:
        opcode, payload = BINARY if binary else TEXT, b"m" * size
        return Exchange(frame(opcode, payload, masked=True), frame(opcode, payload))

    def echo_once(self, connection: socket.socket, exchange: Exchange) -> None:
        connection.sendall(exchange.frame)
        reply = _receive_frame(connection)
        while reply[0] == PING:  # a connection that has been idle for long
            connection.sendall(frame(PONG, reply[2:], masked=True))
            reply = _receive_frame(connection)
        deflated = exchange.frame[0] & reply[0] & DEFLATED
        if not (reply == exchange.echo or (deflated and reply[0] == DEFLATED | TEXT)):
            raise ConnectionError(f"not an echo: {reply[:100]!r}")


class RawPeer:
    """A server that echoes bytes over TCP."""

    def request(self, *, binary: bool = False, deflate: bool = False) -> bytes:
        return WebSocketPeer().request()

    def answered(self, data: bytes, *, deflate: bool = False) -> bool:
        return data == self.request()

    def leave(self, connection: socket.socket) -> None:
        connection.shutdown(socket.SHUT_WR)

    def exchange(self, size: int, *, binary: bool = False) -> Exchange:
        return Exchange(b"m" * size, b"m" * size)

    def echo_once(self, connection: socket.socket, exchange: Exchange) -> None:
        connection.sendall(exchange.frame)
        if receive_exactly(connection, len(exchange.echo)) != exchange.echo:
            raise ConnectionError("not an echo")


def frame(opcode: int, payload: bytes, *, masked: bool = False) -> bytes:
    """Encode a frame (RFC 6455 section 5.2)."""
    bit, size = 0x80 if masked else 0, len(payload)
    if size < 126:
        header = struct.pack("!BB", opcode, bit | size)
    elif size < 2**16:
        header = struct.pack("!BBH", opcode, bit | 126, size)
    else:
        header = struct.pack("!BBQ", opcode, bit | 127, size)
    return header + (bytes(4) if masked else b"") + payload


def deflated_exchange(size: int) -> Exchange:
    """Make a compressed text message, which puts the server's buffers to use."""
    compressor = zlib.compressobj(wbits=-15)
    data = compressor.compress(b"m" * size) + compressor.flush(zlib.Z_SYNC_FLUSH)
    return Exchange(
        frame(DEFLATED | TEXT, data.removesuffix(b"\0\0\xff\xff"), masked=True),
        frame(TEXT, b"m" * size),  # unless the server compresses too
    )


def connect(
    peer: Peer, address: tuple[str, int], *, binary: bool = False, deflate: bool = False
) -> socket.socket:
    """Open a connection; the socket blocks, for at most `PATIENCE` at a time."""
    connection = socket.create_connection(address, PATIENCE)
    try:
        # Not `settimeout`: Python would poll before each operation.
        connection.settimeout(None)
        limit = struct.pack("@ll", PATIENCE, 0)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(peer.request(binary=binary, deflate=deflate))
        answer = b""
        while not peer.answered(answer, deflate=deflate):
            answer += _receive(connection, 2**16)
    except BaseException:
        connection.close()
        raise
    return connection


def receive_exactly(connection: socket.socket, size: int) -> bytes:
    """Receive `size` bytes."""
    data = b""
    while len(data) < size:
        data += _receive(connection, size - len(data))
    return data


def _receive_frame(connection: socket.socket) -> bytes:
    header = receive_exactly(connection, 2)
    size = header[1]
    if size >= 126:
        extension = receive_exactly(connection, 2 if size == 126 else 8)
        header, size = header + extension, int.from_bytes(extension)
    return header + receive_exactly(connection, size)


def _receive(connection: socket.socket, size: int) -> bytes:
    data = connection.recv(size)
    if not data:
        raise ConnectionError("the server closed the connection")
    return data
