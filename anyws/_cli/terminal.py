"""Standard input and output, for an event loop that must not wait for them.

What is written is written at once, past Python's buffers: a buffer that another thread
holds at the end of the process is fatal, and output that scripts read must not linger.
"""

from __future__ import annotations

import os
import select
import time
from io import RawIOBase
from shutil import get_terminal_size
from threading import Semaphore, Thread
from typing import Final, TextIO, cast

from anyio import Event as Signal
from anyio import from_thread, wait_writable
from anyio.lowlevel import EventLoopToken, current_token

from .console import escape, rows_of

PROMPT: Final = "> "

_CHUNK_BYTES: Final = 64 * 1024
# A pipe that can be written to takes so much without making anybody wait (POSIX).
_PIPE_BYTES: Final = getattr(select, "PIPE_BUF", 512)
# Windows can wait for sockets only; AnyIO's wait for a pipe would never end there.
_PIPES_CAN_BE_AWAITED: Final = os.name == "posix"


def _raw(stream: TextIO) -> RawIOBase:
    """Return what is below Python's buffers; with `python -u` there are none."""
    return cast("RawIOBase", getattr(stream.buffer, "raw", stream.buffer))


class Lines:
    """The lines of a stream, read by a thread of its own.

    A thread can read whatever there is on any system. It is a daemon: one that waits
    for input keeps no process alive.

    Attributes:
        typed: Whether they come from a terminal.
        encoding: That of the stream.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._source = None if stream is None else _raw(stream)
        self.typed: bool = stream is not None and stream.isatty()
        self.encoding: str = "utf-8" if stream is None else stream.encoding
        self._batch: list[bytes] = []
        self._filled = Signal()
        self._room = Semaphore(1)

    def start(self) -> None:
        """Begin to read."""
        token = current_token()
        Thread(target=self._read, args=[token], name="anyws lines", daemon=True).start()

    async def next_batch(self) -> list[bytes]:
        """Wait for more lines, without their ends; none at all: that was the last."""
        await self._filled.wait()
        self._filled = Signal()
        batch = self._batch
        self._room.release()
        return batch

    def _read(self, token: EventLoopToken) -> None:
        try:
            self._read_all(token)
        except RuntimeError:
            pass  # the event loop has ended

    def _read_all(self, token: EventLoopToken) -> None:
        rest = bytearray()
        while chunk := self._next_chunk():
            rest += chunk
            if b"\n" in chunk:
                *lines, tail = bytes(rest).split(b"\n")
                rest = bytearray(tail)
                self._hand_over([line.removesuffix(b"\r") for line in lines], token)
        if rest:
            self._hand_over([bytes(rest)], token)
        self._hand_over([], token)

    def _next_chunk(self) -> bytes | None:
        try:
            return None if self._source is None else self._source.read(_CHUNK_BYTES)
        except OSError:
            return None  # as when the terminal has gone

    def _hand_over(self, batch: list[bytes], token: EventLoopToken) -> None:
        self._room.acquire()
        from_thread.run_sync(self._put, batch, token=token)

    def _put(self, batch: list[bytes]) -> None:
        self._batch = batch
        self._filled.set()


class Sink:
    """A stream to write to; one that is closed takes everything.

    Attributes:
        terminal: Whether it is one.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._target = None if stream is None else _raw(stream)
        self._encoding = "utf-8" if stream is None else stream.encoding
        self.terminal: bool = stream is not None and stream.isatty()
        self._waits = _PIPES_CAN_BE_AWAITED and not self.terminal

    def write(self, text: str) -> None:
        """Write text, however long that takes."""
        self._write(self._encoded(text))

    async def send(self, text: str) -> None:
        """Write text; while a pipe is full, let others run.

        Cancellation:
            Some of the text, all or none was written.
        """
        data = self._encoded(text)
        while data and self._waits and self._target is not None:
            try:
                await wait_writable(self._target.fileno())
            except OSError:
                self._waits = False  # a file: writing to it is never waited for
            else:
                self._write(data[:_PIPE_BYTES])
                data = data[_PIPE_BYTES:]
        self._write(data)

    def _encoded(self, text: str) -> memoryview:
        return memoryview(text.encode(self._encoding, "backslashreplace"))

    def _write(self, data: memoryview) -> None:
        while data and self._target is not None:
            written = self._target.write(data)
            if written is None:  # somebody has made it non-blocking, and it is full
                time.sleep(0.01)
            data = data[written or 0 :]


class Output:
    """Messages on the one stream, all that is told of the connection on the other.

    At a terminal there is a prompt, and what comes meanwhile is written above it, so
    that the line that is being typed stays whole.

    Attributes:
        interactive: Whether a user is there to type, and to read.
    """

    def __init__(self, out: Sink, err: Sink, *, interactive: bool) -> None:
        self._out = out
        self._err = err
        self.interactive: bool = interactive
        self._draws = interactive and os.environ.get("TERM", "dumb") != "dumb"
        self._prompted = False

    async def message(self, line: str) -> None:
        """Write the line of a message."""
        if self.interactive:
            self._out.write(self._placed(f"< {line}"))
        else:
            await self._out.send(f"{line}\n")

    def say(self, line: str) -> None:
        """Tell something that is no message."""
        line = escape(line)
        self._try(self._err, self._placed(line) if self._err.terminal else f"{line}\n")

    def prompt(self) -> None:
        """Ask for a line."""
        if self._draws and not self._prompted:
            self._try(self._out, PROMPT)
            self._prompted = True

    def entered(self) -> None:
        """Know that the line was ended, by the user."""
        self._prompted = False

    def end_prompt(self) -> None:
        """Ask for no more lines."""
        if self._prompted:
            self._prompted = False
            self._try(self._out, "\r\x1b[K")

    def _try(self, sink: Sink, text: str) -> None:
        try:
            sink.write(text)
        except OSError:
            pass  # nobody is left to tell

    def _placed(self, line: str) -> str:
        """Return what writes a line, above the prompt if there is one.

        Make room below (which may scroll), go up again to where the prompt is, push it
        down by as much, write into the gap, and go back to where the typing was.
        """
        if not self._prompted:
            return f"{line}\n"
        columns, height = get_terminal_size()
        rows = rows_of(line[: columns * height], columns)
        if rows >= height:
            return f"\r\x1b[K{line}\n{PROMPT}"
        feeds = "\n" * rows
        return f"\x1b7{feeds}\x1b[{rows}A\x1b[{rows}L\r{line}\x1b8\x1b[{rows}B"
