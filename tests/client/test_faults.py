"""A stream that fails at every byte: nothing hangs, and nothing foreign comes out."""

from __future__ import annotations

from math import inf
from pathlib import Path
from typing import Any, Final

import anyio
import pytest
from anyio.abc import ByteStream
from anyio.lowlevel import checkpoint
from trio.testing import MockClock
from websockets.http11 import Request
from websockets.server import ServerProtocol

import anyws

from ..support.ends import listening
from ..support.wired import BINARY, CLOSE, CONT, PING, TEXT, close_payload, frame

FRAMES: Final = (
    frame(TEXT, "é", mask=None)
    + frame(BINARY, b"12", fin=False, mask=None)
    + frame(PING, b"ping", mask=None)
    + frame(CONT, b"34", mask=None)
    + frame(CLOSE, close_payload(4001, "bye"), mask=None)
)
MESSAGES: Final = ["é", b"1234"]
SENT: Final = len(frame(TEXT, "hello") + frame(BINARY, bytes(200)))
OPTIONS: Final = anyws.Options(ping_interval=20, ping_timeout=20, close_timeout=5)


class FaultyStream(ByteStream):
    """A server that answers the handshake, reads, sends `FRAMES`, leaves; or fails.

    Attributes:
        written: What the client has written.
        head: How long the response is, once there is one.
        closed: Whether the client has closed the stream.

    Args:
        step: How many bytes are read at once.
        fault: What happens: `"eof"`, `"reset"` or `"stall"`.
        reads, writes: After how many bytes, of what is read or written.
    """

    def __init__(
        self,
        step: int = 2**16,
        fault: str = "",
        reads: float = inf,
        writes: float = inf,
    ) -> None:
        self._step, self._fault = step, fault
        self._reads, self._writes = reads, writes
        self._script = b""
        self._read = self.head = 0
        self._changed = anyio.Event()
        self._broken = False
        self.written = b""
        self.closed = False

    async def _fail(self) -> None:
        if self._fault == "stall":
            await anyio.sleep_forever()
        self._broken = True
        self._changed.set()
        raise anyio.EndOfStream if self._fault == "eof" else anyio.BrokenResourceError

    async def receive(self, max_bytes: int = 2**16) -> bytes:
        """Read."""
        await checkpoint()
        if self._broken or self._read >= self._reads:
            await self._fail()
        while len(self._script) == self._read:
            if self._script.endswith(FRAMES):
                raise anyio.EndOfStream
            self._changed = anyio.Event()
            await self._changed.wait()
            if self._broken:
                await self._fail()
        end = min(self._read + self._step, len(self._script), self._reads)
        data, self._read = self._script[self._read : int(end)], int(end)
        return data

    async def send(self, item: bytes) -> None:
        """Write."""
        await checkpoint()
        room = min(len(item), self._writes - len(self.written))
        self.written += item[: int(room)]
        if room < len(item):
            await self._fail()
        head, end, frames = self.written.partition(b"\r\n\r\n")
        if end and not self._script:
            protocol = ServerProtocol()
            protocol.receive_data(head + end)
            [request] = protocol.events_received()
            assert isinstance(request, Request)
            protocol.send_response(protocol.accept(request))
            self._script = b"".join(protocol.data_to_send())
            self.head = len(self._script)
        if len(self._script) == self.head and len(frames) >= SENT:
            self._script += FRAMES
        self._changed.set()

    async def send_eof(self) -> None:
        """End the client's half."""
        await checkpoint()

    async def aclose(self) -> None:
        """Close."""
        self.closed = True
        await checkpoint()


async def use(stream: FaultyStream) -> tuple[bool, list[str | bytes]]:
    """Use a connection; return whether it was opened, and what was received."""
    opened, received = False, list[str | bytes]()
    start = anyio.current_time()
    try:
        async with anyws.connect(
            "ws://faulty/", stream=stream, options=OPTIONS, open_timeout=10
        ) as ws:
            opened = True
            await ws.send_text("hello")
            await ws.send_bytes(bytes(200))
            async for message in ws:
                received.append(message)
            assert ws.close_info == anyws.CloseInfo(4001, "bye", "peer", True)
            raise await after(ws)
    except anyws.HandshakeError:
        assert not opened
    except anyws.ConnectionClosed:
        assert opened
    assert stream.closed
    assert anyio.current_time() - start < 60
    return opened, received


async def after(ws: anyws.ClientWebSocket) -> anyws.ConnectionClosed:
    """Return how each call fails, once the connection is over."""
    for call in (ws.receive_message, ws.ping, lambda: ws.send_text("late")):
        with pytest.raises(anyws.ConnectionClosed):
            await call()
    assert ws.close_info is not None
    return anyws.ConnectionClosed(ws.close_info)


async def spoil_reads(fault: str, step: int) -> None:
    """Fail at each byte of what is read."""
    whole = FaultyStream(step)
    assert await use(whole) == (True, MESSAGES)
    for place in range(whole.head + len(FRAMES)):
        stream = FaultyStream(step, fault, reads=place)
        opened, received = await use(stream)
        assert opened is (place >= whole.head), place
        assert received == MESSAGES[: len(received)], place


async def spoil_writes(fault: str) -> None:
    """Fail at each byte of what is written."""
    whole = FaultyStream()
    await use(whole)
    request = whole.written.index(b"\r\n\r\n") + 4
    assert len(whole.written) > request + SENT
    for place in range(len(whole.written)):
        stream = FaultyStream(16, fault, writes=place)
        opened, received = await use(stream)
        assert opened is (place >= request), place
        assert received == MESSAGES[: len(received)], place


@pytest.mark.parametrize("step", [1, 2**16])
@pytest.mark.parametrize("fault", ["eof", "reset"])
async def test_a_server_that_goes_at_any_byte(fault: str, step: int) -> None:
    """It is a HandshakeError at first, and then ConnectionClosed; never another."""
    await spoil_reads(fault, step)


async def test_a_server_that_resets_at_any_byte_it_is_sent() -> None:
    """The same where it is a write that fails."""
    await spoil_writes("reset")


class FailingAtTheEnd(FaultyStream):
    """A stream that cannot be ended as others are."""

    async def send_eof(self) -> None:
        """Fail."""
        raise LookupError


async def test_how_a_stream_ends_is_nobodys_business() -> None:
    """Once both have said goodbye, what the stream makes of its end is not raised."""
    assert await use(FailingAtTheEnd()) == (True, MESSAGES)


async def test_a_server_that_says_nothing_is_not_waited_for(tmp_path: Path) -> None:
    """`open_timeout` holds in real time, wherever the handshake is stuck."""
    async with listening("tcp", tmp_path) as listener:
        with pytest.raises(anyws.HandshakeError, match="timed out"):
            async with listener.connect(open_timeout=0.1):
                pytest.fail("it was opened")


class TestStalls:
    """Stalls, in virtual time."""

    @pytest.fixture
    def anyio_backend(self) -> Any:
        """Run on trio, where time passes at once."""
        return "trio", {"clock": MockClock(autojump_threshold=0)}

    @pytest.mark.parametrize("step", [1, 2**16])
    async def test_a_server_that_stalls_at_any_byte(self, step: int) -> None:
        """It is given up by `open_timeout`, or by the keepalive, and closed."""
        await spoil_reads("stall", step)

    async def test_a_server_that_reads_no_more_at_any_byte(self) -> None:
        """The same where it is a write that waits."""
        await spoil_writes("stall")
