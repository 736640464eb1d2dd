"""A client of WebSockets over HTTP/2 (RFC 8441) that does exactly what it is told.

It opens several on one connection, in clear text (prior knowledge) or over TLS, and
lets a test see what browsers hide: windows, the end of a stream, a reset.
"""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import time
from collections.abc import Iterator
from ssl import SSLContext
from typing import Any, NamedTuple

import h2.events
from h2.config import H2Configuration
from h2.connection import H2Connection

HOST = "127.0.0.1"
TEXT, CLOSE, PING, PONG = 1, 8, 9, 10  # of RFC 6455
GOAWAY = 7  # of RFC 9113


class Frame(NamedTuple):
    """A WebSocket frame from the server."""

    opcode: int
    payload: bytes


def frame(opcode: int, payload: bytes) -> bytes:
    """Return one final frame, masked with zeros: that leaves the payload as it is."""
    size = len(payload)
    if size < 126:
        head = struct.pack("!BB", 0x80 | opcode, 0x80 | size)
    elif size < 65536:
        head = struct.pack("!BBH", 0x80 | opcode, 0xFE, size)
    else:
        head = struct.pack("!BBQ", 0x80 | opcode, 0xFF, size)
    return head + bytes(4) + payload


class H2Stream:
    """One stream: what has come on it, and how it ended.

    Attributes:
        status: Of the response, 0 before it.
        headers: Of the response.
        data: What came and was not taken as frames.
        ended: Whether the server has ended the stream.
        reset: The code it has reset the stream with.
        reading: Whether windows are opened again for what comes.
    """

    def __init__(self, client: H2Client, stream_id: int) -> None:
        self.client, self.stream_id = client, stream_id
        self.status, self.headers = 0, dict[str, str]()
        self.data = bytearray()
        self.ended, self.reading = False, True
        self.reset: int | None = None

    # What is sent

    def send_raw(self, data: bytes, *, end: bool = False) -> None:
        """Send bytes, waiting for the windows."""
        if (sent := self.send_some(data, end=end)) < len(data):
            raise TimeoutError(f"the window stays closed after {sent} bytes")

    def send_some(self, data: bytes, *, end: bool = False, within: float = 5) -> int:
        """Send as much as the windows allow until they stay closed; return that."""
        h2, sent = self.client.connection, 0
        while True:
            window = h2.local_flow_control_window(self.stream_id)
            size = min(window, h2.max_outbound_frame_size, len(data) - sent)
            if size or not data:
                last = end and sent + size == len(data)
                h2.send_data(self.stream_id, data[sent : sent + size], end_stream=last)
                sent += size
                self.client.flush()
            if sent == len(data) or (not size and not self.client.pump(within)):
                return sent

    def send(self, opcode: int, payload: bytes) -> None:
        """Send one frame."""
        self.send_raw(frame(opcode, payload))

    def send_text(self, text: str) -> None:
        """Send a text message."""
        self.send(TEXT, text.encode())

    def send_close(self, code: int, reason: str = "") -> None:
        """Send a closing frame."""
        self.send(CLOSE, struct.pack("!H", code) + reason.encode())

    def end(self) -> None:
        """End our half of the stream."""
        self.client.connection.end_stream(self.stream_id)
        self.client.flush()

    def cancel(self) -> None:
        """Reset the stream."""
        self.client.connection.reset_stream(self.stream_id, 8)
        self.client.flush()

    # What is received

    def receive(self, within: float = 5) -> Frame | None:
        """Return the next frame but pings, None when the stream has ended."""
        deadline = time.monotonic() + within
        while (found := self._take_frame()) is None or found.opcode == PING:
            if self.ended or self.reset is not None:
                return None
            self.client.pump_until(deadline)
        return found

    def receive_close(self, within: float = 5) -> tuple[int, str]:
        """Return what the server's closing frame says; skip what comes before it."""
        deadline = time.monotonic() + within
        while found := self.receive(deadline - time.monotonic()):
            if found.opcode == CLOSE:
                code = int.from_bytes(found.payload[:2]) if found.payload else 1005
                return code, found.payload[2:].decode()
        raise AssertionError(f"no closing frame; reset: {self.reset}")

    def wait_end(self, within: float = 5) -> int | None:
        """Wait for the end of the stream; return the code if it was reset."""
        deadline = time.monotonic() + within
        while not self.ended and self.reset is None:
            self.client.pump_until(deadline)
        return self.reset

    def _take_frame(self) -> Frame | None:
        if len(self.data) < 2:
            return None
        size, start = self.data[1], 2
        if size >= 126:
            start = 4 if size == 126 else 10
            size = int.from_bytes(self.data[2:start])
        if len(self.data) < start + size:
            return None
        found = Frame(self.data[0] & 15, bytes(self.data[start : start + size]))
        del self.data[: start + size]
        return found


