"""Loads, by a client that costs next to nothing.

Echoes are counted in bytes, an echo being of a known length. Each load stops sending at
the deadline, takes in what is still under way and returns how many it has counted.
"""

from __future__ import annotations

import itertools
import select
import socket
import time
from typing import TYPE_CHECKING, NoReturn

from benchmarks.wire import PATIENCE, Exchange, Peer

if TYPE_CHECKING:
    from collections.abc import Sequence

DEPTH = 256  # messages in flight in the pipelined load
HANDSHAKES = 32  # connections under way at a time
IP_BIND_ADDRESS_NO_PORT = 24  # of Linux; Python 3.11 does not name it
# Addresses that connections come from in turn: one would run out of ports, which stay
# taken for a minute where the client was the first to close.
SOURCES = [f"127.0.0.{number}" for number in range(2, 102)]


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
            missing -= recv_into(buffer) or _closed()
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
            events = _poll(epoll)
            running = time.monotonic() < deadline
            for fd, _ in events:
                missing[fd] -= by_fd[fd].recv_into(buffer) or _closed()
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
    """`DEPTH` messages in flight on one connection: what has come back goes out again.

    All that can be in flight fits into the buffers of the sockets, so sending never
    blocks for want of reading.
    """
    [connection] = connections
    frame_size, echo_size = len(exchange.frame), len(exchange.echo)
    frames = memoryview(exchange.frame * DEPTH)
    buffer = bytearray(echo_size * DEPTH)
    connection.sendall(frames)
    sent, received = DEPTH, 0
    while received < sent * echo_size:
        received += connection.recv_into(buffer) or _closed()
        free = DEPTH + received // echo_size - sent
        if free and time.monotonic() < deadline:
            connection.sendall(frames[: free * frame_size])
            sent += free
    return sent


def handshakes(peer: Peer, address: tuple[str, int], deadline: float) -> int:
    """Open and close connections, `HANDSHAKES` of them at a time."""
    request, sources, count = peer.request(), itertools.cycle(SOURCES), 0
    answers: dict[socket.socket, bytes | None] = {}  # None: only the end is to come
    by_fd: dict[int, socket.socket] = {}

    def start() -> None:
        connection = _connect_from(next(sources), address)
        connection.sendall(request)
        answers[connection], by_fd[connection.fileno()] = b"", connection
        epoll.register(connection, select.EPOLLIN)

    with select.epoll() as epoll:
        try:
            for _ in range(HANDSHAKES):
                start()
            while answers:
                for fd, _ in _poll(epoll):
                    connection = by_fd[fd]
                    if _advance(peer, connection, answers):
                        continue
                    count += 1
                    del answers[connection], by_fd[fd]
                    connection.close()  # which also takes it out of the epoll
                    if time.monotonic() < deadline:
                        start()
        finally:
            for connection in answers:
                connection.close()
    return count


def _connect_from(source: str, address: tuple[str, int]) -> socket.socket:
    connection = socket.socket()
    try:
        # The port is chosen when the other end is known, so not from all that are free.
        connection.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
        connection.bind((source, 0))
        connection.connect(address)
    except BaseException:
        connection.close()
        raise
    return connection


def _advance(
    peer: Peer, connection: socket.socket, answers: dict[socket.socket, bytes | None]
) -> bool:
    """Take what has come; return False at the end of the connection."""
    data, answer = connection.recv(2**12), answers[connection]
    if answer is None:
        return bool(data)
    if not data:
        _closed()
    answers[connection] = answer + data
    if peer.answered(answer + data):
        peer.leave(connection)
        answers[connection] = None
    return True


def _poll(epoll: select.epoll) -> list[tuple[int, int]]:
    events = epoll.poll(PATIENCE)
    if not events:
        raise TimeoutError("no answer")
    return events


def _closed() -> NoReturn:
    raise ConnectionError("the server closed the connection")
