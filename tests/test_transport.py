"""A byte stream as the frames need it: how it fails, and what is never written."""

from __future__ import annotations

import socket

import anyio
import pytest
from anyio.abc import ByteStream

from anyws._transport import SocketTransport, StreamTransport


class Fragile(ByteStream):
    """A stream that fails as a test says, and that takes some bytes before it does."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.taken = b""

    async def _fail(self) -> None:
        if self.error is not None:
            raise self.error
        await anyio.sleep_forever()

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """Fail."""
        await self._fail()
        return b""

    async def send(self, item: bytes) -> None:
        """Take one byte, and fail."""
        self.taken += item[:1]
        await self._fail()

    async def send_eof(self) -> None:
        """Fail."""
        await self._fail()

    async def aclose(self) -> None:
        """Fail."""
        await self._fail()


FAILURES = [
    anyio.BrokenResourceError(),
    anyio.ClosedResourceError(),
    ConnectionResetError(),
]


@pytest.mark.parametrize("error", FAILURES, ids=repr)
async def test_a_failing_stream_is_at_its_end(error: Exception) -> None:
    """Reads give nothing, writes raise OSError, and what ends it is silent."""
    transport = StreamTransport(Fragile(error))

    assert await transport.receive() == b""
    with pytest.raises(OSError, match=r"gone|^$"):
        await transport.send_all(b"x")
    await transport.send_eof()
    await transport.aclose()


@pytest.mark.parametrize("cancelled", [True, False])
async def test_a_write_that_was_cut_short_is_the_last(cancelled: bool) -> None:
    """What follows half a frame would be read as the rest of it."""
    stream = Fragile(None if cancelled else LookupError())
    ours, theirs = socket.socketpair()
    with ours, theirs:
        transport = SocketTransport(stream, ours)
        try:
            with anyio.move_on_after(0.01):
                await transport.send_all(b"12")
        except LookupError:
            assert not cancelled
        stream.error = None
        with pytest.raises(ConnectionResetError, match="cut short"):
            await transport.send_all(b"34")
        assert transport.write_nowait is not None
        assert transport.write_nowait(b"56") == 0

    assert stream.taken == b"1"
