"""Standard input and output, for an event loop that must not wait for them.

Bytes are written at once, past Python's buffers. Output that scripts read must not stay
in a buffer; and Python aborts a process that ends while another thread, as that of
`Lines`, holds the lock of a buffer.
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
# A pipe that is writable takes so many bytes without blocking the writer (POSIX).
_PIPE_BYTES: Final = getattr(select, "PIPE_BUF", 512)
# Windows can wait for sockets only: AnyIO's wait for a pipe would never end there.
_PIPES_CAN_BE_AWAITED: Final = os.name == "posix"


def _raw(stream: TextIO) -> RawIOBase:
    """Return the unbuffered file of a stream. With `python -u` it has no buffer."""
    return cast("RawIOBase", getattr(stream.buffer, "raw", stream.buffer))


class Lines:
    """The lines of a stream, read by a thread.

    A thread can read any kind of input on any system. It is a daemon: a thread that
    waits for input does not keep the process alive.

    Attributes:
        typed: Whether the lines come from a terminal.
        encoding: The encoding of the stream.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._source = None if stream is None else _raw(stream)
        self.typed: bool = stream is not None and stream.isatty()
        self.encoding: str = "utf-8" if stream is None else stream.encoding
        self._batch: list[bytes] = []
        self._filled = Signal()
        self._room = Semaphore(1)

    def start(self) -> None:
        """Start the thread."""
        token = current_token()
        Thread(target=self._read, args=[token], name="anyws lines", daemon=True).start()

    async def next_batch(self) -> list[bytes]:
        """Wait for more lines, without line ends; an empty batch ends the input."""
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
            return None  # the terminal has gone

    def _hand_over(self, batch: list[bytes], token: EventLoopToken) -> None:
        self._room.acquire()
        from_thread.run_sync(self._put, batch, token=token)

    def _put(self, batch: list[bytes]) -> None:
        self._batch = batch
        self._filled.set()


class Sink:
    """A stream to write to. If Python has none, as under pythonw, all text is dropped.

    Attributes:
        terminal: Whether the stream is a terminal.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._target = None if stream is None else _raw(stream)
        self._encoding = "utf-8" if stream is None else stream.encoding
        self.terminal: bool = stream is not None and stream.isatty()
        self._waits = _PIPES_CAN_BE_AWAITED and not self.terminal

    def write(self, text: str) -> None:
        """Write text; block the event loop if the stream does."""
        self._write(self._encoded(text))

    async def send(self, text: str) -> None:
        """Write text; while a pipe is full, let other tasks run.

        Cancellation:
            Some of the text, all or none was written.
        """
        data = self._encoded(text)
        while data and self._waits and self._target is not None:
            try:
                await wait_writable(self._target.fileno())
            except OSError:
                self._waits = False  # a file is always writable: epoll refuses it
            else:
                self._write(data[:_PIPE_BYTES])
                data = data[_PIPE_BYTES:]
        self._write(data)

    def _encoded(self, text: str) -> memoryview:
        return memoryview(text.encode(self._encoding, "backslashreplace"))

    def _write(self, data: memoryview) -> None:
        while data and self._target is not None:
            written = self._target.write(data)
            if written is None:  # the stream is full, and was made non-blocking
                time.sleep(0.01)
            data = data[written or 0 :]


class Output:
    """Writes messages to one stream, and all reports to the other.

    At a terminal there is a prompt. Lines are written above it, so that the line that
    the user is typing stays whole.

    Attributes:
        interactive: Whether a user types the input and reads the output.
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
        """Write a report: a line that is no message."""
        line = escape(line)
        self._try(self._err, self._placed(line) if self._err.terminal else f"{line}\n")

    def prompt(self) -> None:
        """Show the prompt."""
        if self._draws and not self._prompted:
            self._try(self._out, PROMPT)
            self._prompted = True

    def entered(self) -> None:
        """Note that the user has ended the line, and with it the prompt."""
        self._prompted = False

    def end_prompt(self) -> None:
        """Remove the prompt."""
        if self._prompted:
            self._prompted = False
            self._try(self._out, "\r\x1b[K")

    def _try(self, sink: Sink, text: str) -> None:
        try:
            sink.write(text)
        except OSError:
            pass  # reports cannot be written: the messages and the status remain

    def _placed(self, line: str) -> str:
        """Return the characters that write a line, above the prompt if there is one.

        They make room below the prompt (the terminal may scroll), go up again to the
        prompt, push it down by as many rows, write into the gap, and return to the
        place where the user types.
        """
        if not self._prompted:
            return f"{line}\n"
        columns, height = get_terminal_size()
        rows = rows_of(line[: columns * height], columns)
        if rows >= height:
            return f"\r\x1b[K{line}\n{PROMPT}"
        feeds = "\n" * rows
        return f"\x1b7{feeds}\x1b[{rows}A\x1b[{rows}L\r{line}\x1b8\x1b[{rows}B"
