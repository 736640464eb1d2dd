"""The client of the command line: one conversation, and its exit status."""

from __future__ import annotations

import signal
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from math import inf
from typing import Final

import anyio
from anyio import Event as Signal
from anyio.abc import TaskGroup

from .._client.websocket import ClientWebSocket
from .._values.closing import CloseCode, CloseInfo
from .._values.errors import ConnectionClosed, HandshakeError, HandshakeRejected
from .arguments import (
    ENDED_OTHERWISE,
    NOT_CONNECTED,
    REJECTED,
    SIGNALLED,
    USAGE,
    Settings,
    settings_of,
)
from .console import (
    HELP,
    Action,
    CloseCommand,
    HelpCommand,
    PingCommand,
    action_of,
    ending_line,
    line_of,
)
from .terminal import Lines, Output, Sink

_SHOWN_BYTES: Final = 64  # of a binary message, at a terminal
_ORDERLY_CODES: Final = (CloseCode.NORMAL_CLOSURE, CloseCode.GOING_AWAY)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    settings = settings_of(argv)
    try:
        return anyio.run(_converse, settings, backend=settings.backend)
    except KeyboardInterrupt:  # asyncio on Windows: its loop cannot receive signals
        return SIGNALLED + signal.SIGINT


async def _converse(settings: Settings) -> int:
    lines = Lines(sys.stdin)
    out, err = Sink(sys.stdout), Sink(sys.stderr)
    interactive = lines.typed and out.terminal and not settings.quiet
    output = Output(out, err, interactive=interactive)
    return await Conversation(settings, lines, output).run()


@contextmanager
def _receiver_of_signals() -> Iterator[AsyncIterator[signal.Signals] | None]:
    """Receive SIGINT and SIGTERM; `None` on Windows, where asyncio's loop cannot."""
    with ExitStack() as stack:
        signals = None
        try:
            signals = stack.enter_context(
                anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM)
            )
        except NotImplementedError:
            pass
        yield signals