class H2Client:
    """One connection.

    Args:
        port: Of the server, on the loopback interface.
        context: For TLS; without it, HTTP/2 is spoken in clear text at once.

    Attributes:
        gone_away: The code of the server's GOAWAY frame.
    """

    def __init__(self, port: int, context: SSLContext | None = None) -> None:
        self.socket = socket.create_connection((HOST, port), timeout=5)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if context is not None:
            tls = context.wrap_socket(self.socket, server_hostname=HOST)
            assert tls.selected_alpn_protocol() == "h2"
            self.socket = tls
        self.authority, self.scheme = f"{HOST}:{port}", "https" if context else "http"
        self.streams: dict[int, H2Stream] = {}
        self.gone_away: int | None = None
        self._received = bytearray()
        config = H2Configuration(client_side=True, header_encoding="utf-8")
        self.connection = H2Connection(config)
        self.connection.initiate_connection()
        # So that a stream that is not read closes its own window only.
        self.connection.increment_flow_control_window(2**26)
        self.flush()
        deadline = time.monotonic() + 5
        while not self.connection.remote_settings.enable_connect_protocol:
            self.pump_until(deadline)

    def connect(self, path: str, case: str = "", /, **changes: str | None) -> H2Stream:
        """Open a WebSocket, wait for the answer.

        Args:
            path: Without a query.
            case: The value of the query.
            changes: Other values of pseudo headers; None leaves one out.
        """
        headers = {
            ":method": "CONNECT",
            ":protocol": "websocket",
            ":scheme": self.scheme,
            ":authority": self.authority,
            ":path": f"{path}?case={case}",
            "sec-websocket-version": "13",
        } | {f":{name}": value for name, value in changes.items()}
        stream = self.ask({name: v for name, v in headers.items() if v is not None})
        deadline = time.monotonic() + 5
        while not stream.status and stream.reset is None:
            self.pump_until(deadline)
        return stream

    def ask(self, headers: dict[str, str], *, end: bool = False) -> H2Stream:
        """Send a request's headers."""
        stream_id = self.connection.get_next_available_stream_id()
        self.connection.send_headers(stream_id, list(headers.items()), end_stream=end)
        self.flush()
        stream = self.streams[stream_id] = H2Stream(self, stream_id)
        return stream

    def request(self, path: str, *, method: str = "GET", end: bool = True) -> H2Stream:
        """Ask for something by plain HTTP."""
        return self.ask(
            {
                ":method": method,
                ":scheme": self.scheme,
                ":authority": self.authority,
                ":path": path,
            },
            end=end,
        )

    def get(self, path: str) -> Any:
        """Return the JSON that is at a path."""
        stream = self.request(path)
        assert stream.wait_end() is None
        return json.loads(stream.data)

    def flush(self) -> None:
        """Write what there is to be written."""
        if data := self.connection.data_to_send():
            self.socket.sendall(data)

    def pump(self, within: float = 5) -> bool:
        """Read once and handle it; tell whether anything came."""
        self.socket.settimeout(max(within, 0.001))
        try:
            data = self.socket.recv(65536)
        except TimeoutError:
            return False
        finally:
            self.socket.settimeout(5)
        if not data:
            raise ConnectionError("the server has closed the connection")
        for event in self.connection.receive_data(self._without_goaway(data)):
            self._handle(event)
        self.flush()
        return True

    def pump_until(self, deadline: float) -> None:
        """Read once before the deadline."""
        if time.monotonic() > deadline or not self.pump(deadline - time.monotonic()):
            raise TimeoutError("nothing came")

    def settle(self, seconds: float) -> None:
        """Read for a time."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.pump(deadline - time.monotonic())

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()

    def _without_goaway(self, data: bytes) -> bytes:
        """Return whole frames: after a GOAWAY the library would let nothing go on."""
        self._received += data
        whole = b""
        while len(self._received) >= 9:
            size = 9 + int.from_bytes(self._received[:3])
            if len(self._received) < size:
                break
            if self._received[3] == GOAWAY:
                self.gone_away = int.from_bytes(self._received[13:17])
            else:
                whole += self._received[:size]
            del self._received[:size]
        return whole

    def _handle(self, event: h2.events.Event) -> None:
        stream = self.streams.get(getattr(event, "stream_id", None) or 0)
        if stream is None:
            pass
        elif isinstance(event, h2.events.ResponseReceived):
            stream.headers = {str(n): str(v) for n, v in event.headers}
            stream.status = int(stream.headers[":status"])
        elif isinstance(event, h2.events.DataReceived):
            stream.data += event.data
            if stream.reading:
                self.connection.acknowledge_received_data(
                    event.flow_controlled_length, event.stream_id
                )
        elif isinstance(event, h2.events.StreamEnded):
            stream.ended = True
        elif isinstance(event, h2.events.StreamReset):
            stream.reset = event.error_code


@contextlib.contextmanager
def connected(port: int, context: SSLContext | None = None) -> Iterator[H2Client]:
    """Connect a client for a while."""
    client = H2Client(port, context)
    with contextlib.closing(client):
        yield client
