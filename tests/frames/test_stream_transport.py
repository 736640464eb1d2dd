"""What a transport over a plain stream cannot do, and how it says so."""

from __future__ import annotations

import anyio
from anyio.abc import ByteStream

from anyws._frames.transport import StreamTransport, Transport


class Scripted(ByteStream):
    """A stream that has some bytes to read, and then its end."""

    def __init__(self, *reads: bytes) -> None:
        self.reads = [*reads]
        self.ended = False

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """Return the next bytes."""
        if not self.reads:
            raise anyio.EndOfStream
        return self.reads.pop(0)

    async def send(self, item: bytes) -> None:
        """Refuse to write."""
        raise AssertionError("nothing is to be written")

    async def send_eof(self) -> None:
        """Take note of it."""
        self.ended = True

    async def aclose(self) -> None:
        """Close."""


class Untouched:
    """A recipient that nothing may be handed to."""

    unfinished = False

    def take_in(self, data: bytes) -> bool:
        """Refuse."""
        raise AssertionError("a task reads")

    def take_end(self, exc: BaseException | None) -> None:
        """Refuse."""
        raise AssertionError("a task reads")


async def test_only_a_task_reads_a_stream() -> None:
    """It hands nothing over, and what it has is received in order."""
    transport: Transport = StreamTransport(Scripted(b"one", b"two"))

    assert transport.read_to(Untouched()) is False
    transport.resume()
    received = [await transport.receive() for _ in range(3)]
    assert received == [b"one", b"two", b""]


async def test_a_stream_writes_nothing_at_once() -> None:
    """It says so before it is asked."""
    transport: Transport = StreamTransport(Scripted())

    assert transport.sends_at_once is False
    assert transport.send_nowait(b"x") == 0


async def test_a_stream_is_not_interrupted() -> None:
    """Neither the call that says so, nor the reading, does any harm."""
    transport = StreamTransport(Scripted(b"one"))

    assert transport.interruptible is False
    transport.interrupt()
    assert await transport.receive() == b"one"


async def test_ending_our_half_says_that_it_is_done() -> None:
    """As false says that it cannot be."""
    stream = Scripted()
    transport: Transport = StreamTransport(stream)

    assert await transport.send_eof() is True
    assert stream.ended