class Conversation:
    """One connection: it sends the lines of the input, and shows the messages.

    It ends when the peer closes, the user does, the input or the count of messages is
    reached, output is not read any more, or a signal comes.
    """

    def __init__(self, settings: Settings, lines: Lines, output: Output) -> None:
        self._settings = settings
        self._lines = lines
        self._output = output
        self._status = 0
        self._opening: anyio.CancelScope | None = None  # of the opening handshake
        self._over = Signal()
        self._closing: CloseCommand | None = None  # the close that this end begins
        self._signal: int | None = None  # the number of the first signal
        self._input_ended = False
        self._waiting = anyio.CancelScope()  # of a receive; after the input, timed
        self._received = 0

    async def run(self) -> int:
        """Hold the conversation; return the exit status."""
        with _receiver_of_signals() as signals:
            async with anyio.create_task_group() as tasks:
                if signals is not None:
                    tasks.start_soon(self._handle_signals, signals)
                with anyio.CancelScope() as self._opening:
                    await self._connect()
                tasks.cancel_scope.cancel()
        return self._status if self._signal is None else SIGNALLED + self._signal

    async def _handle_signals(self, signals: AsyncIterator[signal.Signals]) -> None:
        """Close at the first signal; let the second one end the process.

        A signal that comes after the close has begun counts as the second one.
        """
        async for number in signals:
            if self._signal is not None or self._over.is_set():
                self._output.end_prompt()
                signal.signal(number, signal.SIG_DFL)
                signal.raise_signal(number)
            self._signal = number
            self._end(CloseCommand(CloseCode.GOING_AWAY))
            if self._opening is not None:
                self._opening.cancel()

    async def _connect(self) -> None:
        try:
            async with self._settings.connector as ws:
                self._opening = None
                await self._talk(ws)
        except HandshakeRejected as exc:
            self._fail(str(exc), REJECTED)
        except (HandshakeError, ModuleNotFoundError) as exc:
            self._fail(str(exc), NOT_CONNECTED)
        else:
            self._report_end(ws.close_info or CloseInfo(CloseCode.ABNORMAL_CLOSURE))

    async def _talk(self, ws: ClientWebSocket) -> None:
        chosen = f", subprotocol {ws.subprotocol}" if ws.subprotocol else ""
        self._note(f"connected to {self._settings.where}{chosen}")
        if self._output.interactive:
            self._note("type a line to send it, /help for more, Ctrl-D to close")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._receive, ws)
            tasks.start_soon(self._send, ws, tasks)
            await self._over.wait()
            tasks.cancel_scope.cancel()
        self._output.end_prompt()
        if self._closing is not None:
            await ws.close(self._closing.code, self._closing.reason)

    def _end(self, closing: CloseCommand | None = None) -> None:
        """End the conversation, unless it has ended.

        Args:
            closing: The close that this end begins; `None`: the connection has ended.
        """
        if not self._over.is_set():
            self._closing = closing
            self._over.set()

    def _report_end(self, info: CloseInfo) -> None:
        """Show how the connection ended, and judge whether that is a failure."""
        asked = self._closing is not None and info.initiator == "local"
        uncoded = info.code == CloseCode.NO_STATUS_RCVD and info.clean
        if asked or uncoded or info.code in _ORDERLY_CODES:
            self._note(ending_line(info))
        else:
            self._fail(ending_line(info), ENDED_OTHERWISE)
        count = self._settings.count
        if count is not None and self._received < count:
            self._fail(
                f"{self._received} of {count} messages have come", ENDED_OTHERWISE
            )

    # Receiving

    async def _receive(self, ws: ClientWebSocket) -> None:
        """Show messages until the connection, the count or the patience ends."""
        while self._received != self._settings.count:
            message = None
            with anyio.CancelScope(deadline=self._deadline()) as self._waiting:
                try:
                    message = await ws.receive_message()
                except ConnectionClosed:
                    self._end()
                    return
            if message is None or not await self._show(message):
                break
            self._received += 1
        self._end(CloseCommand())

    def _deadline(self) -> float:
        """Return when to stop waiting for a message: `--wait` holds after the input."""
        ended = self._input_ended
        return anyio.current_time() + self._settings.wait if ended else inf

    async def _show(self, message: str | bytes) -> bool:
        """Write the line of a message; false if standard output takes no more."""
        most_bytes = _SHOWN_BYTES if self._output.interactive else None
        try:
            await self._output.message(line_of(message, most_bytes=most_bytes))
        except BrokenPipeError:
            return False  # the reader of the pipe has ended, as `| head -1` does
        except OSError as exc:
            self._fail(f"cannot write a message: {exc.strerror}", ENDED_OTHERWISE)
            return False
        return True

    # Sending

    async def _send(self, ws: ClientWebSocket, tasks: TaskGroup) -> None:
        """Do what the lines ask for, to the end of the input.

        A line that is not valid is reported; without a terminal it also ends the
        conversation, since a script cannot correct it.
        """
        self._lines.start()
        self._output.prompt()
        number = 0
        while batch := await self._lines.next_batch():
            for line in batch:
                number += 1
                self._output.entered()
                try:
                    await self._do(action_of(self._decoded(line)), ws, tasks)
                except ValueError as exc:
                    if not self._lines.typed:
                        self._fail(f"line {number} is not sent: {exc}", USAGE)
                        self._end(CloseCommand())
                        return
                    self._output.say(f"not sent: {exc}")
                except ConnectionClosed:
                    return  # the receiving task ends the conversation
                self._output.prompt()
        if self._lines.typed:
            self._end(CloseCommand())
        else:
            self._input_ended = True
            self._waiting.deadline = self._deadline()

    def _decoded(self, line: bytes) -> str:
        try:
            return line.decode(self._lines.encoding)
        except UnicodeDecodeError as exc:
            raise ValueError(f"it is not {exc.encoding}: {exc.reason}") from exc

    async def _do(self, action: Action, ws: ClientWebSocket, tasks: TaskGroup) -> None:
        match action:
            case str() | bytes():
                await ws.send_message(action)
            case PingCommand() if self._lines.typed:
                tasks.start_soon(self._ping, ws, action.data)
            case PingCommand():
                await self._ping(ws, action.data)
            case CloseCommand():
                self._end(action)
                await anyio.sleep_forever()  # lines after the command are not sent
            case HelpCommand():
                for line in HELP.splitlines():
                    self._output.say(line)

    async def _ping(self, ws: ClientWebSocket, data: bytes) -> None:
        try:
            seconds = await ws.ping(data)
        except ConnectionClosed:
            pass  # the receiving task ends the conversation
        except RuntimeError as exc:  # a ping with this payload is under way
            self._output.say(str(exc))
        else:
            self._output.say(f"pong after {seconds * 1000:.1f} ms")

    # Telling the user

    def _note(self, line: str) -> None:
        if not self._settings.quiet:
            self._output.say(line)

    def _fail(self, line: str, status: int) -> None:
        """Say what went wrong; the first failure decides the exit status."""
        self._output.say(line)
        self._status = self._status or status
